"""Managed-care plans and lines of business are payers of their own, below their state or company."""

from __future__ import annotations

import pytest
from claims import decide, fired, line
from examples_as_claims import Worked, worked

from byreport import rule as rule_
from byreport.desk import Desk
from byreport.rulebook import Rulebook

BOOK = Rulebook.open()
PLANS = [path for path in BOOK.payers() if path.count("/") >= 2 and not path.startswith("medicare/")]
EXAMPLES: dict[str, list[Worked]] = {}
for case in worked(BOOK):
    EXAMPLES.setdefault(case.rule.ruleset, []).append(case)


def parent(plan: str) -> str:
    return plan.rpartition("/")[0]


def siblings(plan: str) -> list[str]:
    return [path for path in PLANS if path != plan and parent(path) == parent(plan)]


def names(desk: Desk, case: Worked, payer: str) -> set[str]:
    """The rules and tables that fire on an example's line when it goes to another payer."""
    body = decide(desk, {**case.claim, "payer": payer})
    return {name for entry in body["fired"] for name in (entry["rule"], entry.get("table")) if name}


def test_there_are_plans_of_states_and_of_companies() -> None:
    assert {"medicaid/TX/tchp", "medicaid/CA/hpsj", "medicaid/CA/cencal", "medicaid/DE/highmark-health-options"} <= set(
        PLANS
    )
    assert "private/bcbs-mi/bcn" in PLANS
    assert len(PLANS) >= 90
    assert all(parent(plan) in BOOK.payers() for plan in PLANS)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plans_rule_never_fires_for_its_state_or_company(desk: Desk, plan: str) -> None:
    own = {name for rule in BOOK.ruleset(plan) for name in (rule.id, rule.table) if name}
    for case in EXAMPLES.get(plan, []):
        assert str(case) in names(desk, case, case.claim["payer"]), str(case)
        assert not own & names(desk, case, parent(plan)), str(case)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if siblings(plan) and plan in EXAMPLES])
def test_nor_for_another_plan_of_it(desk: Desk, plan: str) -> None:
    own = {name for rule in BOOK.ruleset(plan) for name in (rule.id, rule.table) if name}
    for case in EXAMPLES[plan]:
        for other in siblings(plan):
            assert not own & names(desk, case, other), (str(case), other)


@pytest.mark.parametrize("plan", PLANS)
def test_the_rules_of_the_state_or_company_still_apply_below_the_plan(desk: Desk, plan: str) -> None:
    """But for those that speak of one path only, and say so in their conditions."""
    for case in EXAMPLES.get(parent(plan), []):
        if "payer.path" not in {test.fact for test in rule_.tests(case.rule.when)}:
            assert str(case) in names(desk, case, plan), str(case)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.startswith("medicaid/")])
def test_the_federal_rules_apply_to_a_states_plan_too(desk: Desk, plan: str) -> None:
    assert desk.rulebook.chain(plan)[:2] == ("common", "medicaid/federal")
    assert any(rule.startswith("fed.") for rule in fired(decide(desk, line(plan))))


def test_texas_wants_the_ndc_of_its_plans_too_but_not_the_plans_review_of_itself(desk: Desk) -> None:
    plan = decide(desk, line("medicaid/TX/tchp", code="J3590"))
    state = decide(desk, line("medicaid/TX", code="J3590"))
    assert "tx.ndc" in fired(plan) & fired(state)
    assert "tx.tchp.other-noc" in fired(plan) - fired(state)
    assert plan["prior_authorization"]["status"] == "required"
    assert state["prior_authorization"]["status"] == "unknown"
    assert "TMHP" in state["prior_authorization"]["how"]
    assert "TMHP" not in plan["prior_authorization"]["how"]  # members of a plan ask their plan
