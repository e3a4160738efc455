"""The journal of a batch: how far it got, so that a run that was stopped or killed goes on where it was.

The first line of the file says what is decided with what; every further line how much of the input and of the output
counts. A line that was torn by a kill does not count, nor does anything written after the last whole line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: two runs over one output are not kept apart there
    fcntl = None  # type: ignore[assignment]


class JournalError(Exception):
    """Another run is under way, or was left unfinished over something else."""


@dataclass(frozen=True)
class State:
    """How far a run got: the place in the input, the sizes of the outputs, and what was counted."""

    at: int
    line: int
    rows_size: int = 0
    rejects_size: int = 0
    tally: Mapping[str, Any] = field(default_factory=dict)
    assigned: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = False


class Journal:
    """An open journal, locked against a second run."""

    def __init__(self, path: Path, header: Mapping[str, Any], start: State, afresh: bool = False) -> None:
        """Open a journal that is there, or begin one. Raises JournalError where it is another run's.

        `header` is what has to be the same for a run to go on, but for `run` and `jobs`, which are the first run's.
        With `afresh` what an earlier run left in it is forgotten.
        """
        self.path = path
        self._file = path.open("a+b")
        self._lock()
        if afresh:
            self._file.truncate(0)
        self._file.seek(0)
        whole, entries = _entries(self._file.read())
        # What follows the last whole line was torn; appending to it would tear the next one too.
        self._file.truncate(whole)
        self.resumed = bool(entries)
        if not entries:
            self.header = dict(header)
            self.state = start
            self._append(self.header)
            return
        self.header = entries[0]
        self._compare(header)
        self.state = State(**entries[-1]) if len(entries) > 1 else start

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise JournalError(f"{self.path}: another run is writing this output now") from None

    def _compare(self, header: Mapping[str, Any]) -> None:
        differing = [name for name in header if name not in ("run", "jobs") and self.header.get(name) != header[name]]
        if differing:
            self.close()
            raise JournalError(
                f"{self.path}: a run over something else was left unfinished ({', '.join(differing)} differ); "
                "finish it as it was begun, or start afresh with --overwrite"
            )

    def write(self, state: State) -> None:
        """Keep how far the run got; what `state` counts must be on the disk already."""
        self.state = state
        self._append(vars(state))

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def remove(self) -> None:
        """The run is finished."""
        self.path.unlink(missing_ok=True)
        self.close()


def _entries(data: bytes) -> tuple[int, list[dict[str, Any]]]:
    entries: list[dict[str, Any]] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
        whole += len(line)
    return whole, entries
