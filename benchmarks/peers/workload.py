"""The work that all engines do side by side: made-up rules over the project's own vocabulary, and made-up claims.

A rule is neutral data, so that every engine's author could have written it: all its tests must hold, a test of a value
that the claim does not have fails, and `needs` names conclusions of other rules. The answer is the rules that fire.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import worklist

from byreport import claim
from byreport import facts as facts_
from byreport.claim import ClaimError
from byreport.reference import Reference
from byreport.rule import All, AnyOf, Conclusion, Condition, Rule, Source
from byreport.rule import Test as RuleTest
from byreport.rulebook import PayerRules, Rulebook, UnknownPayer
from byreport.strata import strata
from byreport.vocabulary import vocabulary

TEXTS = ("line.code", "setting", "claim_form", "provider.state", "provider.type", "drug.route", "line.ndc.unit")
FLAGS = ("line.noc", "drug.compounded", "drug.biologic", "drug.labeled_indication", "provider.participating",
         "drug.single_dose_container", "drug.fda_approved")  # fmt: skip
NUMBERS = ("line.charge", "line.units", "patient.age_years")
DAY = "date_of_service"
MAY_LACK = (
    "line.ndc.code",
    "drug.dose",
    "drug.strength",
    "line.description",
    "prior_authorization.number",
    "drug.name",
)
FACTS = (*TEXTS, *FLAGS, *NUMBERS, DAY, *MAY_LACK)
CHAINED = 6
"""One rule in so many reads conclusions of others: documents required (level 1), or codes concluded from them (2)."""
CODES = ("X1", "X2", "X3", "X4")

GENERAL = 60
"""Rules that speak of lines in general. What a payer has beyond them are rows for single drugs, as in real rulebooks:
a payer with ten times the rules does not say ten times as much about each line."""

Value = str | bool | int
Claim = dict[str, Value]
"""Fact to value; a day is a number such as 20251002, a charge is in ten-thousandths of a dollar."""


@dataclass(frozen=True)
class Made:
    """One rule. `tests` are (fact, operator, constant): eq, in, ge, lt, present, absent."""

    id: str
    tests: tuple[tuple[str, str, Any], ...]
    concludes: str | None
    needs: tuple[str, ...]
    level: int


def claims(count: int, seed: int, reference: Reference) -> list[Claim]:
    """Claims of a clearinghouse's list, facts completed, values that are sets or empty left out."""
    rulebook = Rulebook.open()
    found: list[Claim] = []
    for data in worklist.lines("clearinghouse", count * 2, seed, rulebook, reference):
        try:
            line = claim.read(data)
            path = facts_.payer_path(line, reference)
            keys = facts_.build(path, line.facts, reference).keys
        except (ClaimError, UnknownPayer):
            continue
        found.append({name: plain for name in FACTS if (plain := _plain(name, keys.get(name))) is not None})
        if len(found) == count:
            break
    return found


def _plain(name: str, key: Any) -> Value | None:
    if key in (None, "", frozenset()):
        return None
    if name == DAY:
        return int(key.replace("-", ""))
    return min(key) if isinstance(key, frozenset) else key


def rules(count: int, seed: int, sample: list[Claim]) -> list[Made]:
    """`count` rules of one payer, with constants that occur in the sample; one in CHAINED reads other conclusions."""
    chance = random.Random(f"rules {count} {seed}")
    documents = list(vocabulary().lists["documentation"])
    seen = {name: sorted({each[name] for each in sample if name in each}, key=str) for name in FACTS}
    levels = [0] * (count - count // CHAINED) + [chance.choice((1, 1, 2)) for _ in range(count // CHAINED)]
    of_a_drug = set(chance.sample(range(count), max(0, count - GENERAL)))
    made: list[Made] = []
    for number, level in enumerate(levels):
        drug = chance.choice(seen["drug.name"]) if number in of_a_drug else None
        if level == 0:
            made.append(_rule(f"r{number}", chance, seen, chance.choice(documents), 0, drug))
        else:
            required = sorted({rule.concludes for rule in made if rule.concludes and rule.level == 0})
            below = chance.choice(required if level == 1 else CODES)
            made.append(_rule(f"r{number}", chance, seen, chance.choice(CODES), level, drug, below))
    return made


def _rule(
    name: str,
    chance: random.Random,
    seen: dict[str, list[Any]],
    token: str,
    level: int,
    drug: str | None,
    needs: str | None = None,
) -> Made:
    tests: dict[str, tuple[str, str, Any]] = {}
    if drug is not None:
        tests["drug.name"] = ("drug.name", "eq", drug)
    for _ in range(chance.choice((1, 2) if needs else (2, 3, 3, 4))):
        kind = chance.random()
        if kind < 0.45:
            fact = chance.choice(TEXTS[:3] if chance.random() < 0.6 else TEXTS)
            values = seen[fact]
            some = chance.sample(values, min(len(values), chance.choice((1, 2, 3, 6))))
            tests[fact] = (fact, "eq", some[0]) if len(some) == 1 else (fact, "in", tuple(sorted(some)))
        elif kind < 0.65:
            fact = chance.choice(FLAGS)
            tests[fact] = (fact, "eq", chance.random() < 0.5)
        elif kind < 0.85:
            fact = chance.choice((*NUMBERS, DAY, DAY))
            tests[fact] = (fact, chance.choice(("ge", "lt")), chance.choice(seen[fact]))
        else:
            fact = chance.choice(MAY_LACK[:-1] if drug else MAY_LACK)
            tests[fact] = (fact, chance.choice(("present", "absent")), None)
    concludes = token if level == 1 or (level == 0 and chance.random() < 0.7) else None
    return Made(name, tuple(tests.values()), concludes, (needs,) if needs else (), level)


# --- the oracle -----------------------------------------------------------------------------------------------------


def holds(test: tuple[str, str, Any], found: Claim) -> bool:
    """Whether a test holds."""
    fact, operator, constant = test
    value = found.get(fact)
    if operator == "absent":
        return value is None
    if value is None:
        return False
    if operator == "present":
        return True
    if operator == "eq":
        return bool(value == constant)
    if operator == "in":
        return value in constant
    return bool(value >= constant if operator == "ge" else value < constant)  # type: ignore[operator]


def oracle(made: Iterable[Made], found: Claim) -> list[str]:
    """The ids of the rules that fire, sorted: every rule is tried until nothing new fires."""
    fired: set[str] = set()
    concluded: set[str] = set()
    while True:
        fresh = [
            rule
            for rule in made
            if rule.id not in fired
            and all(holds(test, found) for test in rule.tests)
            and concluded.issuperset(rule.needs)
        ]
        if not fresh:
            return sorted(fired)
        fired.update(rule.id for rule in fresh)
        concluded.update(rule.concludes for rule in fresh if rule.concludes)


# --- as the project's own rules ---------------------------------------------------------------------------------------


def payer(made: Iterable[Made]) -> PayerRules:
    """The rules in the project's own model, as one payer's."""
    source = Source("made-up", "made-up")
    own = tuple(
        Rule(rule.id, rule.id, "private/made-up", _condition(rule), _conclusions(rule), (source,)) for rule in made
    )
    layers, circular = strata(own)
    assert not circular
    return PayerRules("private/made-up", "Made up", ("private/made-up",),
                      tuple(rule for layer in layers for rule in layer), {"private/made-up": 0})  # fmt: skip


def _condition(rule: Made) -> Condition:
    needs = [RuleTest(_concluded_fact(token), "equals", token, token) for token in rule.needs]
    return All((*map(_test, rule.tests), *needs))


def _test(test: tuple[str, str, Any]) -> Condition:
    fact, operator, constant = test
    shown = f"{fact} {operator} {constant}"
    if operator == "absent":
        return AnyOf((RuleTest(fact, "unknown", None, shown), RuleTest(fact, "missing", None, shown)))
    if fact == DAY:
        text = str(constant)
        constant = f"{text[:4]}-{text[4:6]}-{text[6:]}"
        operator = {"ge": "on_or_after", "lt": "before"}[operator]
    named = {"eq": "equals", "in": "one_of", "ge": "at_least", "lt": "below"}.get(operator, operator)
    return RuleTest(fact, named, constant, shown)


def _conclusions(rule: Made) -> tuple[Conclusion, ...]:
    if rule.concludes is None:
        return (Conclusion("caution", {"text": "made up"}),)
    if rule.concludes in CODES:
        return (Conclusion("conclude", {"fact": "noc.fits", "key": rule.concludes, "value": rule.concludes}),)
    return (Conclusion("require_document", {"item": rule.concludes}),)


def _concluded_fact(token: str) -> str:
    return "noc.fits" if token in CODES else "requires.document"


def keys(found: Claim) -> dict[str, Any]:
    """A claim as the project's engine takes it."""
    result: dict[str, Any] = {**found}
    if DAY in found:
        text = str(found[DAY])
        result[DAY] = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if "drug.name" in found:
        result["drug.name"] = frozenset({found["drug.name"]})
    return result
