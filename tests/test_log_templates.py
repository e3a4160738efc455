"""Records that share a template: what went in comes out, and what was tampered with is named."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from byreport import log as log_module
from byreport.log import (
    Committer,
    Cut,
    CutRecord,
    DamagedRecord,
    Filters,
    Log,
    LogUnavailable,
    NewRecord,
    Record,
    RecordRefused,
    record_hash,
)
from test_log import (
    ARCHIVE,
    RULEBOOK,
    a_record,
    breach_of,
    edit,
    in_threads,
    location,  # noqa: F401
    log,  # noqa: F401
    one_gapless_chain,
)
from test_log_search import finds_its_pages, random_search

SITUATIONS = {
    ("a", "b"): ('{"outcome":"fix","day":', ',"again":', ',"é ₿ 😀":1}'),
    ("c",): ('{"outcome":"ready","day":', ',"again":', "}"),
    (): ('{"outcome":"review","day":', ',"again":', "}"),
}


def cut_record(number: int = 0, fired: tuple[str, ...] = ("a", "b"), **changes: Any) -> CutRecord:
    whole = a_record(number, **changes)
    values = {name: getattr(whole, name) for name in NewRecord.__dataclass_fields__ if name != "decision"}
    cut = Cut(SITUATIONS[fired], (json.dumps(f"day {number}"), str(number)))
    return CutRecord(**values | {"fired": fired}, cut=cut)


def count(log: Log, table: str) -> int:  # noqa: F811
    with log._reading.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0)


# --- round trip ------------------------------------------------------------------------------------------------------


def test_the_whole_decision_comes_back_byte_for_byte(log: Log) -> None:  # noqa: F811
    new = [cut_record(n, fired) for n in range(3) for fired in SITUATIONS]
    stored = log.append([*new, a_record()])
    assert [record.decision for record in stored[:-1]] == [record.decision for record in new]
    assert json.loads(new[0].decision) == {
        "decision_id": new[0].decision_id, "decided_at": new[0].decided_at, "rulebook": RULEBOOK,
        "payer": "medicaid/TX", "outcome": "fix", "day": "day 0", "again": 0, "é ₿ 😀": 1,
    }  # fmt: skip
    assert list(log.iterate()) == stored == list(reversed(log.recent()))
    assert [log.get(record.decision_id) for record in stored] == stored
    assert all(record.hash == record_hash(record, record.seq, record.prev_hash) for record in stored)
    assert log.verify().ok
    assert (count(log, "template"), count(log, "template_fired"), count(log, "fired")) == (3, 3, 2)


def test_the_hash_does_not_tell_how_a_record_is_stored(log: Log) -> None:  # noqa: F811
    cut = cut_record()
    whole = NewRecord(**{name: getattr(cut, name) for name in NewRecord.__dataclass_fields__})
    assert record_hash(cut, 1, "0") == record_hash(whole, 1, "0")


def test_a_template_is_stored_once(location: str) -> None:  # noqa: F811
    """By another process, by an equal text that is another object, and where it was forgotten."""
    for _ in range(2):
        with closing(Log.open(location)) as opened:
            opened.keep_rulebook(RULEBOOK, ARCHIVE)
            other = cut_record(7)
            copied = Cut(tuple("".join(list(text)) for text in other.cut.texts), other.cut.values)
            assert copied.texts is not other.cut.texts
            opened.append([cut_record(n) for n in range(3)])
            opened.append([replace(other, cut=copied), cut_record(1, ("c",))])
            opened._situations.clear()
            opened.append([cut_record()])
            assert count(opened, "template") == 2
            assert opened.verify().ok


def test_few_situations_are_remembered(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(log_module, "_KNOWN_SITUATIONS", 2)
    for n in range(4):
        log.append([cut_record(n, fired) for fired in SITUATIONS])
    assert len(log._situations) == 2
    assert count(log, "template") == 3
    assert log.verify().ok


def test_the_same_texts_with_other_rules_are_another_template(log: Log) -> None:  # noqa: F811
    log.append([cut_record(), replace(cut_record(), fired=("b", "a", "c"), decision_id=cut_record().decision_id)])
    assert [record.fired for record in log.iterate()] == [("a", "b"), ("a", "b", "c")]
    assert log.verify().ok


def test_what_a_failed_transaction_stored_is_not_taken_for_stored(
    log: Log,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = LogUnavailable("the disk is full")

    def fail(*_: Any) -> None:
        raise broken

    with monkeypatch.context() as patched:
        patched.setattr(log, "_insert_records", fail)  # by then the template was inserted
        with pytest.raises(LogUnavailable):
            log.append([cut_record()])
    assert count(log, "template") == 0
    [stored] = Committer(log).append([cut_record(5)])
    assert log.get(stored.decision_id) == stored
    assert log.verify().ok


@pytest.mark.parametrize(
    "cut",
    [
        Cut((), ()),
        Cut(("[", "]"), ("1",)),
        Cut(('{"a":', ',"nul":"\0"}'), ("1",)),
        Cut(('{"a":', "}"), ("",)),
        Cut(('{"a":', "}"), ("1\0",)),
    ],
)
def test_a_cut_that_cannot_be_kept_is_refused(log: Log, cut: Cut) -> None:  # noqa: F811
    with pytest.raises(RecordRefused):
        log.append([replace(cut_record(), cut=cut)])
    assert (log.head()[0], count(log, "template")) == (0, 0)


@pytest.mark.parametrize("values", [(), ("1",), ("1", "2", "3")])
def test_a_cut_with_other_than_its_values_is_none(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"sequence|attempt"):
        replace(cut_record(), cut=Cut(SITUATIONS["a", "b"], values))


# --- searching -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(log: Log) -> tuple[Log, list[Record]]:  # noqa: F811
    """Half of the records with a template, half without."""
    random = Random(5)
    made: list[NewRecord] = []
    for n in range(120):
        changes = {
            "payer": random.choice(["medicaid/TX"] * 5 + ["medicaid/TX/tchp", "private/uhc"]),
            "outcome": random.choice(["fix"] * 6 + ["ready", "review"]),
            "decided_at": random.choice(["2026-10-04T23:59:59.999999Z", "2026-10-05T00:00:00.000000Z"]),
            "date_of_service": random.choice(["2026-10-01", "2026-10-02", "2026-10-03"]),
        }
        fired = random.choice(list(SITUATIONS))
        made.append(cut_record(n, fired, **changes) if n % 2 else a_record(n, fired=fired, **changes))
    return log, log.append(made)


@pytest.mark.parametrize("few", [0, 5, 1_000])
def test_a_search_finds_both_kinds(mixed: tuple[Log, list[Record]], few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_FEW", few)
    searched, records = mixed
    random = Random(few)
    found_any = 0
    for number in range(250):
        filters, rules = random_search(random) if number % 4 else (Filters(), ())
        rules = rules or tuple(random.sample("abcz", random.randrange(1, 4)))
        found_any += finds_its_pages(searched, records, filters, rules, random.choice([1, 7, 1000]))
    assert found_any > 60


# --- tampering -------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[Record]]:
    """Ten records, closed: the first without a template, 2 to 5 with the first, 6 to 10 with the second."""
    path = tmp_path / "log.db"
    with closing(Log.open(path)) as opened:
        opened.keep_rulebook(RULEBOOK, ARCHIVE)
        first = [cut_record(n) for n in range(4)]
        stored = opened.append([a_record(), *first, *(cut_record(n, ("c",)) for n in range(5))])
        assert opened.verify().ok
    return path, stored


def packed(texts: Any) -> bytes:
    return zlib.compress(json.dumps(texts).encode())


@pytest.mark.parametrize(
    ("statement", "parameters", "seq", "kind"),
    [
        ("UPDATE template SET texts = :new WHERE id = 2", {"new": packed(SITUATIONS["a", "b"])}, 6, "altered"),
        ("UPDATE template SET texts = :new WHERE id = 2", {"new": packed(['{"outcome":"x"}'])}, 6, "altered"),
        ("UPDATE template SET texts = :new WHERE id = 2", {"new": b"\0"}, 6, "altered"),
        ("UPDATE template SET texts = :new WHERE id = 2", {"new": packed([1, 2, 3])}, 6, "altered"),
        ("UPDATE template SET fired_rules = 'b' WHERE id = 1", {}, 2, "altered"),
        ("UPDATE template SET fired_rules = CAST(x'ff' AS TEXT) WHERE id = 1", {}, 2, "altered"),
        ("DELETE FROM template WHERE id = 1", {}, 2, "altered"),
        ("UPDATE decision SET template = 1 WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET template = 3 WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET template = 'x' WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET template = NULL WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET template = 1 WHERE seq = 1", {}, 1, "altered"),
        ("UPDATE decision SET fired_rules = 'c' WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET decision = :new WHERE seq = 8", {"new": b'"day 2"\x003'}, 8, "altered"),
        ("UPDATE decision SET decision = :new WHERE seq = 8", {"new": b'"day 2"\x002\x00'}, 8, "altered"),
        ("UPDATE decision SET decision = :new WHERE seq = 8", {"new": b""}, 8, "altered"),
        ("UPDATE decision SET decision = :new WHERE seq = 8", {"new": b"\xff"}, 8, "altered"),
        ("UPDATE decision SET facts = claim WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET claim = x'00' WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET payer = 'medicaid/OK' WHERE seq = 8", {}, 8, "altered"),
        ("UPDATE decision SET payer = CAST(x'ff' AS TEXT) WHERE seq = 8", {}, 8, "altered"),
        ("DELETE FROM template_fired WHERE template = 2", {}, 6, "fired"),
        ("INSERT INTO template_fired VALUES (2, 'z')", {}, 6, "fired"),
        ("UPDATE template_fired SET rule_id = 'z' WHERE template = 1 AND rule_id = 'b'", {}, 2, "fired"),
        ("INSERT INTO fired VALUES (8, 'z')", {}, 8, "fired"),
        ("INSERT INTO template_fired VALUES (3, 'z')", {}, None, "fired"),
    ],
)
def test_an_edit_is_found_at_the_first_record_it_concerns(
    written: tuple[Path, list[Record]], statement: str, parameters: dict[str, Any], seq: int | None, kind: str
) -> None:
    edit(written[0], statement, **parameters)
    assert breach_of(written[0]) == (seq, kind)


def test_a_damaged_template_leaves_the_records_of_others(written: tuple[Path, list[Record]]) -> None:
    path, stored = written
    edit(path, "UPDATE template SET texts = x'00' WHERE id = 1")
    with closing(Log.open(path)) as opened:
        with pytest.raises(DamagedRecord, match="record 2 can't be read: template 1"):
            opened.get(stored[1].decision_id)
        assert opened.get(stored[0].decision_id) == stored[0]
        assert opened.get(stored[9].decision_id) == stored[9]


# --- a log from before there were templates --------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, list[Record]]:
    """A log as format 1 had it, of five records."""
    path = tmp_path / "log.db"
    with closing(Log.open(path)) as opened:
        opened.keep_rulebook(RULEBOOK, ARCHIVE)
        stored = opened.append([a_record(n) for n in range(5)])
    columns = "seq, payer, outcome, pa_status, code_billed, code_recommended, drug_name, date_of_service, decided_at"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "DROP INDEX decision_narrow; DROP INDEX decision_by_template; PRAGMA foreign_keys = OFF;"
            "CREATE TABLE before AS SELECT * FROM decision;"
        )
        [made] = database.execute("SELECT sql FROM sqlite_master WHERE name = 'decision'").fetchone()
        made = made.replace("template INTEGER, ", "").replace(
            "FOREIGN KEY(template) REFERENCES template (id)", "CHECK (seq > 0)"
        )
        lines = [line for line in made.splitlines() if "template" not in line]
        indexes = [row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'")]
        indexes = [each for each in indexes if "ON decision" in each]
        database.executescript(
            "DROP TABLE decision;"
            + "\n".join(lines)
            + ";ALTER TABLE before DROP COLUMN template; INSERT INTO decision SELECT * FROM before; DROP TABLE before;"
            + ";".join(indexes)
            + f";CREATE INDEX decision_narrow ON decision ({columns});"
            + "DROP TABLE template_fired; DROP TABLE template; UPDATE log_format SET version = 1;"
        )
    return path, stored


def test_an_older_log_is_brought_up_to_date_where_it_is(old: tuple[Path, list[Record]]) -> None:
    path, stored = old
    for _ in range(2):
        with closing(Log.open(path)) as opened:
            assert list(opened.iterate(1, 5)) == stored
            opened.append([cut_record(), a_record()])
            assert opened.verify().ok
            assert len(opened.search(Filters(rule="a"))) * 2 + 5 == opened.head()[0]
            assert (
                len(opened.search(Filters(rule="a", outcome="fix", payer_below="medicaid"))) * 2 + 5
                == (opened.head()[0])
            )
    with closing(sqlite3.connect(path)) as database:
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        [narrow] = database.execute("SELECT sql FROM sqlite_master WHERE name = 'decision_narrow'").fetchone()
    assert {"decision_by_template", "decision_narrow", "decision_by_payer"} <= names
    assert "template" in narrow


def test_several_bring_an_older_log_up_to_date_at_once(old: tuple[Path, list[Record]]) -> None:
    path, stored = old

    def work(number: int) -> None:
        with closing(Log.open(path)) as opened:
            opened.append([cut_record(number)])

    in_threads(4, work)
    with closing(Log.open(path)) as opened:
        assert list(opened.iterate(1, 5)) == stored
        one_gapless_chain(opened, {record.decision_id for record in opened.iterate()})
        assert (opened.head()[0], count(opened, "template")) == (9, 1)
