"""The engine fires exactly what the naive evaluator says, on random rulebooks and in the engine's hard places."""

from __future__ import annotations

import threading
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import dnf
from byreport import engine as engine_module
from byreport.chain import chain
from byreport.engine import Engine, Handles
from byreport.essential import essential
from byreport.rule import All, Conclusion, Not, Rule, Test
from byreport.rulebook import PayerRules
from byreport.standing import Standing, Standings
from byreport.vocabulary import vocabulary
from random_rulebooks import CHAIN, SOURCE, keys_of, random_facts, random_payer

ONE = Conclusion("require_document", {"item": "invoice"})


def payer_of(*rules: Rule) -> PayerRules:
    return PayerRules(CHAIN[-1], "A payer", CHAIN, rules, {step: depth for depth, step in enumerate(CHAIN)})


def rule(number: int, *tests: Test, then: Conclusion = ONE) -> Rule:
    return Rule(f"r{number}", "", CHAIN[-1], All(tests), (then,), (SOURCE,))


def truths(standing: Standing, payer: PayerRules) -> dict[str, bool | None]:
    return {rule.id: standing.of[rule.id].truth if rule.id in standing.of else False for rule in payer.rules}


def settled(standing: Standing) -> list[object]:
    """All that a decision takes from a standing."""
    return [(s.rule.id, s.truth, s.left, s.turns, s.codes_held, s.reasons) for s in standing.states]


def fired(engine: Engine, keys: dict[str, object]) -> set[str]:
    return {rule.id for rule in engine.fire(keys)}


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_engine_and_evaluator_agree_on_every_firing(random: Random, size: int) -> None:
    payer = random_payer(random, size)
    engine, standings = Engine(payer, Handles(vocabulary())), Standings(payer, vocabulary())
    try:
        for _ in range(8):
            keys = keys_of(random_facts(random))
            verdict = chain(payer, keys)
            assert fired(engine, keys) == verdict.fired()
            # The standing is the evaluator's shortcut: the same truths, and states remembered from earlier claims are
            # those that would be worked out now.
            standing = standings.of(keys)
            assert truths(standing, payer) == verdict.truth
            assert settled(standing) == settled(Standings(payer, vocabulary()).of(keys))
    finally:
        engine.close()


def test_a_pattern_beside_a_comparison_with_a_code_that_is_unknown() -> None:
    """Nothing is equal to what is unknown, and no value to try follows from it."""
    condition = All(
        (
            Not(Test("drug.specific_code", "equals", None, "is the code billed")),
            Test("drug.specific_code", "matches", "^C", "matches ^C"),
        )
    )
    assert essential(condition, vocabulary()) == {"drug.specific_code"}


def test_a_wrong_engine_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzz is worth something only if it sees a fault: here every `missing` test is compiled wrongly."""
    honest = dnf.holds

    def lying(test: Test, key: object) -> bool | None:
        return honest(test, key) if test.operator != "missing" else True

    monkeypatch.setattr(dnf, "holds", lying)
    for seed in range(200):
        random = Random(seed)
        payer = random_payer(random, 20)
        engine = Engine(payer, Handles(vocabulary()))
        keys = keys_of(random_facts(random))
        if fired(engine, keys) != chain(payer, keys).fired():
            return
    pytest.fail("200 rulebooks did not show the fault")


@pytest.mark.parametrize("count", [64, 65, 200, 700])
def test_any_number_of_rules_may_fire_on_one_line(count: int) -> None:
    """The engine stops at 64 open branches (its error 303); handles are split and nothing is lost."""
    payer = payer_of(*(rule(n, Test("line.description", "matches", f"^a{{{n}}}", f"m{n}")) for n in range(count)))
    engine = Engine(payer, Handles(vocabulary()))
    keys = {"line.description": "a" * 700}
    assert fired(engine, keys) == {f"r{n}" for n in range(count)}
    splits = engine.splits
    assert fired(engine, keys) == {f"r{n}" for n in range(count)}
    assert engine.splits == splits, "a split lasts; it is not made again for the same line"


def test_three_hundred_rules_with_the_same_condition_all_fire() -> None:
    """Beyond 255 equal chains of tests the engine miscounts, so equal conjunctions are shared."""
    payer = payer_of(*(rule(n, Test("line.code", "equals", "J3490", "code")) for n in range(300)))
    assert len(fired(Engine(payer, Handles(vocabulary())), {"line.code": "J3490"})) == 300


def test_a_thousand_codes_each_with_its_rule() -> None:
    """Over 511 different tests below one node the engine loops for ever, so handles stay below."""
    payer = payer_of(*(rule(n, Test("line.code", "equals", f"J{n:04}", "code")) for n in range(1000)))
    engine = Engine(payer, Handles(vocabulary()))
    assert fired(engine, {"line.code": "J0777"}) == {"r777"}
    assert fired(engine, {"line.code": "J9999"}) == set()


def test_texts_that_look_like_json_or_differ_by_a_byte_are_told_apart() -> None:
    texts = ['a"b', "a\\b", "a\\u0041", "é", "a!", "a !", "x" * 1999 + "a", "x" * 1999 + "b", "true", "1", "null"]
    payer = payer_of(*(rule(n, Test("line.description", "equals", text, "t")) for n, text in enumerate(texts)))
    engine = Engine(payer, Handles(vocabulary()))
    for number, text in enumerate(texts):
        assert fired(engine, {"line.description": text}) == {f"r{number}"}


def test_an_error_in_the_middle_leaves_the_engine_right(monkeypatch: pytest.MonkeyPatch) -> None:
    payer = payer_of(
        *(
            rule(n, Test("line.code", "equals", "J3490", f"c{n}"), Test("setting", "equals", "office", f"s{n}"))
            for n in range(5)
        )
    )
    engine = Engine(payer, Handles(vocabulary()))
    keys = {"line.code": "J3490", "setting": "office"}
    real = engine_module.durable.complete_and_start_action
    monkeypatch.setattr(engine_module.durable, "complete_and_start_action", _raise)
    with pytest.raises(KeyboardInterrupt):
        engine.fire(keys)
    monkeypatch.setattr(engine_module.durable, "complete_and_start_action", real)
    assert len(fired(engine, keys)) == 5


def _raise(*_: object) -> None:
    raise KeyboardInterrupt


def test_threads_share_an_engine() -> None:
    random = Random(7)
    payer = random_payer(random, 40)
    engine = Engine(payer, Handles(vocabulary()))
    lines = [keys_of(random_facts(random)) for _ in range(40)]
    wanted = [chain(payer, keys).fired() for keys in lines]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(n for n, keys in enumerate(lines) if fired(engine, keys) != wanted[n])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
