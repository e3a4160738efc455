"""What is looked up once of payers, codes and drugs is what looking it up for each line gives."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import claim
from byreport import facts as facts_
from byreport.facts import COMPUTED, GIVEN, REFERENCE, Disagreement, Facts
from byreport.reference import DrugMatch, Reference
from byreport.vocabulary import vocabulary
from random_claims import random_claim


def plainly(payer: str, given: dict[str, Any], reference: Reference) -> Facts:
    """As `facts.build`, with everything looked up anew."""
    words = vocabulary().facts
    shown, origin = dict(given), dict.fromkeys(given, GIVEN)

    def fill(known: dict[str, Any], source: str) -> None:
        for name, value in known.items():
            if name not in shown:
                shown[name], origin[name] = value, source

    fill(facts_.of_payer(payer), COMPUTED)
    day = date.fromisoformat(shown["date_of_service"]) if shown.get("date_of_service") else None
    if shown.get("line.code"):
        fill(facts_._line(shown["line.code"], day, reference), COMPUTED)
    match = drug_of(shown, reference)
    disagreements = []
    if match is not None:
        if not shown.get("drug.name"):
            shown["drug.name"], origin["drug.name"] = match.name, REFERENCE
        known = facts_._known(match, day, str(shown.get("setting", "")), reference, payer.startswith("medicare/"))
        if shown.get("drug.compounded") is True:
            known.pop("drug.specific_code", None)
        label = facts_._label(match.name, match)
        for name, value in known.items():
            if name in shown and not facts_._agree(words[name].key(shown[name]), words[name].key(value)):
                said, knows = facts_._text(shown[name]), facts_._text(value)
                text = f"The claim says {name} is {said}; reference data for {label} says {knows}."
                disagreements.append(Disagreement(name, said, knows, text))
        fill(known, REFERENCE)
    if shown.get("drug.compounded") is True:
        fill({"drug.specific_code": ()}, REFERENCE)
    if day is not None:
        fill(facts_._arithmetic(shown, day), COMPUTED)
    keys = {name: words[name].key(value) for name, value in shown.items()}
    name = shown.get("drug.name")
    if match is not None:
        keys["drug.name"] = facts_.names_of(match, str(name))
    near = () if match or not name else tuple(facts_._label(c.name, c.match) for c in reference.candidates(name))
    return Facts(payer, shown, keys, origin, tuple(disagreements), near, match is not None)


def drug_of(shown: dict[str, Any], reference: Reference) -> DrugMatch | None:
    if shown.get("drug.name"):
        return reference.match(shown["drug.name"])
    return facts_._of_ndc(shown.get("line.ndc.code"), reference)


def assert_same(found: Facts, expected: Facts) -> None:
    assert found == expected
    for part in ("shown", "keys", "origin"):
        assert list(getattr(found, part).items()) == list(getattr(expected, part).items())
    assert facts_.as_text(found) == facts_.as_text(expected)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False), day=st.dates(date(2000, 1, 1), date(2035, 12, 31)))
def test_facts_are_those_looked_up_anew(reference: Reference, random: Random, day: date) -> None:
    data: Any = random_claim(random)
    name = random.choice(["", None, *random.sample(sorted(reference._names), 3), "eptinezumb"])
    if random.random() < 0.8:
        data["drug"]["name"] = name
    if random.random() < 0.5:
        data["date_of_service"] = day.isoformat()
    line = claim.read(data)
    payer = facts_.payer_path(line, reference)
    expected = plainly(payer, dict(line.facts), reference)
    assert_same(facts_.of_line(payer, line, reference), expected)
    assert_same(facts_.build(payer, line.facts, reference), expected)


def test_a_drug_named_by_its_ndc_alone_is_looked_up(reference: Reference) -> None:
    found = 0
    for product in sorted(reference._ndc)[::40]:
        for drug in ({}, {"name": ""}):
            line = claim.read(
                {
                    "payer": "medicaid/TX",
                    "date_of_service": "2025-02-02",
                    "setting": "office",
                    "line": {"code": "J3490", "ndc": {"code": product + "01"}},
                    "drug": drug,
                }
            )
            expected = plainly(line.payer, dict(line.facts), reference)
            assert_same(facts_.of_line(line.payer, line, reference), expected)
            found += expected.drug_recognised
    assert found > 20


@pytest.mark.parametrize("medicare", [False, True])
def test_nothing_else_is_known_of_a_drug_between_its_turning_days(reference: Reference, medicare: bool) -> None:
    random = Random(1)
    lookup = facts_._Lookup(reference, vocabulary())
    turning = 0
    uncoded = [name for name, match in sorted(reference._names.items()) if match.uncoded_through and not match.codes]
    for name in (*random.sample(sorted(reference._names), 400), *uncoded[:40]):
        drug = lookup.drug(name, None)
        assert drug.match is not None
        turns = facts_._turns(drug.match, reference)
        days = {day + timedelta(days=step) for day in turns for step in (-1, 0, 1)}
        days |= {date(1990, 1, 1) + timedelta(days=random.randrange(16_000)) for _ in range(10)}
        for day in random.sample(sorted(days), len(days)):
            for setting in ("office", "hospital_outpatient", ""):
                known = facts_._known(drug.match, day, setting, reference, medicare)
                assert [entry[:2] for entry in drug.known(day, setting, medicare)] == list(known.items())
        turning += len(turns)
    assert turning > 1_000
