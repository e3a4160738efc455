"""Static analysis of a rules tree: what a schema can't see."""

from __future__ import annotations

from collections.abc import Iterator

from byreport import yamlfile
from byreport.coverage import unaccounted
from byreport.findings import Finding
from byreport.reference import Reference
from byreport.rule import Rule, tests
from byreport.rulebook import COMMON, Rulebook
from byreport.shape import shape_findings
from byreport.strata import producers, strata


def check(rulebook: Rulebook, reference: Reference) -> list[Finding]:
    """Every fault and warning of a tree, in order of file and line."""
    findings = set(rulebook.load())
    findings.update(_shapes(rulebook, {(fault.file, fault.line) for fault in findings}))
    findings.update(unaccounted(rulebook))
    for path in rulebook.paths():
        rules = rulebook.ruleset(path)
        findings.update(_examples(rules))
        findings.update(_overrides(rules))
        findings.update(_noc_codes(rules, reference))
    findings.update(_circles(rulebook))
    findings.update(_never_concluded(rulebook))
    return sorted(findings)


def _shapes(rulebook: Rulebook, reported: set[tuple[str, int]]) -> Iterator[Finding]:
    """What does not fit the JSON Schemas, but for the lines of which the loader has spoken already."""
    for name, data in rulebook.files.items():
        for finding in shape_findings(yamlfile.parse(data, name)):
            if (finding.file, finding.line) not in reported:
                yield finding


def _examples(rules: tuple[Rule, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for rule in rules:
        name = rule.table or rule.id
        if name in seen:
            continue
        seen.add(name)
        fires = {example.fires for example in rule.examples}
        if fires != {True, False}:
            lacking = " and ".join(
                word for value, word in ((True, "one that fires"), (False, "one that does not")) if value not in fires
            )
            yield Finding(
                rule.file,
                rule.line,
                1,
                "examples",
                f"{name} lacks an example: {lacking}",
                expected="examples with fires: true and fires: false",
            )


def _overrides(rules: tuple[Rule, ...]) -> Iterator[Finding]:
    ids = {rule.id for rule in rules} | {rule.table for rule in rules if rule.table}
    for rule in rules:
        for target in rule.overrides:
            if target not in ids:
                yield Finding(
                    rule.file,
                    rule.line,
                    1,
                    "override",
                    f"{rule.id} overrides {target!r}, which is no rule of {rule.ruleset}",
                    found=target,
                )


def _noc_codes(rules: tuple[Rule, ...], reference: Reference) -> Iterator[Finding]:
    """A bulletin that names a NOC code must not outlive the day the drug gets its own code."""
    for rule in rules:
        tested = {test.fact for test in tests(rule.when)}
        for conclusion in rule.then:
            code = conclusion.settings.get("code") if conclusion.verb == "use_code" else None
            noc = reference.noc(code) if code else None
            if noc is None or noc.kind == "ingredient_residual" or rule.effective_to or rule.ruleset == COMMON:
                continue
            if "drug.specific_code" not in tested and "drug.compounded" not in tested:
                yield Finding(
                    rule.file,
                    rule.line,
                    1,
                    "noc-for-ever",
                    f"{rule.id} recommends the NOC code {code} without an end",
                    expected="`drug.specific_code: missing` in `when`, or `effective: {to: …}`",
                )


def _circles(rulebook: Rulebook) -> Iterator[Finding]:
    _, circular = strata(rulebook.rules())
    by_id = {rule.id: rule for rule in rulebook.rules()}
    for rule_id in circular:
        rule = by_id[rule_id]
        yield Finding(
            rule.file,
            rule.line,
            1,
            "circle",
            f"{rule_id} depends on its own conclusions through other rules",
            expected="conclusions that lead one way",
        )


def _never_concluded(rulebook: Rulebook) -> Iterator[Finding]:
    made = producers(rulebook.rules())
    for rule in rulebook.rules():
        for name in sorted({test.fact for test in tests(rule.when)}):
            if rulebook.vocabulary.facts[name].origin == "concluded" and name not in made:
                yield Finding(
                    rule.file,
                    rule.line,
                    1,
                    "never-concluded",
                    f"{rule.id} tests {name}, which no rule concludes",
                    found=name,
                )
