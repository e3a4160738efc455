"""What the examples in rule files exercise: which rules, which rows of tables, and each test made true and false."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from byreport.evaluate import holds, truth
from byreport.examples import worked
from byreport.reference import Reference
from byreport.rule import Rule, Test, tests
from byreport.rulebook import Rulebook


@dataclass(frozen=True)
class RuleExercise:
    """What the examples of one rule, or of one table, do with it.

    `idle_rows` are the rows that no example fires. `one_way` are tests that the examples leave true or false
    throughout, or unknown: the test as the file words it, and what is lacking ("never true", "never false").
    """

    rule: str
    file: str
    line: int
    fires: bool
    stays_silent: bool
    rows: int
    idle_rows: tuple[str, ...]
    tests: int
    one_way: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Exercise:
    """Counts for one ruleset, or for all of them: how many there are, and how many the examples exercise.

    `ways` counts each test twice, once for being made true and once for being made false. Rows of one table share
    the tests of the table's `when`.
    """

    ruleset: str
    rules: int = 0
    rules_exercised: int = 0
    rows: int = 0
    rows_exercised: int = 0
    ways: int = 0
    ways_exercised: int = 0

    def __str__(self) -> str:
        return (
            f"{self.ruleset:44} {_share(self.rules_exercised, self.rules)} rules"
            f" {_share(self.rows_exercised, self.rows)} rows {_share(self.ways_exercised, self.ways)} ways of tests"
        )


def exercised(rulebook: Rulebook, reference: Reference, ruleset: str | None = None) -> dict[str, list[RuleExercise]]:
    """For each ruleset (or one of them) what the examples of each rule and table exercise, in order of the id."""
    result = {}
    for path in rulebook.paths():
        if ruleset not in (None, path):
            continue
        tables: dict[str, list[Rule]] = defaultdict(list)
        for rule in rulebook.ruleset(path):
            tables[rule.table or rule.id].append(rule)
        result[path] = [_exercised(name, rules, reference) for name, rules in tables.items()]
    return result


def summary(found: dict[str, list[RuleExercise]]) -> Iterator[Exercise]:
    """One count for each ruleset that has rules, and last the total."""
    counted = [_counted(path, rules) for path, rules in found.items() if rules]
    yield from counted
    names = [field.name for field in fields(Exercise) if field.name != "ruleset"]
    yield Exercise("total", **{name: sum(getattr(one, name) for one in counted) for name in names})


def gaps(rules: Iterable[RuleExercise]) -> Iterator[str]:
    """What the examples leave out, one line each, with the place of the rule."""
    for rule in rules:
        place = f"{rule.file}:{rule.line}: {rule.rule}"
        if not rule.fires:
            yield f"{place}: no example fires it"
        if not rule.stays_silent:
            yield f"{place}: no example leaves it silent"
        for row in rule.idle_rows:
            yield f"{place}: no example fires the row {row}"
        for test, lacking in rule.one_way:
            yield f"{place}: {lacking}: {test}"


def _exercised(name: str, rules: list[Rule], reference: Reference) -> RuleExercise:
    shown: dict[tuple[str, str, int], str] = {}
    seen: dict[tuple[str, str, int], set[bool]] = defaultdict(set)
    outcomes: set[bool] = set()
    fired: set[str] = set()
    for rule in rules:
        for key, test in _tests(rule):
            shown.setdefault(key, test.shown)
    for _, wanted, keys in worked(rules, reference):
        values = {rule.id: truth(rule.condition, keys) for rule in wanted}
        outcomes.add(True in values.values())
        fired.update(rule for rule, value in values.items() if value is True)
        for rule in wanted:
            for key, test in _tests(rule):
                value = holds(test, keys.get(test.fact))
                if value is not None:
                    seen[key].add(value)
    return RuleExercise(
        rule=name,
        file=rules[0].file,
        line=min(rule.line for rule in rules),
        fires=True in outcomes,
        stays_silent=False in outcomes,
        rows=sum(rule.row is not None for rule in rules),
        idle_rows=tuple(rule.row for rule in rules if rule.row is not None and rule.id not in fired),
        tests=len(shown),
        one_way=tuple(
            (text, f"never {'true' if way else 'false'}")
            for key, text in shown.items()
            for way in (True, False)
            if way not in seen[key]
        ),
    )


def _tests(rule: Rule) -> Iterator[tuple[tuple[str, str, int], Test]]:
    """The tests of a rule's condition, each under a name that it shares with its like in the other rows."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    for test in tests(rule.condition):
        # A column may hold one value or a list: the same test of the table.
        kind = "one_of" if test.operator == "equals" else test.operator
        place = count[test.fact, kind]
        count[test.fact, kind] += 1
        yield (test.fact, kind, place), test


def _counted(path: str, rules: list[RuleExercise]) -> Exercise:
    return Exercise(
        path,
        rules=len(rules),
        rules_exercised=sum(rule.fires and rule.stays_silent for rule in rules),
        rows=sum(rule.rows for rule in rules),
        rows_exercised=sum(rule.rows - len(rule.idle_rows) for rule in rules),
        ways=sum(2 * rule.tests for rule in rules),
        ways_exercised=sum(2 * rule.tests - len(rule.one_way) for rule in rules),
    )


def _share(part: int, whole: int) -> str:
    return f"{part:5}/{whole:<5}" + (f"{100 * part // whole:3}%" if whole else "   -")


__all__ = ["Exercise", "RuleExercise", "exercised", "gaps", "summary"]
