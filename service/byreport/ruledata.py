"""Rules and tables as JSON-ready data, for the service and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from byreport.rule import AnyOf, Conclusion, Condition, Example, Not, Rule, Test


def rule_or_table(rules: Sequence[Rule], wanted: str) -> dict[str, Any]:
    """What `Rulebook.rule(wanted)` found: one rule, or a table with all its rows.

    A table that shares its id with nothing else comes as `{"id", "kind": "table", "ruleset", "file", "rows"}`.
    """
    if len(rules) == 1 and rules[0].id == wanted:
        return rule_data(rules[0])
    return {
        "id": wanted,
        "kind": "table",
        "ruleset": rules[0].ruleset,
        "file": rules[0].file,
        "rows": [rule_data(rule) for rule in rules],
    }


def rule_data(rule: Rule) -> dict[str, Any]:
    """One rule, or one row of a table."""
    return {
        "id": rule.id,
        "kind": "rule" if rule.table is None else "row",
        "title": rule.title,
        "ruleset": rule.ruleset,
        "table": rule.table,
        "row": rule.row,
        "effective": {"from": rule.effective_from, "to": rule.effective_to},
        "when": condition_data(rule.when),
        "then": [conclusion_data(conclusion) for conclusion in rule.then],
        "sources": [source.as_dict() for source in rule.sources],
        "overrides": list(rule.overrides),
        "examples": [example_data(example) for example in rule.examples],
        "file": rule.file,
        "line": rule.line,
    }


def condition_data(condition: Condition) -> dict[str, Any]:
    """A condition as a tree of `all`, `any`, `not` and tests."""
    if isinstance(condition, Test):
        return {"fact": condition.fact, "operator": condition.operator, "test": condition.shown}
    if isinstance(condition, Not):
        return {"not": condition_data(condition.item)}
    word = "any" if isinstance(condition, AnyOf) else "all"
    return {word: [condition_data(item) for item in condition.items]}


def conclusion_data(conclusion: Conclusion) -> dict[str, Any]:
    """A verb with its settings, as the rule file writes them."""
    settings = dict(conclusion.settings)
    if conclusion.verb == "conclude":
        settings = {settings["fact"]: settings["value"]}
    return {"verb": conclusion.verb, "settings": {name: _plain(value) for name, value in settings.items()}}


def example_data(example: Example) -> dict[str, Any]:
    """A worked example of a rule."""
    return {
        "given": {name: _plain(value) for name, value in example.given.items()},
        "fires": example.fires,
        "row": example.row,
        "note": example.note,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
