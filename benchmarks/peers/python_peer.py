"""The rules written out as one Python function: no engine, and no explanation; a bound on what Python can do."""

from __future__ import annotations

from typing import Any

from peers import workload


class GeneratedPython:
    """`if` after `if`, levels in order."""

    title = "generated Python function"

    def __init__(self, made: list[workload.Made]) -> None:
        facts = sorted({fact for rule in made for fact, _, _ in rule.tests})
        self.names = {fact: f"v{number}" for number, fact in enumerate(facts)}
        constants: dict[str, Any] = {}
        lines = ["def fire(claim):", "    get = claim.get", "    fired = []", "    concluded = set()"]
        lines += [f"    {name} = get({fact!r})" for fact, name in self.names.items()]
        for rule in sorted(made, key=lambda each: each.level):
            tests = [self._test(test, constants) for test in rule.tests]
            tests += [f"{token!r} in concluded" for token in rule.needs]
            lines.append(f"    if {' and '.join(tests)}:")
            lines.append(f"        fired.append({rule.id!r})")
            if rule.concludes:
                lines.append(f"        concluded.add({rule.concludes!r})")
        lines.append("    return fired")
        exec("\n".join(lines), constants)
        self.fire = constants["fire"]

    def _test(self, test: tuple[str, str, Any], constants: dict[str, Any]) -> str:
        fact, operator, constant = test
        name = self.names[fact]
        if operator == "in":
            held = f"k{len(constants)}"
            constants[held] = frozenset(constant)
            return f"{name} in {held}"
        if operator in ("present", "absent"):
            return f"{name} is {'not ' if operator == 'present' else ''}None"
        if operator == "eq":
            return f"{name} == {constant!r}"
        return f"{name} is not None and {name} {'>=' if operator == 'ge' else '<'} {constant!r}"

    def prepare(self, found: workload.Claim) -> object:
        return found
