"""What a payer's rules can see of a line: two lines that look the same to them get the same decision.

What they see is one number, the *reading* of the facts: a bit for each alternative (conjunction) of a rule that a known
fact rules out, a bit for each fact that is unknown, and a bit for each comparison the decision makes that fails. Each
value of a fact sets the same bits always, so a reading is one OR per fact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial, reduce
from operator import getitem, or_
from typing import Any

from dateutil.relativedelta import relativedelta

from byreport.dnf import Literal, conjunctions
from byreport.evaluate import holds
from byreport.facts import REFERENCE, Facts
from byreport.rule import Rule, Test
from byreport.rulebook import PayerRules
from byreport.vocabulary import Fact, Key, Vocabulary

CACHED_VALUES = 4_096
OLD_AFTER_YEARS = 3
PRESENCE = frozenset({"present", "missing", "unknown"})
"""Operators that ask only whether a fact is known, and whether it is empty."""
EMPTY_KEYS: tuple[Key, ...] = ("", frozenset())
_RAW = ("line.code", "claim_form")
"""Facts whose very value decides what is said, so that each value is a situation of its own."""


class ByValue(dict[Any, Any]):
    """What a fact's values come to, worked out when a value is first met and remembered, up to a bound.

    With `bounds`, the sorted values that tell the fact's tests apart, a value comes to what any other between the same
    two comes to: a day met for the first time costs a look-up, and of a charge that is only asked for nothing is kept.
    """

    def __init__(self, of: Callable[[Any], Any], bounds: Sequence[Any] | None) -> None:
        super().__init__()
        self._of = of
        self._bounds = bounds
        self._between: dict[tuple[int, int], Any] = {}

    def __missing__(self, key: Any) -> Any:
        if self._bounds is None or key in EMPTY_KEYS:
            found = self._of(key)
        else:
            place = bisect_left(self._bounds, key), bisect_right(self._bounds, key)
            if place not in self._between:
                self._between[place] = self._of(key)
            found = self._between[place]
            if not self._bounds:
                return found
        if len(self) < CACHED_VALUES:
            self[key] = found
        return found


class Bits:
    """What the values of facts set, as bits of one number; a fact may set others while it is unknown.

    `of` gives for each fact what a value sets, `unknown` what is set while it has none, and `bounds` are those of
    `ByValue`.
    """

    def __init__(
        self,
        of: Mapping[str, Callable[[Any], int]],
        unknown: Mapping[str, int],
        bounds: Mapping[str, Sequence[Any] | None],
    ) -> None:
        self._unknown = reduce(or_, unknown.values(), 0)
        # Known facts set the bits of their being unknown as well, so that the others' remain when all are turned over.
        self._by_value = {fact: ByValue(partial(_either, of[fact], unknown[fact]), bounds[fact]) for fact in of}

    def __call__(self, keys: Mapping[str, Key]) -> int:
        """What the facts set (name to key, unknown facts absent)."""
        known = self._by_value.keys() & keys
        bits = map(getitem, map(self._by_value.__getitem__, known), map(keys.__getitem__, known))
        return reduce(or_, bits, 0) ^ self._unknown


def _either(of: Callable[[Any], int], idle: int, key: Any) -> int:
    return of(key) | idle


def bounds(fact: Fact, asked: Iterable[Test]) -> list[Any] | None:
    """The values that tell the tests on a fact apart, where order and equality are all they ask for; else None."""
    found: set[Any] = set()
    for test in asked:
        if test.operator in PRESENCE:
            continue
        if fact.many or fact.type == "boolean" or test.operator == "matches":
            return None
        found.update(test.value if test.operator == "one_of" else (test.value,))
    return sorted(found)


class Lens:
    """How one payer's rules see facts."""

    def __init__(self, payer: PayerRules, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._groups: dict[str, dict[frozenset[Literal], int]] = defaultdict(dict)
        self._compared: dict[str, dict[Test, int]] = defaultdict(dict)
        self._unknown: dict[str, int] = {}
        self._bits = 0
        self.alternatives: dict[str, int] = {}
        """For each rule id the bits of its alternatives."""
        raw = set(_RAW)
        for rule in payer.rules:
            self.alternatives[rule.id] = self._ruled_out_by(rule)
            for test in _comparisons(rule, vocab):
                if test not in self._compared[test.fact]:
                    self._compared[test.fact][test] = self._bit()
            raw.update(codes_from(rule))
        self._raw = tuple(sorted(raw))
        for fact in sorted(with_sources({*self._groups, *self._compared, *raw, "drug.name"}, vocab)):
            self._unknown[fact] = self._bit()
        self.reading = Bits(
            {fact: partial(self._bits_of, fact) for fact in self._unknown},
            self._unknown,
            {fact: bounds(vocab.facts[fact], self._asked(fact)) for fact in self._unknown},
        )
        """What the rules see of the facts."""

    def _asked(self, fact: str) -> Iterator[Test]:
        yield from self._compared.get(fact, ())
        for group in self._groups.get(fact, ()):
            yield from (test for test, _ in group)

    def _bit(self) -> int:
        self._bits += 1
        return 1 << (self._bits - 1)

    def _ruled_out_by(self, rule: Rule) -> int:
        own = 0
        for literals in conjunctions(rule.condition):
            bit = self._bit()
            own |= bit
            by_fact: dict[str, set[Literal]] = defaultdict(set)
            for literal in literals:
                if self._vocab.facts[literal[0].fact].origin != "concluded":
                    by_fact[literal[0].fact].add(literal)
            for fact, group in by_fact.items():
                key = frozenset(group)
                self._groups[fact][key] = self._groups[fact].get(key, 0) | bit
        return own

    def unknown(self, facts: Iterable[str]) -> int:
        """The bits that say that these facts are unknown."""
        bits = 0
        for fact in facts:
            bits |= self._unknown[fact]
        return bits

    def _bits_of(self, fact: str, key: Key) -> int:
        """What a known fact's value sets; an unknown one's sets nothing, its tests may still come out either way."""
        bits = 0
        for group, alternatives in self._groups.get(fact, {}).items():
            if any(holds(test, key) is not wanted for test, wanted in group):
                bits |= alternatives
        for test, bit in self._compared.get(fact, {}).items():
            if holds(test, key) is False:
                bits |= bit
        return bits

    def situation(self, facts: Facts, reading: int) -> tuple[Any, ...]:
        """The situation of a line, hashable: equal situations get equal decisions, but for the values shown."""
        keys = facts.keys
        return (
            reading,
            *[keys.get(fact) for fact in self._raw],
            facts.disagreements,
            facts.candidates and (facts.candidates, facts.shown["drug.name"]),
            facts.origin.get("drug.specific_code") == REFERENCE,
        )


def _comparisons(rule: Rule, vocab: Vocabulary) -> Iterator[Test]:
    """The comparisons that the decision makes for what the rule requires, beyond the rule's own tests."""
    for conclusion in rule.then:
        settings = conclusion.settings
        if conclusion.verb == "require_field":
            fact = vocab.facts[settings["field"]]
            yield Test(fact.name, "missing")
            if "one_of" in settings:
                yield Test(fact.name, "one_of", tuple(fact.constant(value) for value in settings["one_of"]))
        elif conclusion.verb == "require_document":
            yield Test("documentation", "equals", settings["item"])
        elif conclusion.verb == "require_modifier":
            yield Test("line.modifiers", "equals", settings["modifier"])
        elif conclusion.verb == "require_units":
            yield Test("line.units", "equals", vocab.facts["line.units"].constant(settings["units"]))
        elif conclusion.verb == "prior_authorization":
            yield Test("prior_authorization.number", "missing")
        elif conclusion.verb == "price" and "percent" in settings:
            yield Test(priced_by(settings["basis"]), "missing")
    for source in rule.sources:
        if source.published is not None:
            yield Test("date_of_service", "before", old_from(source.published))


def codes_from(rule: Rule) -> tuple[str, ...]:
    """The facts that hold the codes a rule says to use."""
    return tuple(c.settings["from"] for c in rule.then if c.verb == "use_code" and "from" in c.settings)


def priced_by(basis: str) -> str:
    """The fact that holds the amount a price starts from."""
    return "line.charge" if basis == "billed_charge" else f"price.{basis}"


@lru_cache(maxsize=8_192)
def old_from(published: str) -> str:
    """The first date of service for which a document of this date is older than three years."""
    return (date.fromisoformat(published) + relativedelta(years=OLD_AFTER_YEARS, days=1)).isoformat()


def with_sources(names: set[str], vocab: Vocabulary) -> set[str]:
    """The facts and those from which they could become known, as far as the vocabulary has them."""
    found: set[str] = set()
    waiting = [name for name in names if name in vocab.facts]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(vocab.facts[name].sources)
    return found
