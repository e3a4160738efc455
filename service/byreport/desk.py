"""One decision from start to end: claim JSON in, decision out. The web, the command line and batches call this."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from byreport import claim
from byreport import facts as facts_
from byreport.claim import ClaimLine
from byreport.decision import Decision, argued
from byreport.engine import Engine, Handles
from byreport.facts import Facts
from byreport.findings import RulebookError
from byreport.reference import Reference
from byreport.rulebook import PayerRules, Rulebook, UnknownPayer
from byreport.standing import Standings
from byreport.template import Template

ENGINES = 2_000
"""Compiled payers kept at a time; the oldest goes first."""


SITUATIONS = 10_000
"""Templates of situations already decided that are kept, all payers together: about 15 KB each, a row's alone 7."""

STATES = 100_000
"""What is remembered of rules, all payers together, about 2 KB each; when it is more, the payer with most forgets."""

WARM = 100
"""Payers, the latest first, that a desk's successor compiles before it takes over."""


@dataclass(frozen=True)
class Decided:
    """A decision with the line, the facts and the rulebook it stands on."""

    line: ClaimLine
    facts: Facts
    decision: Decision
    rulebook: Rulebook


class Desk:
    """A rulebook and reference data, ready to decide. Safe to share between threads.

    A line in a situation that was decided before gets that decision with its own values filled in; `hits` and
    `misses` count how often.
    """

    def __init__(self, rulebook: Rulebook, reference: Reference, situations: int = SITUATIONS) -> None:
        """`situations` is how many are kept at most; with 0 each line is decided as if it were the first."""
        self.rulebook = rulebook
        self.reference = reference
        self.hits = 0
        self.misses = 0
        self._bound = situations
        self._sizes: dict[str, int] = {}
        self._states = 0
        self._compiled: OrderedDict[str, tuple[Engine, Standings]] = OrderedDict()
        self._decided: OrderedDict[tuple[Any, ...], Template] = OrderedDict()
        self._handles = Handles(rulebook.vocabulary)
        self._lock = threading.Lock()

    def decide(self, data: Any) -> Decided:
        """Decide one claim line given as parsed JSON. Raises ClaimError, UnknownPayer or RulebookError."""
        line = claim.read(data)
        path = facts_.payer_path(line, self.reference)
        return self.decide_line(line, self.rulebook.payer(path))

    def decide_line(self, line: ClaimLine, payer: PayerRules) -> Decided:
        """Decide a line that was read already, under a payer's rules."""
        facts = facts_.of_line(payer.payer, line, self.reference, self.rulebook.vocabulary)
        return self.decide_facts(line, payer, facts)

    def decide_facts(self, line: ClaimLine, payer: PayerRules, facts: Facts) -> Decided:
        """Decide a line on its facts, which were completed already."""
        return Decided(line, facts, self.decision(payer, facts), self.rulebook)

    def decision(self, payer: PayerRules, facts: Facts) -> Decision:
        """The decision on completed facts, wherever they come from."""
        situation = self.situation(payer, facts)
        template = self._decided.get(situation)
        if template is None:
            self.misses += 1
            engine, standings = self.compiled(payer)
            _, reading, *_ = situation
            standing = standings.of(facts.keys, reading)
            template = argued(payer, facts, engine.fire(facts.keys), standing, self.rulebook.vocabulary)
            self._learned(payer.payer, standings)
            self._keep(situation, template)
        else:
            self.hits += 1
            self._asked_for(situation)
        return Decision(payer.payer, self.rulebook.hash, template, facts)

    def situation(self, payer: PayerRules, facts: Facts) -> tuple[Any, ...]:
        """The situation of a line, hashable: lines in equal ones get equal decisions, but for the values shown."""
        lens = self.compiled(payer)[1].lens
        return payer.payer, *lens.situation(facts, lens.reading(facts.keys))

    def _asked_for(self, situation: tuple[Any, ...]) -> None:
        with contextlib.suppress(KeyError):  # another thread may just have let it go
            self._decided.move_to_end(situation)

    def _keep(self, situation: tuple[Any, ...], template: Template) -> None:
        if self._bound:
            with self._lock:
                self._decided[situation] = template
                if len(self._decided) > self._bound:
                    self._decided.popitem(last=False)

    def _learned(self, payer: str, standings: Standings) -> None:
        """Count what is remembered of the payer's rules by now, and make room when it is too much in all."""
        with self._lock:
            self._states += standings.size - self._sizes.get(payer, 0)
            self._sizes[payer] = standings.size
            if self._states > (STATES if self._bound else 0):
                self._forget(max(self._sizes, key=self._sizes.__getitem__))

    def _forget(self, payer: str) -> None:
        self._states -= self._sizes.pop(payer, 0)
        if payer in self._compiled:
            self._compiled[payer][1].forget()

    def compiled(self, payer: PayerRules) -> tuple[Engine, Standings]:
        """The payer's rules compiled for the engine, and what works out their standing; made when first needed."""
        found = self._compiled.get(payer.payer)
        if found is not None:
            return found
        with self._lock:
            if payer.payer not in self._compiled:
                words = self.rulebook.vocabulary
                self._compiled[payer.payer] = Engine(payer, self._handles), Standings(payer, words)
                if len(self._compiled) > ENGINES:
                    # Another thread may still be firing it: the engine frees itself when nobody holds it.
                    oldest, _ = self._compiled.popitem(last=False)
                    self._states -= self._sizes.pop(oldest, 0)
            return self._compiled[payer.payer]

    def engine(self, payer: PayerRules) -> Engine:
        """The compiled rules of a payer."""
        return self.compiled(payer)[0]

    def successor(self, rulebook: Rulebook) -> Desk:
        """A desk on another rulebook, with the payers compiled that this one was asked for last.

        This one stays usable; it frees its engines when nobody holds it any more.
        """
        made = Desk(rulebook, self.reference, self._bound)
        with self._lock:
            asked = list(self._compiled)[-WARM:]
        for path in asked:
            # A payer that is gone, or whose rules are faulty, says so to whoever asks for it.
            with contextlib.suppress(UnknownPayer, RulebookError):
                made.compiled(rulebook.payer(path))
        return made

    def close(self) -> None:
        """Free the engine's memory."""
        with self._lock:
            for engine, _ in self._compiled.values():
                engine.close()
            self._compiled.clear()
            self._decided.clear()
