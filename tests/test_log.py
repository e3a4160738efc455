"""The decision log: what went in comes out, and what was tampered with is named."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sqlite3
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from byreport import log as log_module
from byreport.log import (
    GENESIS,
    Checkpoint,
    Committer,
    DamagedRecord,
    DuplicateDecision,
    Filters,
    Idempotency,
    IdempotencyConflict,
    Log,
    LogError,
    LogUnavailable,
    NewRecord,
    Record,
    RecordRefused,
    UnknownRulebook,
    checkpoint,
    content_hash,
    encode,
    new_private_key,
    now,
    public_key_of,
    record_hash,
    verify_checkpoint,
)

ARCHIVE = b"ruleset: medicaid/TX\n" * 40
RULEBOOK = content_hash(ARCHIVE)


def a_record(number: int = 0, **changes: Any) -> NewRecord:
    values: dict[str, Any] = {
        "decision_id": str(uuid.uuid4()),
        "decided_at": now(),
        "payer": "medicaid/TX",
        "outcome": "fix",
        "pa_status": "required",
        "code_billed": "J3490",
        "code_recommended": "J3590",
        "drug_name": "elivaldogene autotemcel",
        "date_of_service": "2026-10-02",
        "charge": 125000 + number,
        "rulebook": RULEBOOK,
        "reference": "hcpcs-2026-10",
        "facts": json.dumps({"line.code": "J3490", "line.units": number}),
        "claim": json.dumps({"payer": "medicaid/TX", "number": number}),
        "decision": json.dumps({"outcome": "fix", "number": number}),
        "fired": ("tx.noc.skysona", "common.noc.description"),
    }
    return NewRecord(**(values | changes))


@pytest.fixture(params=["sqlite", "server"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where to open a log: a new file, and an empty database on a server where one is named for the tests."""
    if request.param == "sqlite":
        yield str(tmp_path / "log.db")
        return
    server = os.environ.get("BYREPORT_TEST_DATABASE")
    if not server:
        pytest.skip("BYREPORT_TEST_DATABASE names no database server")
    engine = create_engine(server)
    with engine.begin() as connection:
        for table in ("decision", "rulebook", "fired", "template_fired", "template", "idempotency", "log_format"):
            connection.execute(text(f"DROP TABLE IF EXISTS {table} CASCADE"))
    engine.dispose()
    yield server


@pytest.fixture
def log(location: str) -> Iterator[Log]:
    opened = Log.open(location)
    opened.keep_rulebook(RULEBOOK, ARCHIVE)
    yield opened
    opened.close()


# ---------------------------------------------------------------------------- round trip


def test_texts_come_back_byte_for_byte(log: Log) -> None:
    odd = '{ "b":1,\n\t"a" : "é ₿ 😀 \\u0000 \\ud800", "n": 1.50,  "z":[]}\r\n'
    new = a_record(facts=odd, claim=odd + " ", decision="  " + odd, drug_name=None, charge=None)
    [stored] = log.append([new])
    read = log.get(new.decision_id)
    assert read == stored
    assert (read.facts, read.claim, read.decision) == (odd, odd + " ", "  " + odd)
    assert (read.drug_name, read.charge, read.seq, read.prev_hash) == (None, None, 1, GENESIS)
    assert read.fired == ("common.noc.description", "tx.noc.skysona")
    assert read.intact
    assert not replace(read, outcome="ready").intact


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), min_size=3, max_size=3)
)
def test_any_text_comes_back(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    with closing(Log.open(tmp_path_factory.mktemp("log") / "log.db")) as log:
        log.keep_rulebook(RULEBOOK, ARCHIVE)
        new = a_record(facts=texts[0], claim=texts[1], decision=texts[2], fired=())
        log.append([new])
        read = log.get(new.decision_id)
        assert read is not None
        assert [read.facts, read.claim, read.decision] == texts
        assert log.verify().ok


def test_a_log_outlives_its_process(location: str) -> None:
    with closing(Log.open(location)) as first:
        first.keep_rulebook(RULEBOOK, ARCHIVE)
        stored = first.append([a_record(n) for n in range(3)])
    with closing(Log.open(location)) as second:
        assert list(second.iterate()) == stored
        assert second.rulebook(RULEBOOK) == ARCHIVE
        second.append([a_record(3)])
        verification = second.verify()
    assert verification.ok
    assert (verification.checked, verification.seq) == (4, 4)


def test_each_record_holds_the_hash_of_the_one_before(log: Log) -> None:
    stored = log.append([a_record(n) for n in range(5)]) + log.append([a_record(5)])
    assert [record.seq for record in stored] == [1, 2, 3, 4, 5, 6]
    assert [record.prev_hash for record in stored] == [GENESIS] + [record.hash for record in stored[:-1]]
    assert all(record.hash == record_hash(record, record.seq, record.prev_hash) for record in stored)
    assert log.head() == (6, stored[-1].hash)


def test_the_encoding_is_the_published_one() -> None:
    """Pinned: a change of the encoding would make every log written so far unverifiable."""

    def item(kind: bytes, content: bytes) -> bytes:
        return kind + len(content).to_bytes(8, "big") + content

    record = a_record(fired=("a", "b"), charge=-5, drug_name=None)
    expected = item(b"T", b"byreport decision 1") + item(b"T", GENESIS.encode())
    for name in (
        "decision_id",
        "decided_at",
        "payer",
        "outcome",
        "pa_status",
        "code_billed",
        "code_recommended",
    ):
        expected += item(b"T", getattr(record, name).encode())
    expected += item(b"N", b"") + item(b"T", b"2026-10-02") + item(b"I", b"-5")
    for name in ("rulebook", "reference", "facts", "claim", "decision"):
        expected += item(b"T", getattr(record, name).encode())
    expected += item(b"L", item(b"T", b"a") + item(b"T", b"b")) + item(b"I", b"7")
    assert encode(record, 7, GENESIS) == expected
    assert record_hash(record, 7, GENESIS) == hashlib.sha256(expected).hexdigest()


# ---------------------------------------------------------------------------- the encoding

SHORT = st.text(alphabet="ab1\x00NTIL", max_size=3)
TEXT_FIELDS = ("payer", "outcome", "pa_status", "code_billed", "reference", "facts", "claim", "decision")


@st.composite
def loose_records(draw: st.DrawFn) -> tuple[NewRecord, int, str]:
    changes: dict[str, Any] = {name: draw(SHORT) for name in TEXT_FIELDS}
    changes |= {name: draw(st.none() | SHORT) for name in ("code_recommended", "drug_name")}
    changes["charge"] = draw(st.none() | st.integers(-12, 12))
    changes["fired"] = tuple(draw(st.lists(SHORT, max_size=3)))
    fixed = a_record(decision_id="x", decided_at="y")
    return replace(fixed, **changes), draw(st.integers(0, 12)), draw(SHORT)


@settings(max_examples=400, deadline=None)
@given(loose_records(), loose_records())
def test_different_records_have_different_encodings(one: Any, other: Any) -> None:
    assert (one == other) == (encode(*one) == encode(*other))


@settings(max_examples=300, deadline=None)
@given(loose_records(), st.data())
def test_nothing_moves_between_fields_unseen(one: tuple[NewRecord, int, str], data: st.DataObject) -> None:
    """The collisions that a plain join would have: the same characters, divided otherwise."""
    record, seq, before = one
    at = data.draw(st.integers(0, len(TEXT_FIELDS) - 2))
    left, right = TEXT_FIELDS[at], TEXT_FIELDS[at + 1]
    between = data.draw(st.sampled_from(["", "T", "\0", "N"]))
    joined = getattr(record, left) + between + getattr(record, right)
    cuts = [at for at in range(len(joined) + 1) if joined.startswith(between, at)]
    cut = data.draw(st.sampled_from(cuts))
    moved = replace(record, **{left: joined[:cut], right: joined[cut + len(between) :]})
    assert (moved == record) == (encode(moved, seq, before) == encode(record, seq, before))
    merged = replace(record, fired=("".join(record.fired),))
    assert (merged == record) == (encode(merged, seq, before) == encode(record, seq, before))


def test_unknown_is_not_empty_and_a_number_is_not_its_digits() -> None:
    variants: list[dict[str, Any]] = [
        {"drug_name": None},
        {"drug_name": ""},
        {"drug_name": "None"},
        {"charge": None},
        {"charge": 0},
        {"charge": "0"},
        {"fired": ()},
        {"fired": ("",)},
        {"fired": ("a", "b")},
        {"fired": ("ab",)},
    ]
    base = a_record()
    assert len({encode(replace(base, **each), 1, GENESIS) for each in variants}) == len(variants)


# ---------------------------------------------------------------------------- refusing and failing


@pytest.mark.parametrize(
    "changes",
    [
        {"decision_id": "1234"},
        {"decided_at": "2026-10-02T09:30:00Z"},
        {"decided_at": "2026-10-02T09:30:00.000000+00:00"},
        {"date_of_service": "10/02/2026"},
        {"rulebook": "abc"},
        {"payer": ""},
        {"payer": None},
        {"drug_name": "x" * 513},
        {"drug_name": "nul \0 inside"},
        {"drug_name": "\ud800"},
        {"charge": 12.5},
        {"charge": True},
        {"charge": 2**63},
        {"fired": ("two\nlines",)},
        {"fired": ("",)},
        {"decision": ""},
        {"decision": "\ud800"},
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_whole(log: Log, changes: dict[str, Any]) -> None:
    with pytest.raises(RecordRefused):
        log.append([a_record(), a_record(**changes)])
    assert log.head() == (0, GENESIS)


def test_a_decision_is_stored_once(log: Log) -> None:
    [first] = log.append([a_record()])
    with pytest.raises(DuplicateDecision, match=first.decision_id):
        log.append([a_record(), a_record(decision_id=first.decision_id)])
    twice = a_record()
    with pytest.raises(DuplicateDecision):
        log.append([twice, twice])
    assert log.head() == (1, first.hash)


def test_a_decision_needs_its_rulebook(log: Log) -> None:
    unknown = content_hash(b"another")
    with pytest.raises(UnknownRulebook, match=unknown):
        log.append([a_record(rulebook=unknown)])
    with pytest.raises(UnknownRulebook):
        log.rulebook(unknown)
    with pytest.raises(ValueError, match="not the content hash"):
        log.keep_rulebook(unknown, b"something else")
    log.keep_rulebook(unknown, b"another")
    log.keep_rulebook(unknown, b"another")
    [stored] = log.append([a_record(rulebook=unknown)])
    assert log.rulebook(unknown) == b"another"
    kept = {each.hash: each for each in log.rulebooks()}
    assert (kept[unknown].first_seq, kept[unknown].first_used) == (1, stored.decided_at)
    assert kept[RULEBOOK].first_seq is None


def test_a_database_in_memory_is_refused() -> None:
    for location in (":memory:", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="file"):
            Log.open(location)


def test_a_place_that_cannot_be_opened_is_the_logs_own_error(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable):
        Log.open(tmp_path / "no" / "such" / "directory.db")
    (tmp_path / "text.db").write_text("this is no database, whatever its name says" * 50)
    with pytest.raises(LogUnavailable):
        Log.open(tmp_path / "text.db")


def test_another_format_is_refused(tmp_path: Path) -> None:
    Log.open(tmp_path / "log.db").close()
    edit(tmp_path / "log.db", "UPDATE log_format SET version = 3")
    with pytest.raises(LogError, match="format 3"):
        Log.open(tmp_path / "log.db")


def test_durability_settings(tmp_path: Path) -> None:
    """FULL: under WAL, NORMAL may lose an answered decision when the power fails."""
    with closing(Log.open(tmp_path / "log.db")) as log, log._writing.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


# ---------------------------------------------------------------------------- searching


def test_pages_are_complete_and_without_overlap(log: Log) -> None:
    log.append([a_record(n) for n in range(23)])
    seen: list[int] = []
    before: int | None = None
    while page := log.recent(limit=5, before_seq=before):
        seen += [record.seq for record in page]
        before = page[-1].seq
        log.append([a_record()])  # what arrives meanwhile must not shift the pages
    assert seen == list(range(23, 0, -1))


def test_each_filter_finds_what_it_should(log: Log) -> None:
    wanted: dict[str, Any] = {
        "payer": "private/uhc",
        "outcome": "ready",
        "pa_status": "on_file",
        "code_billed": "J3590",
        "code_recommended": "C9399",
        "drug_name": "donanemab",
        "date_of_service": "2026-11-30",
        "fired": ("uhc.one",),
    }
    log.append([a_record()])
    log.append([a_record(**{name: value}) for name, value in wanted.items()])
    log.append([a_record()])

    def found(**filters: Any) -> list[int]:
        return [record.seq for record in log.search(Filters(**filters))]

    for seq, (name, value) in enumerate(wanted.items(), start=2):
        if name not in ("date_of_service", "fired"):
            assert found(**{name: value}) == [seq], name
    assert found(date_of_service_from="2026-11-30") == [8]
    assert found(date_of_service_to="2026-11-30", date_of_service_from="2026-10-03") == [8]
    assert found(date_of_service_to="2026-11-29", date_of_service_from="2026-10-03") == []
    assert found(rule="uhc.one") == [9]
    assert found(rule="tx.noc.skysona") == [10, 8, 7, 6, 5, 4, 3, 2, 1]
    assert found(rule="tx.noc.skysona", payer="private/uhc") == [2]
    assert found(rulebook=RULEBOOK) == list(range(10, 0, -1))
    assert found(payer="medicaid/TX", outcome="fix", drug_name="donanemab") == [7]
    assert found(payer="nobody") == []
    page = log.search(Filters(rule="tx.noc.skysona"), limit=2, before_seq=8)
    assert [record.seq for record in page] == [7, 6]
    for limit in (0, 1001):
        with pytest.raises(ValueError, match="limit"):
            log.search(Filters(), limit=limit)


def test_iterate_streams_over_page_borders(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_PAGE", 4)
    stored = log.append([a_record(n) for n in range(11)])
    assert list(log.iterate()) == stored
    assert list(log.iterate(3, 9)) == stored[2:9]
    assert list(log.iterate(4, 4)) == [stored[3]]
    assert list(log.iterate(12)) == []
    assert log.get(str(uuid.uuid4())) is None


# ---------------------------------------------------------------------------- idempotency


def test_the_same_request_is_answered_with_the_same_decisions(log: Log) -> None:
    request = Idempotency("key-1", "digest-1")
    first = log.append([a_record(1), a_record(2)], request)
    again = log.append([a_record(3), a_record(4)], request)
    assert again == first
    assert log.head()[0] == 2
    remembered = log.recall("key-1")
    assert remembered is not None
    assert remembered.decision_ids == tuple(record.decision_id for record in first)
    assert log.recall("key-2") is None


def test_a_key_used_for_another_request_is_a_conflict(log: Log) -> None:
    log.append([a_record()], Idempotency("key-1", "digest-1"))
    with pytest.raises(IdempotencyConflict, match="key-1"):
        log.append([a_record()], Idempotency("key-1", "digest-2"))
    with pytest.raises(IdempotencyConflict):
        log.remember("key-1", "digest-2", [])
    assert log.head()[0] == 1


def test_a_key_is_stored_with_its_decisions_or_not_at_all(log: Log) -> None:
    [first] = log.append([a_record()])
    with pytest.raises(DuplicateDecision):
        log.append([a_record(decision_id=first.decision_id)], Idempotency("key-1", "digest-1"))
    assert log.recall("key-1") is None


def test_remember_and_recall(log: Log) -> None:
    [first] = log.append([a_record()])
    kept = log.remember("key-1", "digest-1", [first.decision_id])
    assert log.remember("key-1", "digest-1", []) == kept == log.recall("key-1")
    assert log.remember("key-2", "digest-2", []).decision_ids == ()
    with pytest.raises(RecordRefused):
        log.remember("key-3", "digest-3", [str(uuid.uuid4())])
    assert log.recall("key-3") is None
    assert log.append([], Idempotency("key-2", "digest-2")) == []
    assert log.verify().ok


# ---------------------------------------------------------------------------- tampering


def edit(path: Path, *statements: str, **parameters: Any) -> None:
    """Changes the database behind the log's back, by plain SQL."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            changed = connection.execute(statement, parameters if ":" in statement else ()).rowcount
            assert changed != 0, f"changed nothing: {statement}"
        connection.commit()


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[Record]]:
    """A log of ten records, closed."""
    path = tmp_path / "log.db"
    with closing(Log.open(path)) as log:
        log.keep_rulebook(RULEBOOK, ARCHIVE)
        stored = log.append([a_record(n, payer=f"medicaid/T{n}") for n in range(10)])
        assert log.verify().ok
    return path, stored


def breach_of(path: Path) -> tuple[int | None, str]:
    with closing(Log.open(path)) as log:
        verification = log.verify()
    assert verification.breach is not None, "the tampering was not found"
    assert not verification.ok
    if verification.breach.seq is not None:
        assert verification.checked == verification.breach.seq - 1 or verification.breach.seq < 1
    return verification.breach.seq, verification.breach.kind


EDITS = {
    "decision_id": ["'00000000-0000-0000-0000-000000000000'", "NULL", "CAST(x'ff' AS TEXT)"],
    "decided_at": ["'2020-01-01T00:00:00.000000Z'", "decided_at || ' '"],
    "payer": ["'medicaid/OK'", "x'41'", "1", "upper(payer)", "CAST(x'ff' AS TEXT)"],
    "outcome": ["'ready'"],
    "pa_status": ["'not_required'"],
    "code_billed": ["'J3590'"],
    "code_recommended": ["NULL", "''"],
    "drug_name": ["NULL", "drug_name || char(0)"],
    "date_of_service": ["'2026-10-03'"],
    "charge": ["charge + 1", "NULL", "charge + 0.5", "'a'"],
    "rulebook": ["'sha256:' || substr(hash, 1, 64)"],
    "reference": ["'hcpcs-2027-01'"],
    "prev_hash": ["hash", "'" + GENESIS + "'"],
    "hash": ["prev_hash", "upper(hash)"],
    "template": ["1"],
    "fired_rules": ["''", "'tx.noc.skysona'", "fired_rules || char(10)", "x'00'"],
    "facts": ["claim", "x''", "x'00'", "'text'", "NULL"],
    "claim": ["facts", "substr(claim, 1, length(claim) - 1)"],
    "decision": ["facts", "NULL"],
}


def test_the_edits_cover_every_column(written: tuple[Path, list[Record]]) -> None:
    with closing(sqlite3.connect(written[0])) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(decision)")}
    assert columns - set(EDITS) == {"seq"}  # seq: removed, reordered, added below


@pytest.mark.parametrize(("column", "value"), [(name, value) for name in EDITS for value in EDITS[name]])
@pytest.mark.parametrize("seq", [1, 6, 10])
def test_an_altered_column_is_found(written: tuple[Path, list[Record]], column: str, value: str, seq: int) -> None:
    path, _ = written
    if (seq, column, value) == (1, "prev_hash", "'" + GENESIS + "'"):
        pytest.skip("the first record's prev_hash is that already")
    loosen(path)
    edit(path, f"UPDATE decision SET {column} = {value} WHERE seq = {seq}")
    assert breach_of(path) == (seq, "altered")


def loosen(path: Path) -> None:
    """Drops NOT NULL and UNIQUE from the table, as somebody with the file in hand can."""
    with closing(sqlite3.connect(path)) as connection:
        [created] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'decision'").fetchone()
        loose = created.replace("NOT NULL", "").replace("UNIQUE (decision_id),", "")
        loose = loose.replace("seq INTEGER ", "seq INTEGER NOT NULL ")
        connection.executescript(
            "ALTER TABLE decision RENAME TO strict;"
            + loose
            + ";INSERT INTO decision SELECT * FROM strict; DROP TABLE strict;"
        )


def test_texts_exchanged_between_records_are_found(written: tuple[Path, list[Record]]) -> None:
    path, stored = written
    with closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute("SELECT seq, decision FROM decision"))
    edit(path, "UPDATE decision SET decision = :new WHERE seq = 4", new=rows[8])
    edit(path, "UPDATE decision SET decision = :new WHERE seq = 8", new=rows[4])
    assert breach_of(path) == (4, "altered")
    with closing(Log.open(path)) as log:
        [third, fourth] = log.iterate(3, 4)
        assert third == stored[2]
        assert third.intact
        assert not fourth.intact


@pytest.mark.parametrize("seq", [1, 5, 9])
def test_a_record_removed_is_found(written: tuple[Path, list[Record]], seq: int) -> None:
    path, _ = written
    edit(path, f"DELETE FROM decision WHERE seq = {seq}", f"DELETE FROM fired WHERE seq = {seq}")
    assert breach_of(path) == (seq, "removed")


@pytest.mark.parametrize(("seq", "kind"), [(1, "removed"), (5, "removed"), (9, "removed")])
def test_a_record_removed_and_the_gap_closed_is_found(written: tuple[Path, list[Record]], seq: int, kind: str) -> None:
    path, _ = written
    edit(
        path,
        f"DELETE FROM decision WHERE seq = {seq}",
        f"DELETE FROM fired WHERE seq = {seq}",
        *(f"UPDATE {t} SET seq = {s} WHERE seq = {s + 1}" for s in range(seq, 10) for t in ("decision", "fired")),
    )
    assert breach_of(path) == (seq, kind)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 7), (9, 10), (1, 10)])
def test_two_records_exchanged_are_found(written: tuple[Path, list[Record]], one: int, other: int) -> None:
    path, _ = written
    for table in ("decision", "fired"):
        edit(
            path,
            f"UPDATE {table} SET seq = 99 WHERE seq = {one}",
            f"UPDATE {table} SET seq = {one} WHERE seq = {other}",
            f"UPDATE {table} SET seq = {other} WHERE seq = 99",
        )
    assert breach_of(path) == (one, "reordered")


def put(path: Path, record: Record) -> None:
    """Inserts a row as the log would have written it."""
    texts = {n: zlib.compress(getattr(record, n).encode(), 1) for n in ("facts", "claim", "decision")}
    names = [field for field in record.__dataclass_fields__ if field != "fired"]
    values = {name: getattr(record, name) for name in names} | texts
    values["fired_rules"] = "\n".join(record.fired)
    columns = ", ".join(values)
    edit(path, f"INSERT INTO decision ({columns}) VALUES ({', '.join(':' + n for n in values)})", **values)
    for rule in record.fired:
        edit(path, "INSERT INTO fired VALUES (:seq, :rule)", seq=record.seq, rule=rule)


def in_place(new: NewRecord, seq: int, prev_hash: str) -> Record:
    values = {name: getattr(new, name) for name in NewRecord.__dataclass_fields__}
    values["fired"] = tuple(sorted(new.fired))
    return Record(**values, seq=seq, prev_hash=prev_hash, hash=record_hash(NewRecord(**values), seq, prev_hash))


@pytest.mark.parametrize("forged_hash", [True, False])
@pytest.mark.parametrize("seq", [1, 4, 10])
def test_a_record_added_among_the_others_is_found(
    written: tuple[Path, list[Record]], seq: int, forged_hash: bool
) -> None:
    path, stored = written
    shift = [
        f"UPDATE {t} SET seq = {s + 1} WHERE seq = {s}" for s in range(10, seq - 1, -1) for t in ("decision", "fired")
    ]
    edit(path, *shift)
    new = in_place(a_record(99), seq, stored[seq - 1].prev_hash)
    put(path, new if forged_hash else replace(new, hash="0123456789abcdef" * 4))
    assert breach_of(path) == (seq, "added")


@pytest.mark.parametrize(("seq", "found"), [(11, (11, "altered")), (0, (0, "added")), (-3, (-3, "added"))])
def test_a_record_added_at_an_end_is_found(
    written: tuple[Path, list[Record]], seq: int, found: tuple[int, str]
) -> None:
    path, stored = written
    put(path, replace(in_place(a_record(99), seq, stored[-1].hash), hash="f" * 64))
    assert breach_of(path) == found


@pytest.mark.parametrize("seq", [1, 5, 9])
def test_a_record_written_anew_with_its_own_hash_is_found(written: tuple[Path, list[Record]], seq: int) -> None:
    path, stored = written
    edit(path, f"DELETE FROM decision WHERE seq = {seq}", f"DELETE FROM fired WHERE seq = {seq}")
    old = stored[seq - 1]
    put(path, in_place(replace(a_record(seq), decision_id=old.decision_id), seq, old.prev_hash))
    assert breach_of(path) == (seq, "altered")


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("DELETE FROM fired WHERE seq = 3 AND rule_id = 'tx.noc.skysona'", 3),
        ("DELETE FROM fired WHERE seq = 10", 10),
        ("INSERT INTO fired VALUES (7, 'tx.noc.other')", 7),
        ("UPDATE fired SET rule_id = 'tx.noc.other' WHERE seq = 1 AND rule_id = 'tx.noc.skysona'", 1),
        ("INSERT INTO fired VALUES (11, 'tx.noc.other')", 11),
        ("INSERT INTO fired VALUES (0, 'tx.noc.other')", 0),
    ],
)
def test_an_edit_of_the_fired_table_is_found(written: tuple[Path, list[Record]], statement: str, seq: int) -> None:
    path, _ = written
    edit(path, statement)
    assert breach_of(path) == (seq, "fired")


def test_the_first_of_several_breaches_is_named(
    written: tuple[Path, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_PAGE", 3)
    path, _ = written
    edit(path, "UPDATE decision SET payer = CAST(x'ff' AS TEXT) WHERE seq = 9")
    edit(path, "UPDATE decision SET outcome = 'ready' WHERE seq = 8")
    assert breach_of(path) == (8, "altered")
    edit(path, "DELETE FROM fired WHERE seq = 5")
    assert breach_of(path) == (5, "fired")
    edit(path, "DELETE FROM decision WHERE seq = 2")
    assert breach_of(path) == (2, "removed")


def test_an_altered_rulebook_is_found(written: tuple[Path, list[Record]]) -> None:
    path, _ = written
    edit(path, "UPDATE rulebook SET archive = :new", new=zlib.compress(ARCHIVE + b" "))
    assert breach_of(path) == (1, "rulebook")
    with closing(Log.open(path)) as log, pytest.raises(DamagedRecord, match="altered"):
        log.rulebook(RULEBOOK)
    edit(path, "DELETE FROM rulebook")
    assert breach_of(path) == (1, "rulebook")


def test_an_idempotency_key_of_no_decision_is_found(written: tuple[Path, list[Record]]) -> None:
    path, stored = written
    with closing(Log.open(path)) as log:
        log.remember("key-1", "digest-1", [stored[2].decision_id])
    edit(path, "UPDATE idempotency SET decision_ids = '00000000-0000-0000-0000-000000000000'")
    assert breach_of(path) == (None, "idempotency")


def test_verify_reports_progress_and_stops_where_told(
    written: tuple[Path, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_PAGE", 4)
    path, stored = written
    seen: list[tuple[int, int]] = []
    with closing(Log.open(path)) as log:
        assert log.verify(lambda done, whole: seen.append((done, whole))).checked == 10
        assert seen == [(4, 10), (8, 10), (10, 10)]
        part = log.verify(last_seq=7)
        assert (part.checked, part.hash, part.ok) == (7, stored[6].hash, True)


@pytest.mark.parametrize("column", ["facts", "claim", "decision"])
def test_bytes_behind_a_text_are_found(written: tuple[Path, list[Record]], column: str) -> None:
    path, _ = written
    with closing(sqlite3.connect(path)) as connection:
        [packed] = connection.execute(f"SELECT {column} FROM decision WHERE seq = 6").fetchone()
    edit(path, f"UPDATE decision SET {column} = :new WHERE seq = 6", new=packed + b"\0")
    assert breach_of(path) == (6, "altered")


def test_an_unreadable_record_is_the_logs_own_error(written: tuple[Path, list[Record]]) -> None:
    path, stored = written
    edit(path, "UPDATE decision SET facts = x'00' WHERE seq = 3")
    with closing(Log.open(path)) as log:
        with pytest.raises(DamagedRecord, match="record 3"):
            log.get(stored[2].decision_id)
        assert log.get(stored[3].decision_id) == stored[3]


# ---------------------------------------------------------------------------- checkpoints


@pytest.fixture
def key() -> bytes:
    return new_private_key()


def rewrite(path: Path, stored: list[Record], changed: int) -> None:
    """What an owner of the database can do: change one record and compute the chain anew from there."""
    edit(path, "DELETE FROM decision", "DELETE FROM fired")
    before = GENESIS
    for record in stored:
        new = NewRecord(**{name: getattr(record, name) for name in NewRecord.__dataclass_fields__})
        forged = in_place(replace(new, outcome="ready") if record.seq == changed else new, record.seq, before)
        put(path, forged)
        before = forged.hash


@pytest.mark.parametrize("changed", [1, 5, 10])
def test_a_chain_written_anew_is_found_by_a_checkpoint(
    written: tuple[Path, list[Record]], key: bytes, changed: int
) -> None:
    path, stored = written
    with closing(Log.open(path)) as log:
        signed = checkpoint(log, key)
        assert verify_checkpoint(log, signed, public_key_of(key)).ok
    rewrite(path, stored, changed)
    with closing(Log.open(path)) as log:
        chain = log.verify()
        assert chain.ok  # the chain by itself can't show it
        for given_chain in (None, chain):
            found = verify_checkpoint(log, signed, public_key_of(key), given_chain)
            assert found.breach is not None
            assert (found.breach.seq, found.breach.kind) == (10, "rewritten")


def test_an_end_cut_off_is_found_by_a_checkpoint(written: tuple[Path, list[Record]], key: bytes) -> None:
    path, _ = written
    with closing(Log.open(path)) as log:
        signed = checkpoint(log, key)
    edit(path, "DELETE FROM decision WHERE seq > 8", "DELETE FROM fired WHERE seq > 8")
    with closing(Log.open(path)) as log:
        assert log.verify().ok
        found = verify_checkpoint(log, signed, public_key_of(key))
        assert found.breach is not None
        assert (found.breach.seq, found.breach.kind) == (9, "removed")
        # Cut off, and others written in their place.
        log.append([a_record(n) for n in range(5)])
        found = verify_checkpoint(log, signed, public_key_of(key))
        assert found.breach is not None
        assert found.breach.kind == "rewritten"


def test_a_checkpoint_holds_while_the_log_grows(log: Log, key: bytes) -> None:
    empty = checkpoint(log, key)
    assert (empty.seq, empty.hash) == (0, GENESIS)
    log.append([a_record(n) for n in range(4)])
    signed = Checkpoint.from_json(checkpoint(log, key).to_json())
    log.append([a_record(n) for n in range(4)])
    for each in (empty, signed):
        found = verify_checkpoint(log, each, public_key_of(key))
        assert (found.ok, found.seq) == (True, each.seq)


def test_a_forged_checkpoint_is_found(log: Log, key: bytes) -> None:
    log.append([a_record(n) for n in range(4)])
    signed = checkpoint(log, key)
    forgeries = [
        replace(signed, seq=3),
        replace(signed, hash="0" * 64),
        replace(signed, signed_at="2020-01-01T00:00:00.000000Z"),
        replace(signed, key="0" * 64),
        replace(signed, signature="00" * 64),
        replace(signed, signature="no hex"),
        checkpoint(log, new_private_key()),
    ]
    for forged in forgeries:
        found = verify_checkpoint(log, forged, public_key_of(key))
        assert found.breach is not None
        assert found.breach.kind == "signature"


@pytest.mark.parametrize("broken", ["[]", "{}", "no json", '{"seq": "1"}'])
def test_a_checkpoint_file_that_is_none(broken: str, log: Log, key: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own message differs from ours)
        Checkpoint.from_json(broken)
    whole = json.loads(checkpoint(log, key).to_json())
    with pytest.raises(ValueError, match="whole number"):
        Checkpoint.from_json(json.dumps(whole | {"seq": "0"}))


# ---------------------------------------------------------------------------- many writers


def one_gapless_chain(log: Log, expected: set[str]) -> None:
    records = list(log.iterate())
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert {record.decision_id for record in records} == expected
    verification = log.verify()
    assert verification.ok, verification.breach
    assert verification.checked == len(expected)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("shared_transactions", [False, True])
def test_threads_keep_one_gapless_chain(log: Log, shared_transactions: bool) -> None:
    append = Committer(log, max_records=7).append if shared_transactions else log.append
    acknowledged: list[str] = []

    def work(number: int) -> None:
        for size in (1, 3, 2, 9):
            stored = append([a_record(number) for _ in range(size)])
            assert [record.seq for record in stored] == list(range(stored[0].seq, stored[0].seq + size))
            acknowledged.extend(record.decision_id for record in stored)

    in_threads(8, work)
    assert len(acknowledged) == 8 * 15
    one_gapless_chain(log, set(acknowledged))


def write_from_process(location: str, start: Any, acknowledged: Any) -> None:
    start.wait()
    with closing(Log.open(location)) as log:
        log.keep_rulebook(RULEBOOK, ARCHIVE)
        for size in (1, 4, 1, 2, 7) * 4:
            for record in log.append([a_record() for _ in range(size)]):
                acknowledged.put(record.decision_id)


def test_processes_keep_one_gapless_chain(location: str) -> None:
    """Three processes open, create and write the same log at once."""
    spawn = multiprocessing.get_context("spawn")
    start, acknowledged = spawn.Event(), spawn.Queue()
    writers = [spawn.Process(target=write_from_process, args=(location, start, acknowledged)) for _ in range(3)]
    for writer in writers:
        writer.start()
    start.set()
    ids = {acknowledged.get(timeout=60) for _ in range(3 * 60)}
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with closing(Log.open(location)) as log:
        one_gapless_chain(log, ids)


def test_a_forked_child_uses_connections_of_its_own(log: Log) -> None:
    [first] = log.append([a_record()])
    inherited = log._reading.pool
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()

    def child() -> None:
        [mine] = log.append([a_record()])
        answers.put((mine.seq, log._reading.pool is not inherited))

    process = fork.Process(target=child)
    process.start()
    process.join(60)
    assert answers.get() == (2, True)
    [third] = log.append([a_record()])
    assert (first.seq, third.seq) == (1, 3)
    assert log.verify().ok


# ---------------------------------------------------------------------------- group commit


class Gate:
    """Holds the first transaction open until the other callers have queued up behind it."""

    def __init__(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        original = log._commit

        def commit(groups: Any) -> Any:
            self.sizes.append(len(groups))
            self.entered.set()
            assert self.open.wait(60)
            return original(groups)

        monkeypatch.setattr(log, "_commit", commit)


def together(
    log: Log, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[list[NewRecord], Idempotency | None]]
) -> tuple[list[list[Record] | LogError], list[int]]:
    """Runs the calls in threads; all but the first share a transaction. Their outcomes, the group sizes."""
    committer, gate = Committer(log), Gate(log, monkeypatch)
    outcomes: dict[int, list[Record] | LogError] = {}

    def call(number: int) -> None:
        try:
            outcomes[number] = committer.append(*calls[number])
        except LogError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    threads[0].start()
    assert gate.entered.wait(60)
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        while len(committer._waiting) < number:
            thread.join(0.001)
    gate.open.set()
    for thread in threads:
        thread.join(60)
    return [outcomes[number] for number in range(len(calls))], gate.sizes


def test_callers_that_wait_share_one_transaction(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, sizes = together(log, monkeypatch, [([a_record(n)], None) for n in range(6)])
    assert sizes == [1, 5]
    assert all(isinstance(outcome, list) for outcome in outcomes)
    assert log.verify().checked == 6


def test_a_caller_at_fault_fails_alone(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    good = a_record()
    calls: list[tuple[list[NewRecord], Idempotency | None]] = [
        ([good], Idempotency("key-0", "digest")),
        ([a_record()], Idempotency("key-1", "digest")),
        ([a_record(decision_id=good.decision_id)], None),
        ([a_record(rulebook=content_hash(b"unknown"))], None),
        ([a_record()], Idempotency("key-1", "digest")),
        ([a_record()], Idempotency("key-1", "another digest")),
        ([a_record()], Idempotency("key-0", "digest")),
        ([a_record()], None),
    ]
    outcomes, sizes = together(log, monkeypatch, calls)
    assert sizes[:2] == [1, 7]
    assert isinstance(outcomes[2], DuplicateDecision)
    assert isinstance(outcomes[3], UnknownRulebook)
    assert outcomes[4] == outcomes[1]
    assert isinstance(outcomes[5], IdempotencyConflict)
    assert outcomes[6] == outcomes[0]
    assert isinstance(outcomes[7], list)
    assert log.head()[0] == 3
    assert log.verify().ok


def test_keys_used_twice_in_one_transaction(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[NewRecord], Idempotency | None]] = [
        ([a_record()], None),
        ([a_record()], Idempotency("key-1", "digest")),
        ([a_record()], Idempotency("key-1", "digest")),
        ([a_record()], Idempotency("key-1", "another digest")),
    ]
    outcomes, sizes = together(log, monkeypatch, calls)
    assert sizes == [1, 3]
    assert outcomes[1] == outcomes[2]
    assert isinstance(outcomes[3], IdempotencyConflict)
    assert log.head()[0] == 2


def test_when_the_database_fails_every_caller_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    committer = Committer(log)
    broken = LogUnavailable("the disk is full")

    def fail(groups: Any) -> Any:
        raise broken

    with monkeypatch.context() as patched:
        patched.setattr(log, "_commit", fail)
        with pytest.raises(LogUnavailable, match="disk is full"):
            committer.append([a_record()])
    assert [record.seq for record in committer.append([a_record()])] == [1]


def test_a_closed_committer_takes_no_more(log: Log) -> None:
    committer = Committer(log)
    committer.append([a_record()])
    committer.close()
    with pytest.raises(LogError, match="closed"):
        committer.append([a_record()])
    assert log.head()[0] == 1
