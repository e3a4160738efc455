"""A situation decided before gives the same decision as deciding afresh, byte for byte."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport.claim import nested
from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook
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


@pytest.fixture(scope="module")
def fresh(rulebook: Rulebook, reference: Reference) -> Desk:
    """A desk that remembers nothing."""
    return Desk(rulebook, reference, situations=0)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_remembered_and_fresh_decisions_are_the_same_bytes(desk: Desk, fresh: Desk, random: Random) -> None:
    claim = random_claim(random)
    assert desk.decide(claim).decision.text == fresh.decide(claim).decision.text


def test_seeded_claims_do_repeat_situations(desk: Desk, fresh: Desk) -> None:
    """The test above is worth something only if remembered decisions are really used."""
    random = Random(5)
    before = desk.hits
    for _ in range(60):
        claim = random_claim(random)
        for charge in ("1.00", "2.00", "3.00"):
            line = {**claim["line"], "charge": charge, "description": f"drug at {charge}"}  # type: ignore[dict-item]
            assert (
                desk.decide({**claim, "line": line}).decision.text
                == fresh.decide({**claim, "line": line}).decision.text
            )
    assert desk.hits - before > 60


def test_a_desk_keeps_no_more_situations_than_told(rulebook: Rulebook, reference: Reference) -> None:
    desk = Desk(rulebook, reference, situations=5)
    random = Random(6)
    for _ in range(30):
        desk.decide(random_claim(random))
    assert len(desk._decided) <= 5
