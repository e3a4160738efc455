"""CLIPS through clipspy: a claim is one fact with a slot to each value, conclusions are facts that rules assert."""

from __future__ import annotations

from typing import Any

from peers import workload


class Clips:
    """The public interface of clipspy: assert, run, reset."""

    title = "CLIPS (clipspy)"

    def __init__(self, made: list[workload.Made]) -> None:
        import clips

        self.environment = clips.Environment()
        slots = " ".join(f"(slot {_name(fact)} (default nil))" for fact in workload.FACTS)
        self.environment.build(f"(deftemplate claim {slots})")
        self.environment.build("(deftemplate concluded (slot what))")
        self.environment.build("(defglobal ?*fired* = (create$))")
        for rule in made:
            self.environment.build(_rule(rule))
        self.template = self.environment.find_template("claim")
        self.fired = self.environment.find_global("fired")
        self.symbol = {True: clips.Symbol("TRUE"), False: clips.Symbol("FALSE")}

    def prepare(self, found: workload.Claim) -> object:
        return {_name(fact): self.symbol[value] if isinstance(value, bool) else value for fact, value in found.items()}

    def fire(self, prepared: Any) -> list[str]:
        self.environment.reset()
        self.template.assert_fact(**prepared)
        self.environment.run()
        return list(self.fired.value)


def _name(fact: str) -> str:
    return fact.replace(".", "_")


def _rule(rule: workload.Made) -> str:
    slots = " ".join(f"({_name(fact)} {_constraint(fact, op, constant)})" for fact, op, constant in rule.tests)
    needs = " ".join(f'(concluded (what "{token}"))' for token in rule.needs)
    concluded = f'(assert (concluded (what "{rule.concludes}")))' if rule.concludes else ""
    return f'(defrule {rule.id} (claim {slots}) {needs} => (bind ?*fired* (create$ ?*fired* "{rule.id}")) {concluded})'


def _constraint(fact: str, operator: str, constant: Any) -> str:
    if operator == "present":
        return "~nil"
    if operator == "absent":
        return "nil"
    if operator == "eq":
        return _literal(constant)
    if operator == "in":
        return "|".join(map(_literal, constant))
    variable = f"?{_name(fact)}"
    return f"{variable}&~nil&:({'>=' if operator == 'ge' else '<'} {variable} {constant})"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value) if isinstance(value, int) else f'"{value}"'
