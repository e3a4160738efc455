"""What unknown facts leave open of a rule: its condition, with everything known worked out.

A rule is *open* when an answer could still change whether it fires. `standing` works out the rules of a payer one
after the other; here is what one rule's condition comes to, given what the rules below it came to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from byreport.chain import concluded_facts
from byreport.evaluate import holds
from byreport.precedence import codes_named, says_something
from byreport.rule import All, AnyOf, Conclusion, Condition, Not, Rule, Test, asserts
from byreport.strata import RESOLVED
from byreport.vocabulary import Key

TRUE: Condition = All(())
FALSE: Condition = AnyOf(())
RESOLVED_FACTS = frozenset(fact for facts in RESOLVED.values() for fact in facts)

Pair = tuple[str, Any]
"""A concluded fact and one value of it; the value None stands for whatever the fact comes to."""


def read_by(test: Test) -> list[Pair]:
    """The concluded facts and values that a test looks at; of a resolved fact always all."""
    if test.fact in RESOLVED_FACTS:
        return [(test.fact, None)]
    return [(test.fact, value) for value in (test.value if test.operator == "one_of" else (test.value,))]


def made_by(rule: Rule) -> Iterator[Pair]:
    """What a rule may assert, or keep another rule from asserting."""
    for conclusion in rule.then:
        pair = asserts(conclusion)
        if pair is not None:
            yield pair
        if says_something(conclusion):
            for fact in RESOLVED.get(conclusion.verb, ()):
                yield fact, None


@dataclass(frozen=True)
class Below:
    """What a rule's residue stands on: the known facts, and the rules below that conclude something.

    `makers` are for each pair the rules that conclude it or may, each with what is left open of it. `contested` are
    the resolved facts of which an answer could let another rule win the part that they stand on.
    """

    keys: Mapping[str, Key]
    makers: Mapping[Pair, Iterable[tuple[Rule, Condition]]]
    contested: frozenset[str]

    def residue(self, condition: Condition) -> Condition:
        """What is left open of a condition; TRUE or FALSE where nothing is."""
        if isinstance(condition, Test):
            return self._test(condition)
        if isinstance(condition, Not):
            inner = self.residue(condition.item)
            return FALSE if inner == TRUE else TRUE if inner == FALSE else Not(inner)
        items = [self.residue(item) for item in condition.items]
        return either(items) if isinstance(condition, AnyOf) else both(items)

    def _test(self, test: Test) -> Condition:
        if test.fact not in concluded_facts():
            if test.fact not in self.keys:
                return test
            return TRUE if holds(test, self.keys[test.fact]) else FALSE
        if test.fact in self.contested:
            # Which rule wins the part is open: the fact may come out either way.
            return test
        values = test.value if test.operator == "one_of" else (test.value,)
        makers = {rule.id: (rule, left) for pair in read_by(test) for rule, left in self.makers.get(pair, ())}
        return either(self._makes(rule, left, test.fact, values) for rule, left in makers.values())

    def _makes(self, rule: Rule, left: Condition, fact: str, values: Iterable[Any]) -> Condition:
        """What is left open of whether the rule concludes one of the values of a fact."""
        if left == FALSE:
            return FALSE
        return both([left, either(self._concludes(conclusion, fact, values) for conclusion in rule.then)])

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
