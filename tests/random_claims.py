"""Random claim lines for the bundled rules, with values from small pools so that situations repeat."""

from __future__ import annotations

from random import Random

from byreport.claim import nested
from byreport.vocabulary import vocabulary

PAYERS = [
    "medicaid/TX",
    "medicaid/TX/tchp",
    "medicare/mac/palmetto-jj",
    "medicare/dme-mac/cgs",
    "private/uhc",
    "medicaid/NC",
]
DRUGS = [
    "Vyepti",
    "eptinezumab-jjmr",
    "eptinezumab",
    "Skysona",
    "vasopressin (Long Grove)",
    "Zolgensma",
    "aspirin",
    "Opdivo",
]
TEXTS = ["", "a drug", 'with "quotes" \\ and \u2028', "drug \u2603 x"]


def random_claim(random: Random) -> dict[str, object]:
    """A claim line that gives some facts, with values from small pools so that situations repeat."""
    facts: dict[str, object] = {}
    for fact in vocabulary().claim_facts():
        if random.random() < 0.4 and not fact.required:
            facts[fact.name] = _value(random, fact.name, fact.type, list(fact.values or ()), fact.is_list)
    facts["line.code"] = random.choice(["J3490", "J3590", "J9999", "C9399", "J7999", "J3032", "J7799"])
    facts["date_of_service"] = random.choice(
        ["2019-05-05", "2020-09-30", "2020-10-01", "2024-02-29", "2026-01-01", "2026-02-03"]
    )
    facts["setting"] = random.choice(["office", "hospital_outpatient", "dme", "home_infusion"])
    facts["drug.name"] = random.choice(DRUGS)
    return {**nested(facts), "payer": random.choice(PAYERS)}


def _value(random: Random, name: str, kind: str, values: list[str], is_list: bool) -> object:
    one: object = {
        "boolean": random.random() < 0.5,
        "choice": random.choice(values or [""]),
        "date": random.choice(["2019-01-01", "2025-12-31"]),
        "integer": random.choice([1, 70, 400]),
        "amount": random.choice(["10", "1250.00", "5000.01"]),
        "quantity": random.choice(["1", "2.5"]),
        "ndc": random.choice(["67386-0130-51", "00000-0000-00"]),
        "code": random.choice(["JZ", "JW", "U3", "TX", "11"]),
    }.get(kind, random.choice(TEXTS))
    return [one] if is_list and one != "" else [] if is_list else one
