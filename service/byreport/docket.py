"""Decisions that are kept: decide, record, answer from the log, decide again and compare."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from uuid_utils import uuid7

from byreport import facts as facts_
from byreport.decision import Decision, decide
from byreport.desk import Decided, Desk
from byreport.engine import Engine, Handles
from byreport.jsontext import dumps
from byreport.log import Committer, Cut, CutRecord, Idempotency, IdempotencyConflict, Log, NewRecord, Record, now
from byreport.rulebook import Rulebook

_SHORT = 512


@dataclass(frozen=True)
class Replay:
    """A stored decision decided again from its facts and its rulebook. `differences` names the parts that differ."""

    decision_id: str
    same: bool
    differences: tuple[str, ...]
    again: dict[str, Any]


class Docket:
    """A desk with a log. Safe to share between threads; concurrent requests share transactions.

    The desk may be replaced at any moment by one with a newer rulebook (`byreport.live`). Who needs several answers
    of one rulebook asks `for_request()` for them.
    """

    def __init__(self, desk: Desk, log: Log) -> None:
        self.desk = desk
        self.log = log
        self._committer = Committer(log)
        self._kept: set[str] = set()

    def close(self) -> None:
        """Finish writing and free the engine."""
        self._committer.close()
        self.desk.close()
        self.log.close()

    def for_request(self) -> Docket:
        """This docket with the desk of now, whatever desk takes its place meanwhile."""
        return copy.copy(self)

    def decide(self, data: Any) -> Decided:
        """Decide one claim line. Raises ClaimError, UnknownPayer or RulebookError; nothing is recorded."""
        return self.desk.decide(data)

    def record(
        self, decided: Sequence[Decided], claims: Sequence[Any], idempotency: Idempotency | None = None
    ) -> list[str]:
        """Record decisions durably, in one transaction; their JSON texts in the order given.

        With an idempotency key that was used before for the same request, the earlier answers come back.
        Raises IdempotencyConflict for another request under the key, LogError when the log can't be written.
        """
        for rulebook in {one.decision.rulebook: one.rulebook for one in decided}.values():
            self._keep_rulebook(rulebook)
        made = [self.new_record(one, claim) for one, claim in zip(decided, claims, strict=True)]
        return [record.decision for record in self._committer.append(made, idempotency)]

    def recall(self, idempotency: Idempotency) -> list[str] | None:
        """The answers given before under this key, or None. Raises IdempotencyConflict for another request."""
        records = self.recalled(idempotency)
        return None if records is None else [record.decision for record in records]

    def recalled(self, idempotency: Idempotency) -> list[Record] | None:
        """As `recall`, with the records; a line that was refused in the request has none."""
        remembered = self.log.recall(idempotency.key)
        if remembered is None:
            return None
        if remembered.digest != idempotency.digest:
            # append() raises the same conflict; asking first spares deciding.
            raise IdempotencyConflict(f"the idempotency key {idempotency.key!r} was used for another request")
        records = [self.log.get(decision_id) for decision_id in remembered.decision_ids]
        return [record for record in records if record is not None]

    def _keep_rulebook(self, rulebook: Rulebook) -> None:
        if rulebook.hash not in self._kept:
            self.log.keep_rulebook(rulebook.hash, rulebook.archive())
            self._kept.add(rulebook.hash)

    def new_record(self, decided: Decided, claim: Any) -> NewRecord:
        """A decision as the log takes it, with a new id and the time.

        Ids are UUIDs of version 7, which begin with the time: in the index of ids new ones stand side by side, and a
        commit of a hundred writes two of its pages, not a hundred.
        """
        reference = self.desk.reference.fingerprint
        return record_of(decided.decision, dumps(claim), reference, str(uuid7()), now())


def record_of(decision: Decision, claim: str, reference: str, decision_id: str, decided_at: str) -> NewRecord:
    """A decision on a claim line (JSON text) as the log takes it; the same decision always gives the same record."""
    template, facts = decision.template, decision.facts
    shown = facts.shown
    whole = template.whole
    charge = shown.get("line.charge")
    return CutRecord(
        decision_id=decision_id,
        decided_at=decided_at,
        payer=decision.payer,
        outcome=template.outcome,
        pa_status=template.authorization,
        code_billed=shown["line.code"],
        code_recommended=template.recommended,
        drug_name=str(shown["drug.name"])[:_SHORT] if shown.get("drug.name") else None,
        date_of_service=shown["date_of_service"],
        charge=int(Decimal(charge) * 100) if charge else None,
        rulebook=decision.rulebook,
        reference=reference,
        facts=facts_.as_text(facts),
        claim=claim,
        fired=template.fired,
        cut=Cut(whole.texts, whole.values(facts)),
    )


def digest(request: Any) -> str:
    """The digest of a request that an idempotency key stands for."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def replay(log: Log, record: Record) -> Replay:
    """Decide a stored decision again, from the facts and the rulebook of its time, and compare.

    Raises LookupError when the log lacks the rulebook.
    """
    rulebook = Rulebook.from_archive(log.rulebook(record.rulebook))
    facts = facts_.from_text(record.facts, record.payer, rulebook.vocabulary)
    payer = rulebook.payer(record.payer)
    engine = Engine(payer, Handles(rulebook.vocabulary))
    try:
        decision = decide(payer, facts, engine.fire(facts.keys), rulebook.hash, rulebook.vocabulary)
    finally:
        engine.close()
    again = decision.as_dict(record.decision_id, record.decided_at)
    before = json.loads(record.decision)
    after = json.loads(dumps(again))
    parts = sorted(set(before) | set(after))
    differences = tuple(part for part in parts if before.get(part) != after.get(part))
    same = not differences and decision.json(record.decision_id, record.decided_at) == record.decision
    return Replay(record.decision_id, same, differences, again)
