"""Random rulebooks and claims for fuzzing: small enough to disagree about, odd enough to hurt."""

from __future__ import annotations

from random import Random
from typing import Any

from byreport.dnf import TooManyAlternatives, conjunctions
from byreport.rule import All, AnyOf, Conclusion, Condition, Not, Rule, Source, Test
from byreport.rulebook import PayerRules
from byreport.strata import strata
from byreport.vocabulary import Fact, vocabulary

CHAIN = ("common", "medicaid/federal", "medicaid/TX", "medicaid/TX/plan")
SOURCE = Source("document", "statement", published="2026-01-01")
TEXTS = [
    "a",
    "b",
    "ab",
    "A b",
    'quo"te',
    "back\\slash",
    "é",
    "é",
    "a!",
    "a ",
    "J3490",
    "true",
    "1",
    "zażółć",
    "a\u2028b",
    "'",
    "{",
    "$and",
]
CODES = ["J3490", "J3590", "C9399", "J3032", "JZ", "JW", "U3"]
POOLS: dict[str, list[Any]] = {
    "line.code": CODES[:4],
    "line.description": TEXTS,
    "drug.name": TEXTS,
    "line.modifiers": CODES[4:],
    "documentation": ["invoice", "dose", "ndc"],
    "drug.specific_code": CODES[:4],
    "setting": ["office", "dme", "asc"],
    "drug.biologic": [True, False],
    "drug.compounded": [True, False],
    "line.noc": [True, False],
    "line.charge": ["0.00", "1.00", "4999.99", "5000.00", "99999999999.9999"],
    "line.units": ["1", "0.5", "3"],
    "patient.age_years": [0, 1, 17, 18, -1, 10**9],
    "date_of_service": ["2020-09-30", "2020-10-01", "2026-01-01"],
    "diagnoses": ["G43.709", "C50.1"],
}
PATTERNS = ["a", "^a$", "b$", "[a-c]!", "3[45]90", "^C"]
DERIVED: dict[str, list[Any]] = {
    "requires.document": ["invoice", "dose"],
    "requires.modifier": ["JZ", "U3"],
    "noc.fits": ["J3490", "J3590"],
    "line.specific_code_exists": [True],
    "requires.prior_authorization": [True],
    "recommends.code": ["J3490", "J3590"],
    "recommends.another_code": [True],
}


def random_payer(random: Random, size: int) -> PayerRules:
    """A payer with up to `size` random rules in a chain of four rulesets."""
    rules = [_rule(random, number, size) for number in range(size)]
    layers, _ = strata(rule for rule in rules if rule is not None)
    kept = tuple(rule for layer in layers for rule in layer)
    return PayerRules(CHAIN[-1], "A payer", CHAIN, kept, {step: depth for depth, step in enumerate(CHAIN)})


def random_facts(random: Random) -> dict[str, Any]:
    """Shown values of some facts; the others stay unknown."""
    words = vocabulary()
    shown = {}
    for name, pool in POOLS.items():
        roll = random.random()
        if roll < 0.3:
            continue
        fact = words.facts[name]
        if fact.is_list:
            shown[name] = tuple(dict.fromkeys(random.choice(pool) for _ in range(random.randrange(3))))
        elif roll < 0.4 and fact.type != "boolean":
            shown[name] = ""
        else:
            shown[name] = random.choice(pool)
    return shown


def keys_of(shown: dict[str, Any]) -> dict[str, Any]:
    """The keys of shown facts."""
    words = vocabulary()
    return {name: words.facts[name].key(value) for name, value in shown.items()}


def _rule(random: Random, number: int, size: int) -> Rule | None:
    condition = _condition(random, 0)
    try:
        if len(conjunctions(condition)) > 40:
            return None
    except TooManyAlternatives:
        return None
    overrides = (f"r{random.randrange(size)}",) if random.random() < 0.1 else ()
    return Rule(
        id=f"r{number}",
        title=f"Rule {number}",
        ruleset=random.choice(CHAIN),
        when=condition,
        then=tuple(_conclusion(random) for _ in range(random.randrange(1, 3))),
        sources=(SOURCE,),
        effective_from="2020-10-01" if random.random() < 0.1 else None,
        effective_to="2025-12-31" if random.random() < 0.1 else None,
        overrides=overrides,
    )


def _condition(random: Random, depth: int, positive: bool = True) -> Condition:
    roll = random.random()
    if depth >= 3 or roll < 0.55:
        return _test(random, positive)
    if roll < 0.65:
        return Not(_condition(random, depth + 1, not positive))
    items = tuple(_condition(random, depth + 1, positive) for _ in range(random.randrange(1, 4)))
    return All(items) if roll < 0.85 else AnyOf(items)


def _test(random: Random, positive: bool) -> Test:
    # Concluded facts are tested positively only: the loader refuses anything else.
    if positive and random.random() < 0.25:
        name = random.choice(list(DERIVED))
        if random.random() < 0.2:
            return Test(name, "one_of", tuple(DERIVED[name]), name)
        return Test(name, "equals", random.choice(DERIVED[name]), name)
    fact = vocabulary().facts[random.choice(list(POOLS))]
    pool = POOLS[fact.name]
    operators = ["equals", "equals", "one_of", "present", "missing", "unknown"]
    if fact.type == "date":
        operators += ["before", "on_or_after"]
    elif fact.type in ("integer", "amount", "quantity"):
        operators += ["at_least", "below"]
    elif fact.type in ("text", "code"):
        operators.append("matches")
    operator = random.choice(operators)
    return Test(fact.name, operator, _constant(random, fact, operator, pool), f"{fact.name} {operator}")


def _constant(random: Random, fact: Fact, operator: str, pool: list[Any]) -> Any:
    if operator in ("present", "missing", "unknown"):
        return None
    if operator == "matches":
        return random.choice(PATTERNS)
    if operator == "one_of":
        return tuple(dict.fromkeys(fact.constant(random.choice(pool)) for _ in range(random.randrange(1, 4))))
    return fact.constant(random.choice(pool))


def _conclusion(random: Random) -> Conclusion:
    roll = random.randrange(8)
    if roll == 0:
        return Conclusion("require_document", {"item": random.choice(DERIVED["requires.document"])})
    if roll == 1:
        return Conclusion("require_modifier", {"modifier": random.choice(DERIVED["requires.modifier"])})
    if roll == 2:
        name = random.choice(["noc.fits", "line.specific_code_exists"])
        value = random.choice(DERIVED[name])
        return Conclusion("conclude", {"fact": name, "key": value, "value": value})
    if roll == 3:
        return Conclusion("use_code", {"code": random.choice(CODES[:3])})
    if roll == 4:
        return Conclusion("use_code", {"from": "drug.specific_code"})
    if roll == 5:
        return Conclusion(
            "prior_authorization", {"status": random.choice(["required", "conditional", "not_required", "unknown"])}
        )
    if roll == 6:
        return Conclusion("require_field", {"field": random.choice(["line.description", "line.units"])})
    return Conclusion("deny", {"group": "CO", "carc": "16", "unless": "fixed"})
