"""What an auditor asks of the log as a whole: decide a range again and compare, and hand it over for others to check.

The chain itself is verified by `Log.verify`; signed checkpoints are in `byreport.log`.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from byreport import facts as facts_
from byreport.desk import SITUATIONS, Desk
from byreport.docket import record_of
from byreport.findings import RulebookError
from byreport.log import DamagedRecord, Log, LogError, NewRecord, Record
from byreport.reference import Reference
from byreport.rulebook import Rulebook, UnknownPayer

RULEBOOKS = 4
"""Rulebooks with their compiled payers that are held at a time."""

_FIELDS = tuple(field.name for field in fields(NewRecord))


@dataclass(frozen=True)
class Difference:
    """A stored decision that does not come out the same, or can't be decided again.

    `parts` are the parts of the decision that differ, and `record.x` for a column of the record. `decision_id` is
    None when the record can't be read.
    """

    seq: int | None
    decision_id: str | None
    parts: tuple[str, ...]
    text: str


class Replayer:
    """Decides stored decisions again, each from its facts and under its own rulebook, as the service would.

    Rulebooks and the payers compiled from them are kept from record to record. With `afresh` every line is reasoned
    out by itself; without, a situation that came up before in this run gets its own values filled in, as in the
    service. `checked` counts the records, `rulebooks` the rulebooks met.
    """

    def __init__(self, log: Log, afresh: bool = False) -> None:
        self.checked = 0
        self.rulebooks: set[str] = set()
        self._log = log
        self._situations = 0 if afresh else SITUATIONS
        self._reference = Reference.load()  # stored facts are complete: nothing is looked up in it
        self._desks: OrderedDict[str, Desk] = OrderedDict()

    def run(
        self, first_seq: int = 1, last_seq: int | None = None, progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[Difference]:
        """The differences from `first_seq` to `last_seq`, both included; `progress` is told each record's seq."""
        try:
            for record in self._log.iterate(first_seq, last_seq):
                self.checked += 1
                difference = self.compare(record)
                if difference is not None:
                    yield difference
                progress(record.seq)
        except DamagedRecord as error:
            yield Difference(None, None, (), f"{error}; nothing behind it was decided again")

    def compare(self, record: Record) -> Difference | None:
        """What differs when a stored decision is decided again; None when nothing does, byte for byte."""
        self.rulebooks.add(record.rulebook)
        if not record.intact:
            return Difference(record.seq, record.decision_id, ("record.hash",), "the record does not give its hash")
        try:
            again = self._again(record)
        except (LogError, RulebookError, UnknownPayer, ValueError, LookupError, TypeError, AttributeError) as error:
            return Difference(record.seq, record.decision_id, (), f"it can't be decided again: {error}")
        parts = _differences(record, again)
        if not parts:
            return None
        return Difference(record.seq, record.decision_id, parts, "decided again it differs in " + ", ".join(parts))

    def _again(self, record: Record) -> NewRecord:
        desk = self._desk(record.rulebook)
        facts = facts_.from_text(record.facts, record.payer, desk.rulebook.vocabulary)
        decision = desk.decision(desk.rulebook.payer(record.payer), facts)
        again = record_of(decision, record.claim, record.reference, record.decision_id, record.decided_at)
        return replace(again, fired=tuple(sorted(set(again.fired))))  # as the log keeps them

    def _desk(self, rulebook: str) -> Desk:
        desk = self._desks.get(rulebook)
        if desk is None:
            made = Rulebook.from_archive(self._log.rulebook(rulebook))
            desk = self._desks[rulebook] = Desk(made, self._reference, self._situations)
            if len(self._desks) > RULEBOOKS:
                self._desks.popitem(last=False)[1].close()
        self._desks.move_to_end(rulebook)
        return desk

    def close(self) -> None:
        """Free the engines."""
        for desk in self._desks.values():
            desk.close()
        self._desks.clear()


def _differences(stored: Record, again: NewRecord) -> tuple[str, ...]:
    columns = [name for name in _FIELDS if name != "decision" and _said(stored, name) != _said(again, name)]
    parts: list[str] = []
    if stored.decision != again.decision:
        before, after = json.loads(stored.decision), json.loads(again.decision)
        parts = [part for part in sorted(before.keys() | after.keys()) if before.get(part) != after.get(part)]
        parts = parts or ["the writing of the same content"]
    return (*parts, *(f"record.{name}" for name in columns))


def _said(record: NewRecord, name: str) -> Any:
    """What a record's field says; of the facts that is the same in any order, and in the form of older records."""
    return facts_.stored(json.loads(record.facts), record.payer) if name == "facts" else getattr(record, name)


def exported(log: Log, first_seq: int = 1, last_seq: int | None = None) -> Iterator[str]:
    """Records as lines of JSON with everything that their hashes are taken of; docs/audit.md says how.

    Raises DamagedRecord at a record that can't be read.
    """
    for record in log.iterate(first_seq, last_seq):
        yield json.dumps(asdict(record), separators=(",", ":"))
