"""A large decision log, and how long an auditor waits for it: verifying, replaying and searching.

    python benchmarks/audit_log.py make  LOG.db 1000000    decide that many claim lines and record them
    python benchmarks/audit_log.py time  LOG.db            verify all, replay a part, run every kind of search

The claim lines are drawn with a fixed seed from all payers, the drugs of the reference data and common codes: 8,000
situations that come again and again with other charges and descriptions, as a biller's do. Every decision is made by
the bundled rules and recorded as the service records it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from byreport.audit import Replayer
from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Filters, Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook

SEED = 7
BATCH = 2_000
SITUATIONS = 8_000
CODES = ["J3490"] * 6 + ["J3590"] * 3 + ["J9999"] * 2 + ["C9399", "J7999", "J7799", "J3032"]
DATES = [f"{year}-{month:02}-{day:02}" for year in (2024, 2025, 2026) for month in range(1, 13) for day in (3, 17)]
SETTINGS = ["office"] * 5 + ["hospital_outpatient"] * 3 + ["home_infusion", "dme"]


class Lines:
    """An endless supply of claim lines."""

    def __init__(self, rulebook: Rulebook, reference: Reference) -> None:
        self.random = Random(SEED)
        self.payers = rulebook.payers()
        # A few payers and drugs make most of the lines, as in any billing office.
        self.payer_weights = [1 / (rank + 4) for rank in range(len(self.payers))]
        self.random.shuffle(self.payers)
        self.drugs = sorted({drug.generic for drug in reference.drugs})
        self.drug_weights = [1 / (rank + 4) for rank in range(len(self.drugs))]
        self.number = 0
        self.situations = [self.situation() for _ in range(SITUATIONS)]

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.line(situation) for situation in self.random.choices(self.situations, k=count)]

    def line(self, situation: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        own = {
            "charge": f"{self.random.randrange(2_000, 900_000) / 100:.2f}",
            "description": f"{situation['drug']['name']} line {self.number}",
        }
        return {**situation, "line": {**situation["line"], **own}}

    def situation(self) -> dict[str, Any]:
        random = self.random
        payer = random.choices(self.payers, self.payer_weights)[0]
        drug = random.choices(self.drugs, self.drug_weights)[0]
        made: dict[str, Any] = {
            "payer": payer,
            "date_of_service": random.choice(DATES),
            "claim_form": "professional",
            "setting": random.choice(SETTINGS),
            "line": {
                "code": random.choice(CODES),
                "units": str(random.choice((1, 1, 1, 2, 10))),
            },
            "drug": {"name": drug, "compounded": False},
            "documentation": random.sample(["drug_name", "dose", "route", "ndc", "invoice"], random.randrange(5)),
        }
        if random.random() < 0.3:
            made["prior_authorization"] = {"number": f"A{random.randrange(10**6)}"}
        return made


def make(path: Path, count: int) -> None:
    reference = Reference.load()
    docket = Docket(Desk(Rulebook.open(), reference), Log.open(path))
    lines = Lines(docket.desk.rulebook, reference)
    start, done = time.perf_counter(), 0
    done = docket.log.head()[0]
    while done < count:
        batch = lines.take(min(BATCH, count - done))
        docket.record([docket.decide(line) for line in batch], batch)
        done += len(batch)
        if done % 50_000 == 0:
            print(f"{done} decisions, {done / (time.perf_counter() - start):.0f}/s", flush=True)
    docket.close()
    print(f"{done} decisions in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e6:.0f} MB")


def measure(path: Path) -> None:
    began = time.perf_counter()
    log = Log.open(path)
    print(f"opening: {time.perf_counter() - began:.1f} s")
    count = log.head()[0]
    _searches(log)
    print(f"{count} records, {path.stat().st_size / 1e6:.0f} MB")
    for afresh, share in ((False, 100), (True, 1_000)):
        replayer = Replayer(log, afresh)
        first = max(1, count // 2)
        wall, cpu = time.perf_counter(), time.process_time()
        differences = list(replayer.run(first, min(count, first + max(500, count // share))))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        kind = "afresh" if afresh else "as the service does"
        print(
            f"replaying {replayer.checked} {kind}, compiling included: {replayer.checked / wall:.0f}/s,"
            f" {replayer.checked / cpu:.0f} per second of one core, {len(differences)} difference(s)",
            flush=True,
        )
        replayer.close()
    wall, cpu = time.perf_counter(), time.process_time()
    found = log.verify()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"verifying {found.checked}: {'ok' if found.ok else found.breach}, {wall:.0f} s, {found.checked / wall:.0f}/s,"
        f" {found.checked / cpu:.0f} per second of one core"
    )


def _searches(log: Log) -> None:
    count = log.head()[0]
    [record] = log.iterate(count // 2, count // 2)
    common = {"payer": record.payer, "outcome": "needs_information"}
    rule, rare = record.fired[0], record.fired[-1]
    asked: list[tuple[str, Filters]] = [
        ("nothing asked", Filters()),
        ("payer", Filters(payer=record.payer)),
        ("outcome, rare", Filters(outcome="not_billable")),
        ("rule, common", Filters(rule=rule)),
        ("rule", Filters(rule=rare)),
        ("payer and outcome", Filters(**common)),
        ("payer, outcome, drug, code", Filters(**common, drug_name=record.drug_name, code_billed=record.code_billed)),
        ("rule and payer", Filters(rule=rule, payer=record.payer)),
        ("two common values that never meet", Filters(outcome="fix", pa_status="nothing", decided_to="2000-01-01")),
        ("a program and a day of service", Filters(payer_below="medicaid", date_of_service_from="2024-01-03",
                                                   date_of_service_to="2024-01-03")),
        ("a time long ago", Filters(decided_to=record.decided_at, outcome="fix")),
        ("a common rule, a program, no such date", Filters(rule=rule, payer_below="medicaid",
                                                           date_of_service_to="2000-01-01")),
        ("a program, no such date", Filters(payer_below="medicare", date_of_service_to="2000-01-01")),
    ]  # fmt: skip
    for name, filters in asked:
        _time(f"search: {name}", lambda: len(log.search(filters, 50)))  # noqa: B023
    _time("search: page in the middle", lambda: len(log.search(Filters(**common), 50, count // 2)))
    _time("payers of the log", lambda: len(log.payers()))
    _time("rulebooks of the log", lambda: len(log.rulebooks()))
    _time("one decision by its id", lambda: 0 if log.get(record.decision_id) is None else 1)


def _time(name: str, call: Callable[[], int], repeats: int = 5) -> None:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        times.append((time.perf_counter() - began) * 1000)
    print(f"{name:55} {found:5} found, median {statistics.median(times):7.1f} ms, first {times[0]:7.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "time"])
    parser.add_argument("log", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.log, arguments.count)
    else:
        measure(arguments.log)


if __name__ == "__main__":
    main()
