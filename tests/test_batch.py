"""Batches: each row opens to the decision its line gets alone, whatever the format; a bad line costs only itself."""

from __future__ import annotations

import datetime
import json
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import worklist

from byreport import batch, claim, strictjson
from byreport.batch_work import decision_id
from byreport.claim import ClaimError, ClaimLine
from byreport.desk import Desk
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.vocabulary import vocabulary

PAYERS = ("medicaid/TX", "medicaid/LA", "private/hcsc", "medicare")


@pytest.fixture(scope="module")
def claims(rulebook: Rulebook, reference: Reference) -> list[dict[str, Any]]:
    """Lines of a practice for a few payers, slips and unreadable lines among them."""
    found = [
        line
        for line in worklist.lines("practice", 900, seed=3, rulebook=rulebook, reference=reference)
        if line["payer"] in PAYERS and (line["payer"] != "medicare" or line["provider"]["state"] == "TX")
    ][:150]
    bad = json.loads(json.dumps(found[0]))
    bad["setting"] = "clinic"
    return [*found, bad, {**found[1], "payer": "medicaid/XX"}, {**found[2], "patient": {"name": "Jane"}}]


@pytest.fixture(scope="module")
def alone(rulebook: Rulebook, reference: Reference) -> Iterator[Desk]:
    """A desk that remembers nothing from line to line."""
    desk = Desk(rulebook, reference, situations=0)
    yield desk
    desk.close()


def written(path: Path, claims: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in claims))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    return [json.loads(line) for line in path.read_text().splitlines()]


def rejects(output: Path) -> dict[int, dict[str, str]]:
    lines = batch.beside(output, "rejects.jsonl").read_text().splitlines()
    return {entry["line"]: entry["problems"] for entry in map(json.loads, lines)}


def essence(found: list[dict[str, Any]], first: int = 0) -> list[dict[str, Any]]:
    """Rows without what differs from run to run; facts as data, lines counted from `first`."""
    result = []
    for row in found:
        plain = {name: value for name, value in row.items() if name not in ("decision_id", "decided_at")}
        plain["facts"] = json.loads(row["facts"]) if isinstance(row["facts"], str) else row["facts"]
        plain["line"] -= first
        result.append(plain)
    return result


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_every_row_opens_to_the_decision_its_line_gets_alone(
    tmp_path: Path, rulebook: Rulebook, alone: Desk, claims: list[dict[str, Any]], ending: str, jobs: int
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    source, output = written(tmp_path / "in.jsonl", claims), tmp_path / f"out{ending}"
    report = batch.run(batch.Job(source, output, rulebook, jobs=jobs, chunk_lines=40))
    assert report.complete
    kept = batch.kept_rulebook(output)
    assert kept.hash == rulebook.hash
    refused = rejects(output)
    decided = {row["line"]: row for row in rows(output)}
    assert list(decided) == sorted(decided)
    assert not set(decided) & set(refused)
    assert sorted([*decided, *refused]) == list(range(1, len(claims) + 1))
    for line, row in decided.items():
        expected = alone.decide(claims[line - 1]).decision.json(row["decision_id"], row["decided_at"])
        opened = json.dumps(batch.open_compact(row, kept), ensure_ascii=False, separators=(",", ":"))
        assert opened == expected
    assert set(refused) >= {len(claims) - 2, len(claims) - 1, len(claims)}
    assert "setting" in refused[len(claims) - 2]
    assert "payer" in refused[len(claims) - 1]
    assert "patient.name" in refused[len(claims)]
    assert "Jane" not in batch.beside(output, "rejects.jsonl").read_text()
    assert batch.explain(output, 1)["decision_id"] == decided[1]["decision_id"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        output.name,
        f"{output.name}.rejects.jsonl",
        f"{output.name}.rulebook.zip",
    ]


def test_summary_adds_up(tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]) -> None:
    output = tmp_path / "out.jsonl"
    summary = batch.run(batch.Job(written(tmp_path / "in.jsonl", claims), output, rulebook, jobs=1)).summary
    found = rows(output)
    refused = rejects(output)
    assert summary["lines"] == len(claims)
    assert summary["decided"] == len(found)
    assert summary["rejected"] == len(refused)
    for group, value in (("outcome", "outcome"), ("prior_authorization", "prior_authorization"), ("payer", "payer")):
        assert sum(entry["lines"] for entry in summary[group].values()) == len(found)
        for name, entry in summary[group].items():
            those = [row for row in found if row[value] == name]
            charged = sum(Decimal(row["facts"]["claim"].get("line.charge", "0")) for row in those)
            assert entry == {"lines": len(those), "charge": f"{charged:.2f}"}
    denied = [row for row in found if any(d == {"group": "CO", "carc": "16", "rarc": "N350"} for d in row["denials"])]
    assert summary["denial"].get("CO 16 N350", {"lines": 0})["lines"] == len(denied)
    assert sum(summary["rejected_for"].values()) == sum(len(problems) for problems in refused.values())


def test_formats_give_the_same_decisions(
    tmp_path: Path, rulebook: Rulebook, reference: Reference, claims: list[dict[str, Any]]
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    flat = [line for line in claims if "name" not in line.get("patient", {})]
    worklist.write(iter(flat), tmp_path / "in.jsonl")
    worklist.write(iter(flat), tmp_path / "in.csv")
    worklist.write(iter(flat), tmp_path / "in.parquet")
    # Nested columns, as Spark and others write JSON; a struct is null where it is empty.
    names = {name for line in flat for name in line}
    nested = [{name: None if line.get(name) == {} else line.get(name) for name in names} for line in flat]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "nested.parquet")
    results = {}
    for name in ("in.jsonl", "in.csv", "in.parquet", "nested.parquet"):
        output = tmp_path / f"{name}.out.jsonl"
        batch.run(batch.Job(tmp_path / name, output, rulebook, jobs=1, chunk_lines=33))
        first = 1 if name == "in.csv" else 0
        results[name] = essence(rows(output), first)
        results[name + " rejected"] = [line - first for line in rejects(output)]
    for name in ("in.csv", "in.parquet", "nested.parquet"):
        for row, expected in zip(results[name], results["in.jsonl"], strict=True):
            assert row == expected, name
        assert results[name + " rejected"] == results["in.jsonl rejected"]


def test_csv_with_quotes_line_breaks_semicolons_and_faulty_records(tmp_path: Path, rulebook: Rulebook) -> None:
    header = "payer;date_of_service;setting;line.code;line.description;documentation;prior_authorization.number;chart\n"
    path = tmp_path / "in.csv"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + header.encode()
        + b'medicaid/TX;2025-07-10;office;J3490;"two\nlines; and ""quotes""";invoice|dose;A1;x\n'
        + b"medicaid/TX;2025-07-10;office;J3490;;|;|;\n"
        + b"\n"
        + b"medicaid/TX;2025-07-10;office\n"
        + b'medicaid/TX;2025-07-10;office;J3490;"a"b;;;\n'
        + b"medicaid/TX;2025-07-10;office;J3490;\xff;;;\n"
        + b'medicaid/TX;2025-07-10;office;J3490;5" tall;;;'
    )
    output = tmp_path / "out.jsonl"
    with pytest.raises(batch.BatchError, match="'chart' is no claim fact"):
        batch.run(batch.Job(path, output, rulebook))
    batch.run(batch.Job(path, output, rulebook, ignore=("chart",)))
    found = {row["line"]: row["facts"]["claim"] for row in rows(output)}
    assert list(found) == [2, 4, 9]
    assert found[2]["line.description"] == 'two\nlines; and "quotes"'
    assert found[2]["documentation"] == ["invoice", "dose"]
    assert found[4]["documentation"] == []
    assert found[4]["prior_authorization.number"] == ""
    assert "line.description" not in found[4]
    assert found[9]["line.description"] == '5" tall'
    refused = rejects(output)
    assert list(refused) == [6, 7, 8]
    assert "3 cells where the header has 8" in refused[6]["line of the file"]
    assert "no CSV record" in refused[7]["line of the file"]
    assert "not UTF-8" in refused[8]["line of the file"]


def test_parquet_with_the_types_that_data_frames_have(tmp_path: Path, rulebook: Rulebook) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    day = datetime.date(2025, 7, 10)
    table = pa.table(
        {
            "payer": ["medicaid/TX"] * 3,
            "date_of_service": pa.array([day] * 3, pa.date32()),
            "claim.received_date": pa.array([datetime.datetime(2025, 8, 1)] * 3, pa.timestamp("us")),
            "setting": ["office"] * 3,
            "line.code": ["J3490"] * 3,
            "line.charge": pa.array([1250.0, 1250.5, float("nan")]),
            "line.units": pa.array([Decimal("2.50"), Decimal("1.00"), None], pa.decimal128(8, 2)),
            "patient.age_years": pa.array([9.0, 10.0, None]),
            "drug.compounded": [True, False, None],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    output = tmp_path / "out.jsonl"
    batch.run(batch.Job(tmp_path / "in.parquet", output, rulebook))
    found = [row["facts"]["claim"] for row in rows(output)]
    assert rejects(output) == {}
    assert [each.get("line.charge") for each in found] == ["1250.00", "1250.50", None]
    assert [each.get("line.units") for each in found] == ["2.5", "1", None]
    assert [each.get("patient.age_years") for each in found] == [9, 10, None]
    assert [each.get("drug.compounded") for each in found] == [True, False, None]
    assert found[0]["claim.received_date"] == "2025-08-01"


def test_broken_lines_cost_only_themselves(tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]) -> None:
    good = json.dumps(claims[0]).encode()
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + good
        + b"\n\n"
        + b"{broken\n"
        + b'"\xff"\n'
        + b"[1]\n"
        + b'{"payer":"x","payer":"y"}\n'
        + b'{"a":"'
        + b"x" * 2_500_000
        + b'"}\n'
        + good
        + b"\r\n"
        + good
    )
    output = tmp_path / "out.jsonl"
    batch.run(batch.Job(path, output, rulebook, jobs=1))
    assert [row["line"] for row in rows(output)] == [1, 8, 9]
    refused = rejects(output)
    assert list(refused) == [3, 4, 5, 6, 7]
    assert "twice" in refused[6]["line of the file"]
    assert "longer than" in refused[7]["line of the file"]


def test_decisions_are_logged_once_under_the_rows_ids(
    tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]
) -> None:
    source, output, place = written(tmp_path / "in.jsonl", claims[:30]), tmp_path / "out.jsonl", tmp_path / "log.db"
    batch.run(batch.Job(source, output, rulebook, jobs=2, chunk_lines=8, log=str(place)))
    log = Log.open(place)
    try:
        found = rows(output)
        records = {record.decision_id: record for record in log.iterate()}
        assert len(records) == len(found) > 20
        for row in found:
            opened = batch.open_compact(row, rulebook)
            assert json.dumps(opened, ensure_ascii=False, separators=(",", ":")) == records[row["decision_id"]].decision
        assert log.verify().ok
    finally:
        log.close()


def test_ids_follow_from_the_run_and_the_line() -> None:
    for run in (uuid.UUID(int=n) for n in (0, 1, 2**127 + 12_345)):
        for line in (0, 1, 41, 1_000_000):
            assert decision_id(run.bytes, line) == str(uuid.uuid5(run, str(line)))


def test_what_cannot_be_run_is_said(tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]) -> None:
    source = written(tmp_path / "in.jsonl", claims[:5])
    with pytest.raises(batch.BatchError, match="no such file"):
        batch.run(batch.Job(tmp_path / "none.jsonl", tmp_path / "out.jsonl", rulebook))
    with pytest.raises(batch.BatchError, match="says no format"):
        batch.run(batch.Job(tmp_path / "in.jsonl", tmp_path / "out.xml", rulebook))
    with pytest.raises(batch.BatchError, match=r"Parquet .* or JSON lines"):
        batch.run(batch.Job(source, tmp_path / "out.csv", rulebook))
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(batch.BatchError, match=r"no Parquet file|pyarrow"):
        batch.run(batch.Job(tmp_path / "no.parquet", tmp_path / "out.jsonl", rulebook))
    (tmp_path / "few.csv").write_text("payer,setting,line.kode\n")
    with pytest.raises(batch.BatchError, match=r"did you mean line.code.*'date_of_service' is missing"):
        batch.run(batch.Job(tmp_path / "few.csv", tmp_path / "out.jsonl", rulebook))
    output = tmp_path / "out.jsonl"
    batch.run(batch.Job(source, output, rulebook))
    with pytest.raises(batch.BatchError, match="there already"):
        batch.run(batch.Job(source, output, rulebook))
    assert batch.run(batch.Job(source, output, rulebook, overwrite=True)).complete
    with pytest.raises(LookupError, match="no decision on line 99"):
        batch.row_of(output, 99)


def test_a_row_that_was_altered_does_not_open(tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]) -> None:
    output = tmp_path / "out.jsonl"
    batch.run(batch.Job(written(tmp_path / "in.jsonl", claims[:3]), output, rulebook))
    row = rows(output)[0]
    with pytest.raises(batch.RowError, match="outcome"):
        batch.open_compact({**row, "outcome": "not_billable"}, rulebook)
    with pytest.raises(batch.RowError, match="rulebook"):
        batch.open_compact({**row, "rulebook": "sha256:" + "0" * 64}, rulebook)
    for no_row in ("{", "[]", "{}", json.dumps({**row, "facts": {"claim": {"line.charge": []}}})):
        with pytest.raises(batch.RowError):
            batch.open_compact(no_row, rulebook)


def test_an_unfinished_run_over_something_else_is_not_taken_up(
    tmp_path: Path, rulebook: Rulebook, claims: list[dict[str, Any]]
) -> None:
    source, output = written(tmp_path / "in.jsonl", claims[:40]), tmp_path / "out.jsonl"

    def stop(_: batch.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.run(batch.Job(source, output, rulebook, jobs=1, chunk_lines=10), stop)
    assert batch.beside(output, "journal").exists()
    written(source, claims[:41])
    with pytest.raises(batch.BatchError, match="input differ"):
        batch.run(batch.Job(source, output, rulebook, jobs=1, chunk_lines=10))
    report = batch.run(batch.Job(source, output, rulebook, jobs=1, chunk_lines=10, overwrite=True))
    assert report.complete
    assert report.summary["lines"] == 41


# --- reading ----------------------------------------------------------------------------------------------------------


def outcome_of(read: Any, data: Any) -> Any:
    try:
        line = read(data)
    except ClaimError as error:
        return dict(error.problems)
    return line.payer, dict(line.facts)


def variations() -> Iterator[dict[str, Any]]:
    base = {"payer": "medicaid/TX", "date_of_service": "2025-07-10", "setting": "office", "line": {"code": "J3490"}}
    values = [
        None,
        True,
        False,
        0,
        1,
        -1,
        43.0,
        0.5,
        "",
        " ",
        "1",
        "1.50",
        "true",
        "x",
        "J3490 ",
        "2025-02-30",
        [],
        ["x"],
        [True],
        ["a", "a", ""],
        [1, "1"],
        {},
        {"x": 1},
        "67386-0130-51",
        "ML",
        "office",
        "é\u0301",
        "x" * 3_000,
    ]
    for fact in vocabulary().claim_facts():
        for value in [*values, *list(fact.values or ())[:2], list(fact.values or ())[:2]]:
            yield claim.nested({**claim.flat(base), fact.name: value}) | {"payer": "medicaid/TX"}
    for payer in (None, 1, "", "  ", "/medicaid/TX/ ", "x" * 121, ["medicaid/TX"]):
        yield {**base, "payer": payer}
    yield {**base, "line": None}
    yield {**base, "line": []}
    yield {**base, "line.code": "J3490"}
    yield {**base, "line": {"code": "J3490", "payer": "x"}}
    yield {**base, "patient": None}
    yield {name: value for name, value in base.items() if name != "payer"}


def test_lines_read_as_the_service_reads_them() -> None:
    count = 0
    for _ in range(2):  # the second time from memory
        for data in variations():
            raw = json.dumps(data, ensure_ascii=False).encode()
            assert outcome_of(read_text, raw) == outcome_of(claim.read_fully, strictjson.loads(raw)), data
            count += 1
    assert count > 5_000


def read_text(raw: bytes) -> ClaimLine:
    return claim.read_text(raw)[0]
