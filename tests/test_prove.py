"""The prover finds each planted fault, with a witness the engine confirms, and agrees with brute force."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byreport.chain import chain
from byreport.desk import Desk
from byreport.evaluate import truth
from byreport.findings import Finding
from byreport.prove import Prover, prove
from byreport.reference import Reference
from byreport.rule import Rule
from byreport.rulebook import Rulebook
from byreport.solving import Situation
from byreport.vocabulary import vocabulary
from random_rulebooks import POOLS, random_facts, random_payer

PAYER = "private/planted"
POLICY = """
payer: private/planted
name: Planted
documents:
  - id: doc
    title: A document
    publisher: Planted
    url: https://example.org/doc
    published: 2026-01-01
    kind: bulletin
    authority: primary
    statements:
      - {id: one, topic: pricing, statement: One., confidence: high}
      - {id: two, topic: pricing, statement: Two., confidence: high}
"""


def rule(name: str, when: str, *then: str, more: str = "", statement: str = "one") -> str:
    verbs = "".join(f"\n      - {verb}" for verb in then)
    return f"""
  - id: {name}
    title: {name}
    when: {when}
    then:{verbs}
    source: {{document: doc, statement: {statement}}}
    examples:
      - given: {{line.code: J3490}}
        fires: true
      - given: {{line.code: J3032}}
        fires: false
{more}"""


def tree(*rules: str, path: str = PAYER, **others: str) -> Rulebook:
    head = f"ruleset: {path}\ntitle: Planted\nrules:"
    files = {
        f"rules/{path}.yaml": (head + "".join(rules)).encode(),
        f"policy_docs/{path}.yaml": POLICY.replace(PAYER, path).encode(),
    }
    for name, text in others.items():
        other = f"{path}/{name}"
        files[f"rules/{other}.yaml"] = f"ruleset: {other}\ntitle: {name}\nrules:{text}".encode()
        files[f"policy_docs/{other}.yaml"] = POLICY.replace(PAYER, other).encode()
    rulebook = Rulebook(files)
    assert rulebook.load() == []
    return rulebook


def found(rulebook: Rulebook, reference: Reference) -> list[Finding]:
    return prove(rulebook, reference)


def kinds(findings: Iterable[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


# --- planted faults ----------------------------------------------------------------------------------------------

CONFLICTS = {
    "code": ("use_code: J3490", "use_code: J3590"),
    "prior_authorization": ("prior_authorization: required", "prior_authorization: not_required"),
    "pricing": ("price: {basis: asp, percent: 106}", "price: {basis: asp, percent: 103}"),
    "units": ("require_units: 1", "require_units: 2"),
    "deadline.appeal": ("deadline: {what: appeal, days: 90}", "deadline: {what: appeal, months: 3}"),
}


@pytest.mark.parametrize("part", CONFLICTS)
def test_two_values_for_a_part_with_one(part: str, reference: Reference) -> None:
    one, other = CONFLICTS[part]
    rulebook = tree(
        rule("x.one", "{drug.route: oral, line.code: {matches: '^J3'}}", one),
        rule("x.other", "{patient.age_years: {below: 18}, line.code: {one_of: [J3490, J9999]}}", other),
    )
    (finding,) = found(rulebook, reference)
    assert (finding.kind, finding.severity) == ("conflict", "error")
    assert part in finding.message
    # The witness is a claim line as a file would hold it, and the engine really ends in review on it.
    desk = Desk(rulebook, reference)
    body = desk.decide(json.loads(json.dumps(finding.witness))).decision.body
    desk.close()
    assert body["outcome"] == "review"
    assert finding.witness["line"]["code"] == "J3490"
    assert finding.witness["payer"] == PAYER


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{line.code: J3490}", "{line.code: J3590}"),
        ("{line.code: J3490}", "{line.code: {matches: '^J35'}}"),
        ("{line.code: {matches: '^J.*0$'}}", "{line.code: {matches: '[1-9]$'}}"),
        ("{line.code: J3490}", "{line.noc: false}"),
        ("{line.noc_category: biologic}", "{line.code: J3490}"),
        ("{patient.age_years: {below: 18}}", "{patient.age_years: {at_least: 18}}"),
        ("{date_of_service: {before: 2026-01-01}}", "{date_of_service: {on_or_after: 2026-01-01}}"),
        ("{drug.biologic: true}", "{not: {drug.biologic: true}}"),
        ("{documentation: missing}", "{documentation: invoice}"),
        ("{documentation: unknown}", "{not: {documentation: invoice}}"),
        ("{line.description: {matches: '^.{81}'}}", "{line.description: {matches: '^.{1,80}$'}}"),
        ("{payer.program: private}", "{payer.program: medicaid}"),
        ("{drug.months_since_approval: {below: 9}}", "{drug.fda_approval_date: unknown}"),
        ("{drug.name: Vyepti, drug.biologic: unknown}", "{line.code: J3490}"),
        ("{line.code: J3490}", "{line.code_in_force: false, date_of_service: {on_or_after: 2026-01-01}}"),
    ],
)
def test_rules_that_exclude_each_other_are_no_conflict(one: str, other: str, reference: Reference) -> None:
    rulebook = tree(
        rule("x.one", one, "prior_authorization: required"),
        rule("x.other", other, "prior_authorization: not_required"),
    )
    assert "conflict" not in kinds(found(rulebook, reference))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{line.noc: true}", "{line.code: J3590}"),
        ("{line.modifiers: JZ}", "{line.modifiers: JW}"),
        ("{drug.name: Vyepti}", "{drug.name: eptinezumab-jjmr}"),
        ("{drug.months_since_approval: {below: 9}}", "{drug.fda_approval_date: {before: 2020-01-01}}"),
        ("{claim.days_after_service: {at_least: 400}}", "{date_of_service: {on_or_after: 2026-01-01}}"),
        ("{line.code_in_force: false, line.code: J3032}", "{date_of_service: {before: 2021-01-01}}"),
        ("{line.description: missing}", "{line.charge: {at_least: 5000}}"),
        ("{drug.specific_code: present}", "{line.noc: true}"),
        ("{line.ndc.code: {matches: '^67386'}}", "{line.ndc.unit: ML}"),
        ("{line.code_in_force: unknown}", "{line.code: {matches: '^Z'}}"),
    ],
)
def test_witnesses_through_computed_facts(one: str, other: str, reference: Reference) -> None:
    rulebook = tree(
        rule("x.one", one, "prior_authorization: required"),
        rule("x.other", other, "prior_authorization: not_required"),
    )
    assert kinds(found(rulebook, reference)) == ["conflict"]


def test_what_hides_a_conflict_is_kept_out_of_the_witness(reference: Reference) -> None:
    rulebook = tree(
        rule("x.one", "{drug.biologic: true}", "prior_authorization: required"),
        rule("x.other", "{line.noc: true}", "prior_authorization: not_required"),
        rule(
            "x.third",
            "{line.code: J3490}",
            "prior_authorization: conditional",
            more="    overrides: [x.one, x.other]\n",
        ),
        rule("x.no", "{setting: office}", "not_billable: Not here"),
    )
    (finding,) = found(rulebook, reference)
    assert {"x.one", "x.other"} <= set(finding.message.split())
    assert finding.witness["line"]["code"] != "J3490"
    assert finding.witness["setting"] != "office"


def test_an_override_settles_it(reference: Reference) -> None:
    for more in ("    overrides: [x.other]\n",):
        rulebook = tree(
            rule("x.one", "{drug.biologic: true}", "prior_authorization: required", more=more),
            rule("x.other", "{line.noc: true}", "prior_authorization: not_required"),
        )
        assert found(rulebook, reference) == []


def test_conflict_through_concluded_facts(reference: Reference) -> None:
    rules = (
        rule("x.kind", "{drug.biologic: true, line.code: J3490}", "conclude: {noc.fits: J3590}"),
        rule("x.one", "{noc.fits: J3590}", "prior_authorization: required"),
    )
    apart = tree(*rules, rule("x.other", "{drug.biologic: false}", "prior_authorization: not_required"))
    assert found(apart, reference) == []
    together = tree(*rules, rule("x.other", "{line.noc: true}", "prior_authorization: not_required"))
    (finding,) = found(together, reference)
    assert finding.kind == "conflict"
    assert finding.witness["drug"]["biologic"] is True


def test_a_specific_code_against_a_noc_code(reference: Reference) -> None:
    rulebook = tree(
        rule("x.one", "{line.noc: true}", "use_code: {from: drug.specific_code}"),
        rule("x.other", "{line.noc: true}", "use_code: J3490"),
    )
    (finding,) = found(rulebook, reference)
    assert finding.witness["drug"]["specific_code"]


def test_a_conflict_that_only_a_plan_sees(reference: Reference) -> None:
    rulebook = tree(
        rule("x.one", f"{{payer.path: {PAYER}/plan}}", "prior_authorization: required"),
        rule("x.other", "{line.noc: true}", "prior_authorization: not_required"),
        plan=rule("p.note", "{line.noc: true}", "caution: A caution"),
    )
    (finding,) = found(rulebook, reference)
    assert finding.witness["payer"] == f"{PAYER}/plan"


@pytest.mark.parametrize(
    "when",
    [
        "{line.code: J3490, not: {line.noc: true}}",
        "{date_of_service: {before: 2020-01-01}}",
        "{line.units: {at_least: 5, below: 5}}",
        "{drug.route: oral, any: [{drug.route: nasal}, {drug.route: unknown}]}",
        "{line.code: {matches: '^J'}, line.noc_category: {matches: '^x'}}",
        "{payer.path: medicaid/TX}",
        "{diagnoses: missing, not: {diagnoses: missing}}",
    ],
)
def test_a_rule_that_can_never_fire(when: str, reference: Reference) -> None:
    more = "    effective: {from: 2024-01-01}\n"
    (finding,) = found(tree(rule("x.never", when, "caution: Never", more=more)), reference)
    assert (finding.kind, finding.severity) == ("never-fires", "error")
    assert finding.found


def test_why_a_rule_never_fires_is_no_longer_than_it_has_to_be(reference: Reference) -> None:
    when = "{setting: office, drug.biologic: true, line.units: {at_least: 5, below: 5}, drug.route: oral}"
    (finding,) = found(tree(rule("x.never", when, "caution: Never")), reference)
    assert finding.found == "line.units at least 5; line.units below 5"


def test_a_rule_that_waits_for_a_conclusion(reference: Reference) -> None:
    (finding,) = found(tree(rule("x.wait", "{requires.document: invoice}", "caution: C")), reference)
    assert (finding.kind, finding.severity) == ("waits-for-conclusion", "warning")


def test_a_rule_that_another_decides_already(reference: Reference) -> None:
    wide = rule("x.wide", "{line.noc: true}", "caution: C", "require_document: invoice")
    narrow = rule("x.narrow", "{line.code: {one_of: [J3490, J3590]}, drug.biologic: true}", "caution: C")
    (finding,) = found(tree(wide, narrow), reference)
    assert (finding.kind, finding.severity) == ("decided-already", "warning")
    assert finding.message.startswith("whenever x.narrow fires, x.wide")
    beyond = rule("x.narrow", "{line.code: {one_of: [J3490, J3032]}}", "caution: C")
    assert found(tree(wide, beyond), reference) == []
    says_more = rule("x.narrow", "{line.code: J3490}", "caution: C", "require_document: dose")
    assert found(tree(wide, says_more), reference) == []
    cites_more = rule("x.narrow", "{line.code: J3490}", "caution: C", statement="two")
    assert found(tree(wide, cites_more), reference) == []


def test_overrides_that_do_nothing(reference: Reference) -> None:
    target = rule("x.target", "{line.code: J3590}", "prior_authorization: required")
    over = "    overrides: [x.target]\n"
    apart = rule("x.over", "{line.code: J3490}", "prior_authorization: not_required", more=over)
    (finding,) = found(tree(target, apart), reference)
    assert (finding.kind, finding.severity) == ("overrides-nothing", "warning")
    other_part = rule("x.over", "{line.code: J3590}", "use_code: J3590", more=over)
    assert kinds(found(tree(target, other_part), reference)) == ["overrides-nothing"]
    good = rule("x.over", "{line.noc: true}", "prior_authorization: not_required", more=over)
    assert found(tree(target, good), reference) == []


def test_rules_that_override_each_other(reference: Reference) -> None:
    one = rule("x.one", "{line.noc: true}", "prior_authorization: required", more="    overrides: [x.two]\n")
    two = rule("x.two", "{drug.biologic: true}", "prior_authorization: not_required", more="    overrides: [x.one]\n")
    (finding,) = found(tree(one, two), reference)
    assert (finding.kind, finding.severity) == ("override-circle", "error")


def test_a_row_repeated(reference: Reference) -> None:
    lines = ("{row: a, names: [Abc, Def]}", "{row: b, names: [Ghi]}", "{row: c, names: [def, ABC]}")
    rows = "    rows:\n" + "".join(f"      - {line}\n" for line in lines)
    findings = found(tree(rule("x.t", "{drug.name: $names}", "caution: C", more=rows)), reference)
    assert "repeated-tests" in kinds(findings)
    repeated = next(finding for finding in findings if finding.kind == "repeated-tests")
    assert repeated.severity == "error"
    assert "x.t:c" in repeated.message
    assert "x.t:a" in repeated.message


@pytest.mark.parametrize(
    ("to", "start", "kind"),
    [
        ("2025-12-31", "2026-01-01", None),
        ("2025-12-30", "2026-01-01", "version-gap"),
        ("2026-01-01", "2026-01-01", "version-overlap"),
    ],
)
def test_versions(to: str, start: str, kind: str | None, reference: Reference) -> None:
    old = rule(
        "x.old",
        "{line.noc: true}",
        "require_document: {item: invoice, note: Old}",
        more=f"    effective: {{from: 2020-01-01, to: {to}}}\n",
    )
    new = rule(
        "x.new",
        "{line.noc: true}",
        "require_document: {item: invoice, note: New}",
        more=f"    effective: {{from: {start}}}\n",
    )
    assert kinds(found(tree(old, new), reference)) == ([kind] if kind else [])


def test_a_conclusion_that_nobody_reads(reference: Reference) -> None:
    (finding,) = found(
        tree(rule("x.c", "{line.noc: true}", "conclude: {line.physician_administered: true}")), reference
    )
    assert (finding.kind, finding.severity) == ("never-read", "warning")


def test_the_order_of_rules_and_files_does_not_matter(reference: Reference) -> None:
    rules = [
        rule("x.one", "{drug.biologic: true}", "prior_authorization: required"),
        rule("x.two", "{line.noc: true}", "prior_authorization: not_required"),
        rule("x.three", "{setting: office}", "prior_authorization: conditional"),
    ]
    results = {
        tuple(sorted((f.kind, f.message, json.dumps(f.witness)) for f in found(tree(*order), reference)))
        for order in itertools.permutations(rules)
    }
    assert len(results) == 1
    assert len(next(iter(results))) == 3


# --- against brute force -----------------------------------------------------------------------------------------


def _prover(rules: tuple[Rule, ...], path: str) -> Prover:
    return Prover(rules, {rule.ruleset: [path] for rule in rules}, vocabulary(), None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_rules_seen_to_fire_together_can_fire_together(seed: int) -> None:
    random = Random(seed)
    payer = random_payer(random, 12)
    prover = _prover(payer.rules, payer.payer)
    by_id = payer.by_id
    for _ in range(12):
        keys = {name: vocabulary().facts[name].key(value) for name, value in random_facts(random).items()}
        fired = sorted(chain(payer, keys).fired())
        for pair in itertools.combinations(fired, 2):
            assert prover.together([by_id[name] for name in pair]) is not None, (seed, pair)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_a_situation_found_makes_the_rules_fire(seed: int) -> None:
    """Concluded facts, overrides and nearer rulesets included: forward chaining on the situation fires both rules."""
    payer = random_payer(Random(seed), 14)
    prover = _prover(payer.rules, payer.payer)
    for pair in itertools.combinations(payer.rules, 2):
        situation = prover.together(pair)
        if situation is not None:
            fired = chain(payer, _keys(prover, situation)).fired()
            assert {rule.id for rule in pair} <= fired, (seed, [rule.id for rule in pair])


def _keys(prover: Prover, situation: Situation) -> dict[str, Any]:
    variables = prover.space.variables
    keys: dict[str, Any] = {}
    for name, mask in situation.chosen.items():
        keys[name] = variables[name].values[(mask & -mask).bit_length() - 1].key
    for name, members in situation.items.items():
        if members is not None:
            values = variables[name].values
            keys[name] = frozenset(value.key for place, value in enumerate(values) if members >> place & 1)
    return {name: key for name, key in keys.items() if key is not None and name != "payer.path"}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_together_agrees_with_every_combination_tried(seed: int) -> None:
    """Rules without concluded facts: the prover's answer is that of trying every value of every fact they test."""
    random = Random(seed)
    payer = random_payer(random, 10)
    concluded = {name for name, fact in vocabulary().facts.items() if fact.origin == "concluded"}
    plain = [rule for rule in payer.rules if not rule.facts() & concluded]
    prover = _prover(payer.rules, payer.payer)
    for one, other in itertools.combinations(plain, 2):
        options = _options([one, other])
        if options is None:
            continue
        tried = any(
            truth(one.condition, keys) is True and truth(other.condition, keys) is True
            for keys in _assignments(options)
        )
        situation = prover.together([one, other])
        assert (situation is not None) == tried, (seed, one.id, other.id)


def _options(rules: list[Rule]) -> dict[str, list[Any]] | None:
    """Values enough to tell the tests apart, found in another way than the prover's; None when too many to try."""
    result: dict[str, list[Any]] = {}
    size = 1
    for name in {fact for rule in rules for fact in rule.facts()}:
        fact = vocabulary().facts[name]
        others = [value for value in fact.values or () if value not in POOLS[name]]
        shown = [*POOLS[name], *_EXTRA.get(fact.type, []), *others[:1]]
        scalars = list(
            dict.fromkeys(fact.scalar_key(fact.shown(value) if not fact.is_list else value) for value in shown)
        )
        if fact.many:
            values: list[Any] = [
                frozenset(items) for size_ in range(3) for items in itertools.combinations(scalars, size_)
            ]
            if not fact.is_list:
                values = [frozenset(), *(frozenset({scalar}) for scalar in scalars)]
        else:
            values = [*scalars, *([""] if fact.type != "boolean" else [])]
        result[name] = [*values, None]
        size *= len(result[name])
    return result if size <= 60_000 else None


def _joined(*pieces: str) -> list[str]:
    """Texts that bring about every combination of matches of the patterns in random_rulebooks."""
    chosen = itertools.product((False, True), repeat=len(pieces))
    return ["".join(itertools.compress(pieces, flags)) or "zz" for flags in chosen]


_EXTRA: dict[str, list[Any]] = {
    "text": _joined("c", "a", "b!", "3490", "b"),
    "code": _joined("C", "A", "3490", "B"),
    "integer": [-2, 5, 19, 10**9 - 1],
    "quantity": ["0", "0.4999", "0.5001", "0.9999", "1.0001", "2", "3.0001", "99"],
    "amount": ["0.9999", "1.0001", "0.5", "4999.9899", "4999.9901", "5000.0001", "4999.9999", "99999999999.9998"],
    "date": ["1999-01-01", "2020-09-29", "2020-12-31", "2025-12-31", "2026-01-02"],
}


def _assignments(options: dict[str, list[Any]]) -> Iterable[dict[str, Any]]:
    names = list(options)
    for values in itertools.product(*options.values()):
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_a_rule_covered_by_another_never_fires_alone(seed: int) -> None:
    random = Random(seed)
    payer = random_payer(random, 12)
    prover = _prover(payer.rules, payer.payer)
    pairs = [(a, b) for a, b in itertools.permutations(payer.rules, 2) if prover.covered(a, b)]
    for _ in range(30):
        keys = {name: vocabulary().facts[name].key(value) for name, value in random_facts(random).items()}
        fired = chain(payer, keys).fired()
        for one, other in pairs:
            assert one.id not in fired or other.id in fired, (seed, one.id, other.id)


# --- the bundled rules ---------------------------------------------------------------------------------------------


def test_the_bundled_rules_have_no_conflict_and_every_rule_can_fire(rulebook: Rulebook, reference: Reference) -> None:
    assert [str(finding) for finding in prove(rulebook, reference) if finding.severity == "error"] == []
