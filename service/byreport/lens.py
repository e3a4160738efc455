"""What a payer's rules can see of a line: two lines that look the same to them get the same decision.

For each fact that matters to the payer the situation holds the *class* of its value: which of all the tests on
it hold. Values whose tests agree are one class, so a thousand dates between two bounds are one situation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Any

from dateutil.relativedelta import relativedelta

from byreport.evaluate import holds
from byreport.facts import REFERENCE, Facts
from byreport.rule import Rule, Test, tests
from byreport.rulebook import PayerRules
from byreport.vocabulary import Key, Vocabulary

CACHED_VALUES = 4_096
OLD_AFTER_YEARS = 3
_RAW = ("line.code", "claim_form")
"""Facts whose very value decides what is said, so that each value is a class of its own."""


class Lens:
    """How one payer's rules see facts."""

    def __init__(self, payer: PayerRules, vocab: Vocabulary) -> None:
        asked: dict[str, dict[Test, None]] = defaultdict(dict)
        raw = set(_RAW)
        for rule in payer.rules:
            for test in _all_tests(rule, vocab):
                asked[test.fact][test] = None
            raw.update(c.settings["from"] for c in rule.then if c.verb == "use_code" and "from" in c.settings)
        visible = _with_sources(set(asked) | raw | {"drug.name"}, vocab)
        self.tests = {fact: tuple(asked.get(fact, ())) for fact in visible}
        self.raw = raw
        self.caches: list[tuple[str, dict[Key | None, Any]]] = [(fact, {None: None}) for fact in sorted(visible)]
        self.classes: dict[tuple[str, Any], int] = {}

    def situation(self, facts: Facts) -> tuple[Any, ...]:
        """The situation of a line, hashable: equal situations get equal decisions, but for the values shown."""
        keys = facts.keys
        seen: list[Any] = []
        for fact, cache in self.caches:
            key = keys.get(fact)
            try:
                seen.append(cache[key])
            except KeyError:
                seen.append(self._class(fact, key, cache))
        seen.append(facts.disagreements)
        seen.append(facts.candidates and (facts.candidates, facts.shown["drug.name"]))
        seen.append(facts.origin.get("drug.specific_code") == REFERENCE)
        return tuple(seen)

    def _class(self, fact: str, key: Key | None, cache: dict[Key | None, Any]) -> int:
        found = key if fact in self.raw else tuple(holds(test, key) for test in self.tests[fact])
        number = self.classes.setdefault((fact, found), len(self.classes))
        if len(cache) < CACHED_VALUES:
            cache[key] = number
        return number


def _all_tests(rule: Rule, vocab: Vocabulary) -> Iterator[Test]:
    """The tests of a rule, and the comparisons that the decision makes for what the rule requires."""
    for test in tests(rule.condition):
        if vocab.facts[test.fact].origin != "concluded":
            yield test
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


def priced_by(basis: str) -> str:
    """The fact that holds the amount a price starts from."""
    return "line.charge" if basis == "billed_charge" else f"price.{basis}"


@lru_cache(maxsize=8_192)
def old_from(published: str) -> str:
    """The first date of service for which a document of this date is older than three years."""
    return (date.fromisoformat(published) + relativedelta(years=OLD_AFTER_YEARS, days=1)).isoformat()


def _with_sources(names: set[str], vocab: Vocabulary) -> set[str]:
    """The facts and those from which they could become known, as far as the vocabulary has them."""
    found: set[str] = set()
    waiting = [name for name in names if name in vocab.facts]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(vocab.facts[name].sources)
    return found
