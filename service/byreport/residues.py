"""What the unknown facts leave open of each rule: its condition, with everything known worked out.

A rule is *open* when an answer could still change whether it fires: it is undecided, it asks whether an unknown
fact is unknown, or it tests a conclusion of an open rule. Of every other rule nothing is left open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from byreport.chain import Verdict, concluded_facts
from byreport.essential import essential
from byreport.evaluate import holds
from byreport.precedence import codes_named, says_something
from byreport.rule import All, AnyOf, Conclusion, Condition, Not, Rule, Test, asserts, tests
from byreport.rulebook import PayerRules
from byreport.strata import RESOLVED
from byreport.vocabulary import Key, Vocabulary

TRUE: Condition = All(())
FALSE: Condition = AnyOf(())
_RESOLVED = frozenset(fact for facts in RESOLVED.values() for fact in facts)


Pair = tuple[str, Any]
"""A concluded fact and one value of it; the value None stands for whatever the fact comes to."""


@dataclass(frozen=True)
class _Shape:
    """What does not change from claim to claim: what a rule asks, tests of conclusions, concludes, takes codes from."""

    asks_unknown: tuple[str, ...]
    reads: tuple[Pair, ...]
    makes: tuple[Pair, ...]
    holds_codes: tuple[str, ...]


class Shapes:
    """The shapes of a payer's rules, and for each concluded fact the rules that may conclude it."""

    def __init__(self, payer: PayerRules) -> None:
        self.payer = payer
        self.of = {rule.id: _shape(rule) for rule in payer.rules}
        self.order = [rule for layer in payer.strata[0] for rule in layer]
        self.makers: dict[Pair, list[Rule]] = defaultdict(list)
        for rule in self.order:
            for pair in self.of[rule.id].makes:
                self.makers[pair].append(rule)


@lru_cache(maxsize=512)
def shapes(payer: PayerRules) -> Shapes:
    """The shapes of a payer's rules, worked out once."""
    return Shapes(payer)


def _shape(rule: Rule) -> _Shape:
    found = list(tests(rule.condition))
    settings = [conclusion.settings for conclusion in rule.then if conclusion.verb == "use_code"]
    return _Shape(
        tuple(dict.fromkeys(test.fact for test in found if test.operator == "unknown")),
        tuple(dict.fromkeys(pair for test in found if test.fact in concluded_facts() for pair in _read(test))),
        tuple(dict.fromkeys(pair for conclusion in rule.then for pair in _made(conclusion))),
        tuple(setting["from"] for setting in settings if "from" in setting),
    )


def _read(test: Test) -> list[Pair]:
    """The concluded facts and values that a test looks at; of a resolved fact always all."""
    if test.fact in _RESOLVED:
        return [(test.fact, None)]
    return [(test.fact, value) for value in (test.value if test.operator == "one_of" else (test.value,))]


def _made(conclusion: Conclusion) -> Iterator[Pair]:
    """What a conclusion may assert, or keep another rule from asserting."""
    pair = asserts(conclusion)
    if pair is not None:
        yield pair
    if says_something(conclusion):
        for fact in RESOLVED.get(conclusion.verb, ()):
            yield fact, None


class Residues:
    """The residues of a payer's rules on some facts."""

    def __init__(self, payer: PayerRules, keys: Mapping[str, Key], verdict: Verdict, vocab: Vocabulary) -> None:
        self.shapes = shapes(payer)
        self.keys = keys
        self.verdict = verdict
        self.done: dict[str, Condition] = {}
        self.open: set[str] = set()
        self._unsure: set[Pair] = set()
        self._contested: dict[str, bool] = {}
        # In the order of strata: whatever a rule tests was settled, or left open, before it.
        for rule in self.shapes.order:
            shape = self.shapes.of[rule.id]
            if (
                verdict.truth[rule.id] is None
                or any(fact not in keys for fact in shape.asks_unknown)
                or not self._unsure.isdisjoint(shape.reads)
            ):
                left = self._residue(rule.condition)
                # What is left may contradict itself, or hold whatever the answers: then nothing is open.
                if essential(left, vocab):
                    self.done[rule.id] = left
                    self.open.add(rule.id)
                    self._unsure.update(shape.makes)
            if self.fires(rule) and any(fact not in keys for fact in shape.holds_codes):
                self._unsure.update(shape.makes)

    def contested(self, fact: str) -> bool:
        """Whether an answer could let another rule win the part that this fact stands on: then it is left open."""
        if fact not in self._contested:
            live = [rule for rule in self.makers(fact) if self.fires(rule) or rule.id in self.open]
            self._contested[fact] = (fact, None) in self._unsure and len(live) > 1
        return self._contested[fact]

    def makers(self, fact: str) -> list[Rule]:
        """The rules that may decide a resolved fact."""
        return self.shapes.makers[fact, None]

    def fires(self, rule: Rule) -> bool:
        """Whether the rule fires on what is known now."""
        return self.verdict.truth[rule.id] is True

    def codes_held(self, rule: Rule) -> list[str]:
        """The unknown facts that hold the codes the rule says to use."""
        return [fact for fact in self.shapes.of[rule.id].holds_codes if fact not in self.keys]

    def of(self, rule: Rule) -> Condition:
        """What is left open of the rule's condition; TRUE or FALSE where nothing is."""
        if rule.id not in self.open:
            return TRUE if self.fires(rule) else FALSE
        return self.done[rule.id]

    def _residue(self, condition: Condition) -> Condition:
        if isinstance(condition, Test):
            return self._test(condition)
        if isinstance(condition, Not):
            inner = self._residue(condition.item)
            return FALSE if inner == TRUE else TRUE if inner == FALSE else Not(inner)
        items = [self._residue(item) for item in condition.items]
        return either(items) if isinstance(condition, AnyOf) else both(items)

    def _test(self, test: Test) -> Condition:
        if test.fact not in concluded_facts():
            if test.fact not in self.keys:
                return test
            return TRUE if holds(test, self.keys[test.fact]) else FALSE
        if test.fact in _RESOLVED and self.contested(test.fact):
            # Which rule wins the part is open: the fact may come out either way.
            return test
        values = test.value if test.operator == "one_of" else (test.value,)
        makers = {rule.id: rule for pair in _read(test) for rule in self.shapes.makers[pair]}
        return either(self._makes(rule, test.fact, values) for rule in makers.values())

    def _makes(self, rule: Rule, fact: str, values: Iterable[Any]) -> Condition:
        """What is left open of whether the rule concludes one of the values of a fact."""
        fires = self.of(rule)
        if fires == FALSE:
            return FALSE
        return both([fires, either(self._concludes(conclusion, fact, values) for conclusion in rule.then)])

    def _concludes(self, conclusion: Conclusion, fact: str, values: Iterable[Any]) -> Condition:
        if fact not in RESOLVED.get(conclusion.verb, ()):
            pair = asserts(conclusion)
            return TRUE if pair is not None and pair[0] == fact and pair[1] in values else FALSE
        if conclusion.verb == "use_code":
            return self._names(conclusion, fact, values)
        return TRUE if conclusion.settings["status"] == "required" else FALSE

    def _names(self, conclusion: Conclusion, fact: str, values: Iterable[Any]) -> Condition:
        billed, held = self.keys.get("line.code"), conclusion.settings.get("from")
        if held is not None and held not in self.keys:
            if fact == "recommends.another_code":
                return Not(Test(held, "equals", billed, f"{held} is the code billed"))
            return Test(held, "one_of", tuple(values), f"{held} is one of {values}")
        codes = set(codes_named(conclusion, self.keys))
        if fact == "recommends.another_code":
            return TRUE if codes and billed not in codes else FALSE
        return TRUE if codes & set(values) else FALSE


def both(items: Iterable[Condition]) -> Condition:
    """The conjunction, simplified."""
    kept = tuple(item for item in items if item != TRUE)
    if FALSE in kept:
        return FALSE
    return kept[0] if len(kept) == 1 else All(kept)


def either(items: Iterable[Condition]) -> Condition:
    """The disjunction, simplified."""
    kept = tuple(item for item in items if item != FALSE)
    if TRUE in kept:
        return TRUE
    return kept[0] if len(kept) == 1 else AnyOf(kept)
