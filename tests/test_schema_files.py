"""The schema files: current, agreeing with the code they are made from, and met by every bundled file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from byreport import claim, yamlfile
from byreport.check import check
from byreport.reference import Reference
from byreport.resources import bundled
from byreport.rulebook import Rulebook
from byreport.rulefile import build
from byreport.schema_files import claim_schema, files, policy_document_schema, ruleset_schema, write
from byreport.shape import shape_findings
from byreport.verbs import VERBS
from byreport.vocabulary import Fact, vocabulary

RULES = """\
ruleset: private/acme
title: Acme Health
rules:
  - id: acme.one
    title: One
    effective: {from: 2025-01-01, to: null}
    when:
      line.code: {one_of: [J3490, J3590]}
      drug.name: $drug
      drug.fda_approval_date: {before: 2020-01-01}
      drug.strength: {matches: "^10"}
      patient.age_years: {at_least: 18, below: 65}
      line.units: {below: 1.5}
      drug.biologic: true
      drug.specific_code: missing
      any:
        - {setting: office}
        - not: {setting: {one_of: [asc, dme]}}
    then:
      - use_code: J3590
      - prior_authorization: {status: required, how: Call}
      - price: {basis: wac, percent: 106}
      - require_document: [invoice, {item: ndc, note: In full}]
      - require_field: {field: line.ndc.code}
      - require_modifier: $modifier
      - require_units: 3
      - deny: {group: CO, carc: 16, rarc: N350, unless: "$drug is described"}
      - deadline: {what: timely_filing, days: 365}
      - caution: Look
      - not_billable: Not here
      - conclude: {noc.fits: J3590}
    source: {document: manual, statement: one}
    overrides: [acme.two]
    rows:
      - {drug: [Skysona, elivaldogene autotemcel], modifier: U3, row: skysona}
      - {drug: Zynteglo, modifier: any}
    examples:
      - given: {line.code: J3490, line.modifiers: [U3], drug.specific_code: [], drug.strength: "", line.units: 3}
        fires: true
      - {given: {line.code: null}, fires: false, row: skysona, note: Nothing is known}
"""


def parsed(text: str = RULES, name: str = "rules/private/acme.yaml") -> yamlfile.Document:
    document = yamlfile.parse(text, name)
    assert document.findings == []
    return document


def fits(document: Any, schema: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(schema).is_valid(document))


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", files())
def test_the_file_is_current(name: str) -> None:
    assert (bundled("schemas") / name).read_text(encoding="utf-8") == files()[name], "run `byreport schema`"


@pytest.mark.parametrize("name", files())
def test_the_file_is_a_valid_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(files()[name]))


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    assert {path.name for path in write(tmp_path)} == set(files())
    assert write(tmp_path) == []
    (tmp_path / "claim.schema.json").write_text("{}")
    assert [path.name for path in write(tmp_path)] == ["claim.schema.json"]


def test_every_bundled_file_fits(rulebook: Rulebook) -> None:
    faults = [
        finding for name, data in rulebook.files.items() for finding in shape_findings(yamlfile.parse(data, name))
    ]
    assert faults == []


# --- rule files -----------------------------------------------------------------------------------------------------


def test_the_sample_uses_every_verb_and_the_loader_takes_it() -> None:
    document = parsed()
    used = {verb for rule in document.data["rules"] for entry in rule["then"] for verb in entry}
    assert used == set(VERBS)
    build(document, vocabulary(), lambda *_: _source())
    assert document.findings == []
    assert shape_findings(parsed()) == []


def _source() -> Any:
    from byreport.rule import Source

    return Source("manual", "one")


def _changed(document: Any, path: list[Any], value: Any) -> Any:
    made = copy.deepcopy(document)
    node = made
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return made


WHEN = ["rules", 0, "when"]
THEN = ["rules", 0, "then", 0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["payer"], "private/acme"),
        (["rules", 0, "whan"], {}),
        (["rules", 0, "id"], "Acme One"),
        (["rules", 0, "then"], []),
        (["rules", 0, "rows"], []),
        (["rules", 0, "effective"], {"from": "2025"}),
        (["rules", 0, "effective"], {"since": "2025-01-01"}),
        (["rules", 0, "source"], {"document": "manual"}),
        (["rules", 0, "examples", 0, "fires"], "yes"),
        (["rules", 0, "examples", 0, "given", "line.kode"], "J3490"),
        (["rules", 0, "examples", 0, "given", "setting"], "ofice"),
        ([*WHEN, "line.kode"], "J3490"),
        ([*WHEN, "line.code"], {}),
        ([*WHEN, "line.code"], {"is": "J3490"}),
        ([*WHEN, "line.code"], {"one_of": []}),
        ([*WHEN, "line.code"], {"one_of": "J3490"}),
        ([*WHEN, "line.code"], {"at_least": 3}),
        ([*WHEN, "line.code"], ["J3490"]),
        ([*WHEN, "line.code"], "J-3490"),
        ([*WHEN, "setting"], "ofice"),
        ([*WHEN, "setting"], {"one_of": ["office", "ofice"]}),
        ([*WHEN, "drug.biologic"], "true"),
        ([*WHEN, "drug.biologic"], {"missing": False}),
        ([*WHEN, "drug.fda_approval_date"], {"before": "January"}),
        ([*WHEN, "drug.fda_approval_date"], {"at_least": "2020-01-01"}),
        ([*WHEN, "patient.age_years"], {"at_least": "old"}),
        ([*WHEN, "noc.fits"], "missing"),
        ([*WHEN, "any"], {"setting": "office"}),
        ([*WHEN, "any"], []),
        (THEN, {"use_kode": "J3590"}),
        (THEN, {"use_code": "J3590", "caution": "x"}),
        (THEN, {}),
        (THEN, {"prior_authorization": "perhaps"}),
        (THEN, {"price": {"percent": 106}}),
        (THEN, {"price": {"basis": "wac", "percent": "much"}}),
        (THEN, {"require_document": "invoce"}),
        (THEN, {"require_field": {"field": "line.kode"}}),
        (THEN, {"deny": {"group": "XX", "carc": 16, "unless": "x"}}),
        (THEN, {"deadline": {"what": "timely_filing", "days": 0}}),
        (THEN, {"conclude": {"noc.fits": {}}}),
        (THEN, {"conclude": {"line.code": "J3590"}}),
        (THEN, {"conclude": {"excluded": False}}),
    ],
)  # fmt: skip
def test_a_fault_of_a_rule_file_is_seen(path: list[Any], value: Any) -> None:
    document = parsed().data
    assert fits(document, ruleset_schema())
    assert not fits(_changed(document, path, value), ruleset_schema())


def test_every_fact_is_offered_with_its_meaning() -> None:
    """What an editor shows: completion comes from the properties, hover from their descriptions."""
    schema = ruleset_schema()
    condition, _ = schema["$defs"]["condition"]["anyOf"]
    for fact in vocabulary().facts.values():
        assert condition["properties"][fact.name]["description"].startswith(fact.meaning)
    for name, verb in VERBS.items():
        offered = schema["$defs"]["verb"]["properties"][name]
        assert offered["description"] == verb.meaning
        for setting in verb.settings:
            assert f'"{setting}"' in json.dumps(offered)


def _tests_of(fact: Fact) -> Iterator[Any]:
    values = {
        "text": "x", "code": "J3490", "ndc": "67386-0130-51", "boolean": True, "date": "2020-01-31", "integer": 3,
        "quantity": 3, "amount": "3.50", "fact": "line.code",
    }  # fmt: skip
    value = next(iter(fact.values)) if fact.values else values[fact.type]
    yield from (value, "$column", {"equals": value}, {"one_of": [value]}, "missing", "present", "unknown")
    for operator in ("at_least", "below", "before", "on_or_after", "matches", "about"):
        yield {operator: value}
    yield from ({"missing": True}, {"missing": False}, {"equals": None}, {"equals": []}, None, [], "", {"one_of": []})
    yield from ("2020-13-45x", {"equals": "no such value!"}, yamlfile.DecimalText("1.5"), -1, False)


@pytest.mark.parametrize("name", vocabulary().facts)
def test_schema_and_loader_take_the_same_tests(name: str) -> None:
    fact, validator = vocabulary().facts[name], Draft202012Validator(ruleset_schema())
    for test in _tests_of(fact):
        rule = {
            "id": "acme.one",
            "title": "One",
            "when": {name: test},
            "then": [{"caution": "x"}],
            "source": {"document": "manual", "statement": "one"},
            "examples": [{"given": {}, "fires": True}],
        }
        if test == "$column":
            rule["rows"] = [{"column": "any"}]
        document = yamlfile.Document("rules/private/acme.yaml", {"ruleset": "private/acme", "rules": [rule]})
        build(document, vocabulary(), lambda *_: _source())
        if fact.type == "fact" and test in ({"equals": "no such value!"}, "2020-13-45x", "1.5"):
            assert not validator.is_valid(document.data)  # the loader takes any text for the name of a fact
            continue
        assert validator.is_valid(document.data) == (document.findings == []), (test, document.findings)


# --- claim lines ----------------------------------------------------------------------------------------------------


LINE = {
    "payer": "medicaid/TX",
    "date_of_service": "2026-02-03",
    "setting": "office",
    "line": {"code": "J3490"},
}
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.text(max_size=12),
    st.from_regex(r"[ \t]?[0-9A-Za-z.+-]{0,12} ?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]", fullmatch=True),
    st.from_regex(r"[0-9]{4,5}-[0-9]{3,4}-[0-9]{1,2}", fullmatch=True),
    st.from_regex(r"[0-9]{9,12}(\.[0-9]{0,5})?", fullmatch=True),
    st.sampled_from(["office", "OFFICE", "ML", "invoice", "intravenous", "", " ", "2026-02-29", "1899-12-31"]),
)
_FACTS = st.sampled_from(vocabulary().claim_facts())


@settings(max_examples=1_500, derandomize=True, deadline=None, database=None)
@given(fact=_FACTS, value=st.one_of(_VALUES, st.lists(_VALUES, max_size=3), st.just({}), st.just(["x"] * 101)))
def test_the_schema_and_the_reader_take_the_same_claim_lines(fact: Fact, value: Any) -> None:
    data = copy.deepcopy(LINE)
    *groups, leaf = fact.name.split(".")
    node: Any = data
    for group in groups:
        node = node.setdefault(group, {})
    node[leaf] = value
    try:
        claim.read(data)
        taken = True
    except claim.ClaimError:
        taken = False
    validator = Draft202012Validator(claim_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert validator.is_valid(data) == taken, (fact.name, value)


@pytest.mark.parametrize("gone", ["payer", "date_of_service", "setting", "line"])
def test_what_a_claim_line_must_have(gone: str) -> None:
    assert fits(LINE, claim_schema())
    assert not fits({name: value for name, value in LINE.items() if name != gone}, claim_schema())
    assert not fits({**LINE, "patient_name": "x"}, claim_schema())


# --- policy documents -----------------------------------------------------------------------------------------------


POLICY = {
    "payer": "private/acme",
    "name": "Acme Health",
    "documents": [
        {
            "id": "manual",
            "title": "Provider manual",
            "publisher": "Acme Health",
            "url": None,
            "published": "2025-01-15",
            "kind": "provider manual",
            "authority": "primary",
            "statements": [
                {
                    "id": "one",
                    "topic": "coverage",
                    "statement": "The committee meets every quarter.",
                    "confidence": "high",
                    "no_rule": {"why": "payer_process"},
                }
            ],
        }
    ],
    "gaps": ["Units"],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["name"], ""),
        (["payers"], []),
        (["documents", 0, "kind"], "book"),
        (["documents", 0, "authority"], "hearsay"),
        (["documents", 0, "published"], "January 2025"),
        (["documents", 0, "statements", 0, "topic"], "weather"),
        (["documents", 0, "statements", 0, "no_rule"], {"why": "lazy"}),
        (["documents", 0, "statements", 0, "confidense"], "high"),
    ],
)
def test_a_fault_of_a_policy_document_is_seen(path: list[Any], value: Any) -> None:
    assert fits(POLICY, policy_document_schema())
    assert not fits(_changed(POLICY, path, value), policy_document_schema())


# --- what check reports ---------------------------------------------------------------------------------------------


def _tree(root: Path, rules: str) -> Rulebook:
    path = root / "rules" / "private" / "acme.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(rules, encoding="utf-8")
    return Rulebook.open(root)


def test_check_reports_what_the_loader_lets_pass(tmp_path: Path, reference: Reference) -> None:
    """An empty test says nothing, so the loader leaves it out; the analyst meant something by it."""
    rules = RULES.replace("drug.biologic: true", "drug.biologic: {}")
    book = _tree(tmp_path, rules)
    line = rules.splitlines().index("      drug.biologic: {}") + 1
    assert not any(finding.line == line for finding in book.load())
    (finding,) = [finding for finding in check(book, reference) if finding.line == line]
    assert (finding.file, finding.kind, finding.severity) == ("rules/private/acme.yaml", "shape", "error")
    assert finding.found == "{}"


def test_check_says_each_fault_once(tmp_path: Path, reference: Reference) -> None:
    rules = RULES.replace("[J3490, J3590]", "[J-3490]")
    book = _tree(tmp_path, rules)
    line = next(n for n, text in enumerate(rules.splitlines(), 1) if "J-3490" in text)
    assert [finding.kind for finding in check(book, reference) if finding.line == line] == ["type"]


def test_a_file_that_is_no_yaml_has_no_shape() -> None:
    assert shape_findings(yamlfile.parse("rules: [", "rules/private/acme.yaml")) == []
    assert shape_findings(yamlfile.parse("", "rules/private/acme.yaml")) == []


def test_a_fault_names_its_place(tmp_path: Path) -> None:
    document = parsed(RULES.replace("basis: wac", "basis: wec"))
    (finding,) = shape_findings(document)
    assert (finding.line, finding.found) == (22, '"wec"')
    assert "wac" in (finding.expected or "")
