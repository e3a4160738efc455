"""The deciding side of a batch: a portion of raw lines in, rows and rejects out. One machine and Spark share it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byreport import facts as facts_
from byreport.batch_input import Decoder, Portion, Read
from byreport.batch_tally import Tally
from byreport.claim import ClaimError
from byreport.compact import Rows
from byreport.desk import Decided, Desk
from byreport.findings import RulebookError
from byreport.linereader import LineReader
from byreport.log import Idempotency, Log, now
from byreport.reference import Reference
from byreport.rulebook import Rulebook, UnknownPayer

if TYPE_CHECKING:
    from byreport.docket import Docket

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to decide as every other does; sent to it.

    `archive` is the rulebook's, `reference` the overlay directory. `run` is the id from which decision ids follow.
    `log` is where decisions are recorded too.
    """

    archive: bytes
    reference: Path | None
    run: str
    columnar: bool = False
    log: str | None = None


@dataclass(frozen=True)
class Result:
    """What became of a portion. `rows` are JSON texts (UTF-8, with line end), or one Arrow stream of all rows."""

    lines: list[int]
    rows: Any
    rejects: list[tuple[int, bytes]]
    tally: dict[str, Any]


class Worker:
    """A desk with what it needs to decide portions."""

    def __init__(self, recipe: Recipe, decoder: Decoder | None = None) -> None:
        self.recipe = recipe
        self.decoder = decoder
        self.rulebook = Rulebook.from_archive(recipe.archive)
        self.desk = Desk(self.rulebook, Reference.load(recipe.reference))
        self.reader = LineReader(self.rulebook.vocabulary)
        self.rows = Rows()
        self.run = uuid.UUID(recipe.run)
        self.log = Log.open(recipe.log) if recipe.log else None
        self._docket: Docket | None = None

    def close(self) -> None:
        """Free the engine's memory and the log."""
        self.desk.close()
        if self._docket is not None:
            self._docket.close()
        elif self.log is not None:
            self.log.close()

    def decide(self, portion: Portion) -> Result:
        """Decide every line of a portion. Raises LogError when decisions can't be recorded."""
        assert self.decoder is not None
        decided, rejects = self.decided(self.decoder.decode(portion, self.reader))
        ids = self._ids(decided, portion)
        tally = Tally()
        lines = [read.line for read, _ in decided]
        tally.add_decisions((one.decision, one.facts.shown.get("line.charge")) for _, one in decided)
        for read in rejects:
            tally.add_reject(read.problems)
        refused = [(read.line, reject_text(read).encode() + b"\n") for read in rejects]
        return Result(lines, self._rows(decided, ids), refused, tally.stored())

    def _rows(self, decided: list[tuple[Read, Decided]], ids: list[tuple[str, str]]) -> Any:
        numbered = [(read.line, one, *found) for (read, one), found in zip(decided, ids, strict=True)]
        if not self.recipe.columnar:
            return [self.rows.text(*each).encode() + b"\n" for each in numbered]
        from byreport.batch_output import batch_bytes

        outcomes = [self.rows.outcome_text(*each) + "}\n" for each in numbered]
        return batch_bytes(outcomes, [self.rows.facts_text(one.facts) for _, one in decided])

    def decided(self, reads: Iterable[Read]) -> tuple[list[tuple[Read, Decided]], list[Read]]:
        """The lines decided, and those that can't be, in order. Lines of one payer are decided one after the other."""
        ready: list[tuple[str, int, Read]] = []
        rejects: list[Read] = []
        for read in reads:
            if read.claim is None:
                rejects.append(read)
                continue
            try:
                ready.append((facts_.payer_path(read.claim, self.desk.reference), read.line, read))
            except UnknownPayer as error:
                rejects.append(_refused(read, str(error)))
        ready.sort(key=lambda entry: entry[:2])
        decided: list[tuple[Read, Decided]] = []
        for path, _, read in ready:
            assert read.claim is not None
            try:
                decided.append((read, self.desk.decide_line(read.claim, self.rulebook.payer(path))))
            except UnknownPayer as error:
                rejects.append(_refused(read, str(error)))
            except RulebookError as error:
                found = "; ".join(str(finding) for finding in error.findings)
                rejects.append(_refused(read, f"its rules can't be used: {found}"))
            except ClaimError as error:
                rejects.append(replace(read, claim=None, problems=dict(error.problems)))
        decided.sort(key=lambda entry: entry[0].line)
        rejects.sort(key=lambda read: read.line)
        return decided, rejects

    def _ids(self, decided: list[tuple[Read, Decided]], portion: Portion) -> list[tuple[str, str]]:
        """The id and time of each decision; with a log, those under which it stands there."""
        if self.log is None:
            moment = now()
            return [(str(uuid.uuid5(self.run, str(read.line))), moment) for read, _ in decided]
        if not decided:
            return []
        docket = self._recording()
        made = [docket.new_record(one, read.data) for read, one in decided]
        # A portion that was recorded just before the run was killed is not recorded again: the log knows its key.
        key = f"batch {self.recipe.run} {portion.lines[0]}"
        digest = hashlib.sha256(",".join(map(str, portion.lines)).encode()).hexdigest()
        return [(record.decision_id, record.decided_at) for record in self.log.append(made, Idempotency(key, digest))]

    def _recording(self) -> Docket:
        assert self.log is not None
        if self._docket is None:
            from byreport.docket import Docket

            self.log.keep_rulebook(self.rulebook.hash, self.rulebook.archive())
            self._docket = Docket(self.desk, self.log)
        return self._docket


def _refused(read: Read, why: str) -> Read:
    return replace(read, claim=None, problems={"payer": why})


def reject_text(read: Read) -> str:
    """A line that could not be decided, as JSON: its number, and what is wrong by field. What it says is not kept."""
    return _encode({"line": read.line, "problems": read.problems})


__all__ = ["Recipe", "Result", "Worker", "reject_text"]
