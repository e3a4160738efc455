"""The six things that a decision means, on the published rules and on small trees made for the purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from claims import NOVITAS, Body, Claim, decide, denied, fired, line
from examples_as_claims import random_claims, worked

from byreport import facts as facts_
from byreport import rule as rule_
from byreport.desk import Desk
from byreport.facts import Facts
from byreport.findings import RulebookError
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.vocabulary import vocabulary

SOURCES = """
payer: {payer}
name: {payer}
documents:
  - id: manual
    title: Provider manual
    publisher: {payer}
    url: https://example.org/{payer}
    published: {published}
    kind: provider manual
    authority: {authority}
    statements:
      - {{id: says-so, topic: prior_authorization, statement: It says so., confidence: high}}
"""
RULE = """
  - id: {id}
    title: {id}
    when: {when}
    then:
      - {then}
    overrides: {overrides}
    source: {{document: manual, statement: says-so}}
    examples:
      - given: {{line.code: J3490}}
        fires: true
      - given: {{line.code: J3032}}
        fires: false
"""
NEEDED = "prior_authorization: {status: required, how: Ask the desk}"
DENIED = "deny: {group: CO, carc: 197, unless: it is asked for}"
NOT_NEEDED = "prior_authorization: {status: not_required, how: Nothing to do}"


def rule(id: str, when: str, then: str, overrides: str = "[]") -> str:
    return RULE.format(id=id, when=when, then=then, overrides=overrides)


@pytest.fixture
def tree(tmp_path: Path, reference: Reference) -> Callable[..., Desk]:
    """Makes a desk on a tree of payers, each with the text of its rules; `sources` replaces what a document is."""

    def make(payers: dict[str, str], **sources: str) -> Desk:
        for payer, rules in payers.items():
            for root, text in (
                ("rules", f"ruleset: {payer}\ntitle: {payer}\nrules:{rules or ' []'}"),
                (
                    "policy_docs",
                    SOURCES.format(payer=payer, **{"published": "2025-06-01", "authority": "primary", **sources}),
                ),
            ):
                file = tmp_path / root / f"{payer}.yaml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        return Desk(Rulebook.open(tmp_path), reference)

    return make


def without(desk: Desk, unwanted: str) -> Desk:
    """The desk with one rule file emptied."""
    path = f"rules/{unwanted}.yaml"
    files = {**desk.rulebook.files, path: f"ruleset: {unwanted}\ntitle: x\nrules: []\n".encode()}
    assert path in desk.rulebook.files
    return Desk(Rulebook(files), desk.reference)


def text(body: Body) -> str:
    return json.dumps(body, ensure_ascii=False)


# --- 1. nothing unpublished is ever said --------------------------------------------------------------------------


def test_without_a_rule_there_is_no_conclusion(tree: Callable[..., Desk]) -> None:
    body = decide(tree({"private/acme": ""}), line("private/acme", line__charge="12.00"))
    for part in ("documentation", "edits", "denials", "deadlines", "exclusions", "fired"):
        assert body[part] == []
    # Which drug it was is always worth knowing: reference data may say otherwise than the claim.
    assert {question["fact"] for question in body["questions"]} <= {"drug.name", "line.ndc.code"}
    assert body["code"]["recommended"] is None
    assert body["pricing"]["basis"] is None
    assert body["prior_authorization"]["status"] == "unknown"
    assert "private/acme" in body["prior_authorization"]["how"]
    assert {caution["kind"] for caution in body["cautions"]} == {"no_policy_on_file"}


@pytest.mark.parametrize(
    ("payer", "ruleset", "claim"),
    [
        ("medicaid/TX/tchp", "medicaid/TX/tchp", {"code": "J3590"}),
        ("medicaid/MT", "medicaid/MT", {}),
        ("private/hcsc/bcbsil", "private/hcsc/bcbsil", {}),
        ("medicare/mac/cgs-j15", "medicare/mac/cgs-j15", {}),
    ],
)
def test_what_a_payers_rules_said_is_gone_with_them(
    desk: Desk, payer: str, ruleset: str, claim: dict[str, str]
) -> None:
    asked = line(payer, drug__specific_code=[], documentation=[], **claim)
    own = {rule.id for rule in desk.rulebook.ruleset(ruleset)}
    before, after = decide(desk, asked), decide(without(desk, ruleset), asked)
    assert own & fired(before)
    assert not own & fired(after)
    assert not any(f'"{rule}"' in text(after) for rule in own)


@pytest.mark.parametrize(
    ("source", "kind"),
    [("", "missing-key"), ("    source: {document: manual, statement: never-said}\n", "dangling-source")],
)
def test_a_rule_without_a_published_statement_decides_nothing(reference: Reference, source: str, kind: str) -> None:
    whole = "ruleset: private/acme\ntitle: x\nrules:" + rule("acme.pa", "{line.noc: true}", NOT_NEEDED)
    faulty = whole.replace("    source: {document: manual, statement: says-so}\n", source)
    assert faulty != whole
    book = Rulebook(
        {
            "rules/private/acme.yaml": faulty.encode(),
            "policy_docs/private/acme.yaml": SOURCES.format(
                payer="private/acme", published="2025-06-01", authority="primary"
            ).encode(),
        }
    )
    assert kind in {finding.kind for finding in book.load()}
    with pytest.raises(RulebookError):
        decide(Desk(book, reference), line("private/acme"))


# --- 2. unknown is not false ------------------------------------------------------------------------------------------


def test_self_administered_is_not_excluded_while_the_exceptions_are_open(desk: Desk) -> None:
    known = {"drug__self_administered": True, "drug__route": "subcutaneous", "drug__antiemetic": False,
             "drug__immunosuppressive": False, "drug__antineoplastic": False}  # fmt: skip
    open_ = decide(desk, line(NOVITAS, "Enspryng", **known))
    assert "nat.coverage.self-administered" not in fired(open_)
    assert open_["outcome"] != "not_billable"
    (question,) = (q for q in open_["questions"] if q["fact"] == "drug.clotting_factor")
    assert "coverage" in question["would_decide"]
    answered = decide(desk, line(NOVITAS, "Enspryng", drug__clotting_factor=False, **known))
    assert answered["outcome"] == "not_billable"
    excepted = decide(desk, line(NOVITAS, "Enspryng", drug__clotting_factor=True, **known))
    assert "nat.coverage.self-administered" not in fired(excepted)


def test_left_out_and_empty_are_different_things(desk: Desk) -> None:
    def body(**more: Any) -> Body:
        return decide(desk, line("medicare/mac/ngs-jk", line__description="x 1 mg IV", drug__specific_code=[],
                                 drug__compounded=False, drug__antineoplastic=False, drug__biologic=False,
                                 drug__route="intravenous", **more))  # fmt: skip

    left_out, empty, held = body(), body(documentation=[]), body(documentation=["drug_name", "dose"])
    assert left_out["outcome"] == "needs_information"
    assert "documentation" in {question["fact"] for question in left_out["questions"]}
    assert empty["outcome"] == "fix"
    assert "documentation" not in {question["fact"] for question in empty["questions"]}
    assert {part["status"] for part in empty["documentation"]} == {"missing"}
    assert {part["status"] for part in held["documentation"]} == {"present"}
    assert "CO 16" not in denied(held)


def test_a_drug_nobody_knows_gets_no_code_for_want_of_one(desk: Desk) -> None:
    body = decide(desk, line(NOVITAS, "zyxafusp", drug__compounded=False, drug__route="intravenous",
                             drug__antineoplastic=False, drug__biologic=True))  # fmt: skip
    assert body["code"]["recommended"] is None
    assert "drug.specific_code" in {question["fact"] for question in body["questions"]}


def values_of(name: str) -> list[Any]:
    fact = vocabulary().facts[name]
    if fact.type == "boolean":
        return [True, False]
    if fact.values is not None:
        values = list(fact.values)
        return [[], [values[0]], values] if fact.is_list else [values[0], values[-1]]
    scalars: dict[str, list[Any]] = {
        "date": ["2019-01-01", "2026-01-01"], "integer": [0, 400], "quantity": ["1", "3"],
        "amount": ["1.00", "9000.00"], "ndc": ["00000-0000-00", "61755-0008-01"],
        "code": ["J3490", "TX", "J3032"], "text": ["", "x"],
    }  # fmt: skip
    found = scalars[fact.type]
    return [[], *([value] for value in found if value)] if fact.is_list else found


@pytest.mark.parametrize("seed", range(6))
def test_a_fact_that_was_left_out_and_is_not_asked_for_changes_nothing(desk: Desk, seed: int) -> None:
    """On the published rules: what the decision says holds whatever the answer to a question it does not ask."""
    random = Random(seed)
    names = [f.name for f in vocabulary().claim_facts() if not f.required]
    for claim in random_claims(desk.rulebook, random, 40):
        decided = desk.decide(claim)
        before, given = decided.decision.body, decided.line.facts
        asked = {question["fact"] for question in before["questions"]}
        silent = [name for name in names if name not in given and name not in decided.facts.shown and name not in asked]
        for name in random.sample(silent, 4):
            for value in values_of(name):
                *groups, leaf = name.split(".")
                changed = json.loads(json.dumps(claim))
                node = changed
                for group in groups:
                    node = node.setdefault(group, {})
                node[leaf] = value
                assert said(decide(desk, changed)) == said(before), (name, value, json.dumps(claim))


def test_whether_a_drug_with_a_code_was_compounded_is_asked(desk: Desk) -> None:
    """A compound of Vyepti is J7999 and Vyepti is J3032, so the code depends on an answer that nobody gave."""
    body = decide(desk, line("private/upmc", "Vyepti"))
    compound = decide(desk, line("private/upmc", "Vyepti", drug__compounded=True))
    assert (body["code"]["recommended"], compound["code"]["recommended"]) == ("J3032", "J7999")
    assert "drug.compounded" in {question["fact"] for question in body["questions"]}


def said(body: Body) -> Body:
    """A decision without its reasons and places: one more reason for what holds anyway is no change.

    Nor is it one that a place is told for the form that is used and not for all, or that the drug's name would show
    whether a fact just given agrees with reference data.
    """
    return {
        **body,
        "questions": {q["fact"] for q in body["questions"] if q["fact"] != "drug.name"},
        "fired": [{**entry, "because": None} for entry in body["fired"]],
        **{part: [{**entry, "where": None} for entry in body[part]] for part in ("edits", "documentation")},
    }


def test_what_fires_without_a_fact_fires_with_every_value_of_it(desk: Desk) -> None:
    """Save for rules that test whether the fact is unknown, which say so in their conditions."""
    random = Random(99)
    checked = 0
    for claim in random_claims(desk.rulebook, random, 120):
        decided = desk.decide(claim)
        payer = desk.rulebook.payer(decided.decision.payer)
        tested = sorted(
            {t.fact for r in payer.rules for t in rule_.tests(r.condition)} & {f.name for f in _plain_facts()}
        )
        name = random.choice([name for name in tested if name not in decided.facts.shown] or [""])
        if not name:
            continue
        asks_unknown = {
            r.id for r in payer.rules for t in rule_.tests(r.condition)
            if t.operator == "unknown" or vocabulary().facts[t.fact].origin == "concluded"
        }  # fmt: skip
        for value in values_of(name):
            keys = {**decided.facts.keys, name: vocabulary().facts[name].key(vocabulary().facts[name].shown(value))}
            after = {rule.id for rule in desk.engine(payer).fire(keys)}
            before = {rule.id for rule in desk.engine(payer).fire(decided.facts.keys)}
            assert before - after <= asks_unknown, (name, value, json.dumps(claim))
            checked += 1
    assert checked > 100


def _plain_facts() -> list[Any]:
    return [fact for fact in vocabulary().claim_facts() if fact.name != "drug.name"]


# --- 3. the nearer payer wins, and what it overrode is shown --------------------------------------------------------


def test_the_plan_wins_over_the_state_and_the_state_over_the_federal_rules(tree: Callable[..., Desk]) -> None:
    noc = "{line.noc: true}"
    desk = tree(
        {
            "medicaid/federal": rule("fed.pa", noc, NEEDED),
            "medicaid/ZZ": rule("zz.pa", noc, "prior_authorization: {status: conditional, how: Sometimes}"),
            "medicaid/ZZ/plan": rule("plan.pa", noc, NOT_NEEDED),
        }
    )

    def at(payer: str) -> tuple[str, list[dict[str, str]]]:
        body = decide(desk, line(payer))
        assert {rule for rule in ("fed.pa", "zz.pa", "plan.pa") if rule in fired(body)} >= {"fed.pa"}
        return body["prior_authorization"]["status"], body["overridden"]

    pa = "prior_authorization"
    assert at("medicaid/federal") == ("required", [])
    assert at("medicaid/ZZ") == ("conditional", [{"rule": "fed.pa", "by": "zz.pa", "part": pa}])
    assert at("medicaid/ZZ/plan") == (
        "not_required",
        [{"rule": "fed.pa", "by": "plan.pa", "part": pa}, {"rule": "zz.pa", "by": "plan.pa", "part": pa}],
    )


def test_what_was_overridden_brings_no_denial(tree: Callable[..., Desk]) -> None:
    when = "{line.noc: true}"
    desk = tree(
        {
            "common": rule("common.denial", "{requires.prior_authorization: true}", DENIED),
            "medicaid/federal": rule("fed.pa", when, NEEDED),
            "medicaid/ZZ": rule("zz.pa", when, NOT_NEEDED),
        }
    )  # fmt: skip
    assert denied(decide(desk, line("medicaid/federal"))) == {"CO 197"}
    assert denied(decide(desk, line("medicaid/ZZ"))) == set()


def test_two_rules_of_one_ruleset_that_disagree_are_for_a_person(tree: Callable[..., Desk]) -> None:
    when = "{line.noc: true}"
    desk = tree({"private/acme": rule("acme.one", when, NEEDED) + rule("acme.two", when, NOT_NEEDED)})
    body = decide(desk, line("private/acme"))
    assert body["outcome"] == "review"
    assert body["prior_authorization"]["status"] == "unknown"
    (conflict,) = (caution for caution in body["cautions"] if caution["kind"] == "conflict")
    assert conflict["rules"] == ["acme.one", "acme.two"]


def test_a_rule_may_override_another_of_its_ruleset(tree: Callable[..., Desk]) -> None:
    when = "{line.noc: true}"
    desk = tree(
        {"private/acme": rule("acme.one", when, NEEDED) + rule("acme.two", when, NOT_NEEDED, overrides="[acme.one]")}
    )
    body = decide(desk, line("private/acme"))
    assert body["prior_authorization"]["status"] == "not_required"
    assert body["overridden"] == [{"rule": "acme.one", "by": "acme.two", "part": "prior_authorization"}]


def test_first_coasts_price_of_a_radiopharmaceutical_stands_before_the_national_rule(desk: Desk) -> None:
    body = decide(desk, line("medicare/mac/first-coast-jn", code="A9699", provider__state="FL"))
    assert {"rule": "nat.price.radiopharmaceutical", "by": "jn.radiopharm.price:florida", "part": "pricing"} in body[
        "overridden"
    ]
    assert body["pricing"]["rules"] == ["jn.radiopharm.price:florida"]
    assert "nat.price.radiopharmaceutical" in fired(body)


def test_iowa_keeps_avastin_in_the_eye_under_its_own_code_choice(desk: Desk) -> None:
    body = decide(desk, line("medicaid/IA", "Avastin", code="J7999", drug__route="intravitreal"))
    assert {"rule": "common.code.specific", "by": "ia.avastin.office", "part": "code"} in body["overridden"]
    assert body["code"]["recommended"] == "J7999"
    assert "CO 189" not in denied(body)


# --- 4. order does not matter -----------------------------------------------------------------------------------------


def shuffled_file(data: bytes, random: Random) -> bytes:
    head, *rules = data.decode("utf-8").split("\n  - id: ")
    random.shuffle(rules)
    return "\n  - id: ".join([head, *(block.rstrip("\n") for block in rules)]).encode() + b"\n"


def shuffled(value: Any, random: Random) -> Any:
    """The same JSON object with its keys in another order, at every level."""
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    random.shuffle(items)
    return {key: shuffled(item, random) for key, item in items}


def test_rules_in_any_order_give_the_same_decisions_byte_for_byte(desk: Desk) -> None:
    claims = [case.claim for case in worked(desk.rulebook)][::12]
    assert len(claims) >= 60
    before = [text(decide(desk, claim)) for claim in claims]
    for seed in range(2):
        random = Random(seed)
        files = {
            name: shuffled_file(data, random) if name.startswith("rules/") else data
            for name, data in random.sample(sorted(desk.rulebook.files.items()), len(desk.rulebook.files))
        }
        assert any(files[name] != data for name, data in desk.rulebook.files.items())
        other = Desk(Rulebook(files), desk.reference)
        assert [rule.id for rule in other.rulebook.rules()] == [rule.id for rule in desk.rulebook.rules()]
        assert [text(decide(other, claim)) for claim in claims] == before
        other.close()


def test_claim_fields_in_any_order_give_the_same_decision_byte_for_byte(desk: Desk) -> None:
    random = Random(4)
    fresh = Desk(desk.rulebook, desk.reference, 0)
    for claim in random_claims(desk.rulebook, Random(3), 60):
        other = shuffled(claim, random)
        assert text(decide(fresh, other)) == text(decide(desk, claim))
    fresh.close()


# --- 5. the same facts, the same rulebook, the same decision ------------------------------------------------------


def test_a_decision_does_not_depend_on_the_lines_before_it(desk: Desk) -> None:
    claims = list(random_claims(desk.rulebook, Random(5), 150))
    one_by_one = [text(decide(Desk(desk.rulebook, desk.reference, 0), claim)) for claim in claims[:15]]
    together = Desk(desk.rulebook, desk.reference)
    forwards = [text(decide(together, claim)) for claim in claims]
    backwards = [text(decide(together, claim)) for claim in reversed(claims)][::-1]
    assert forwards == backwards
    assert forwards[:15] == one_by_one
    together.close()


def test_a_line_like_another_gets_its_own_values(desk: Desk) -> None:
    """Lines of one situation share what was worked out; figures and texts are each line's own."""
    fresh = Desk(desk.rulebook, desk.reference)
    for charge, awp, expected in (("100.00", "1000.00", "950.00"), ("200.00", "2000.00", "1900.00")):
        body = decide(
            fresh,
            line(NOVITAS, code="C9399", setting="hospital_outpatient", line__charge=charge, price__awp=awp,
                 line__units="1", drug__specific_code=[]),
        )  # fmt: skip
        assert body["pricing"]["estimate"] == expected
    fresh.close()


def test_the_rulebook_packed_and_unpacked_decides_the_same(desk: Desk) -> None:
    again = Rulebook.from_archive(desk.rulebook.archive())
    assert again.hash == desk.rulebook.hash
    other = Desk(again, desk.reference)
    for claim in random_claims(desk.rulebook, Random(6), 40):
        assert text(decide(other, claim)) == text(decide(desk, claim))
    other.close()


def test_the_stored_facts_decide_the_same_without_reference_data(desk: Desk) -> None:
    for claim in random_claims(desk.rulebook, Random(7), 60):
        decided = desk.decide(claim)
        payer = decided.decision.payer
        written = facts_.as_text(decided.facts)
        before = json.dumps(facts_.stored(json.loads(written), payer))  # as older logs have it
        for kept in (written, before):
            stored: Facts = facts_.from_text(kept, payer)
            again = desk.decide_facts(decided.line, desk.rulebook.payer(payer), stored)
            assert text(again.decision.body) == text(decided.decision.body)


def test_another_rulebook_is_seen_by_its_hash(desk: Desk) -> None:
    assert without(desk, "medicaid/MT").rulebook.hash != desk.rulebook.hash


# --- 6. a source's age shows ------------------------------------------------------------------------------------------


def aged(body: Body, title: str) -> list[str]:
    return [c["text"] for c in body["cautions"] if c["kind"] == "old_source" and c["text"].startswith(title)]


def test_a_source_is_old_three_years_after_its_day_counted_to_the_date_of_service(desk: Desk) -> None:
    """The CGS notice on what a NOC line states was published on 2015-07-23."""

    def on(day: str) -> list[str]:
        return aged(decide(desk, line("medicare/mac/ngs-jk", on=day)), "NOC Drugs: Clarification")

    assert on("2018-07-23") == []
    assert len(on("2018-07-24")) == 1
    assert "2015-07-23" in on("2018-07-24")[0]


@pytest.mark.parametrize("day", ["2016-02-03", "2026-02-03"])
def test_an_undated_source_is_always_cautioned(desk: Desk, day: str) -> None:
    body = decide(desk, line("medicare/mac/palmetto-jj", on=day))
    (said_,) = aged(body, "Unclassified or NOC Drug Codes: Rejected")
    assert "no date" in said_


def test_a_second_hand_source_is_cautioned_and_a_primary_one_is_not(tree: Callable[..., Desk]) -> None:
    rules = {"private/acme": rule("acme.pa", "{line.noc: true}", NEEDED)}
    second = decide(tree(rules, authority="secondary"), line("private/acme"))
    (caution,) = (c for c in second["cautions"] if c["kind"] == "secondary_source")
    assert caution["rules"] == ["acme.pa"]
    first = decide(tree(rules, authority="primary"), line("private/acme"))
    assert "secondary_source" not in {c["kind"] for c in first["cautions"]}


def test_only_sources_that_the_decision_leans_on_are_cautioned(tree: Callable[..., Desk]) -> None:
    rules = {"private/acme": rule("acme.pa", "{line.noc: true}", NEEDED)}
    desk = tree(rules, published="2010-01-01")
    assert "old_source" in {c["kind"] for c in decide(desk, line("private/acme"))["cautions"]}
    assert "old_source" not in {c["kind"] for c in decide(desk, line("private/acme", code="J3032"))["cautions"]}


def test_the_claim_a_test_makes_is_what_it_says() -> None:
    """The builder of these tests leaves out what is not named."""
    made: Claim = line(NOVITAS, "Vyepti", drug__route="oral")
    assert made == {
        "payer": NOVITAS,
        "date_of_service": "2026-02-03",
        "setting": "office",
        "line": {"code": "J3490"},
        "drug": {"name": "Vyepti", "route": "oral"},
    }
