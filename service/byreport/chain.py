"""The naive counterpart of the engine: forward chaining by the three-valued evaluator, stratum by stratum.

It gives every rule's truth, not only the firings: what is undecided, and on what. It is deliberately plain;
the engine is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from byreport.evaluate import holds
from byreport.precedence import codes_named, resolve, resolved_facts
from byreport.rule import AnyOf, Condition, Not, Rule, Test, asserts
from byreport.rulebook import PayerRules
from byreport.vocabulary import Key, vocabulary

Pairs = Mapping[tuple[str, Any], tuple[str, ...]]
"""(concluded fact, value) to the ids of the rules that assert it. The value None stands for any value."""


@dataclass(frozen=True)
class Concluded:
    """What rules concluded so far: for certain by rules that fired, and possibly by rules that are undecided."""

    certain: Pairs
    possible: Pairs

    def holds(self, test: Test) -> bool | None:
        """Whether a test of a concluded fact holds."""
        values = test.value if test.operator == "one_of" else (test.value,)
        if any((test.fact, value) in self.certain for value in values):
            return True
        return None if any((test.fact, value) in self.possible for value in (*values, None)) else False


@dataclass(frozen=True)
class Verdict:
    """The truth of every rule of a payer on some facts (by rule id), and what was concluded."""

    truth: Mapping[str, bool | None]
    concluded: Concluded

    def fired(self) -> frozenset[str]:
        """The ids of the rules that fired."""
        return frozenset(rule for rule, value in self.truth.items() if value is True)

    def undecided(self) -> frozenset[str]:
        """The ids of the rules that depend on an unknown fact."""
        return frozenset(rule for rule, value in self.truth.items() if value is None)


def chain(payer: PayerRules, keys: Mapping[str, Key]) -> Verdict:
    """Evaluate every rule of the payer's chain, in strata. `keys` maps known facts to keys."""
    truths: dict[str, bool | None] = {}
    fired: list[Rule] = []
    undecided: list[Rule] = []
    concluded = Concluded({}, {})
    for layer in payer.strata[0]:
        for rule in layer:
            value = truth(rule.condition, keys, concluded)
            truths[rule.id] = value
            if value is not False:
                (fired if value else undecided).append(rule)
        concluded = concluded_by(payer, fired, undecided, keys)
    return Verdict(truths, concluded)


def truth(condition: Condition, keys: Mapping[str, Key], concluded: Concluded) -> bool | None:
    """The truth of a condition; tests of concluded facts look at what lower strata concluded."""
    if isinstance(condition, Test):
        if condition.fact in concluded_facts():
            return concluded.holds(condition)
        return holds(condition, keys.get(condition.fact))
    if isinstance(condition, Not):
        inner = truth(condition.item, keys, concluded)
        return None if inner is None else not inner
    results = [truth(item, keys, concluded) for item in condition.items]
    decisive = isinstance(condition, AnyOf)
    if decisive in results:
        return decisive
    return None if None in results else not decisive


@lru_cache(maxsize=1)
def concluded_facts() -> frozenset[str]:
    """The names of the facts that rules conclude."""
    return frozenset(fact.name for fact in vocabulary().facts.values() if fact.origin == "concluded")


def concluded_by(payer: PayerRules, fired: list[Rule], undecided: list[Rule], keys: Mapping[str, Key]) -> Concluded:
    """What these rules conclude, the nearer payer having overridden the farther."""
    certain: dict[tuple[str, Any], tuple[str, ...]] = {}
    possible: dict[tuple[str, Any], tuple[str, ...]] = {}
    for rules, pairs in ((fired, certain), (undecided, possible)):
        for rule in rules:
            for conclusion in rule.then:
                pair = asserts(conclusion)
                if pair is not None:
                    _add(pairs, pair, rule)
    resolution = resolve(fired, payer.depth, keys)
    facts = resolved_facts(resolution, keys)
    if "requires.prior_authorization" in facts:
        claims = resolution.live["prior_authorization"]
        certain["requires.prior_authorization", True] = tuple(c.rule.id for c in claims if c.value == "required")
    codes = facts.get("recommends.code", frozenset())
    by = tuple(claim.rule.id for claim in resolution.live.get("code", ()))
    for code in codes if isinstance(codes, frozenset) else ():
        certain["recommends.code", code] = by
    if facts.get("recommends.another_code") is True:
        certain["recommends.another_code", True] = by
    for rule in undecided:
        _possible_parts(rule, keys, possible)
    for rule in fired:
        if any(not codes_named(c, keys) for c in rule.then if c.verb == "use_code"):
            _add(possible, ("recommends.code", None), rule)
            _add(possible, ("recommends.another_code", True), rule)
    return Concluded(certain, possible)


def _possible_parts(rule: Rule, keys: Mapping[str, Key], possible: dict[tuple[str, Any], tuple[str, ...]]) -> None:
    for conclusion in rule.then:
        if conclusion.verb == "prior_authorization" and conclusion.settings["status"] == "required":
            _add(possible, ("requires.prior_authorization", True), rule)
        if conclusion.verb == "use_code":
            codes: list[str | None] = [*codes_named(conclusion, keys)]
            for code in codes or [None]:
                _add(possible, ("recommends.code", code), rule)
            _add(possible, ("recommends.another_code", True), rule)


def _add(pairs: dict[tuple[str, Any], tuple[str, ...]], pair: tuple[str, Any], rule: Rule) -> None:
    pairs[pair] = (*pairs.get(pair, ()), rule.id)
