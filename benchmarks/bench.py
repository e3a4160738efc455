"""What `make bench` runs: the engines side by side on the same rules and claims, then whole decisions and HTTP.

Writes docs/benchmarks-results.md and docs/benchmarks.svg. It checks that every engine gives the oracle's answers and
fails when one does not; it never fails over a time.

    python benchmarks/bench.py                 everything, about ten minutes
    python benchmarks/bench.py peers --rounds 3 --rules 60
    python benchmarks/bench.py decisions http
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import worklist
from peers import drools_peer, workload

from byreport.claim import ClaimError
from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook, UnknownPayer

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
CHECKED = 2_000
GROWN = 600
"""Lines decided with each made-up rulebook."""
SECONDS = 1.0
PEERS = {
    "byreport-seen": ("byreport_peer", "ByreportSeen", None),
    "byreport": ("byreport_peer", "Byreport", None),
    "python": ("python_peer", "GeneratedPython", None),
    "clips": ("clips_peer", "Clips", "clips"),
    "zen": ("zen_peer", "Zen", "zen"),
}
DROOLS = "drools"
BASE = "byreport"
"""The peer to which ratios are taken, inside each round."""


# --- one peer, in a process of its own ------------------------------------------------------------------------------


def measure(fire: Callable[[Any], Any], prepared: list[Any], seconds: float) -> tuple[float, float]:
    """p50 and p99 of one call in microseconds, over the claims again and again."""
    for each in prepared[:500]:
        fire(each)
    took: list[int] = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while True:
        for each in prepared:
            began = clock()
            fire(each)
            took.append(clock() - began)
        if clock() > end:
            break
    took.sort()
    return took[len(took) // 2] / 1e3, took[int(len(took) * 0.99)] / 1e3


def one_peer(name: str, place: Path) -> None:
    """Measure one peer on the work that is laid out in a directory, and print what came out."""
    work = json.loads((place / "work.json").read_text())
    made = [_made(each) for each in work["rules"]]
    if name == DROOLS:
        found = drools_peer.run(made, work["claims"], work["answers"], SECONDS, place / "drools")
        print(json.dumps({"title": drools_peer.TITLE, **found}))
        return
    module, class_name, _ = PEERS[name]
    peer = getattr(import_module(f"peers.{module}"), class_name)(made)
    prepared = [peer.prepare(each) for each in work["claims"]]
    answers = work["answers"]
    wrong = sum(sorted(peer.fire(each)) != answer for each, answer in zip(prepared, answers, strict=True))
    p50, p99 = measure(peer.fire, prepared, SECONDS)
    print(json.dumps({"title": peer.title, "wrong": wrong, "p50": p50, "p99": p99}))


def _made(data: list[Any]) -> workload.Made:
    name, tests, concludes, needs, level = data
    return workload.Made(
        name,
        tuple((fact, op, tuple(constant) if isinstance(constant, list) else constant) for fact, op, constant in tests),
        concludes,
        tuple(needs),
        level,
    )


# --- all peers ------------------------------------------------------------------------------------------------------


def peers(sizes: list[int], rounds: int) -> dict[str, Any]:
    """Every peer on every size, in shuffled rounds."""
    claims = workload.claims(CHECKED, 1, Reference.load())
    results: dict[str, Any] = {"sizes": sizes, "skipped": {}, "times": {}}
    names = [name for name in (*PEERS, DROOLS) if not (why := _missing(name)) or results["skipped"].update({name: why})]
    with tempfile.TemporaryDirectory() as directory:
        places = {size: _laid_out(Path(directory) / str(size), size, claims) for size in sizes}
        chance = random.Random(1)
        for number in range(rounds):
            runs = [(name, size) for name in names for size in sizes]
            chance.shuffle(runs)
            for name, size in runs:
                print(f"round {number + 1} of {rounds}: {name}, {size} rules", file=sys.stderr)
                found = _run(name, places[size])
                if found["wrong"]:
                    raise SystemExit(f"{name} differs from the oracle on {found['wrong']} claims with {size} rules")
                results["times"].setdefault(name, {}).setdefault(str(size), []).append(found)
    return results


def _missing(name: str) -> str | None:
    """Why a peer can't be run here."""
    if name == DROOLS:
        try:
            drools_peer.jar()
        except drools_peer.Missing as missing:
            return str(missing)
        return None
    module = PEERS[name][2]
    if module is not None:
        try:
            __import__(module)
        except ImportError as error:
            return str(error)
    return None


def _laid_out(place: Path, size: int, claims: list[workload.Claim]) -> Path:
    place.mkdir(parents=True)
    made = workload.rules(size, 1, claims)
    work = {
        "rules": [[rule.id, rule.tests, rule.concludes, rule.needs, rule.level] for rule in made],
        "claims": claims,
        "answers": [workload.oracle(made, each) for each in claims],
    }
    (place / "work.json").write_text(json.dumps(work))
    return place


def _run(name: str, place: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "bench.py"), "--one", name, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


# --- whole decisions -------------------------------------------------------------------------------------------------


def decisions(lines: int) -> list[dict[str, Any]]:
    """A claim's JSON data in, the decision's JSON text out, on each site's list: new and seen situations apart."""
    rulebook, reference = Rulebook.open(), Reference.load()
    found = []
    for site in worklist.SITES:
        desk = Desk(rulebook, reference)
        claims = list(worklist.lines(site, lines, 1, rulebook, reference))
        for payer in {claim["payer"] for claim in claims}:
            if payer in rulebook.payers():
                desk.compiled(rulebook.payer(payer))
        new, seen = _timed(desk, claims)
        found.append(
            {
                "site": site,
                "lines": lines,
                "firing": _spread(_fired(desk, claims)),
                "new": _spread(new),
                "seen": _spread(seen),
                "seen_share": round(len(seen) / (len(new) + len(seen)), 3),
            }
        )
        desk.close()
    return found


def _fired(desk: Desk, claims: list[dict[str, Any]]) -> list[int]:
    """What the engine takes from a line's facts to the rules that fire, every line once after a first round."""
    ready = []
    for claim in claims:
        try:
            decided = desk.decide(claim)
        except (ClaimError, UnknownPayer):
            continue
        ready.append((desk.engine(desk.rulebook.payer(decided.decision.payer)), decided.facts.keys))
    for engine, keys in ready:
        engine.fire(keys)
    took = []
    for engine, keys in ready:
        began = time.perf_counter_ns()
        engine.fire(keys)
        took.append(time.perf_counter_ns() - began)
    return took


def _timed(desk: Desk, claims: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    new: list[int] = []
    seen: list[int] = []
    for claim in claims:
        hits = desk.hits
        began = time.perf_counter_ns()
        try:
            desk.decide(claim).decision.json("", "")
        except (ClaimError, UnknownPayer):
            continue
        (seen if desk.hits > hits else new).append(time.perf_counter_ns() - began)
    return new, seen


def _spread(took: list[int]) -> dict[str, float]:
    took.sort()
    if not took:
        return {"p50": 0.0, "p99": 0.0}
    return {"p50": round(took[len(took) // 2] / 1e3, 1), "p99": round(took[int(len(took) * 0.99)] / 1e3, 1)}


def growth() -> list[dict[str, Any]]:
    """Whole decisions with made-up rulebooks: more rules to a payer, then more payers loaded."""
    reference = Reference.load()
    claims = workload.claims(500, 2, reference)
    lists = [
        {**line, "payer": "private/p0"}
        for line in worklist.lines("practice", GROWN, 2, reference=reference)
        if line["payer"] != "medicare"
    ]
    found = []
    for size, payers_ in [(20, 1), (60, 1), (200, 1), (600, 1), (20, 100), (20, 1_000)]:
        print(f"{size} rules to each of {payers_} payers", file=sys.stderr)
        rulebook = made_up(workload.rules(size, 1, claims), payers_)
        desk = Desk(rulebook, reference)
        for number in range(payers_):
            rulebook.payer(f"private/p{number}")
        for number in range(min(payers_, 100)):
            desk.compiled(rulebook.payer(f"private/p{number}"))
        new, seen = _timed(desk, lists)
        found.append({"rules": size, "payers": payers_, "new": _spread(new), "seen": _spread(seen)})
        desk.close()
    return found


def made_up(made: list[workload.Made], payers_: int) -> Rulebook:
    """A rulebook in which every payer has these rules."""
    files: dict[str, bytes] = {}
    for number in range(payers_):
        rules = [_yaml_rule(rule) for rule in made]
        ruleset = {"ruleset": f"private/p{number}", "title": "Made up", "rules": rules}
        statement = {"id": "s", "topic": "coverage", "statement": "Made up.", "confidence": "high"}
        document = {
            "id": "d",
            "title": "Made up",
            "publisher": "nobody",
            "published": "2026-01-01",
            "kind": "bulletin",
            "authority": "primary",
            "statements": [statement],
        }
        policy = {"payer": f"private/p{number}", "name": f"Payer {number}", "documents": [document], "gaps": []}
        # JSON is YAML.
        files[f"rules/private/p{number}.yaml"] = json.dumps(ruleset).encode()
        files[f"policy_docs/private/p{number}.yaml"] = json.dumps(policy).encode()
    return Rulebook(files)


_WORDS = {"eq": None, "in": "one_of", "ge": "at_least", "lt": "below"}


def _yaml_rule(rule: workload.Made) -> dict[str, Any]:
    when = [_yaml_test(*test) for test in rule.tests]
    when += [{"noc.fits" if token in workload.CODES else "requires.document": token} for token in rule.needs]
    if rule.concludes is None:
        then: dict[str, Any] = {"caution": "Made up"}
    elif rule.concludes in workload.CODES:
        then = {"conclude": {"noc.fits": rule.concludes}}
    else:
        then = {"require_document": rule.concludes}
    return {
        "id": f"made.{rule.id}",
        "title": "Made up",
        "when": {"all": when},
        "then": [then],
        "source": {"document": "d", "statement": "s"},
        "examples": [{"given": {"line.code": "J3490"}, "fires": False}],
    }


def _yaml_test(fact: str, operator: str, constant: Any) -> dict[str, Any]:
    if operator == "absent":
        return {"any": [{fact: {"unknown": True}}, {fact: {"missing": True}}]}
    if operator == "present":
        return {fact: {"present": True}}
    if fact == workload.DAY:
        text = str(constant)
        return {fact: {"on_or_after" if operator == "ge" else "before": f"{text[:4]}-{text[4:6]}-{text[6:]}"}}
    if fact in ("line.charge", "line.units"):
        constant = str(constant / 10_000)
    word = _WORDS[operator]
    return {fact: constant if word is None else {word: list(constant) if isinstance(constant, tuple) else constant}}


# --- HTTP -----------------------------------------------------------------------------------------------------------


WARM, SINGLE, LISTED = 100_000, 50_000, 150_000
"""Lines of the practice's list: those decided before the clock runs, as in a service that has run for a day; those then
asked for one by one; and those in lists. No line is asked for twice while the clock runs."""
LIST = 100
ASKED = 5
"""Times that each kind is asked, over new connections: which process gets how many of them is left to chance."""


def over_http(seconds: float) -> list[dict[str, Any]]:
    """The production server on loopback with its log on disk, asked by wrk, for one process and for two."""
    if shutil.which("wrk") is None:
        print("HTTP is not measured: wrk is not installed", file=sys.stderr)
        return []
    claims = [json.dumps(each) for each in worklist.lines("practice", WARM + SINGLE + LISTED, 1)]
    found = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _write_lines(directory / "one", claims[:1])
        _write_lines(directory / "warm", _lists(claims[:WARM]))
        _write_lines(directory / "lines", claims[WARM : WARM + SINGLE])
        _write_lines(directory / "lists", _lists(claims[WARM + SINGLE :]))
        for workers in (1, 2):
            with _Server(directory / str(workers), workers) as server:
                _ask(server, directory / "warm", 0, WARM / LIST, 8)
                for what, file, each, clients in (
                    ("one line, again and again", "one", 1, 16),
                    ("lines of the list", "lines", 1, 16),
                    (f"lists of {LIST}", "lists", LIST, 8),
                ):
                    runs: list[dict[str, Any]] = []
                    for _ in range(ASKED):
                        before, began = sum(run["requests"] for run in runs), server.cpu_seconds()
                        runs.append(_ask(server, directory / file, before, seconds / ASKED, clients, timed=True))
                        runs[-1]["cpu"] = server.cpu_seconds() - began
                    found.append({"what": what, "workers": workers, "clients": clients, **_summary(runs, each)})
                    print(found[-1], file=sys.stderr)
    return found


def _summary(runs: list[dict[str, Any]], lines: int) -> dict[str, Any]:
    """What several runs come to: medians, lowest and highest rate, and the sums of what went wrong."""
    rates = sorted(run["requests"] / run["seconds"] for run in runs)
    return {
        "requests_per_second": round(statistics.median(rates), 1),
        "lines_per_second": round(statistics.median(rates) * lines, 1),
        "lowest": round(rates[0] * lines, 1),
        "highest": round(rates[-1] * lines, 1),
        "cpu_us": round(sum(run["cpu"] for run in runs) / sum(run["requests"] for run in runs) / lines * 1e6),
        **{key: round(statistics.median(run[key] for run in runs), 2) for key in ("p50_ms", "p99_ms")},
        **{key: sum(run[key] for run in runs) for key in ("not_200", "failed")},
    }


def _lists(claims: list[str]) -> list[str]:
    return [f"[{','.join(claims[n : n + LIST])}]" for n in range(0, len(claims), LIST)]


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


def _ask(server: _Server, bodies: Path, first: int, amount: float, clients: int, timed: bool = False) -> dict[str, Any]:
    """wrk's answer, for `amount` seconds, or until so many requests were answered."""
    asked = {"requests": 0}
    while asked["requests"] < amount:
        seconds = max(1, round(amount)) if timed else 2
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "ask.lua")]
        command += [f"http://127.0.0.1:{server.port}", "--", str(bodies), str(first + asked["requests"])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = dict(json.loads(done.stdout.strip().splitlines()[-1]))
        if timed:
            return answer
        asked["requests"] += answer["requests"]
    return asked


class _Server:
    def __init__(self, directory: Path, workers: int) -> None:
        directory.mkdir()
        self.port = random.randrange(20_000, 32_000)
        command = [sys.executable, "-m", "byreport", "--log", str(directory / "log.db"), "serve"]
        command += ["--port", str(self.port), "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> _Server:
        for _ in range(300):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    time.sleep(2)
                    while len(_below(self.process.pid)) > len(_children(self.process.pid)):
                        time.sleep(0.5)  # the rules are still being checked, in processes of their own
                    return self
            except OSError:
                time.sleep(0.1)
        self.process.terminate()
        raise SystemExit("the server does not answer")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def cpu_seconds(self) -> float:
        """What the server's processes have taken so far, in the system too."""
        ticks = [_stat(process)[11:13] for process in (self.process.pid, *_children(self.process.pid))]
        return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[str]:
    """What Linux tells of a process, from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if _stat(int(path.name))[1] == str(process):
                found.append(int(path.name))
    return found


def _below(process: int) -> list[int]:
    children = _children(process)
    return children + [each for child in children for each in _below(child)]


# --- results ----------------------------------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    yield "# What `make bench` measured\n"
    yield f"{results['machine']}\n"
    if "peers" in results:
        yield from _peer_table(results["peers"])
    if "decisions" in results:
        yield "## Whole decisions, in process\n"
        yield "Claim data in, decision JSON out, nothing logged; engines compiled beforehand. µs.\n"
        yield (
            "A situation is new when the desk has not decided it yet, and so is all that its rules came to; the first "
            "lines of a list meet an empty memory. Firing is the engine alone, from completed facts to the rules that "
            "fire.\n"
        )
        yield "| list | lines | seen before | new p50 | new p99 | seen p50 | seen p99 | firing p50 | firing p99 |"
        yield f"|{'---|' * 9}"
        for each in results["decisions"]:
            new, seen = each["new"], each["seen"]
            yield (
                f"| {each['site']} | {each['lines']:,} | {each['seen_share']:.0%} | {new['p50']} | {new['p99']} "
                f"| {seen['p50']} | {seen['p99']} | {each['firing']['p50']} | {each['firing']['p99']} |"
            )
        yield "\n| rules a payer | payers loaded | new p50 | new p99 | seen p50 | seen p99 |\n|---|---|---|---|---|---|"
        for each in results["growth"]:
            new, seen = each["new"], each["seen"]
            yield (
                f"| {each['rules']} | {each['payers']:,} | {new['p50']} | {new['p99']} "
                f"| {seen['p50']} | {seen['p99']} |"
            )
        yield ""
    if results.get("http"):
        yield "## Over HTTP\n"
        yield (
            f"`byreport serve` with its log on disk, asked on loopback by wrk on the same cores, {ASKED} times over "
            "new connections: medians, the lowest and the highest rate. CPU is that of the server, per line.\n"
        )
        yield "| | processes | connections | requests/s | lines/s | p50 ms | p99 ms | CPU µs | not 200 |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for each in results["http"]:
            yield (
                f"| {each['what']} | {each['workers']} | {each['clients']} | {each['requests_per_second']:,} "
                f"| {each['lines_per_second']:,} ({each['lowest']:,} to {each['highest']:,}) "
                f"| {each['p50_ms']:.2f} | {each['p99_ms']:.2f} | {each['cpu_us']} "
                f"| {each['not_200']} |"
            )


def into_readme(table: list[str]) -> None:
    """Put the table of engines into the README, between its two marks."""
    readme = DOCS.parent / "README.md"
    text = readme.read_text()
    begin, end = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
    rows = "\n".join(line for line in table if line.startswith("|"))
    head, tail = text.split(begin)[0], text.split(end)[1]
    readme.write_text(f"{head}{begin}{rows}\n{end}{tail}")


def _peer_table(found: dict[str, Any]) -> Iterator[str]:
    yield "## Engines side by side\n"
    yield (
        f"One claim to the list of rules that fire, µs: median over rounds of p50 (lowest to highest); ratio to "
        f"byreport's engine inside the same round. Every engine gave the oracle's answers on {CHECKED:,} claims.\n"
    )
    heads = "".join(f" {size} rules | ratio |" for size in found["sizes"])
    yield f"| engine |{heads}\n|---|{'---|' * (2 * len(found['sizes']))}"
    for _, sizes in sorted(found["times"].items(), key=lambda item: _median(item[1], str(found["sizes"][0]))):
        title = next(iter(sizes.values()))[0]["title"]
        cells = []
        for size in map(str, found["sizes"]):
            p50s = [run["p50"] for run in sizes[size]]
            base = [run["p50"] for run in found["times"][BASE][size]]
            ratio = statistics.median(own / other for own, other in zip(p50s, base, strict=True))
            cells.append(f" {statistics.median(p50s):.1f} ({min(p50s):.1f} to {max(p50s):.1f}) | {ratio:.2f} |")
        yield f"| {title} |{''.join(cells)}"
    for name, why in found["skipped"].items():
        yield f"\nNot run: {name} ({why})."
    yield "\n![engines side by side](benchmarks.svg)\n"


def _median(sizes: dict[str, Any], size: str) -> float:
    return statistics.median(run["p50"] for run in sizes[size])


def plot(found: dict[str, Any]) -> str:
    """Medians with their spread on a logarithmic axis, as SVG."""
    import math

    sizes = [str(size) for size in found["sizes"]]
    order = sorted(found["times"], key=lambda name: _median(found["times"][name], sizes[0]))
    every = [run["p50"] for name in order for size in sizes for run in found["times"][name][size]]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    left, width, row = 280, 480, 18 * len(sizes) + 14

    def x(value: float) -> float:
        return left + width * (math.log10(value) - low) / (high - low)

    height = row * len(order) + 70
    shades = ["#1b4965", "#5fa8d3", "#9fc3d8", "#c9dfe9"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}" font-family="sans-serif" '
        f'font-size="13"><title>Microseconds from one claim to the rules that fire</title>'
        f'<rect width="100%" height="100%" fill="white"/>'
    ]
    for power in range(low, high + 1):
        at = x(10**power)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="10" y2="{height - 50}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 32}" text-anchor="middle">{10**power:g} µs</text>')
    for number, name in enumerate(order):
        top = 20 + number * row
        title = found["times"][name][sizes[0]][0]["title"]
        parts.append(f'<text x="{left - 10}" y="{top + row / 2:.1f}" text-anchor="end">{title}</text>')
        for index, size in enumerate(sizes):
            p50s = [run["p50"] for run in found["times"][name][size]]
            y = top + 9 + 18 * index
            shade = shades[index % len(shades)]
            parts.append(
                f'<line x1="{x(min(p50s)):.1f}" x2="{x(max(p50s)):.1f}" y1="{y}" y2="{y}" stroke="{shade}" '
                f'stroke-width="3"/>'
            )
            middle = statistics.median(p50s)
            parts.append(f'<circle cx="{x(middle):.1f}" cy="{y}" r="5" fill="{shade}"/>')
            parts.append(f'<text x="{x(max(p50s)) + 9:.1f}" y="{y + 4}" font-size="11" fill="#555">{middle:.1f}</text>')
    for index, size in enumerate(sizes):
        at = left + index * 110
        parts.append(f'<circle cx="{at}" cy="{height - 14}" r="5" fill="{shades[index % len(shades)]}"/>')
        parts.append(f'<text x="{at + 10}" y="{height - 10}">{size} rules</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Run what was asked for and write the results."""
    parser = argparse.ArgumentParser(description="Measure; never judge a time.")
    parser.add_argument("what", nargs="*", help="peers, decisions, http (all of them)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rules", type=int, nargs="+", default=[20, 60, 200, 600])
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--out", type=Path, default=DOCS)
    parser.add_argument("--one", nargs=2, metavar=("PEER", "DIRECTORY"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one_peer(chosen.one[0], Path(chosen.one[1]))
        return
    what = chosen.what or ["peers", "decisions", "http"]
    java = shutil.which("java") is not None
    results: dict[str, Any] = {
        "machine": f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python "
        f"{platform.python_version()}{', Java' if java else ''}, {time.strftime('%Y-%m-%d')}. "
        "Trust ratios more than times."
    }
    if "peers" in what:
        results["peers"] = peers(chosen.rules, chosen.rounds)
    if "decisions" in what:
        results["decisions"] = decisions(chosen.lines)
        results["growth"] = growth()
    if "http" in what:
        results["http"] = over_http(20.0)
    chosen.out.mkdir(exist_ok=True)
    text = "\n".join(report(results)) + "\n"
    if "peers" in results:
        into_readme(list(_peer_table(results["peers"])))
    (chosen.out / "benchmarks-results.md").write_text(text)
    if "peers" in results:
        (chosen.out / "benchmarks.svg").write_text(plot(results["peers"]))
    print(text)


if __name__ == "__main__":
    main()
