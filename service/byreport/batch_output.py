"""What a batch writes: rows and rejects appended in order to files that can be cut back to a known length.

JSON lines are appended as they are. Rows of a Parquet file are kept as Arrow streams, each after its length, until
all are there: a Parquet file can't be continued.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_LENGTH = struct.Struct("<Q")
ROW_GROUP = 65_536


class Appended:
    """A file that grows. `size` is how much of it counts."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def append(self, data: bytes) -> None:
        """Write at the end."""
        self._file.write(data)
        self.size += len(data)

    def sync(self) -> None:
        """Come back when all that was appended is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def in_order(portions: Sequence[tuple[Sequence[int], Sequence[bytes]]]) -> bytes:
    """The texts of several portions of one chunk in the order of their lines."""
    if len(portions) == 1:
        return b"".join(portions[0][1])
    pairs = [pair for lines, texts in portions for pair in zip(lines, texts, strict=True)]
    pairs.sort()
    return b"".join([text for _, text in pairs])


def framed(portions: Sequence[bytes]) -> bytes:
    """The Arrow streams of several portions of one chunk as one, in the order of their lines, after its length."""
    import pyarrow as pa

    tables = [rows_of(portion) for portion in portions]
    table = tables[0] if len(tables) == 1 else pa.concat_tables(tables).sort_by("line")
    data = _stream(table.combine_chunks())
    return _LENGTH.pack(len(data)) + data


def rows_of(data: bytes) -> pa.Table:
    """The rows of an Arrow stream."""
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()


def batch_bytes(outcomes: list[str], facts: list[str]) -> bytes:
    """Rows as an Arrow stream, from their JSON lines without the facts, and the facts of each."""
    import pyarrow as pa
    import pyarrow.json as pj

    schema = row_schema()
    if not outcomes:
        return _stream(schema.empty_table())
    data = "".join(outcomes).encode()
    parsed = pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema.remove(schema.get_field_index("facts"))),
    )
    return _stream(parsed.append_column("facts", pa.array(facts, pa.string())).select(schema.names))


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _tables(path: Path) -> Iterator[pa.Table]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield rows_of(file.read(_LENGTH.unpack(head)[0]))


def write_parquet(streams: Path, output: Path) -> None:
    """The rows of a file of Arrow streams as a Parquet file; in its place only when it is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = output.with_name(output.name + ".tmp")
    repeated = [name for name in row_schema().names if name not in ("facts", "decision_id", "line")]
    with pq.ParquetWriter(made, row_schema(), compression="zstd", use_dictionary=repeated) as writer:
        held: list[pa.Table] = []
        for table in _tables(streams):
            held.append(table)
            if sum(each.num_rows for each in held) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))
    with made.open("r+b") as file:
        os.fsync(file.fileno())
    made.replace(output)


@lru_cache(maxsize=1)
def row_schema() -> pa.Schema:
    """The columns of a row in a columnar file."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())

    def entries(*names: str) -> Any:
        return pa.list_(pa.struct([(name, text) for name in names]))

    return pa.schema(
        [
            ("line", pa.int64()),
            ("decision_id", text),
            ("decided_at", text),
            ("rulebook", text),
            ("payer", text),
            ("outcome", text),
            ("code_billed", text),
            ("code_recommended", text),
            ("prior_authorization", text),
            ("documents_missing", texts),
            ("documents_present", texts),
            ("edits", entries("field", "expected")),
            ("denials", entries("group", "carc", "rarc")),
            ("pricing_basis", text),
            ("pricing_percent", text),
            ("pricing_estimate", text),
            ("deadlines", entries("what", "date")),
            ("exclusions", texts),
            ("questions", texts),
            ("cautions", texts),
            ("fired", texts),
            ("facts", text),
        ]
    )
