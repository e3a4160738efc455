"""What the examples exercise: counted by hand on a small ruleset, and bounded on the bundled one."""

from __future__ import annotations

from byreport.example_coverage import exercised, gaps, summary
from byreport.examples import run
from byreport.reference import Reference
from byreport.rulebook import Rulebook

POLICY = b"""
payer: private/x
name: X
documents:
  - {id: d, title: D, publisher: P, url: https://example.org, published: 2026-01-01, kind: bulletin, authority: primary,
     statements: [{id: s, topic: pricing, statement: S., confidence: high}]}
"""
RULES = b"""
ruleset: private/x
title: X
rules:
  - id: x.plain
    title: Plain
    effective: {from: 2024-01-01}
    when: {line.code: J3490, any: [{drug.biologic: true}, {drug.route: unknown}]}
    then: [{caution: C}]
    source: {document: d, statement: s}
    examples:
      - given: {line.code: J3490, drug.biologic: true, date_of_service: 2024-01-01}
        fires: true
      - given: {line.code: J3490, drug.biologic: false, drug.route: oral, date_of_service: 2024-01-01}
        fires: false
  - id: x.table
    title: Table
    when: {drug.name: $names, requires.document: invoice}
    then: [{caution: C}]
    source: {document: d, statement: s}
    rows:
      - {row: one, names: [Abc, Def]}
      - {row: two, names: Ghi}
    examples:
      - given: {drug.name: Def, requires.document: [invoice]}
        fires: true
        row: one
      - given: {drug.name: Xyz, requires.document: [invoice]}
        fires: false
  - id: x.never
    title: Never
    when: {line.noc: true}
    then: [{caution: C}]
    source: {document: d, statement: s}
    examples:
      - given: {line.code: J3490}
        fires: true
"""


def _small() -> Rulebook:
    rulebook = Rulebook({"rules/private/x.yaml": RULES, "policy_docs/private/x.yaml": POLICY})
    assert rulebook.load() == []
    return rulebook


def test_each_rule_row_and_test(reference: Reference) -> None:
    never, plain, table = exercised(_small(), reference)["private/x"]
    assert (never.rule, never.fires, never.stays_silent) == ("x.never", True, False)
    assert never.one_way == (("line.noc is true", "never false"),)
    assert (plain.fires, plain.stays_silent, plain.rows, plain.tests) == (True, True, 0, 4)
    assert plain.one_way == (
        ("date_of_service on or after 2024-01-01", "never false"),
        ("line.code is J3490", "never false"),
    )
    assert (table.rows, table.idle_rows, table.tests) == (2, ("two",), 2)
    assert table.one_way == (("requires.document has invoice", "never false"),)


def test_the_counts_and_their_total(reference: Reference) -> None:
    found = exercised(_small(), reference)
    one, total = summary(found)
    assert (one.rules, one.rules_exercised) == (3, 2)
    assert (one.rows, one.rows_exercised) == (2, 1)
    assert (one.ways, one.ways_exercised) == (14, 10)
    assert (total.ruleset, total.rules, total.rows, total.ways) == ("total", 3, 2, 14)
    assert "10/14" in str(one)
    lines = list(gaps(found["private/x"]))
    assert "rules/private/x.yaml:30: x.never: no example leaves it silent" in lines
    assert len(lines) == 1 + 1 + 2 + 1 + 1


def test_the_bundled_examples_fire_and_silence_every_rule(rulebook: Rulebook, reference: Reference) -> None:
    found = exercised(rulebook, reference)
    *_, total = summary(found)
    assert total.rules_exercised == total.rules
    assert total.rules == len({rule.table or rule.id for rule in rulebook.rules()})
    assert total.rows == sum(rule.row is not None for rule in rulebook.rules())
    assert 0 < total.rows_exercised <= total.rows
    assert 0 < total.ways_exercised <= total.ways


def test_one_ruleset_alone(rulebook: Rulebook, reference: Reference) -> None:
    found = exercised(rulebook, reference, "common")
    assert list(found) == ["common"]
    numbers = {outcome.rule for outcome in run(rulebook, reference, "common")}
    assert {rule.rule for rule in found["common"]} == numbers
