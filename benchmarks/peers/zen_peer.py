"""GoRules ZEN: a decision graph with one expression node to each level, each rule an expression."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from peers import workload


class Zen:
    """One `evaluate` to a claim."""

    title = "GoRules ZEN (zen-engine)"

    def __init__(self, made: list[workload.Made]) -> None:
        import zen

        self.makers: dict[str, list[str]] = {}
        for rule in made:
            if rule.concludes:
                self.makers.setdefault(rule.concludes, []).append(rule.id)
        levels = sorted({rule.level for rule in made})
        nodes: list[dict[str, Any]] = [{"id": "in", "name": "in", "type": "inputNode"}]
        for level in levels:
            expressions = [
                {"id": rule.id, "key": rule.id, "value": self._expression(rule)} for rule in made if rule.level == level
            ]
            content = {"expressions": expressions, "passThrough": True}
            nodes.append({"id": f"l{level}", "name": f"l{level}", "type": "expressionNode", "content": content})
        nodes.append({"id": "out", "name": "out", "type": "outputNode"})
        edges = [
            {"id": f"e{number}", "sourceId": before["id"], "targetId": after["id"], "type": "edge"}
            for number, (before, after) in enumerate(pairwise(nodes))
        ]
        self.ids = [rule.id for rule in made]
        self.decision = zen.ZenEngine().create_decision(json.dumps({"nodes": nodes, "edges": edges}))

    def _expression(self, rule: workload.Made) -> str:
        tests = [_test(*test) for test in rule.tests]
        for token in rule.needs:
            makers = [f"{maker} == true" for maker in self.makers.get(token, [])]
            tests.append(f"({' or '.join(makers) or 'false'})")
        return " and ".join(tests)

    def prepare(self, found: workload.Claim) -> object:
        empty = {_name(fact): None for fact in workload.FACTS}
        return {**empty, **{_name(fact): value for fact, value in found.items()}}

    def fire(self, prepared: Any) -> list[str]:
        result = self.decision.evaluate(prepared)["result"]
        return [name for name in self.ids if result[name] is True]


def _name(fact: str) -> str:
    return fact.replace(".", "_")


def _test(fact: str, operator: str, constant: Any) -> str:
    name = _name(fact)
    if operator in ("present", "absent"):
        return f"{name} {'!=' if operator == 'present' else '=='} null"
    if operator == "in":
        return f"{name} in [{', '.join(map(_literal, constant))}]"
    if operator == "eq":
        return f"{name} == {_literal(constant)}"
    return f"({name} != null and {name} {'>=' if operator == 'ge' else '<'} {constant})"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else json.dumps(value)
