"""`questions` holds exactly the unknown facts that could change the decision."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import rule as rules
from byreport.chain import chain
from byreport.decision import decide
from byreport.facts import Facts
from byreport.patterns import sample
from byreport.rulebook import PayerRules
from byreport.vocabulary import vocabulary
from random_rulebooks import POOLS, keys_of, random_facts, random_payer

QUIET = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
CLAIM_FACTS = [name for name in POOLS if vocabulary().facts[name].origin == "claim"]


REQUIRED = {"line.code": "J3490", "line.noc": True, "date_of_service": "2026-01-01", "setting": "office"}
"""What a claim line always gives, and what follows from its code."""


def facts_of(shown: dict[str, Any]) -> Facts:
    return Facts("medicaid/TX/plan", shown, keys_of(shown), dict.fromkeys(shown, "computed"), (), (), True)


def body(payer: PayerRules, shown: dict[str, Any]) -> dict[str, Any]:
    verdict = chain(payer, keys_of(shown))
    fired = [payer.by_id[rule] for rule in verdict.fired()]
    decided = dict(decide(payer, facts_of(shown), fired, "sha256:0").body)
    # One more reason for what follows anyway is no change of the decision.
    decided["fired"] = [{**entry, "because": None} for entry in decided["fired"]]
    return decided


def answers(name: str) -> list[Any]:
    fact = vocabulary().facts[name]
    pool: list[Any] = list(POOLS.get(name, ["A123"]))
    if fact.is_list:
        return [(), *((value,) for value in pool), tuple(pool)]
    return [*pool, *([""] if fact.type != "boolean" else [])]


@QUIET
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_answering_a_fact_that_is_not_asked_changes_nothing(random: Random, size: int) -> None:
    payer, shown = random_payer(random, size), {**random_facts(random), **REQUIRED}
    before = body(payer, shown)
    asked = {question["fact"] for question in before["questions"]}
    for name in CLAIM_FACTS:
        if name not in shown and name not in asked:
            for value in answers(name):
                assert body(payer, {**shown, name: value}) == before, (name, value)


@QUIET
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_nor_does_it_after_any_of_the_other_questions_was_answered(random: Random, size: int) -> None:
    payer, shown = random_payer(random, size), {**random_facts(random), **REQUIRED}
    asked = {question["fact"] for question in body(payer, shown)["questions"]}
    unknown = [name for name in CLAIM_FACTS if name not in shown]
    for name in (name for name in unknown if name not in asked):
        others = {other: random.choice(answers(other)) for other in unknown if other != name and random.random() < 0.5}
        fired = chain(payer, keys_of({**shown, **others})).fired()
        for value in answers(name):
            assert chain(payer, keys_of({**shown, **others, name: value})).fired() == fired, (name, value, others)


@QUIET
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_every_question_could_change_the_decision(random: Random, size: int) -> None:
    """For each fact asked there is a completion of the other facts in which its answer matters."""
    payer, shown = random_payer(random, size), {**random_facts(random), **REQUIRED}
    tested = {test.fact for rule in payer.rules for test in rules.tests(rule.condition)}
    unknown = [name for name in CLAIM_FACTS if name not in shown and name in tested]
    if len(unknown) > 5:
        return
    for question in body(payer, shown)["questions"]:
        # The drug and its NDC are also asked because reference data may know other facts from them; there is none here.
        if question["fact"] in {"drug.name", "line.ndc.code", "drug.compounded"}:
            continue
        assert _matters(payer, shown, question["fact"], unknown), question


def _matters(payer: PayerRules, shown: dict[str, Any], name: str, unknown: list[str]) -> bool:
    others = [other for other in unknown if other != name]
    choices = [[None, *_answers_for(payer, other)] for other in others]
    for values in itertools.islice(itertools.product(*choices), 4_000):
        given_ = {**shown, **{other: value for other, value in zip(others, values, strict=True) if value is not None}}
        before = _core(payer, given_)
        if any(_core(payer, {**given_, name: value}) != before for value in _answers_for(payer, name)):
            return True
    return False


def _answers_for(payer: PayerRules, name: str) -> list[Any]:
    """The pool's values, and texts made for the patterns that the rules match the fact against."""
    patterns = {
        t.value for r in payer.rules for t in rules.tests(r.condition) if t.fact == name and t.operator == "matches"
    }
    made = [text for text in map(sample, sorted(patterns)) if text]
    is_list = vocabulary().facts[name].is_list
    odd = {
        "text": "nothing like it",
        "code": "X1",
        "date": "1999-01-01",
        "quantity": "0",
        "amount": "0.01",
        "integer": -7,
    }.get(vocabulary().facts[name].type)
    more = [*made, *([odd] if odd is not None else [])]
    return [*answers(name), *((text,) if is_list else text for text in more)]


def _core(payer: PayerRules, shown: dict[str, Any]) -> dict[str, Any]:
    return {part: value for part, value in body(payer, shown).items() if part != "questions"}
