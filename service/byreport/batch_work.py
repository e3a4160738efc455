"""The deciding side of a batch: a portion of raw lines in, rows and rejects out. One machine and Spark share it."""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from byreport import facts as facts_
from byreport.batch_input import Decoder, Portion, Read
from byreport.batch_tally import Tally
from byreport.claim import ClaimError, ClaimLine
from byreport.compact import Brief, Row, Rows, brief_of
from byreport.desk import Decided, Desk
from byreport.facts import Facts
from byreport.findings import RulebookError
from byreport.jsontext import dumps
from byreport.linereader import LineReader
from byreport.log import Idempotency, Log, now
from byreport.reference import Reference
from byreport.rulebook import PayerRules, Rulebook, UnknownPayer

if TYPE_CHECKING:
    from byreport.docket import Docket


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


SITUATIONS = 15_000
"""Situations already decided that are kept in brief; the one not met for longest goes first."""


class Worker:
    """A desk with what it needs to decide portions."""

    def __init__(self, recipe: Recipe, decoder: Decoder | None = None) -> None:
        self.recipe = recipe
        self.decoder = decoder
        self.rulebook = Rulebook.from_archive(recipe.archive)
        self.log = Log.open(recipe.log) if recipe.log else None
        reference = Reference.load(recipe.reference)
        # The log takes whole decisions; rows need little of one, which is kept here: no need for the desk to keep more.
        self.desk = Desk(self.rulebook, reference) if self.log else Desk(self.rulebook, reference, situations=1)
        self.reader = LineReader(self.rulebook.vocabulary)
        self.rows = Rows(self.rulebook.hash)
        self._run = uuid.UUID(recipe.run).bytes
        self._known: OrderedDict[Any, Brief] = OrderedDict()
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
        rejects: list[Read] = []
        # Step by step, not line by line: a step's code stays in the processor's cache while all lines go through it.
        reads = list(self.decoder.decode(portion, self.reader))
        placed = _each(reads, self._placed, rejects)
        complete = _each(placed, self._complete, rejects)
        if self.log is None:
            moment = now()
            rows = _each(complete, lambda line: self._row(line, moment), rejects)
        else:
            rows = self._recorded(self.log, portion, _each(complete, self._decided, rejects))
        outcomes = [self.rows.outcome_text(row) for row in rows]
        facts = [facts_.as_text(row.facts) for row in rows]
        tally = Tally()
        tally.add_decisions((row.payer, row.brief, row.facts.shown.get("line.charge")) for row in rows)
        for read in rejects:
            tally.add_reject(read.problems)
        refused = sorted((read.line, reject_text(read).encode() + b"\n") for read in rejects)
        return Result([row.line for row in rows], self._written(outcomes, facts), refused, tally.stored())

    def _written(self, outcomes: list[str], facts: list[str]) -> Any:
        if not self.recipe.columnar:
            return [f'{outcome},"facts":{part}}}\n'.encode() for outcome, part in zip(outcomes, facts, strict=True)]
        from byreport.batch_output import batch_bytes

        return batch_bytes([outcome + "}\n" for outcome in outcomes], facts)

    def _placed(self, read: Read) -> _Placed:
        if read.claim is None:
            raise ClaimError(read.problems)
        return read, read.claim, self.rulebook.payer(facts_.payer_path(read.claim, self.desk.reference))

    def _complete(self, placed: _Placed) -> _Complete:
        read, line, payer = placed
        return read, line, payer, facts_.of_line(payer.payer, line, self.desk.reference, self.rulebook.vocabulary)

    def _row(self, complete: _Complete, moment: str) -> Row:
        """The row of a line whose decision is not recorded. Of the whole decision, which is large, nothing is kept."""
        read, _, payer, facts = complete
        situation = self.desk.situation(payer, facts)
        brief = self._known.get(situation)
        if brief is None:
            brief = self._known[situation] = brief_of(self.desk.decision(payer, facts).template)
            if len(self._known) > SITUATIONS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(situation)
        return Row(read.line, decision_id(self._run, read.line), moment, payer.payer, brief, facts)

    def _decided(self, complete: _Complete) -> tuple[Read, Decided]:
        read, line, payer, facts = complete
        return read, self.desk.decide_facts(line, payer, facts)

    def _recorded(self, log: Log, portion: Portion, decided: list[tuple[Read, Decided]]) -> list[Row]:
        """The rows of lines whose decisions go to the log, with the ids and times that they have there."""
        if not decided:
            return []
        docket = self._recording(log)
        made = [docket.new_record(one, read.given()) for read, one in decided]
        # A portion that was recorded just before the run was killed is not recorded again: the log knows its key.
        key = f"batch {self.recipe.run} {portion.lines[0]}"
        digest = hashlib.sha256(",".join(map(str, portion.lines)).encode()).hexdigest()
        rows = []
        for (read, one), kept in zip(decided, log.append(made, Idempotency(key, digest)), strict=True):
            brief = brief_of(one.decision.template)
            rows.append(Row(read.line, kept.decision_id, kept.decided_at, one.decision.payer, brief, one.facts))
        return rows

    def _recording(self, log: Log) -> Docket:
        if self._docket is None:
            from byreport.docket import Docket

            log.keep_rulebook(self.rulebook.hash, self.rulebook.archive())
            self._docket = Docket(self.desk, log)
        return self._docket


def decision_id(run: bytes, line: int) -> str:
    """The id of a line's decision: the UUID, version 5, of the line's number in the run's namespace."""
    made = hashlib.sha1(run + b"%d" % line, usedforsecurity=False).hexdigest()
    return f"{made[:8]}-{made[8:12]}-5{made[13:16]}-{_VARIANT[made[16]]}{made[17:20]}-{made[20:32]}"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


_Placed = tuple[Read, ClaimLine, PayerRules]
_Complete = tuple[Read, ClaimLine, PayerRules, Facts]
_A = TypeVar("_A", Read, _Placed, _Complete)
_B = TypeVar("_B")


def _each(entries: Iterable[_A], step: Callable[[_A], _B], rejects: list[Read]) -> list[_B]:
    """What a step makes of each entry; lines it refuses are added to `rejects`."""
    made = []
    for entry in entries:
        try:
            made.append(step(entry))
        except UnknownPayer as error:
            problems: Mapping[str, str] = {"payer": str(error)}
        except RulebookError as error:
            found = "; ".join(str(finding) for finding in error.findings)
            problems = {"payer": f"its rules can't be used: {found}"}
        except ClaimError as error:
            problems = error.problems
        else:
            continue
        read = entry if isinstance(entry, Read) else entry[0]
        rejects.append(read._replace(claim=None, problems=dict(problems)))
    return made


def reject_text(read: Read) -> str:
    """A line that could not be decided, as JSON: its number, and what is wrong by field. What it says is not kept."""
    return dumps({"line": read.line, "problems": read.problems})


__all__ = ["Recipe", "Result", "Worker", "decision_id", "reject_text"]
