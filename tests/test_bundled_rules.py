"""The bundled rules of every payer: engine, standing and evaluator agree on random lines, and nothing conflicts."""

from __future__ import annotations

from random import Random

from byreport import claim, facts
from byreport.chain import chain
from byreport.desk import Desk
from byreport.standing import standings
from random_claims import random_claim

LINES = 12


def test_engine_standing_and_evaluator_agree_for_every_payer(desk: Desk) -> None:
    random = Random(11)
    for path in desk.rulebook.payers():
        payer = desk.rulebook.payer(path)
        for _ in range(LINES):
            line = claim.read({**random_claim(random), "payer": path})
            keys = facts.build(path, line.facts, desk.reference).keys
            verdict = chain(payer, keys)
            fired = {rule.id for rule in desk.engine(payer).fire(keys)}
            assert fired == verdict.fired(), path
            states = standings(payer, desk.rulebook.vocabulary).of(keys).of
            truths = {rule.id: states[rule.id].truth if rule.id in states else False for rule in payer.rules}
            assert truths == verdict.truth, path


def test_no_random_line_of_any_payer_meets_two_rules_that_disagree(desk: Desk) -> None:
    random = Random(12)
    for path in desk.rulebook.payers():
        for _ in range(LINES):
            data = {**random_claim(random), "payer": path}
            decided = desk.decide(data).decision
            assert decided.template.outcome != "review", (
                data,
                [c for c in decided.body["cautions"] if c["kind"] == "conflict"],
            )


def test_not_required_is_only_said_by_a_rule_that_says_so(desk: Desk) -> None:
    """A wrong "no authorization needed" is the worst answer there is."""
    random = Random(13)
    said = 0
    for path in desk.rulebook.payers():
        by_id = desk.rulebook.payer(path).by_id
        for _ in range(LINES):
            body = desk.decide({**random_claim(random), "payer": path}).decision.body
            answer = body["prior_authorization"]
            if answer["status"] == "not_required":
                said += 1
                verbs = [c for rule in answer["rules"] for c in by_id[rule].then if c.verb == "prior_authorization"]
                assert any(c.settings["status"] == "not_required" for c in verbs), path
                assert all(by_id[rule].sources for rule in answer["rules"]), path
    assert said < LINES * len(desk.rulebook.payers()) / 10
