"""A situation decided before gives the same decision as deciding afresh, byte for byte."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from random_claims import random_claim


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


def test_what_is_remembered_of_rules_is_bounded_over_all_payers(
    rulebook: Rulebook, reference: Reference, fresh: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byreport.desk.STATES", 300)
    desk = Desk(rulebook, reference)
    random = Random(7)
    most = 0
    for _ in range(120):
        claim = random_claim(random)
        assert desk.decide(claim).decision.text == fresh.decide(claim).decision.text
        sizes = [standings.size for _, standings in desk._compiled.values()]
        most = max(most, sum(sizes))
    assert len(sizes) > 5, "the bound is over several payers"
    # The texts of a payer's last decision are counted with its next.
    assert 200 < most <= 300 + 2 * len(sizes)
