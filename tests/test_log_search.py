"""Searching the log: whichever index is walked, what is found is what a look at every record finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import event

from byreport import log as log_module
from byreport.log import Filters, Log, Record
from test_log import ARCHIVE, RULEBOOK, a_record, location, log  # noqa: F401  # fixtures

POOLS: dict[str, list[Any]] = {
    "payer": ["medicaid/TX"] * 5
    + ["medicaid/TX/tchp", "medicaid/TX-other", "medicaid/TN", "private/uhc", "Medicaid/TX"],
    "outcome": ["fix"] * 6 + ["ready", "review"],
    "pa_status": ["required", "unknown"],
    "code_billed": ["J3490"] * 4 + ["J3590"],
    "code_recommended": ["J3590", None],
    "drug_name": ["Skysona"] * 3 + ["skysona", None, "été %_"],
    "date_of_service": ["2026-10-01", "2026-10-02", "2026-10-03"],
    "decided_at": ["2026-10-04T23:59:59.999999Z", "2026-10-05T00:00:00.000000Z", "2026-10-05T23:59:59.999999Z"],
    "fired": [("a", "b"), ("a",), ("c",), ()],
}
COUNT = 120


@pytest.fixture
def filled(log: Log) -> tuple[Log, list[Record]]:  # noqa: F811
    random = Random(3)
    made = [a_record(n, **{name: random.choice(pool) for name, pool in POOLS.items()}) for n in range(COUNT)]
    return log, log.append(made)


def matches(record: Record, filters: Filters, rules: tuple[str, ...]) -> bool:
    """The plain meaning of a search."""
    for name in ("payer", "outcome", "pa_status", "code_billed", "code_recommended", "drug_name", "rulebook"):
        if getattr(filters, name) not in (None, getattr(record, name)):
            return False
    top = filters.payer_below
    wanted = {*rules, *((filters.rule,) if filters.rule else ())}
    day = record.decided_at[:10]
    return (
        (top is None or record.payer == top or record.payer.startswith(top + "/"))
        and (not wanted or bool(wanted & set(record.fired)))
        and (filters.date_of_service_from or "") <= record.date_of_service <= (filters.date_of_service_to or "9")
        and (filters.decided_from or "") <= day <= (filters.decided_to or "9")
    )


def random_search(random: Random) -> tuple[Filters, tuple[str, ...]]:
    asked: dict[str, Any] = {}
    for name in ("payer", "outcome", "pa_status", "code_billed", "code_recommended", "drug_name"):
        if random.random() < 0.25:
            asked[name] = random.choice([value for value in POOLS[name] if value] + ["nothing like it"])
    for name, pool in (
        ("payer_below", ["medicaid", "medicaid/TX", "private/uhc", "medicaid/T", "medicare"]),
        ("date_of_service_from", POOLS["date_of_service"]),
        ("date_of_service_to", POOLS["date_of_service"]),
        ("decided_from", ["2026-10-04", "2026-10-05"]),
        ("decided_to", ["2026-10-04", "2026-10-05"]),
        ("rulebook", [RULEBOOK, "sha256:" + "0" * 64]),
        ("rule", ["a", "b", "z"]),
    ):
        if random.random() < 0.2:
            asked[name] = random.choice(pool)
    return Filters(**asked), tuple(random.sample("abcz", random.randrange(1, 4))) if random.random() < 0.2 else ()


def finds_its_pages(searched: Log, records: list[Record], filters: Filters, rules: tuple[str, ...], limit: int) -> bool:
    """Whether anything is found; what is, on two pages, has to be what a look at every record finds."""
    expected = [record for record in reversed(records) if matches(record, filters, rules)]
    page = searched.search(filters, limit, rules=rules)
    assert page == expected[:limit], (filters, rules)
    if page:
        following = searched.search(filters, limit, page[-1].seq, rules)
        assert following == expected[limit : 2 * limit], (filters, rules)
    return bool(page)


@pytest.mark.parametrize("few", [0, 5, 1_000])
def test_a_search_finds_what_a_look_at_every_record_finds(
    filled: tuple[Log, list[Record]], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_FEW", few)
    searched, records = filled
    random = Random(few)
    found_any = 0
    for _ in range(250):
        filters, rules = random_search(random)
        found_any += finds_its_pages(searched, records, filters, rules, random.choice([1, 7, 1000]))
    assert found_any > 100


def test_the_payers_of_the_log(filled: tuple[Log, list[Record]]) -> None:
    searched, records = filled
    assert searched.payers() == sorted({record.payer for record in records})


def test_an_empty_log_has_no_payers(log: Log) -> None:  # noqa: F811
    assert log.payers() == []
    assert log.search(Filters(payer_below="medicaid")) == []


# --- which index -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plans(tmp_path: Path) -> Iterator[tuple[Log, list[str]]]:
    """A log, and how SQLite goes about each query of it."""
    told: list[str] = []
    with closing(Log.open(tmp_path / "log.db")) as opened:
        opened.keep_rulebook(RULEBOOK, ARCHIVE)
        opened.append([a_record(n, payer=f"private/p{n % 3}", outcome="fix" if n else "review") for n in range(60)])

        @event.listens_for(opened._reading, "before_cursor_execute")
        def _explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
            if statement.startswith("SELECT decision.seq"):
                plan = cursor.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
                told.append("; ".join(row[3] for row in plan))

        yield opened, told


def test_one_value_is_walked_by_its_own_index(plans: tuple[Log, list[str]]) -> None:
    searched, told = plans
    searched.search(Filters(payer="private/p1"))
    assert "decision_by_payer" in told[0].split(";")[0]
    assert "TEMP B-TREE" not in told[0]


def test_of_two_values_the_rare_one_is_walked(plans: tuple[Log, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    searched, told = plans
    monkeypatch.setattr(log_module, "_FEW", 5)
    assert [record.seq for record in searched.search(Filters(payer="private/p0", outcome="review"))] == [1]
    assert "decision_by_outcome" in told[0]


def test_two_common_values_are_looked_for_in_the_narrow_index_alone(
    plans: tuple[Log, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, told = plans
    monkeypatch.setattr(log_module, "_FEW", 5)
    searched.search(Filters(payer="private/p0", outcome="fix", decided_from="2026-01-01"), 10)
    assert told[0] == "SCAN decision USING COVERING INDEX decision_narrow"
    told.clear()
    searched.search(Filters(payer_below="private", date_of_service_to="2020-01-01"), 10, before_seq=30)
    assert told[0] == "SEARCH decision USING COVERING INDEX decision_narrow (seq<?)"


def test_a_log_from_before_the_narrow_index_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with closing(Log.open(path)) as first:
        first.keep_rulebook(RULEBOOK, ARCHIVE)
        first.append([a_record(n) for n in range(5)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP INDEX decision_narrow")
        database.commit()
    with closing(Log.open(path)) as again:
        assert len(again.search(Filters(outcome="fix", pa_status="required", payer_below="medicaid"))) == 5
        assert again.verify().ok
