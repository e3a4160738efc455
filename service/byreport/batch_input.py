"""What a batch reads: JSON lines, CSV or Parquet, cut into chunks that can be read again from a known place.

The side that cuts (`Input.chunks`) looks at a line no closer than it must to see where it ends and whose it is; the
side that decides (`Decoder.decode`) reads it. The two may be different processes.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from byreport import claim, strictjson
from byreport.claim import ClaimError, ClaimLine
from byreport.claimfile import MAX_CLAIM
from byreport.linereader import PAYER, LineReader, UnknownColumns, problems

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_BOM = b"\xef\xbb\xbf"
_PAYER = re.compile(rb'"payer"\s*:\s*"([^"]*)"')
_STATE = re.compile(rb'"state"\s*:\s*"([^"]*)"')
_HEAD = 1 << 20


class InputError(Exception):
    """A file that can't be read as a work list; the message says why and what would be right."""


class Read(NamedTuple):
    """One line of the file: what it says, or what is wrong with it by field. `data` is the JSON it stood in."""

    line: int
    claim: ClaimLine | None
    problems: dict[str, str]
    data: Any = None

    def given(self) -> Any:
        """The claim as JSON has it, also where it stood in the cells of a table."""
        if self.data is not None or self.claim is None:
            return self.data
        return {PAYER: self.claim.payer, **claim.nested(self.claim.facts)}


@dataclass(frozen=True)
class Portion:
    """Some lines of a chunk, in order, as they stand in the file. `lines` are their numbers in it."""

    lines: Sequence[int]
    raw: Any


@dataclass(frozen=True)
class Place:
    """Where the next chunk begins: a byte of a text file or a row of a Parquet file, and the number of its line."""

    at: int
    line: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of the file. `keys` says whose each line is, as far as can be told without reading it."""

    keys: Sequence[Any]
    after: Place
    select: Callable[[Sequence[int]], Portion]
    """The portion of the chunk's lines with these indexes."""


class Decoder(Protocol):
    """Reads portions; sent to other processes."""

    def decode(self, portion: Portion, reader: LineReader) -> Iterator[Read]:
        """Every line of the portion, in order."""


class Input(Protocol):
    """An open work list."""

    size: int
    """Of the file, in the units of `Place.at`."""
    start: Place
    decoder: Decoder

    def chunks(self, place: Place, lines: int) -> Iterator[Chunk]:
        """The file from a place on, in chunks of that many lines."""


def format_of(path: Path) -> str:
    """The format that a file's name says it has. Raises InputError for an unknown ending."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InputError(f"{path}: the ending says no format; expected {', '.join(sorted(FORMATS))}")
    return found


def open_input(path: Path, ignore: Sequence[str] = ()) -> Input:
    """The work list in a file. Raises InputError.

    `ignore` names columns of a table that are left unread; other columns have to be claim facts, so that nothing
    that identifies a patient gets into the output by accident.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    kind = format_of(path)
    if kind == "jsonl":
        if ignore:
            raise InputError("columns can be ignored in CSV and Parquet files only")
        return JsonLines(path)
    return CsvFile(path, ignore) if kind == "csv" else ParquetFile(path, ignore)


def identity(path: Path) -> dict[str, Any]:
    """What tells this content of the file from another: its size, time of change, and the digest of its beginning."""
    status = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD)).hexdigest()
    return {"path": str(path.resolve()), "size": status.st_size, "changed": status.st_mtime_ns, "head": head}


def _faulty(line: int, text: str, field: str = "line of the file") -> Read:
    return Read(line, None, {field: text})


def _key(payer: Any, state: Any) -> Any:
    """Whose a line is: `medicare` alone stands for the contractors of all states, and is told apart by state."""
    return (payer, state) if payer in ("medicare", b"medicare") else payer


# --- JSON lines -----------------------------------------------------------------------------------------------------


class JsonLines:
    """One claim line as a JSON object on each line; blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.start = Place(0, 1)
        self.decoder: Decoder = JsonDecoder()

    def chunks(self, place: Place, lines: int) -> Iterator[Chunk]:
        """The file from a place on."""
        with self.path.open("rb") as file:
            file.seek(place.at)
            number = place.line
            if place.at == 0 and file.read(len(_BOM)) != _BOM:
                file.seek(0)
            while True:
                numbers: list[int] = []
                raws: list[bytes] = []
                while len(raws) < lines and (raw := _bounded_line(file)):
                    if not raw.isspace():
                        numbers.append(number)
                        raws.append(raw)
                    number += 1
                if not raws:
                    return
                yield Chunk([_json_key(raw) for raw in raws], Place(file.tell(), number), _selector(numbers, raws))


def _bounded_line(file: BinaryIO) -> bytes:
    """The next line; of one that is longer than any claim line only enough to see that it is."""
    raw = file.readline(MAX_CLAIM + 2)
    if len(raw) > MAX_CLAIM + 1 and not raw.endswith(b"\n"):
        while (more := file.readline(MAX_CLAIM)) and not more.endswith(b"\n"):
            pass
    return raw


def _json_key(raw: bytes) -> Any:
    payer = _PAYER.search(raw)
    if payer is None:
        return None
    state = _STATE.search(raw) if payer[1] == b"medicare" else None
    return _key(payer[1], state and state[1])


def _selector(numbers: list[int], raws: list[bytes]) -> Callable[[Sequence[int]], Portion]:
    def select(indexes: Sequence[int]) -> Portion:
        return Portion([numbers[index] for index in indexes], [raws[index] for index in indexes])

    return select


class JsonDecoder:
    """Reads lines of JSON."""

    def decode(self, portion: Portion, reader: LineReader) -> Iterator[Read]:
        """Every line of the portion."""
        for line, raw in zip(portion.lines, portion.raw, strict=True):
            if len(raw) > MAX_CLAIM + 1:
                yield _faulty(line, f"is longer than {MAX_CLAIM:,} bytes; a claim line is far shorter")
                continue
            try:
                read, data = reader.read_text(raw)
                yield Read(line, read, {}, data)
            except (strictjson.JsonError, ClaimError) as error:
                yield Read(line, None, dict(problems(error)))


# --- CSV ------------------------------------------------------------------------------------------------------------


class CsvFile:
    """A table as text, UTF-8, with a header of dotted fact names; separated by commas, semicolons or tabs."""

    def __init__(self, path: Path, ignore: Sequence[str] = ()) -> None:
        self.path = path
        self.size = path.stat().st_size
        with path.open("rb") as file:
            records = _Records(file)
            self.delimiter = _delimiter(file)
            try:
                header = next(csv.reader(records, delimiter=self.delimiter, strict=True), [])
            except (csv.Error, UnicodeDecodeError) as error:
                raise InputError(f"{path}: the header can't be read: {error}") from None
            self.start = Place(records.read, records.lines + 1)
        self.header = [name.strip() for name in header]
        kept = [index for index, name in enumerate(self.header) if name not in ignore]
        _check_columns(path, [self.header[index] for index in kept])
        self.decoder: Decoder = CsvDecoder(self.header, kept, self.delimiter)
        self._payer = self.header.index(PAYER)
        self._state = self.header.index("provider.state") if "provider.state" in self.header else None

    def chunks(self, place: Place, lines: int) -> Iterator[Chunk]:
        """The file from a place on; a record with line breaks in it counts as one line, at the number of its first."""
        with self.path.open("rb") as file:
            file.seek(place.at)
            records = _Records(file, place)
            rows = csv.reader(records, delimiter=self.delimiter, strict=True)
            while True:
                numbers: list[int] = []
                raws: list[bytes] = []
                keys: list[Any] = []
                while len(raws) < lines:
                    records.begin()
                    number = records.lines + 1
                    try:
                        row = next(rows, None)
                    except (csv.Error, UnicodeDecodeError):
                        row, rows = [], csv.reader(records, delimiter=self.delimiter, strict=True)
                    if row is None:
                        break
                    raw = records.record()
                    if not raw.strip():
                        continue
                    numbers.append(number)
                    raws.append(raw)
                    keys.append(self._key_of(row))
                if not raws:
                    return
                yield Chunk(keys, Place(records.read, records.lines + 1), _selector(numbers, raws))

    def _key_of(self, row: list[str]) -> Any:
        if len(row) <= self._payer:
            return None
        state = row[self._state] if self._state is not None and self._state < len(row) else None
        return _key(row[self._payer].strip(), state)


class _Records:
    """The lines of a file as text, keeping the bytes of the record that a reader is in the middle of."""

    def __init__(self, file: BinaryIO, place: Place = Place(0, 1)) -> None:
        self.file = file
        self.read = place.at
        self.lines = place.line - 1
        self._raw: list[bytes] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self.file.readline(MAX_CLAIM)
        if not raw:
            raise StopIteration
        self.read += len(raw)
        self.lines += raw.endswith(b"\n")
        self._raw.append(raw)
        return raw.decode("utf-8-sig" if self.read == len(raw) else "utf-8")

    def begin(self) -> None:
        """A new record begins."""
        self._raw = []

    def record(self) -> bytes:
        """The bytes read since it began."""
        return b"".join(self._raw)


def _delimiter(file: BinaryIO) -> str:
    """Of comma, semicolon and tab the one that stands most often in the first line."""
    first = file.readline(MAX_CLAIM).decode("utf-8", "replace")
    file.seek(0)
    return max(",;\t", key=first.count)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    try:
        LineReader().check_columns(names)
    except UnknownColumns as error:
        raise InputError(
            f"{path}: {error}; columns have the dotted names of claim facts, others can be ignored by name"
        ) from None


@dataclass(frozen=True)
class CsvDecoder:
    """Reads records of a CSV file. `kept` are the indexes of the columns that are read."""

    header: Sequence[str]
    kept: Sequence[int]
    delimiter: str

    def decode(self, portion: Portion, reader: LineReader) -> Iterator[Read]:
        """Every record of the portion."""
        names = [self.header[index] for index in self.kept]
        every = len(names) == len(self.header)
        for line, raw in zip(portion.lines, portion.raw, strict=True):
            try:
                text = raw.decode("utf-8")
                row = next(csv.reader(_physical(text), delimiter=self.delimiter, strict=True))
            except UnicodeDecodeError as error:
                yield _faulty(line, f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8")
                continue
            except csv.Error as error:
                yield _faulty(line, f"is no CSV record: {error}")
                continue
            if len(row) != len(self.header):
                yield _faulty(line, f"has {len(row)} cells where the header has {len(self.header)}")
                continue
            cells = row if every else [row[index] for index in self.kept]
            # A blank cell says nothing; that a value is known to be empty is written `|`.
            yield _of_cells(line, names, [cell if cell and not cell.isspace() else None for cell in cells], reader)


def _physical(text: str) -> list[str]:
    """The record's lines; a line ends at a line feed and nowhere else."""
    *whole, last = text.split("\n")
    return [*(line + "\n" for line in whole), *([last] if last else [])]


def _of_cells(line: int, names: Sequence[str], values: Sequence[Any], reader: LineReader) -> Read:
    try:
        return Read(line, reader.read_cells(names, values), {})
    except ClaimError as error:
        return Read(line, None, dict(error.problems))


# --- Parquet --------------------------------------------------------------------------------------------------------


class ParquetFile:
    """A Parquet file: columns with dotted fact names, or nested as the JSON is."""

    def __init__(self, path: Path, ignore: Sequence[str] = ()) -> None:
        parquet = _parquet()
        self.path = path
        try:
            file = parquet.ParquetFile(path)
        except (
            Exception
        ) as error:  # pyarrow raises several kinds, of which some derive from OSError, some from ValueError
            raise InputError(f"{path}: is no Parquet file: {error}") from None
        with file:
            self.size = file.metadata.num_rows
            schema = file.schema_arrow
        self.start = Place(0, 1)
        # A column without a type (data frames write one where all is null) says nothing, whatever its name.
        self.columns = [field.name for field in schema if field.name not in ignore and str(field.type) != "null"]
        names = leaf_names(schema, self.columns)
        _check_columns(path, names)
        self.decoder: Decoder = ParquetDecoder()
        self._state = "provider.state" if "provider.state" in names else None

    def chunks(self, place: Place, lines: int) -> Iterator[Chunk]:
        """The file from a row on."""
        import pyarrow as pa

        skipped = place.at
        with _parquet().ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=lines, columns=self.columns):
                if skipped >= batch.num_rows:
                    skipped -= batch.num_rows
                    continue
                rest, skipped = batch.slice(skipped), 0
                flat = flattened(rest)
                first = place.at
                place = Place(first + rest.num_rows, place.line + rest.num_rows)
                yield Chunk(self._keys(flat), place, _row_selector(flat, first + 1, pa))

    def _keys(self, batch: pa.RecordBatch) -> list[Any]:
        payers: list[Any] = batch.column(PAYER).to_pylist()
        if self._state is None or self._state not in batch.schema.names:
            return payers
        states = batch.column(self._state).to_pylist()
        return [_key(payer, state) for payer, state in zip(payers, states, strict=True)]


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow; install it with: pip install 'byreport[batch]'") from None
    return pyarrow.parquet


def leaf_names(schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """The dotted names of the columns of a table, those inside nested columns among them."""
    return [leaf for name in columns for leaf in _leaves(schema.field(name), name)]


def _leaves(field: pa.Field, name: str) -> Iterator[str]:
    import pyarrow as pa

    if pa.types.is_struct(field.type):
        for index in range(field.type.num_fields):
            inner = field.type.field(index)
            yield from _leaves(inner, f"{name}.{inner.name}")
    else:
        yield name


def flattened(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with nested columns taken apart into columns with dotted names."""
    import pyarrow as pa

    while any(pa.types.is_struct(field.type) for field in batch.schema):
        columns: list[Any] = []
        names: list[str] = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_struct(field.type):
                names += [f"{field.name}.{inner.name}" for inner in field.type]
                columns += column.flatten()
            else:
                names.append(field.name)
                columns.append(column)
        batch = pa.RecordBatch.from_arrays(columns, names=names)
    return batch


def _row_selector(batch: pa.RecordBatch, first: int, pa_: Any) -> Callable[[Sequence[int]], Portion]:
    def select(indexes: Sequence[int]) -> Portion:
        part = batch if len(indexes) == batch.num_rows else batch.take(pa_.array(indexes, pa_.int64()))
        return Portion([first + index for index in indexes], ipc_bytes(part))

    return select


def ipc_bytes(batch: pa.RecordBatch) -> bytes:
    """The batch with its schema, to be sent to another process."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


class ParquetDecoder:
    """Reads rows of a Parquet file."""

    def decode(self, portion: Portion, reader: LineReader) -> Iterator[Read]:
        """Every row of the portion."""
        import pyarrow as pa

        with pa.ipc.open_stream(portion.raw) as stream:
            for batch in stream:
                yield from decode_rows(portion.lines, batch, reader)


class ArrowDecoder:
    """Reads rows of a flat batch that is in this process already."""

    def decode(self, portion: Portion, reader: LineReader) -> Iterator[Read]:
        """Every row of the batch."""
        return decode_rows(portion.lines, portion.raw, reader)


def decode_rows(lines: Sequence[int], batch: pa.RecordBatch, reader: LineReader) -> Iterator[Read]:
    """Every row of a flat batch; `lines` are their numbers."""
    names = batch.schema.names
    columns = [column.to_pylist() for column in batch.columns]
    for line, values in zip(islice(lines, batch.num_rows), zip(*columns, strict=True), strict=True):
        yield _of_cells(line, names, values, reader)


__all__ = ["Chunk", "Input", "InputError", "Place", "Portion", "Read", "format_of", "open_input"]
