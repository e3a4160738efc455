"""The examples in rule files: each rule's own worked cases, run through the naive evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from byreport.evaluate import truth
from byreport.facts import build
from byreport.reference import Reference
from byreport.rule import Example, Rule, tests
from byreport.rulebook import Rulebook
from byreport.vocabulary import Key


@dataclass(frozen=True)
class Outcome:
    """One example run: the rule, its number among the rule's examples (from 1), and what came out."""

    rule: str
    file: str
    line: int
    number: int
    expected: bool
    fired: bool | None
    note: str | None = None

    @property
    def passed(self) -> bool:
        """An example that should fire fired; one that should not is false or undecided."""
        return (self.fired is True) == self.expected

    def __str__(self) -> str:
        said = {True: "fired", False: "did not fire", None: "was undecided (a fact it tests is unknown)"}[self.fired]
        wanted = "should fire" if self.expected else "should not fire"
        return f"{self.file}:{self.line}: example {self.number} of {self.rule} {wanted}, but {said}"


def given_facts(rule: Rule, given: dict[str, object], reference: Reference) -> dict[str, Key]:
    """The keys of the facts of an example, completed from reference data as for a claim line.

    Concluded facts that the example names are taken as concluded.
    """
    payer = rule.ruleset if "/" in rule.ruleset else "private/example"
    return dict(build(payer, given, reference).keys)


def run(rulebook: Rulebook, reference: Reference, ruleset: str | None = None) -> Iterator[Outcome]:
    """Run every example of a tree (or of one ruleset). A table's example runs against the row it names, or any row."""
    for path in rulebook.paths():
        if ruleset is not None and path != ruleset:
            continue
        tables: dict[str, list[Rule]] = {}
        for rule in rulebook.ruleset(path):
            tables.setdefault(rule.table or rule.id, []).append(rule)
        for name, rules in tables.items():
            yield from _run_rule(name, rules, reference)


def worked(rules: list[Rule], reference: Reference) -> Iterator[tuple[Example, list[Rule], dict[str, Key]]]:
    """Each example of a rule (or of a table's rows) with the rules that it is about and the facts it gives them."""
    for example in rules[0].examples:
        wanted = [rule for rule in rules if example.row is None or rule.row == example.row]
        keys = given_facts(rules[0], dict(example.given), reference)
        # A derived fact that the example does not name was concluded by nothing.
        derived = {t.fact for rule in wanted for t in tests(rule.condition) if t.fact in _CONCLUDED}
        for fact in derived - set(keys):
            keys[fact] = frozenset() if fact in _LISTS else False
        yield example, wanted, keys


def _run_rule(name: str, rules: list[Rule], reference: Reference) -> Iterator[Outcome]:
    for number, (example, wanted, keys) in enumerate(worked(rules, reference), 1):
        values = [truth(rule.condition, keys) for rule in wanted]
        fired = True if True in values else None if None in values else False
        yield Outcome(
            name, rules[0].file, rules[0].line, number, example.fires, fired if wanted else None, example.note
        )


def _concluded() -> tuple[frozenset[str], frozenset[str]]:
    from byreport.vocabulary import vocabulary

    facts = [fact for fact in vocabulary().facts.values() if fact.origin == "concluded"]
    return frozenset(f.name for f in facts), frozenset(f.name for f in facts if f.is_list)


_CONCLUDED, _LISTS = _concluded()
