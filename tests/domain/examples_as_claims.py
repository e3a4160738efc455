"""The worked examples of the rule files as claim lines, and random lines that are made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from claims import Claim

from byreport.claim import nested
from byreport.rule import Example, Rule
from byreport.rulebook import Rulebook
from byreport.vocabulary import vocabulary

USUAL = {"line.code": "J3490", "setting": "office", "date_of_service": "2026-02-03"}
SETTINGS = ["office", "hospital_outpatient", "asc", "esrd_facility", "home_infusion", "dme", "inpatient", "pharmacy"]
CODES = ["J3490", "J3590", "J9999", "C9399", "J7999", "J7799", "J7699", "J8499", "J7199", "J3032", "J1599", "A9699"]
DRUGS = ["Vyepti", "Skysona", "Libtayo", "Zolgensma", "apixaban", "vasopressin (Long Grove)", "Avastin", "nosuchdrug"]


@dataclass(frozen=True)
class Worked:
    """An example of a rule as a claim line of the payer whose ruleset the rule stands in."""

    rule: Rule
    example: Example
    claim: Claim

    def __str__(self) -> str:
        return self.rule.table or self.rule.id


def claim_of(payer: str, given: dict[str, Any]) -> Claim | None:
    """The claim line in which these facts are given; None where one of them is not for a claim to give."""
    facts = vocabulary().facts
    payer = str(given.get("payer.path", payer))
    shown = {name: value for name, value in given.items() if name != "payer.path"}
    if any(facts[name].origin != "claim" for name in shown):
        return None
    return {"payer": payer, **nested({**USUAL, **shown})}


def worked(rulebook: Rulebook, fires: bool = True) -> Iterator[Worked]:
    """Every example of the tree that a billing system could send as a line, for rules below a program."""
    for path in rulebook.payers():
        seen: set[str] = set()
        for rule in rulebook.ruleset(path):
            name = rule.table or rule.id
            if name in seen:
                continue
            seen.add(name)
            for example in rule.examples:
                claim = claim_of(path, dict(example.given))
                if example.fires is fires and claim is not None and claim["payer"] in rulebook.paths():
                    yield Worked(rule, example, claim)


def random_claims(rulebook: Rulebook, random: Random, count: int) -> Iterator[Claim]:
    """Lines of random payers: the facts of an example of the payer's chain, some changed, some left out.

    So nearly every line meets some rule, which lines of facts at random would not.
    """
    payers = rulebook.payers()
    free = [rule for rule in rulebook.rules() if rule.examples and _says(rule, "not_required")]
    for _ in range(count):
        given: dict[str, Any] = {}
        if random.random() < 0.1:  # rare among all lines, and the answer that must never be wrong
            rule = random.choice(free)
            payer = rule.ruleset
            given.update(next(example for example in rule.examples if example.fires).given)
        else:
            payer = random.choice(payers)
            rules = [rule for rule in rulebook.payer(payer).rules if rule.examples]
            for rule in random.sample(rules, min(len(rules), random.randrange(1, 4))):
                given.update(random.choice(rule.examples).given)
        yield {"payer": payer, **nested(_changed(given, random))}


def _says(rule: Rule, status: str) -> bool:
    return any(c.verb == "prior_authorization" and c.settings["status"] == status for c in rule.then)


def _changed(given: dict[str, Any], random: Random) -> dict[str, Any]:
    facts = vocabulary().facts
    shown = {name: value for name, value in given.items() if facts[name].origin == "claim" and random.random() > 0.15}
    for name in random.sample(sorted(shown), min(len(shown), random.randrange(3))):
        fact = facts[name]
        if fact.type == "boolean":
            shown[name] = random.random() < 0.5
        elif fact.values is not None and not fact.is_list:
            shown[name] = random.choice(list(fact.values))
    if random.random() < 0.3:
        shown["drug.name"] = random.choice(DRUGS)
    if random.random() < 0.15:
        shown["prior_authorization.number"] = "A1234567"
    if random.random() < 0.3:
        shown["line.charge"] = random.choice(["12.50", "4999.99", "5000.00", "250000.00"])
    for name, pool in (("line.code", CODES), ("setting", SETTINGS)):
        if name not in shown or random.random() < 0.1:
            shown[name] = random.choice(pool)
    if "date_of_service" not in shown or random.random() < 0.2:
        shown["date_of_service"] = (
            f"{random.randrange(2016, 2027)}-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}"
        )
    return shown
