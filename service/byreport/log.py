"""The decision log: append-only, hash-chained, enough on its own to replay a decision years later.

Every decision is one row. Its hash is the SHA-256 (FIPS 180-4) of an encoding of the hash before it and of
everything the row holds, so a row that was altered, removed, moved or added no longer fits its neighbours;
`Log.verify` names the first one. Somebody who may write to the database could still compute the whole chain
anew or cut off its end; signed checkpoints (Ed25519, RFC 8032), kept elsewhere, find that: `checkpoint` and
`verify_checkpoint`.

The rulebooks that decided are kept beside the decisions, under their content hash. Decisions in one situation differ
in a few values; what they have in common is kept once, as a template, and each record holds its own values. The hash
is that of the whole text all the same, so an altered template is found at the first record it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import threading
import time
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PoolProxiedConnection,
    Row,
    Select,
    String,
    Table,
    create_engine,
    event,
    exists,
    func,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from byreport.jsontext import decision_text, dumps, interleaved

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

GENESIS = "0" * 64
"""The hash before the first record."""

_FORMAT = 2
_KNOWN_SITUATIONS = 10_000
"""Situations of which a process remembers what the log needs: some 15 KB each, of which the desk holds most anyway."""
_PAGE = 500
_LOCK_WAIT_SECONDS = 60
_TEXT_LIMIT = 512
# Under WAL, NORMAL may lose the last commits when the power fails; an answered decision must never be lost.
_SYNCHRONOUS = "FULL"
# Whose commit fills the write-ahead log copies it into the database, which takes several commits' time. With SQLite's
# own 1,000 pages that met one request in a hundred; most of the pages are the same again, so that later is also less.
_CHECKPOINT_PAGES = 4_000

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CONTENT_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class LogError(Exception):
    """The log can't do what was asked."""


class LogUnavailable(LogError):
    """The database did not answer. An append that ended so may or may not have been committed."""


class RecordRefused(LogError, ValueError):
    """A record that can't be stored as it is; nothing of its call was stored."""


class DuplicateDecision(RecordRefused):
    """The log already holds a decision with this decision_id."""


class UnknownRulebook(LogError, LookupError):
    """A rulebook the log does not keep; `Log.keep_rulebook` comes before the decisions made with it."""


class IdempotencyConflict(LogError):
    """The idempotency key was used before, for another request."""


class DamagedRecord(LogError):
    """A stored record that can't be read back."""


@dataclass(frozen=True, kw_only=True)
class NewRecord:
    """One decision as the log takes it.

    `decided_at` is UTC as `now` writes it, `date_of_service` is YYYY-MM-DD, `charge` is in cents,
    `rulebook` is a content hash ("sha256:" and 64 hex digits). `facts`, `claim` and `decision` are JSON
    texts; they come back byte for byte. `fired` names the rules that fired; the log keeps each once,
    sorted.
    """

    decision_id: str
    decided_at: str
    payer: str
    outcome: str
    pa_status: str
    code_billed: str
    code_recommended: str | None
    drug_name: str | None
    date_of_service: str
    charge: int | None
    rulebook: str
    reference: str
    facts: str
    claim: str
    decision: str
    fired: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cut:
    """A decision's body, a JSON object, cut where a line's own values stand.

    `texts` are what all decisions in the situation have in common, `values` the JSON texts that stand between them, one
    less than texts. Decisions that share one tuple `texts` (the very object) are stored fastest.
    """

    texts: tuple[str, ...]
    values: tuple[str, ...]

    def text(self) -> str:
        """The texts with the values between them. Raises ValueError when their numbers do not fit."""
        return interleaved(self.texts, self.values)


@dataclass(frozen=True, kw_only=True)
class CutRecord(NewRecord):
    """A decision given by its cut, of which the log keeps what its situation has in common once.

    The text of the decision is made here, from the record's columns and the cut, and so can't differ from what is
    stored.
    """

    cut: Cut
    decision: str = field(init=False)

    def __post_init__(self) -> None:
        text = decision_text(self.decision_id, self.decided_at, self.rulebook, self.payer, self.cut.text())
        object.__setattr__(self, "decision", text)


@dataclass(frozen=True, kw_only=True)
class Record(NewRecord):
    """One decision as the log holds it: `seq` counts from 1 without gaps; hashes are 64 hex digits."""

    seq: int
    prev_hash: str
    hash: str

    @property
    def intact(self) -> bool:
        """Whether the record's content still gives its own hash (whether it fits the chain: `Log.verify`)."""
        return record_hash(self, self.seq, self.prev_hash) == self.hash


@dataclass(frozen=True)
class Idempotency:
    """A caller's idempotency key, with a digest of the request that it stands for."""

    key: str
    digest: str


@dataclass(frozen=True)
class Remembered:
    """What was answered under an idempotency key."""

    key: str
    digest: str
    decision_ids: tuple[str, ...]


@dataclass(frozen=True)
class KeptRulebook:
    """A rulebook the log keeps, with the first decision made with it (None when there is none yet)."""

    hash: str
    first_seq: int | None
    first_used: str | None


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What `Log.search` looks for; all of it must hold, and exactly.

    `payer_below` is a payer or any below it (`medicaid/TX` finds `medicaid/TX/tchp` too), or a whole program. Dates
    of service are YYYY-MM-DD; `decided_from` and `decided_to` are days (UTC) or
    moments as `now` writes them. All ends are included.
    """

    payer: str | None = None
    payer_below: str | None = None
    outcome: str | None = None
    pa_status: str | None = None
    code_billed: str | None = None
    code_recommended: str | None = None
    drug_name: str | None = None
    rulebook: str | None = None
    rule: str | None = None
    date_of_service_from: str | None = None
    date_of_service_to: str | None = None
    decided_from: str | None = None
    decided_to: str | None = None


BreachKind = Literal[
    "altered", "removed", "reordered", "added", "fired", "rulebook", "idempotency", "signature", "rewritten"
]


@dataclass(frozen=True)
class Breach:
    """The first thing found wrong with a log. `seq` is where; None when it is no one record's place."""

    seq: int | None
    decision_id: str | None
    kind: BreachKind
    text: str


@dataclass(frozen=True)
class Verification:
    """What `Log.verify` found: the records that fit, the last of them and its hash, and the first breach."""

    checked: int
    seq: int
    hash: str
    breach: Breach | None

    @property
    def ok(self) -> bool:
        return self.breach is None


def now() -> str:
    """The present moment as the log writes moments: UTC, microseconds, 2026-10-02T09:30:00.000000Z."""
    moment = datetime.now(timezone.utc).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds") + "Z"


def content_hash(data: bytes) -> str:
    """The content hash of a canonical archive: "sha256:" and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------- the encoding

_HASHED = tuple(each.name for each in fields(NewRecord))
_content = attrgetter(*_HASHED)
_columns = attrgetter(*_HASHED[: _HASHED.index("facts")])


def _item(value: object) -> bytes:
    """One value as kind, length, content: nothing can be moved from one value to the next unseen."""
    if value is None:
        kind, content = b"N", b""
    elif isinstance(value, str):
        kind, content = b"T", value.encode("utf-8")
    elif isinstance(value, int) and not isinstance(value, bool):
        kind, content = b"I", b"%d" % value
    elif isinstance(value, tuple):
        kind, content = b"L", b"".join(map(_item, value))
    else:
        # No record is written with such a value; a row edited by hand may hold one, and must not fit.
        kind, content = b"X", repr(value).encode("utf-8", "backslashreplace")
    return _framed(kind, content)


def _framed(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(8, "big") + content


# Of most columns' values there are few.
_frequent_item = lru_cache(maxsize=8_192, typed=True)(_item)


def _body(record: NewRecord) -> bytes:
    """The items of a record."""
    return b"".join(map(_item, _content(record)))


def encode(record: NewRecord, seq: int, prev_hash: str) -> bytes:
    """The bytes a record's hash is taken of: different content, place or predecessor, different bytes."""
    return _frame(_body(record), seq, prev_hash)


def _frame(body: bytes, seq: int, prev_hash: str) -> bytes:
    # The place comes last, so that a record found in the wrong place is cheap to try in others.
    return _start(prev_hash) + body + _item(seq)


def _start(prev_hash: str) -> bytes:
    return _item("byreport decision 1") + _item(prev_hash)


def record_hash(record: NewRecord, seq: int, prev_hash: str) -> str:
    """The hash of a record at a place in the chain: 64 hex digits."""
    return hashlib.sha256(encode(record, seq, prev_hash)).hexdigest()


# ------------------------------------------------------------------------------------------------ the schema

_Seq = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is SQLite's own row number
_metadata = MetaData()

# One row: the version of this schema. Writers on a server database also queue up at it.
_format = Table(
    "log_format",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
_rulebook = Table(
    "rulebook",
    _metadata,
    Column("hash", String, primary_key=True),
    Column("archive", LargeBinary, nullable=False),  # zlib
)
# What the decisions in one situation have in common.
_template = Table(
    "template",
    _metadata,
    Column("id", _Seq, primary_key=True, autoincrement=False),
    Column("digest", String, nullable=False, unique=True),
    Column("fired_rules", String, nullable=False),  # sorted, one a line; the table `template_fired` is its index
    Column("texts", LargeBinary, nullable=False),  # a list in JSON, zlib
)
_template_fired = Table(
    "template_fired",
    _metadata,
    Column("template", _Seq, ForeignKey("template.id"), primary_key=True, autoincrement=False),
    Column("rule_id", String, primary_key=True),
    Index("template_fired_by_rule", "rule_id", "template"),
    sqlite_with_rowid=False,
)
_decision = Table(
    "decision",
    _metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("decision_id", String, nullable=False, unique=True),
    Column("decided_at", String, nullable=False),
    Column("payer", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("pa_status", String, nullable=False),
    Column("code_billed", String, nullable=False),
    Column("code_recommended", String),
    Column("drug_name", String),
    Column("date_of_service", String, nullable=False),
    Column("charge", BigInteger),
    Column("rulebook", String, ForeignKey("rulebook.hash"), nullable=False),
    Column("reference", String, nullable=False),
    Column("prev_hash", String, nullable=False),
    Column("hash", String, nullable=False),
    Column("fired_rules", String, nullable=False),  # sorted, one a line; the table `fired` is its index
    Column("template", _Seq, ForeignKey("template.id")),
    # The texts stand last, so that a scan over the other columns need not read them. With a template, `fired_rules` is
    # empty, facts and claim are plain UTF-8, and `decision` the values that stand between the template's texts, NUL
    # between them; without one, the rules are here and all three texts whole, zlib-compressed.
    Column("facts", LargeBinary, nullable=False),
    Column("claim", LargeBinary, nullable=False),
    Column("decision", LargeBinary, nullable=False),
)
_EXACT = ("payer", "outcome", "pa_status", "code_billed", "code_recommended", "drug_name", "rulebook")
# Columns with many values have an index of their own. One for each other column would make a commit dirty four pages
# more, and what they hold is found soon in the narrow index, because it is frequent.
_INDEXED = ("payer", "outcome", "drug_name", "rulebook")
for _name in (*_INDEXED, "template"):
    Index(f"decision_by_{_name}", _decision.c[_name], _decision.c.seq)
# All that a search looks at, in a part of the table's size: what no single column narrows down is looked for here.
_narrow = Index(
    "decision_narrow",
    *(_decision.c[_name] for _name in ("seq", *_EXACT[:-1], "date_of_service", "decided_at", "template")),
)
# The rules of each record that has no template.
_fired = Table(
    "fired",
    _metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("rule_id", String, primary_key=True),
    Index("fired_by_rule", "rule_id", "seq"),
    sqlite_with_rowid=False,
)
_idempotency = Table(
    "idempotency",
    _metadata,
    Column("idempotency_key", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("decision_ids", String, nullable=False),  # one a line
)


def _engine(location: str | Path) -> tuple[Engine, Engine]:
    """An engine that reads, and one over the same connections whose transactions take the writers' lock."""
    text = str(location)
    url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    # The last record is looked up after the lock was got, and must be seen as of then.
    engine = create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
    return engine, engine


class _HintedCompiler(SQLiteCompiler):
    """SQLite's dialect has no hints of its own; its planner, without statistics, takes any index for a good one."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        return text


def _sqlite_engine(url: URL) -> tuple[Engine, Engine]:
    """All that is SQLite's own: the write-ahead log, the pragmas, and who may write when."""
    if url.database in (None, "", ":memory:"):
        raise ValueError("the decision log needs a file; a database in memory is not kept")
    engine = create_engine(url, connect_args={"timeout": _LOCK_WAIT_SECONDS})
    engine.dialect.statement_compiler = _HintedCompiler
    writing = engine.execution_options(byreport_writes=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # this module says when a transaction begins, not the driver
        # Only a new file takes the page size. A decision of usual size wastes nearly half of a page of 4096.
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("byreport_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine, writing


_LAST = "SELECT seq, hash FROM decision ORDER BY seq DESC LIMIT 1"
_LAST_TEMPLATE = "SELECT max(id) FROM template"


class _SqliteAppender:
    """Appends to a SQLite file over one connection that it keeps, with nothing between the rows and the driver.

    What SQLAlchemy does for a transaction and three statements takes longer than they do. Only one at a time may use
    this: `_Queue` sees to it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None

    @contextmanager
    def transaction(self) -> Iterator[_SqliteAppender]:
        """A transaction that holds the writers' lock. Raises sqlite3.Error."""
        if self._connection is None:
            self._connection = self._engine.raw_connection()
        self._cursor = self._connection.cursor()
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            yield self
            self._cursor.execute("COMMIT")
        except BaseException:
            self.close()  # which rolls back; whatever is wrong with the connection, the next is a new one
            raise

    def last(self) -> tuple[int, str]:
        """The last record's place and hash."""
        row = self._cursor.execute(_LAST).fetchone()
        return (row[0], row[1]) if row else (0, GENESIS)

    def templates(self, digests: Sequence[str]) -> dict[str, int]:
        """The ids of those of the templates that are stored, by digest."""
        holes = ", ".join("?" * len(digests))
        query = f"SELECT digest, id FROM template WHERE digest IN ({holes})"
        return dict(self._cursor.execute(query, digests).fetchall())

    def last_template(self) -> int:
        """The last template's id."""
        return int(self._cursor.execute(_LAST_TEMPLATE).fetchone()[0] or 0)

    def insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts rows whose values stand in the order of the table's columns."""
        if rows:
            names = table.columns.keys()
            holes = ", ".join("?" * len(names))
            self._cursor.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({holes})", rows)

    def begin_anew(self) -> object:
        """Leaves the connection to the parent process: it is returned, and another one is opened when needed."""
        inherited, self._connection = self._connection, None
        return inherited

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _ServerAppender:
    """Appends to a database on a server, in the same words."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def transaction(self) -> Iterator[_ServerAppender]:
        """A transaction that holds the writers' lock. Raises SQLAlchemyError."""
        with self._engine.begin() as self._connection:
            Log._take_lock(self._connection)
            yield self

    def last(self) -> tuple[int, str]:
        """The last record's place and hash."""
        row = self._connection.exec_driver_sql(_LAST).first()
        return (row[0], row[1]) if row else (0, GENESIS)

    def templates(self, digests: Sequence[str]) -> dict[str, int]:
        """The ids of those of the templates that are stored, by digest."""
        query = select(_template.c.digest, _template.c.id).where(_template.c.digest.in_(digests))
        return {row.digest: row.id for row in self._connection.execute(query)}

    def last_template(self) -> int:
        """The last template's id."""
        return int(self._connection.exec_driver_sql(_LAST_TEMPLATE).scalar() or 0)

    def insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts rows whose values stand in the order of the table's columns."""
        if rows:
            names = table.columns.keys()
            self._connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])

    def begin_anew(self) -> object:
        """After a fork the pool has new connections; nothing is kept here."""
        return None

    def close(self) -> None:
        """Nothing is kept here."""


class _Queue:
    """Where the processes that write one file wait for their turn.

    SQLite lets a writer that finds another at work sleep and look again, up to a tenth of a second later, and whoever
    comes by chance in between is served first. Here the operating system wakes the one who waits. There are two locks,
    on two bytes of a file of their own: who waits for the second holds the first, so that a writer who comes back at
    once stands behind the one who waits. Where such locks are missing, SQLite's way remains.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path if fcntl is not None else None
        self.begin_anew()

    def begin_anew(self) -> None:
        """Locks are a process's own: a forked child has none of its parent's."""
        self._thread = threading.Lock()
        self._file: int | None = None

    def __enter__(self) -> None:
        self._thread.acquire()
        try:
            self._lock()
        except OSError:
            self.close()
            self._path = None
        except BaseException:
            self.close()  # which gives back whatever lock was got
            self._thread.release()
            raise

    def _lock(self) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 1)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)

    def __exit__(self, *_: object) -> None:
        try:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 2, 0)
        finally:
            self._thread.release()

    def close(self) -> None:
        """Give the file back; it is opened again when needed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


# ------------------------------------------------------------------------------------------- records and rows


@dataclass
class _Situation:
    """What a process remembers of the records that share one template.

    `rules` are those that fired, sorted, and `item` is what the hash is taken of them. `template` is the template's id
    once it is surely stored, None until then.
    """

    texts: tuple[str, ...]
    fired: tuple[str, ...]
    rules: tuple[str, ...]
    item: bytes
    digest: str
    template: int | None = None


@dataclass(frozen=True)
class _Prepared:
    """A record with all that is known of its row before its place is: the columns, and the three texts as stored."""

    record: NewRecord
    fired: tuple[str, ...]
    body: bytes
    columns: tuple[Any, ...]
    texts: tuple[bytes, bytes, bytes]
    situation: _Situation | None


@dataclass(frozen=True)
class _Group:
    """What one caller appends: stored whole or not at all."""

    items: tuple[_Prepared, ...]
    idempotency: Idempotency | None


def _pack(text: bytes) -> bytes:
    return zlib.compress(text, 1)


def _unpack(data: bytes) -> str:
    stream = zlib.decompressobj()
    content = stream.decompress(data)
    if not stream.eof or stream.unused_data:
        raise ValueError("the compressed text is cut off or has something behind it")
    return content.decode("utf-8")


def _prepared(record: NewRecord, situation: _Situation | None) -> _Prepared:
    """Everything that needs no lock: checking, compressing, encoding."""
    _check(record)
    facts, claim, decision = (_encoded(name, getattr(record, name)) for name in ("facts", "claim", "decision"))
    if situation is None:
        fired = _rules(record.fired)
        item, stored = _item(fired), (_pack(facts), _pack(claim), _pack(decision))
    else:
        assert isinstance(record, CutRecord)
        fired, item, stored = situation.rules, situation.item, (facts, claim, _joined(record.cut))
    columns = _columns(record)
    decision_id, decided_at, *frequent = columns
    items = [_item(decision_id), _item(decided_at), *map(_frequent_item, frequent)]
    body = b"".join([*items, _framed(b"T", facts), _framed(b"T", claim), _framed(b"T", decision), item])
    return _Prepared(record, fired, body, columns, stored, situation)


def _joined(cut: Cut) -> bytes:
    if len(cut.values) != len(cut.texts) - 1 or "" in cut.values:
        raise RecordRefused(f"decision: {len(cut.texts)} texts need one value between each two, none of them empty")
    return "\0".join(cut.values).encode()


def _situation(record: CutRecord) -> _Situation:
    """Raises RecordRefused for what can't be a template."""
    texts, rules = record.cut.texts, _rules(record.fired)
    if not texts or not texts[0].startswith("{") or any("\0" in text for text in texts):
        raise RecordRefused("decision: the body has to be a JSON object, without NUL characters")
    for rule in rules:
        _check_rule(rule)
    written = json.dumps([texts, rules], separators=(",", ":"))
    return _Situation(texts, record.fired, rules, _item(rules), hashlib.sha256(written.encode()).hexdigest())


def _rules(fired: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fired)))


def _check(record: NewRecord) -> None:
    _check_text("decision_id", record.decision_id, _UUID)
    _check_text("decided_at", record.decided_at, _TIMESTAMP)
    _check_frequent("date_of_service", record.date_of_service, _DATE)
    _check_frequent("rulebook", record.rulebook, _CONTENT_HASH)
    for name in ("payer", "outcome", "pa_status", "code_billed", "reference"):
        _check_frequent(name, getattr(record, name))
    for name in ("code_recommended", "drug_name"):
        if getattr(record, name) is not None:
            _check_frequent(name, getattr(record, name))
    if not isinstance(record, CutRecord):  # those of a situation are checked once
        for rule in record.fired:
            _check_rule(rule)
    if record.charge is not None and (type(record.charge) is not int or abs(record.charge) >= 2**63):
        raise RecordRefused(f"charge: whole cents are expected, found {record.charge!r}")


def _check_rule(rule: str) -> None:
    _check_text("fired", rule)
    if "\n" in rule:
        raise RecordRefused(f"fired: a rule id holds a line break: {rule!r}")


def _check_text(name: str, value: object, pattern: re.Pattern[str] | None = None) -> None:
    """Refuses what some database would refuse or change: no text, too long for an index, no UTF-8, NUL."""
    text = _encoded(name, value)
    if len(text) > _TEXT_LIMIT and len(str(value)) > _TEXT_LIMIT:
        raise RecordRefused(f"{name}: at most {_TEXT_LIMIT} characters are kept, found {len(str(value))}")
    if pattern is not None and not pattern.fullmatch(str(value)):
        raise RecordRefused(f"{name}: {value!r} does not look like {pattern.pattern}")


_check_frequent = lru_cache(maxsize=8_192, typed=True)(_check_text)


def _encoded(name: str, value: object) -> bytes:
    if not isinstance(value, str) or not value:
        raise RecordRefused(f"{name}: a text is expected, found {value!r}")
    try:
        text = value.encode("utf-8")
    except UnicodeEncodeError:
        raise RecordRefused(f"{name}: the text has no UTF-8 form") from None
    if b"\0" in text:
        raise RecordRefused(f"{name}: the text holds a NUL character")
    return text


@dataclass(frozen=True)
class _Template:
    """What a stored template gives each of its records; its index is what the table `template_fired` says."""

    texts: tuple[str, ...]
    rules: tuple[str, ...]


_Templates = dict[int, _Template | DamagedRecord]


def _records(connection: Connection, query: Select[Any], templates: _Templates | None = None) -> list[Record]:
    """The records of rows of the table `decision`; `templates` are those read before, and will be those read now."""
    rows = connection.execute(query).all()
    known = {} if templates is None else templates
    _read_templates(connection, rows, known)
    return [_record(row, known) for row in rows]


def _read_templates(connection: Connection, rows: Sequence[Row[Any]], known: _Templates) -> list[int]:
    """Adds the templates of these rows that are not known yet; their ids. A damaged one is known as the damage."""
    new = sorted({row.template for row in rows if isinstance(row.template, int)} - known.keys())
    for start in range(0, len(new), _PAGE):
        query = select(_template).where(_template.c.id.in_(new[start : start + _PAGE]))
        try:
            found = connection.execute(query).all()
        except SQLAlchemyError as error:  # a text that is no UTF-8 fails them all
            known.update({each: DamagedRecord(f"a template can't be read: {error}") for each in new})
            return new
        for row in found:
            try:
                texts = tuple(json.loads(_unpack(row.texts)))
                known[row.id] = _Template(texts, _lines(row.fired_rules))
            except (zlib.error, ValueError, TypeError, AttributeError) as error:
                known[row.id] = DamagedRecord(f"template {row.id} can't be read: {error}")
    return new


def _record(row: Row[Any], templates: _Templates) -> Record:
    values = dict(row._mapping)
    number = values.pop("template")
    try:
        rules = _lines(values.pop("fired_rules"))
        if number is None:
            values |= {name: _unpack(values[name]) for name in ("facts", "claim", "decision")}
            return Record(**values, fired=rules)
        template = templates.get(number)
        if not isinstance(template, _Template):
            raise template or ValueError(f"template {number} is missing")
        if rules:
            raise ValueError("rules are named beside those of the template")
        kept = values["decision"].decode()
        cut = Cut(template.texts, tuple(kept.split("\0")) if kept else ())
        values |= {name: values[name].decode() for name in ("facts", "claim")}
        if "\0" in values["facts"] or "\0" in values["claim"]:
            raise ValueError("a text holds a NUL character")
        values["decision"] = decision_text(row.decision_id, row.decided_at, row.rulebook, row.payer, cut.text())
        return Record(**values, fired=template.rules)
    except (zlib.error, ValueError, TypeError, AttributeError, DamagedRecord) as error:
        raise DamagedRecord(f"record {values['seq']} can't be read: {error}") from error


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


def _chained(item: _Prepared, seq: int, prev_hash: str) -> Record:
    digest = hashlib.sha256(_start(prev_hash))
    digest.update(item.body)
    digest.update(_item(seq))
    own = digest.hexdigest()
    content = dict(zip(_HASHED, _content(item.record), strict=True)) | {"fired": item.fired}
    return Record(**content, seq=seq, prev_hash=prev_hash, hash=own)


# --------------------------------------------------------------------------------------------------- the log

_Outcome = list[Record] | LogError


class Log:
    """A decision log in a database. Threads may share one; processes open their own."""

    def __init__(self, reading: Engine, writing: Engine) -> None:
        self._reading = reading
        self._writing = writing
        self._sqlite = reading.dialect.name == "sqlite"
        self._queue = _Queue(Path(f"{reading.url.database}-queue") if self._sqlite else None)
        self._appender: _SqliteAppender | _ServerAppender = (
            _SqliteAppender(writing) if self._sqlite else _ServerAppender(writing)
        )
        self._kept: set[str] = set()
        # By the identity of their texts, which stay alive here; hashing 15 KB for each record would cost more.
        self._situations: dict[int, _Situation] = {}
        self._situations_guard = threading.Lock()
        _leave_connections_to_the_parent(self)

    @classmethod
    def open(cls, location: str | Path) -> Log:
        """Opens the log at a path (SQLite) or SQLAlchemy URL, and creates its tables where there are none.

        Raises ValueError for a database in memory, LogUnavailable when the database can't be reached, and
        LogError when the tables there were written by another version of this schema.
        """
        log = cls(*_engine(location))
        with _answering():
            version = log._create()
        if version != _FORMAT:
            log.close()
            raise LogError(f"the log has format {version}, this version of byreport reads format {_FORMAT}")
        return log

    def _create(self) -> int:
        for attempt in range(20):
            try:
                with self._reading.connect() as connection:
                    there = inspect(connection).has_table(_format.name)
                if not there:
                    with self._write() as connection:
                        _metadata.create_all(connection)
                        if connection.scalar(select(_format.c.version)) is None:
                            connection.execute(insert(_format), {"id": 1, "version": _FORMAT})
                else:
                    self._upgrade()
                with self._reading.connect() as connection:
                    return int(connection.scalar(select(_format.c.version)) or 0)
            except SQLAlchemyError:
                # Another process may be creating the same tables, or changing the journal mode, just now.
                if attempt == 19:
                    raise
                time.sleep(0.05)
        raise AssertionError("unreachable")

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that writes, when it is this process's turn."""
        with self._queue, self._writing.begin() as connection:
            yield connection

    def _upgrade(self) -> None:
        """A log of format 1 gets the templates and other indexes, which reads it once; its records stay as they are."""
        with self._reading.connect() as connection:
            if connection.scalar(select(_format.c.version)) != 1:
                return
        with self._write() as connection:
            self._take_lock(connection)
            if connection.scalar(select(_format.c.version)) != 1:
                return
            for table in (_template, _template_fired):
                table.create(connection, checkfirst=True)
            kind = _template.c.id.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE decision ADD COLUMN template {kind} REFERENCES template (id)")
            for name in ("narrow", "by_pa_status", "by_code_billed", "by_code_recommended", "by_date_of_service"):
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS decision_{name}")
            for index in _decision.indexes:
                index.create(connection, checkfirst=True)
            connection.execute(update(_format).values(version=_FORMAT))

    def close(self) -> None:
        """Gives the connections back. The log can't be used afterwards."""
        self._appender.close()
        self._reading.dispose()
        self._queue.close()

    # ---- writing

    def append(self, records: Sequence[NewRecord], idempotency: Idempotency | None = None) -> list[Record]:
        """Stores the records in one transaction, in order, and returns them as stored once they are durable.

        With an idempotency key that was used for the same request before, nothing is stored and the records
        of then are returned. Raises RecordRefused, DuplicateDecision, UnknownRulebook, IdempotencyConflict
        (nothing was stored) or LogUnavailable.
        """
        group = self._prepare(records, idempotency)
        with self._queue:
            return _answer(self._append_groups([group])[0])

    def _prepare(self, records: Iterable[NewRecord], idempotency: Idempotency | None) -> _Group:
        if idempotency is not None:
            _check_text("idempotency key", idempotency.key)
            _check_text("request digest", idempotency.digest)
        return _Group(tuple(_prepared(record, self._situation(record)) for record in records), idempotency)

    def _situation(self, record: NewRecord) -> _Situation | None:
        """What the record shares with others; None for a record that was given whole."""
        if not isinstance(record, CutRecord):
            return None
        key = id(record.cut.texts)
        found = self._situations.get(key)
        if found is None or found.fired != record.fired:
            found = _situation(record)
            with self._situations_guard:
                self._situations[key] = found
                if len(self._situations) > _KNOWN_SITUATIONS:
                    del self._situations[next(iter(self._situations))]
        return found

    def _append_groups(self, groups: Sequence[_Group]) -> list[_Outcome]:
        """Stores several callers' groups in one transaction; a group that can't be stored fails alone.

        It has to be this caller's turn in the queue.
        """
        if not any(group.items or group.idempotency for group in groups):
            return [[] for _ in groups]
        try:
            with _answering():
                return self._commit(groups)
        except LogUnavailable as error:
            if not isinstance(error.__cause__, _UNFIT):
                raise
            if len(groups) == 1:
                return [self._reason(groups[0], error)]
        return [self._append_groups([group])[0] for group in groups]

    def _commit(self, groups: Sequence[_Group]) -> list[_Outcome]:
        added: list[tuple[_Prepared, Record]] = []
        outcomes: list[_Outcome | Remembered] = []
        new_keys: list[Remembered] = []
        with self._appender.transaction() as appender:
            seq, prev_hash = appender.last()
            known = self._known_keys(groups)
            for group in groups:
                request = group.idempotency
                if request is not None and request.key in known:
                    before = known[request.key]
                    outcomes.append(before if before.digest == request.digest else _conflict(request.key))
                    continue
                own: list[Record] = []
                for item in group.items:
                    seq += 1
                    record = _chained(item, seq, prev_hash)
                    prev_hash = record.hash
                    own.append(record)
                    added.append((item, record))
                outcomes.append(own)
                if request is not None:
                    ids = tuple(record.decision_id for record in own)
                    known[request.key] = Remembered(request.key, request.digest, ids)
                    new_keys.append(known[request.key])
            new = {each.digest: each for item, _ in added if (each := item.situation) and each.template is None}
            templates = self._keep_templates(appender, new)
            self._insert_records(appender, added, templates)
            appender.insert(_idempotency, [_key_row(key) for key in new_keys])
        # Only now: what a transaction that failed has stored is not there.
        for digest, situation in new.items():
            situation.template = templates[digest]
        return [self._answered(outcome) for outcome in outcomes]

    def _known_keys(self, groups: Sequence[_Group]) -> dict[str, Remembered]:
        keys = [group.idempotency.key for group in groups if group.idempotency]
        if not keys:
            return {}
        # On another connection, which sees what is committed: nobody else writes now.
        with self._reading.connect() as connection:
            return self._remembered(connection, keys)

    def _answered(self, outcome: _Outcome | Remembered) -> _Outcome:
        if not isinstance(outcome, Remembered):
            return outcome
        try:
            with _answering(), self._reading.connect() as connection:
                return self._by_ids(connection, outcome.decision_ids)
        except LogError as error:  # a damaged log: this caller's error, not that of those who commit with it
            return error

    @staticmethod
    def _take_lock(connection: Connection) -> None:
        """Waits until no other writer is at work."""
        # On SQLite the transaction began with the lock (and FOR UPDATE compiles to nothing).
        connection.execute(select(_format.c.id).with_for_update())

    def _keep_templates(
        self, appender: _SqliteAppender | _ServerAppender, wanted: Mapping[str, _Situation]
    ) -> dict[str, int]:
        """The ids of templates by digest; those that are not stored yet are."""
        if not wanted:
            return {}
        found: dict[str, int] = {}
        digests = list(wanted)
        for start in range(0, len(digests), _PAGE):
            found |= appender.templates(digests[start : start + _PAGE])
        unknown = [wanted[digest] for digest in digests if digest not in found]
        new = list(enumerate(unknown, start=appender.last_template() + 1)) if unknown else []
        appender.insert(_template, [_template_row(number, each) for number, each in new])
        appender.insert(_template_fired, [(number, rule) for number, each in new for rule in each.rules])
        return found | {each.digest: number for number, each in new}

    def _insert_records(
        self,
        appender: _SqliteAppender | _ServerAppender,
        added: Sequence[tuple[_Prepared, Record]],
        templates: Mapping[str, int],
    ) -> None:
        rows: list[tuple[Any, ...]] = []
        fired: list[tuple[Any, ...]] = []
        for item, record in added:
            situation = item.situation
            if situation is None:
                shared: tuple[str, int | None] = ("\n".join(item.fired), None)
                fired += [(record.seq, rule) for rule in item.fired]
            else:
                number = situation.template
                shared = ("", templates[situation.digest] if number is None else number)
            rows.append((record.seq, *item.columns, record.prev_hash, record.hash, *shared, *item.texts))
        appender.insert(_decision, rows)
        appender.insert(_fired, fired)

    def _reason(self, group: _Group, error: LogError) -> LogError:
        """Why a group by itself was refused by the database, in the log's own words."""
        ids = [item.record.decision_id for item in group.items]
        for decision_id in ids:
            if ids.count(decision_id) > 1 or self.get(decision_id) is not None:
                return DuplicateDecision(f"decision {decision_id} is in the log already")
        for name in dict.fromkeys(item.record.rulebook for item in group.items):
            try:
                self.rulebook(name)
            except LogError as reason:
                return reason
        return error

    def check_writable(self) -> None:
        """Takes the writers' lock and gives it back. Raises LogUnavailable when nothing could be appended now."""
        with _answering(), self._write() as connection:
            self._take_lock(connection)

    def keep_rulebook(self, hash: str, data: bytes) -> None:
        """Keeps a rulebook's canonical archive, once; cheap to call before every decision.

        Raises ValueError when `hash` is not the content hash of `data`, LogUnavailable when it could not be
        stored.
        """
        if hash in self._kept:
            return
        if content_hash(data) != hash:
            raise ValueError(f"{hash} is not the content hash of this archive ({content_hash(data)})")
        with _answering(), self._write() as connection:
            self._take_lock(connection)
            if connection.scalar(select(_rulebook.c.hash).where(_rulebook.c.hash == hash)) is None:
                connection.execute(insert(_rulebook), {"hash": hash, "archive": zlib.compress(data, 9)})
        self._kept.add(hash)

    def remember(self, key: str, digest: str, ids: Sequence[str]) -> Remembered:
        """Remembers what was answered under an idempotency key, and returns it, or what was remembered first.

        `append` does this in the transaction of the decisions themselves; this is for answers that store
        none. Raises IdempotencyConflict when the key stands for another request, RecordRefused when the log
        does not hold one of the decisions.
        """
        _check_text("idempotency key", key)
        _check_text("request digest", digest)
        with _answering(), self._write() as connection:
            self._take_lock(connection)
            before = self._remembered(connection, [key]).get(key)
            if before is None:
                self._by_ids(connection, ids)
                before = Remembered(key, digest, tuple(ids))
                names = _idempotency.columns.keys()
                connection.execute(insert(_idempotency), dict(zip(names, _key_row(before), strict=True)))
        if before.digest != digest:
            raise _conflict(key)
        return before

    # ---- reading

    def recall(self, key: str) -> Remembered | None:
        """What was answered under an idempotency key; None when it was never used."""
        with _answering(), self._reading.connect() as connection:
            return self._remembered(connection, [key]).get(key)

    @staticmethod
    def _remembered(connection: Connection, keys: Sequence[str]) -> dict[str, Remembered]:
        found: dict[str, Remembered] = {}
        for start in range(0, len(keys), _PAGE):
            wanted = _idempotency.c.idempotency_key.in_(keys[start : start + _PAGE])
            for row in connection.execute(select(_idempotency).where(wanted)):
                found[row.idempotency_key] = _remembered(row)
        return found

    @staticmethod
    def _by_ids(connection: Connection, ids: Sequence[str]) -> list[Record]:
        found: dict[str, Record] = {}
        for start in range(0, len(ids), _PAGE):
            wanted = _decision.c.decision_id.in_(ids[start : start + _PAGE])
            for record in _records(connection, select(_decision).where(wanted)):
                found[record.decision_id] = record
        missing = [decision_id for decision_id in ids if decision_id not in found]
        if missing:
            raise RecordRefused(f"the log holds no decision {missing[0]}")
        return [found[decision_id] for decision_id in ids]

    def get(self, decision_id: str) -> Record | None:
        """The decision with this id; None when there is none."""
        found = self._records(select(_decision).where(_decision.c.decision_id == decision_id))
        return found[0] if found else None

    def head(self) -> tuple[int, str]:
        """The last record's place and hash; (0, GENESIS) when the log is empty."""
        last = select(_decision.c.seq, _decision.c.hash).order_by(_decision.c.seq.desc()).limit(1)
        with _answering(), self._reading.connect() as connection:
            row = connection.execute(last).first()
        return (row.seq, row.hash) if row else (0, GENESIS)

    def recent(self, limit: int = 50, before_seq: int | None = None) -> list[Record]:
        """The latest records, newest first; with `before_seq`, the latest before that one (the next page)."""
        return self.search(Filters(), limit, before_seq)

    def search(
        self, filters: Filters, limit: int = 50, before_seq: int | None = None, rules: Sequence[str] = ()
    ) -> list[Record]:
        """The latest records that match, newest first; the next page is the one before the last record's seq.

        At least one of `rules` (and of the filters' `rule`), if there are any, must have fired. Raises ValueError
        for a limit below 1 or above 1000.
        """
        if not 1 <= limit <= 1000:
            raise ValueError(f"limit: 1 to 1000 records can be asked for at once, found {limit}")
        if filters.rule is not None:
            rules = [*rules, filters.rule]
        with _answering(), self._reading.connect() as connection:
            found = _Search(connection, filters, rules, before_seq).seqs(limit)
            records: list[Record] = []
            for start in range(0, len(found), _PAGE):
                page = select(_decision).where(_decision.c.seq.in_(found[start : start + _PAGE]))
                records += _records(connection, page.order_by(_decision.c.seq.desc()))
        return records

    def payers(self) -> list[str]:
        """Every payer the log has a decision of, in order; quick however long the log is."""
        with _answering(), self._reading.connect() as connection:
            return _payers(connection)

    def iterate(self, first_seq: int = 1, last_seq: int | None = None) -> Iterator[Record]:
        """The records from `first_seq` to `last_seq` (both included), oldest first, read a page at a time.

        Without `last_seq`, up to the last record at the time of the call. Raises DamagedRecord at a record
        that can't be read.
        """
        end = self.head()[0] if last_seq is None else last_seq
        return self._pages(first_seq, end)

    def _pages(self, first_seq: int, end: int) -> Iterator[Record]:
        templates: _Templates = {}
        while first_seq <= end:
            # Pages and not one long cursor: a reader that stays open would keep the write-ahead log growing.
            page = select(_decision).where(_decision.c.seq.between(first_seq, end))
            records = self._records(page.order_by(_decision.c.seq).limit(_PAGE), templates)
            if not records:
                return
            yield from records
            first_seq = records[-1].seq + 1

    def _records(self, query: Select[Any], templates: _Templates | None = None) -> list[Record]:
        with _answering(), self._reading.connect() as connection:
            return _records(connection, query, templates)

    def rulebook(self, hash: str) -> bytes:
        """The canonical archive of a rulebook.

        Raises UnknownRulebook when the log does not keep it, DamagedRecord when it no longer gives its hash.
        """
        with _answering(), self._reading.connect() as connection:
            packed = connection.scalar(select(_rulebook.c.archive).where(_rulebook.c.hash == hash))
        if packed is None:
            raise UnknownRulebook(f"the log keeps no rulebook {hash}")
        try:
            data = zlib.decompress(packed)
        except (zlib.error, TypeError) as error:
            raise DamagedRecord(f"the archive of rulebook {hash} can't be read: {error}") from error
        if content_hash(data) != hash:
            raise DamagedRecord(f"the archive of rulebook {hash} was altered: it gives {content_hash(data)}")
        return data

    def rulebooks(self) -> list[KeptRulebook]:
        """Every rulebook the log keeps, by its first use, as the chained decisions tell it."""
        # One look into the index for each rulebook; grouping would walk all of it.
        used = _decision.alias()
        first = select(func.min(used.c.seq)).where(used.c.rulebook == _rulebook.c.hash).scalar_subquery()
        query = select(_rulebook.c.hash, _decision.c.seq, _decision.c.decided_at).select_from(
            _rulebook.outerjoin(_decision, _decision.c.seq == first)
        )
        with _answering(), self._reading.connect() as connection:
            kept = [KeptRulebook(*row) for row in connection.execute(query)]
        return sorted(kept, key=lambda each: (each.first_seq is None, each.first_seq or 0, each.hash))

    # ---- verifying

    def verify(self, progress: Callable[[int, int], None] | None = None, last_seq: int | None = None) -> Verification:
        """Recomputes the chain from its beginning and names the first record that does not fit.

        Also checked: that the indexes of rules that fired say what the records say, that every rulebook used
        is kept and gives its hash, and that the idempotency keys name decisions of this log. Records appended meanwhile
        are left to the next time. `progress` is called with the records checked and the records to check.
        What a valid chain can't show, see `verify_checkpoint`: an end cut off, or everything written anew.
        """
        with _answering():
            return _Verifier(self._reading, self.rulebook, progress).run(last_seq)


def _answer(outcome: _Outcome) -> list[Record]:
    if isinstance(outcome, LogError):
        raise outcome
    return outcome


def _conflict(key: str) -> IdempotencyConflict:
    return IdempotencyConflict(f"idempotency key {key!r} was used before, for another request")


def _key_row(key: Remembered) -> tuple[str, str, str]:
    return key.key, key.digest, "\n".join(key.decision_ids)


def _template_row(number: int, situation: _Situation) -> tuple[int, str, str, bytes]:
    return number, situation.digest, "\n".join(situation.rules), _pack(dumps(situation.texts).encode())


def _remembered(row: Row[Any]) -> Remembered:
    return Remembered(row.idempotency_key, row.digest, tuple(row.decision_ids.split()))


_FEW = 1_000
"""Records of which every one can be looked at while somebody waits."""


class _Search:
    """One search: which index it walks, and what it tests on the way.

    A column whose value is rare is walked by its own index. Where none is rare, the latest match is likely near; if
    there is none, the narrow index has been walked from end to end, and no record read.
    """

    def __init__(self, connection: Connection, filters: Filters, rules: Sequence[str], before_seq: int | None) -> None:
        self.connection = connection
        self.before_seq = before_seq
        self.rules = tuple(rules)
        self.exact = {name: value for name in _EXACT if (value := getattr(filters, name)) is not None}
        self.tests = _ranges(filters)
        if filters.payer_below is not None:
            top = filters.payer_below
            below = [path for path in _payers(connection) if path == top or path.startswith(top + "/")]
            if len(below) == 1 and "payer" not in self.exact:
                self.exact["payer"] = below[0]
            else:
                self.tests.append(_decision.c.payer.in_(below))

    def seqs(self, limit: int) -> list[int]:
        """The places of the latest matches, the latest first."""
        if self.rules and not self.exact and not self.tests:
            return self._by_rules(limit)
        tests = [_decision.c[name] == value for name, value in self.exact.items()] + self.tests
        driver = self._driver()
        if self.rules:
            tests.append(_decision.c.seq.in_(self._by_fired()) if driver == "rules" else self._has_fired())
        query = self._latest(select(_decision.c.seq).where(*tests), _decision.c.seq, limit)
        if driver is not None and driver != "rules":
            query = query.with_hint(_decision, f"INDEXED BY {driver}", "sqlite")
        return list(self.connection.scalars(query))

    def _latest(self, query: Select[Any], seq: ColumnElement[int], limit: int) -> Select[Any]:
        if self.before_seq is not None:
            query = query.where(seq < self.before_seq)
        return query.order_by(seq.desc()).limit(limit)

    def _by_rules(self, limit: int) -> list[int]:
        found: set[int] = set()
        for rule in self.rules:
            query = select(_fired.c.seq).where(_fired.c.rule_id == rule)
            found.update(self.connection.scalars(self._latest(query, _fired.c.seq, limit)))
        found.update(self._by_templates(limit))
        return sorted(found, reverse=True)[:limit]

    def _by_templates(self, limit: int) -> Iterator[int]:
        """The latest records whose template has one of the rules: all of them where they are few, else on the way."""
        query = select(_decision.c.seq).where(self._of_templates())
        few = self._count(query) <= _FEW
        index = "decision_by_template" if few else _narrow.name
        yield from self.connection.scalars(
            self._latest(query, _decision.c.seq, limit).with_hint(_decision, f"INDEXED BY {index}", "sqlite")
        )

    def _of_templates(self) -> ColumnElement[bool]:
        with_rule = select(_template_fired.c.template).where(_template_fired.c.rule_id.in_(self.rules))
        return _decision.c.template.in_(with_rule)

    def _has_fired(self) -> ColumnElement[bool]:
        """Whether one of the rules fired: the template says so, or the table of records without one."""
        itself = exists().where(_fired.c.seq == _decision.c.seq, _fired.c.rule_id.in_(self.rules))
        return self._of_templates() | (_decision.c.template.is_(None) & itself)

    def _by_fired(self) -> Any:
        """The places of all records in which one of the rules fired."""
        itself = select(_fired.c.seq).where(_fired.c.rule_id.in_(self.rules))
        return itself.union_all(select(_decision.c.seq).where(self._of_templates()))

    def _driver(self) -> str | None:
        """The index to walk; "rules" for that of the rules that fired, None for the order of the records."""
        if not self.exact and not self.rules and not self.tests:
            return None
        indexed = {name: value for name, value in self.exact.items() if name in _INDEXED}
        if len(self.exact) == len(indexed) == 1 and not self.rules and not self.tests:
            return f"decision_by_{next(iter(indexed))}"
        counts = {
            f"decision_by_{name}": self._count(select(_decision.c.seq).where(_decision.c[name] == value))
            for name, value in indexed.items()
        }
        if self.rules:
            counts["rules"] = self._count(self._by_fired())
        rarest = min(counts, key=lambda name: counts[name], default=None)
        return rarest if rarest is not None and counts[rarest] <= _FEW else _narrow.name

    def _count(self, query: Any) -> int:
        """How many there are, up to one more than few."""
        few = query.limit(_FEW + 1).subquery()
        return self.connection.scalar(select(func.count()).select_from(few)) or 0


def _ranges(filters: Filters) -> list[ColumnElement[bool]]:
    columns = _decision.c
    tests: list[ColumnElement[bool]] = []
    if filters.date_of_service_from is not None:
        tests.append(columns.date_of_service >= filters.date_of_service_from)
    if filters.date_of_service_to is not None:
        tests.append(columns.date_of_service <= filters.date_of_service_to)
    if filters.decided_from is not None:
        tests.append(columns.decided_at >= filters.decided_from)
    if filters.decided_to is not None:
        day = _DATE.fullmatch(filters.decided_to) is not None
        last = f"{filters.decided_to}T23:59:59.999999Z" if day else filters.decided_to
        tests.append(columns.decided_at <= last)
    return tests


def _payers(connection: Connection) -> list[str]:
    # From one to the next, because "distinct" would walk the whole index.
    first = select(func.min(_decision.c.payer).label("payer")).cte("payers", recursive=True)
    following = select(func.min(_decision.c.payer)).where(_decision.c.payer > first.c.payer).scalar_subquery()
    every = first.union_all(select(following).where(first.c.payer.is_not(None)))
    return sorted(connection.scalars(select(every.c.payer).where(every.c.payer.is_not(None))))


_UNFIT = (IntegrityError, DataError, sqlite3.IntegrityError, sqlite3.DataError)
"""What a database says of rows that it does not take."""


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise LogUnavailable(f"the decision log did not answer: {cause}") from error


_left_to_the_parent: list[object] = []


def _leave_connections_to_the_parent(log: Log) -> None:
    """After a fork the child opens connections of its own; those it inherited stay the parent's."""
    parents = weakref.ref(log)

    def in_child() -> None:
        inherited = parents()
        if inherited is not None:
            # Kept, because closing them is not the child's to do.
            _left_to_the_parent.extend((inherited._reading.pool, inherited._appender.begin_anew()))
            inherited._reading.dispose(close=False)
            inherited._queue.begin_anew()

    os.register_at_fork(after_in_child=in_child)


# ------------------------------------------------------------------------------------------------- verifying


class _Verifier:
    """One walk along the chain."""

    def __init__(
        self,
        engine: Engine,
        rulebook: Callable[[str], bytes],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._engine = engine
        self._rulebook = rulebook
        self._progress = progress
        self._good_rulebooks: set[str] = set()
        self._templates: _Templates = {}
        self._template_rules: dict[int, list[str]] = {}
        self._before: Record | None = None
        self._end = 0
        self._stored_end = 0

    def run(self, last_seq: int | None) -> Verification:
        bounds = select(func.min(_decision.c.seq), func.max(_decision.c.seq))
        with self._engine.connect() as connection:
            lowest, highest = connection.execute(bounds).one()
        if lowest is not None and lowest < 1:
            breach = Breach(lowest, None, "added", f"record {lowest} stands before the first place of the chain")
            return Verification(0, 0, GENESIS, breach)
        self._stored_end = highest or 0
        self._end = self._stored_end if last_seq is None else min(last_seq, self._stored_end)
        found = self._walk()
        if found is None and last_seq is None:
            found = self._stray_fired() or self._stray_templates() or self._dangling_key()
        return self._result(found)

    def _result(self, breach: Breach | None) -> Verification:
        seq, own = (self._before.seq, self._before.hash) if self._before else (0, GENESIS)
        if breach is not None and breach.seq is not None and breach.seq <= seq:
            seq, own = breach.seq - 1, self._hash_at(breach.seq - 1)
        return Verification(seq, seq, own, breach)

    def _walk(self) -> Breach | None:
        for first in range(1, self._end + 1, _PAGE):
            last = min(first + _PAGE - 1, self._end)
            records, fired = self._page(first, last)
            for seq in range(first, last + 1):
                record = records.get(seq)
                breach = self._check(seq, record, fired.get(seq, []))
                if breach is not None:
                    return breach
                assert isinstance(record, Record)
                self._before = record
            if self._progress is not None:
                self._progress(last, self._end)
        return None

    def _page(self, first: int, last: int) -> tuple[dict[int, Record | LogError], dict[int, list[str]]]:
        fired: dict[int, list[str]] = {}
        with self._engine.connect() as connection:
            try:
                records = self._read(connection, first, last, fired)
            except SQLAlchemyError:
                # One unreadable value fails a whole page: the record it is in has to be found.
                records = {}
                for seq in range(first, last + 1):
                    try:
                        records |= self._read(connection, seq, seq, fired)
                    except SQLAlchemyError as error:
                        records[seq] = DamagedRecord(f"record {seq} can't be read: {error}")
            for row in connection.execute(select(_fired).where(_fired.c.seq.between(first, last))):
                fired.setdefault(row.seq, []).append(row.rule_id)
        return records, fired

    def _read(
        self, connection: Connection, first: int, last: int, fired: dict[int, list[str]]
    ) -> dict[int, Record | LogError]:
        """The records by place; to `fired` is added what the index says of their templates."""
        read: dict[int, Record | LogError] = {}
        query = select(_decision).where(_decision.c.seq.between(first, last)).order_by(_decision.c.seq)
        rows = connection.execute(query).all()
        self._read_index(connection, _read_templates(connection, rows, self._templates))
        for row in rows:
            try:
                read[row.seq] = _record(row, self._templates)
            except DamagedRecord as error:
                read[row.seq] = error
            if row.template is not None:
                fired[row.seq] = list(self._template_rules.get(row.template, ()))
        return read

    def _read_index(self, connection: Connection, templates: Sequence[int]) -> None:
        for start in range(0, len(templates), _PAGE):
            wanted = _template_fired.c.template.in_(templates[start : start + _PAGE])
            for row in connection.execute(select(_template_fired).where(wanted)):
                self._template_rules.setdefault(row.template, []).append(row.rule_id)

    def _check(self, seq: int, record: Record | LogError | None, fired: list[str]) -> Breach | None:
        if record is None:
            return Breach(seq, None, "removed", f"record {seq} is missing")
        if isinstance(record, LogError):
            return Breach(seq, None, "altered", str(record))
        if record_hash(record, seq, record.prev_hash) != record.hash:
            return self._misfit(record)
        expected = self._before.hash if self._before else GENESIS
        if record.prev_hash != expected:
            return self._broken_link(record)
        if tuple(sorted(fired)) != record.fired:
            text = f"the index of rules that fired names others for record {seq} than the record does"
            return Breach(seq, record.decision_id, "fired", text)
        return self._check_rulebook(record)

    def _check_rulebook(self, record: Record) -> Breach | None:
        if record.rulebook not in self._good_rulebooks:
            try:
                self._rulebook(record.rulebook)
            except LogError as error:
                return Breach(record.seq, record.decision_id, "rulebook", str(error))
            self._good_rulebooks.add(record.rulebook)
        return None

    def _broken_link(self, record: Record) -> Breach:
        before = self._before
        if before is None:
            text = "record 1 names a record before it; the beginning was removed or written anew"
            return Breach(1, record.decision_id, "removed", text)
        text = f"record {before.seq} was written anew: record {record.seq} holds another hash of it"
        return Breach(before.seq, before.decision_id, "altered", text)

    def _misfit(self, record: Record) -> Breach:
        """Says how a record that does not give its hash in its place came there."""
        seq, written = record.seq, self._written_as(record)
        if written is None:
            following = self._record_at(seq + 1)
            if following is not None and _fits(following, seq):
                return Breach(seq, record.decision_id, "added", f"record {seq} was added among the others")
            text = f"record {seq} does not give its hash: it was altered, or added without one"
            return Breach(seq, record.decision_id, "altered", text)
        if written > seq:
            if self._has_hash(record.prev_hash):
                text = f"record {written} stands in the place of record {seq}"
                return Breach(seq, record.decision_id, "reordered", text)
            return Breach(seq, None, "removed", f"record {seq} is missing; record {written} was put in its place")
        if self._hash_at(written - 1) == record.prev_hash:
            added = self._record_at(written)
            text = f"record {written} was added; the record that stood there is now record {seq}"
            return Breach(written, added.decision_id if added else None, "added", text)
        text = f"record {written} stands in the place of record {seq}"
        return Breach(seq, record.decision_id, "reordered", text)

    def _written_as(self, record: Record) -> int | None:
        """The place at which a record gives its hash, if there is one near the log's."""
        start = hashlib.sha256(_frame(_body(record), 0, record.prev_hash)[: -len(_item(0))])
        for seq in range(1, self._stored_end + 10_000):
            attempt = start.copy()
            attempt.update(_item(seq))
            if attempt.hexdigest() == record.hash:
                return seq
        return None

    def _record_at(self, seq: int) -> Record | None:
        with self._engine.connect() as connection:
            try:
                found = self._read(connection, seq, seq, {}).get(seq)
            except SQLAlchemyError:
                return None
        return found if isinstance(found, Record) else None

    def _hash_at(self, seq: int) -> str:
        if seq < 1:
            return GENESIS
        with self._engine.connect() as connection:
            return str(connection.scalar(select(_decision.c.hash).where(_decision.c.seq == seq)))

    def _has_hash(self, value: str) -> bool:
        with self._engine.connect() as connection:
            return connection.scalar(select(exists().where(_decision.c.hash == value))) is True

    def _stray_fired(self) -> Breach | None:
        outside = (_fired.c.seq < 1) | (_fired.c.seq > self._end)
        owner = exists().where(_decision.c.seq == _fired.c.seq)
        with self._engine.connect() as connection:
            seq = connection.scalar(select(func.min(_fired.c.seq)).where(outside, ~owner))
        if seq is None:
            return None
        return Breach(seq, None, "fired", f"the table fired names rules for record {seq}, which is not there")

    def _stray_templates(self) -> Breach | None:
        owner = exists().where(_template.c.id == _template_fired.c.template)
        with self._engine.connect() as connection:
            number = connection.scalar(select(func.min(_template_fired.c.template)).where(~owner))
        if number is None:
            return None
        return Breach(None, None, "fired", f"rules are named for template {number}, which is not there")

    def _dangling_key(self) -> Breach | None:
        last_key = ""
        while True:
            page = select(_idempotency).where(_idempotency.c.idempotency_key > last_key)
            with self._engine.connect() as connection:
                rows = connection.execute(page.order_by(_idempotency.c.idempotency_key).limit(_PAGE)).all()
                for row in rows:
                    for missing in self._missing(connection, _remembered(row).decision_ids):
                        text = f"idempotency key {row.idempotency_key!r} names a decision that is not there"
                        return Breach(None, missing, "idempotency", text)
            if not rows:
                return None
            last_key = rows[-1].idempotency_key

    @staticmethod
    def _missing(connection: Connection, ids: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(ids), _PAGE):
            part = ids[start : start + _PAGE]
            found = connection.scalars(select(_decision.c.decision_id).where(_decision.c.decision_id.in_(part)))
            yield from sorted(set(part) - set(found))


def _fits(record: Record, seq: int) -> bool:
    return record_hash(record, seq, record.prev_hash) == record.hash


# ---------------------------------------------------------------------------------------------- group commit


class _Ticket:
    def __init__(self, group: _Group) -> None:
        self.group = group
        self.outcome: _Outcome | None = None


class Committer:
    """Lets many threads share one transaction.

    While one transaction is being made durable, or waits for another process's, the callers that come meanwhile queue
    up; then one of them commits for all. No thread of its own, so nothing is lost by a fork and nothing waits for
    company. A caller returns when its own records are durable, or with its own error.
    """

    def __init__(self, log: Log, max_records: int = 1000) -> None:
        """`max_records`: how many records one transaction takes at most, a single caller's group excepted."""
        self._log = log
        self._max_records = max_records
        self._changed = threading.Condition()
        """Guards what follows, and tells that a commit is over."""
        self._waiting: deque[_Ticket] = deque()
        self._committing = False
        self._closed = False

    def append(self, records: Sequence[NewRecord], idempotency: Idempotency | None = None) -> list[Record]:
        """As `Log.append`; raises LogError after `close`."""
        ticket = _Ticket(self._log._prepare(records, idempotency))
        with self._changed:
            if self._closed:
                raise LogError("the committer is closed")
            self._waiting.append(ticket)
        while ticket.outcome is None:
            with self._turn(lambda: ticket.outcome is not None) as mine:
                if mine:
                    self._commit_waiting()
        return _answer(ticket.outcome)

    def close(self) -> None:
        """Commits what waits, and takes no more. The log stays open."""
        with self._changed:
            self._closed = True
        while self._waiting or self._committing:
            with self._turn(lambda: not self._waiting) as mine:
                if mine:
                    self._commit_waiting()

    @contextmanager
    def _turn(self, done: Callable[[], bool]) -> Iterator[bool]:
        """Waits until nobody else commits, and keeps others from it; or until there is nothing left to do: False."""
        mine = False
        try:
            with self._changed:
                self._changed.wait_for(lambda: done() or not self._committing)
                if not done():
                    mine = self._committing = True
            yield mine
        finally:
            if mine:
                with self._changed:
                    self._committing = False
                    self._changed.notify_all()

    def _commit_waiting(self) -> None:
        tickets: list[_Ticket] = []
        try:
            with self._log._queue:
                # Only now: whoever came while another process had its turn comes along.
                self._take(tickets)
                outcomes = self._log._append_groups([ticket.group for ticket in tickets])
        except BaseException as error:
            for ticket in tickets:
                ticket.outcome = LogUnavailable(str(error) or type(error).__name__)
            if not isinstance(error, LogError):
                raise
            return
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.outcome = outcome

    def _take(self, tickets: list[_Ticket]) -> None:
        count = 0
        with self._changed:
            while self._waiting and (not tickets or count + len(self._waiting[0].group.items) <= self._max_records):
                # In this order, so that an interrupt between the two leaves nobody waiting for ever.
                tickets.append(self._waiting[0])
                self._waiting.popleft()
                count += len(tickets[-1].group.items)


# ----------------------------------------------------------------------------------------------- checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a log's end was at a moment, signed. Kept away from the log, it pins down everything before it.

    `signed_at` is UTC as `now` writes it, `key` the SHA-256 of the raw public key, `signature` Ed25519, in
    hex.
    """

    seq: int
    hash: str
    signed_at: str
    key: str
    signature: str

    def to_json(self) -> str:
        """The checkpoint as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Checkpoint:
        """Reads what `to_json` wrote; raises ValueError for anything else."""
        data = json.loads(text)
        expected = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or set(data) != expected:
            raise ValueError(f"a checkpoint has the members {', '.join(sorted(expected))}")
        if type(data["seq"]) is not int or not all(isinstance(data[n], str) for n in expected - {"seq"}):
            raise ValueError("a checkpoint's seq is a whole number, its other members are texts")
        return cls(**data)

    def _signed(self) -> bytes:
        return b"".join(map(_item, ("byreport checkpoint 1", self.seq, self.hash, self.signed_at, self.key)))


def new_private_key() -> bytes:
    """A new Ed25519 private key for checkpoints: PKCS #8 PEM, not encrypted."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key_of(private_key: bytes) -> bytes:
    """The public key (PEM) of a private key (PEM); raises ValueError for what is no Ed25519 key."""
    return (
        _private(private_key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def checkpoint(log: Log, private_key: bytes) -> Checkpoint:
    """Signs the log's present end with a private key (PEM). It does not verify the log first.

    Raises ValueError for what is no Ed25519 key.
    """
    key = _private(private_key)
    seq, own = log.head()
    unsigned = Checkpoint(seq, own, now(), _fingerprint(key.public_key()), "")
    return Checkpoint(seq, own, unsigned.signed_at, unsigned.key, key.sign(unsigned._signed()).hex())


def verify_checkpoint(
    log: Log, checkpoint: Checkpoint, public_key: bytes, chain: Verification | None = None
) -> Verification:
    """Verifies the log up to a checkpoint, and that it is the log the checkpoint was made of.

    Besides the breaches of `Log.verify`: "signature" (the checkpoint is not the key's), "removed" (the log
    ends before it) and "rewritten" (a valid chain, but another one). `chain` is the result of a `Log.verify`
    just made, to spare a second walk. Raises ValueError for what is no Ed25519 public key (PEM).
    """
    key = _public(public_key)
    if not _signature_holds(checkpoint, key):
        text = f"the checkpoint at record {checkpoint.seq} is not signed with this key"
        return Verification(0, 0, GENESIS, Breach(None, None, "signature", text))
    found = chain if chain is not None else log.verify(last_seq=checkpoint.seq)
    if found.breach is not None:
        return found
    if found.seq < checkpoint.seq:
        text = f"the log ends at record {found.seq}; at {checkpoint.signed_at} it held {checkpoint.seq}"
        return replace(found, breach=Breach(found.seq + 1, None, "removed", text))
    last = next(log.iterate(checkpoint.seq, checkpoint.seq), None)
    own = last.hash if last else GENESIS
    if own == checkpoint.hash:
        return found
    text = f"record {checkpoint.seq} or one before it was written anew after {checkpoint.signed_at}"
    decision_id = last.decision_id if last else None
    return replace(found, breach=Breach(checkpoint.seq, decision_id, "rewritten", text))


def _signature_holds(checkpoint: Checkpoint, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(bytes.fromhex(checkpoint.signature), checkpoint._signed())
    except (InvalidSignature, ValueError):
        return False
    return True


def _fingerprint(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def _private(pem: bytes) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the private key is not an Ed25519 key")
    return key


def _public(pem: bytes) -> Ed25519PublicKey:
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is not an Ed25519 key")
    return key
