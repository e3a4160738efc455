"""One decision from start to end: claim JSON in, decision out. The web, the command line and batches call this."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from byreport import claim
from byreport import facts as facts_
from byreport.claim import ClaimLine
from byreport.decision import Decision, decide
from byreport.engine import Engine
from byreport.facts import Facts
from byreport.reference import Reference
from byreport.rulebook import PayerRules, Rulebook

ENGINES = 2_000
"""Compiled payers kept at a time; the one not used for longest goes first."""


@dataclass(frozen=True)
class Decided:
    """A decision with the line and the facts it stands on."""

    line: ClaimLine
    facts: Facts
    decision: Decision


class Desk:
    """A rulebook and reference data, ready to decide. Safe to share between threads."""

    def __init__(self, rulebook: Rulebook, reference: Reference) -> None:
        self.rulebook = rulebook
        self.reference = reference
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def decide(self, data: Any) -> Decided:
        """Decide one claim line given as parsed JSON. Raises ClaimError, UnknownPayer or RulebookError."""
        line = claim.read(data)
        path = facts_.payer_path(line, self.reference)
        return self.decide_line(line, self.rulebook.payer(path))

    def decide_line(self, line: ClaimLine, payer: PayerRules) -> Decided:
        """Decide a line that was read already, under a payer's rules."""
        return self.decide_facts(
            line, payer, facts_.build(payer.payer, line.facts, self.reference, self.rulebook.vocabulary)
        )

    def decide_facts(self, line: ClaimLine, payer: PayerRules, facts: Facts) -> Decided:
        """Decide on facts that were completed already."""
        fired = self.engine(payer).fire(facts.keys)
        return Decided(line, facts, decide(payer, facts, fired, self.rulebook.hash, self.rulebook.vocabulary))

    def engine(self, payer: PayerRules) -> Engine:
        """The compiled rules of a payer; made when first needed."""
        with self._lock:
            engine = self._engines.get(payer.payer)
            if engine is None:
                engine = self._engines[payer.payer] = Engine(payer, self.rulebook.vocabulary)
                if len(self._engines) > ENGINES:
                    _, oldest = self._engines.popitem(last=False)
                    oldest.close()
            else:
                self._engines.move_to_end(payer.payer)
            return engine

    def close(self) -> None:
        """Free the engine's memory."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
