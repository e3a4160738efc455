"""The order in which rules run: a rule that tests a concluded fact runs after every rule that may conclude it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from byreport.rule import Rule, asserts

RESOLVED = {
    "use_code": ("recommends.code", "recommends.another_code"),
    "prior_authorization": ("requires.prior_authorization",),
}
"""Verbs whose concluded facts are asserted only once the nearer payer has overridden the farther."""


def producers(rules: Iterable[Rule]) -> dict[str, set[str]]:
    """For each concluded fact the ids of the rules that may conclude it."""
    found: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for conclusion in rule.then:
            asserted = asserts(conclusion)
            if asserted is not None:
                found[asserted[0]].add(rule.id)
            for fact in RESOLVED.get(conclusion.verb, ()):
                found[fact].add(rule.id)
    return found


def strata(rules: Iterable[Rule]) -> tuple[list[list[Rule]], list[str]]:
    """The rules in strata, lowest first, and the ids of rules that depend on each other in a circle (left out)."""
    all_rules = list(rules)
    made_by = producers(all_rules)
    needs: Mapping[str, set[str]] = {
        rule.id: {producer for fact in rule.facts() for producer in made_by.get(fact, ())} for rule in all_rules
    }
    level: dict[str, int] = {}
    waiting = {rule.id for rule in all_rules}
    depth = 0
    while waiting:
        ready = {rule_id for rule_id in waiting if not needs[rule_id] & waiting}
        if not ready:
            break
        level.update(dict.fromkeys(ready, depth))
        waiting -= ready
        depth += 1
    layers: list[list[Rule]] = [[] for _ in range(depth)]
    for rule in all_rules:
        if rule.id in level:
            layers[level[rule.id]].append(rule)
    return layers, sorted(waiting)
