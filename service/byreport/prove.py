"""What can be proved of a rules tree: rules that contradict each other, never fire, say nothing new, and the like.

Decided exactly, over every claim line that the rules can tell apart (`situations` says which values those are):

- conflict: two rules of one ruleset fire together and give different values to a part that has one value, and
  neither overrides the other. Each is reported with a claim line on which the engine and the evaluator both come to
  the outcome `review` because of these two rules; lines on which the conflict is hidden (a third rule overrides one
  of them, a nearer ruleset answers, the line is excluded) count for nothing.
- never-fires, with the tests that contradict each other.
- decided-already: whenever the rule fires, another of its ruleset fires that concludes all that it concludes and
  cites all that it cites (a rule that brings a statement of its own brings something).
- overrides-nothing, and rules that override each other (neither would stand).
- repeated-row, version-gap, version-overlap, never-read: by comparison alone.

What is left: concluded facts count as free in decided-already, so a rule that is covered only because of what
other rules conclude is not found. Of two tables the first contradicting rows are reported, not every pair. Patterns
are exact for ASCII texts. A conflict that the solver finds and no claim line confirms within some tries is reported
as the warning `undecided` rather than left out.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from byreport import claim as claim_
from byreport import facts as facts_
from byreport.chain import chain
from byreport.desk import Desk
from byreport.findings import Finding
from byreport.precedence import part_of, value_of
from byreport.reference import Reference
from byreport.rule import AnyOf, Conclusion, Condition, Not, Rule, Test, conjuncts, tests
from byreport.rulebook import PROGRAM_ROOTS, PayerRules, Rulebook
from byreport.situations import Situations
from byreport.solving import Deny, Firing, Formula, In, Situation, Solver, overrides
from byreport.vocabulary import Vocabulary

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps there are."""

MAX_TRIES = 40
"""Situations that are tried for one pair of rules until a claim line confirms the conflict."""

PAIRS_OF_TABLES = 3
"""Contradicting rows that are reported of the same two rules or tables."""


class Prover:
    """The rules of a tree and their space of situations; asks the solver.

    `payers` maps each ruleset to the payers whose chain holds it.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        payers: Mapping[str, Sequence[str]],
        vocab: Vocabulary,
        reference: Reference | None,
    ) -> None:
        self.space = Situations(rules, payers, vocab, reference)
        self.firing = Firing(rules, self.space)
        self.solver = Solver(self.space)

    def together(
        self, rules: Sequence[Rule], denied: Iterable[Formula] = (), also: Sequence[Formula] = ()
    ) -> Situation | None:
        """A situation in which all the rules fire, `also` holds and no denied formula does; None if there is none."""
        if any(self.space.apart(one, other) for one, other in itertools.combinations(rules, 2)):
            return None
        refused = [Deny(formula) for formula in denied]
        among = self.firing.among(rules)
        if any(self.firing.tests_concluded(rule) for rule in rules) and (
            self.solver.solve([*(self.firing.free(rule) for rule in rules), *also]) is None
        ):
            return None
        return self.solver.solve([*(self.firing.full(rule, among) for rule in rules), *also, *refused])

    def covered(self, rule: Rule, by: Rule) -> bool:
        """Whether `by` fires whenever `rule` does, whatever other rules conclude."""
        if self.space.apart(rule, by):
            return False
        return self.solver.solve([self.firing.free(rule), Deny(self.firing.free(by))]) is None

    def contradiction(self, rule: Rule) -> list[str] | None:
        """None when the rule can fire; else the fewest of its tests that can't hold together, as the file has them."""
        if self.together([rule]) is not None:
            return None
        parts = list(self._parts(rule))
        for part in list(parts):
            fewer = [other for other in parts if other is not part]
            if self.solver.solve([formula for _, formula in fewer]) is None:
                parts = fewer
        return [text for text, _ in parts]

    def waits(self, rule: Rule) -> bool:
        """Whether a rule that can't fire could, if other rules concluded what it tests."""
        return self.solver.solve([self.firing.free(rule)]) is not None

    def _parts(self, rule: Rule) -> Iterator[tuple[str, Formula]]:
        yield f"a payer of {rule.ruleset}", In("payer.path", self.space.payer_mask(rule.ruleset))
        for item in conjuncts(rule.condition):
            yield _worded(item), self.firing.condition(item, True, self.firing.among([rule]))


def payers_by_ruleset(rulebook: Rulebook) -> dict[str, tuple[str, ...]]:
    """The payers whose chain holds each ruleset: the ruleset's own path first, then those with the fewest rules."""
    found: dict[str, list[str]] = {path: [] for path in rulebook.paths()}
    size: dict[str, int] = {}
    for payer in rulebook.payers():
        steps = rulebook.chain(payer)
        size[payer] = sum(len(rulebook.ruleset(step)) for step in steps)
        for step in steps:
            found[step].append(payer)
    return {
        path: tuple(
            sorted(payers, key=lambda payer: (payer != path, payer in PROGRAM_ROOTS.values(), size[payer], payer))
        )
        for path, payers in found.items()
    }


def prove(
    rulebook: Rulebook,
    reference: Reference,
    progress: Progress | None = None,
    rulesets: Collection[str] | None = None,
) -> list[Finding]:
    """Every finding of the tree's rules (with `rulesets`, of these only), in order of file and line.

    The rules have to be without fault: see `Rulebook.load`.
    """
    prover = Prover(list(rulebook.rules()), payers_by_ruleset(rulebook), rulebook.vocabulary, reference)
    desk = Desk(rulebook, reference)
    paths = [path for path in rulebook.paths() if rulesets is None or path in rulesets]
    findings: set[Finding] = set()
    try:
        for done, path in enumerate(paths):
            if progress is not None:
                progress(done, len(paths))
            rules = rulebook.ruleset(path)
            idle = set(_never_firing(prover, rules, findings))
            live = [rule for rule in rules if rule.id not in idle]
            findings.update(_Conflicts(prover, desk, live).findings())
            findings.update(_decided_already(prover, live))
            findings.update(_overrides(prover, live))
            findings.update(_repeated_rows(rules))
            findings.update(_versions(rules))
        if rulesets is None:
            findings.update(_never_read(rulebook))
        if progress is not None:
            progress(len(paths), len(paths))
    finally:
        desk.close()
    for remark in prover.space.incomplete:
        findings.add(Finding("schemas/vocabulary.yaml", 0, 0, "undecided", remark, severity="warning"))
    return sorted(findings)


# --- never fires ---------------------------------------------------------------------------------------------------


def _never_firing(prover: Prover, rules: Iterable[Rule], findings: set[Finding]) -> Iterator[str]:
    for rule in rules:
        reasons = prover.contradiction(rule) if rule.id not in prover.firing.circular else None
        if reasons is None:
            continue
        yield rule.id
        if prover.waits(rule):
            findings.add(
                _finding(
                    rule,
                    "waits-for-conclusion",
                    f"{rule.id} can't fire yet: no rule concludes what it tests",
                    found="; ".join(reasons),
                    expected="a rule that concludes it",
                    severity="warning",
                )
            )
            continue
        findings.add(
            _finding(
                rule,
                "never-fires",
                f"{rule.id} can never fire",
                found="; ".join(reasons),
                expected="tests that some claim line meets together",
            )
        )


def _worded(condition: Condition) -> str:
    if isinstance(condition, Test):
        return condition.shown
    if isinstance(condition, Not):
        return f"not ({_worded(condition.item)})"
    word = " or " if isinstance(condition, AnyOf) else " and "
    return "(" + word.join(_worded(item) for item in condition.items) + ")"


# --- conflicts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Saying:
    """What one rule says of a part that has one value; ("from", fact) is a code that the claim fact holds."""

    rule: Rule
    part: str
    value: Any


class _Conflicts:
    """The contradicting pairs of one ruleset."""

    def __init__(self, prover: Prover, desk: Desk, rules: Sequence[Rule]) -> None:
        self.prover = prover
        self.desk = desk
        self.rules = rules
        self.reported: dict[tuple[str, ...], int] = defaultdict(int)

    def findings(self) -> Iterator[Finding]:
        by_part: dict[str, list[Saying]] = defaultdict(list)
        for rule in self.rules:
            for conclusion in rule.then:
                part = part_of(conclusion)
                value = _stated(conclusion)
                if part is not None and value is not None:
                    by_part[part].append(Saying(rule, part, value))
        for sayings in by_part.values():
            for one, other in itertools.combinations(sayings, 2):
                if one.value != other.value and not _overrides_one(one.rule, other.rule):
                    yield from self.pair(one, other)

    def pair(self, one: Saying, other: Saying) -> Iterator[Finding]:
        names = (_name(one.rule), _name(other.rule), one.part)
        if self.reported[names] >= PAIRS_OF_TABLES:
            return
        if one.rule.id == other.rule.id:
            self.reported[names] += 1
            yield self.said(one, other, None, f"{one.rule.id} itself gives two values for {one.part}")
            return
        found = self.confirmed(one, other)
        if found is None:
            return
        self.reported[names] += 1
        if isinstance(found, str):
            yield _finding(
                one.rule,
                "undecided",
                f"{one.rule.id} and {other.rule.id} may disagree on {one.part}; {found}",
                severity="warning",
            )
            return
        yield self.said(
            one, other, found, f"{one.rule.id} and {other.rule.id} fire together and disagree on {one.part}"
        )

    def said(self, one: Saying, other: Saying, witness: Any, message: str) -> Finding:
        return _finding(
            one.rule,
            "conflict",
            message,
            found=f"{_said(one.value)} and {_said(other.value)} ({other.rule.file}:{other.rule.line})",
            expected="tests that exclude each other, or `overrides:` in one of them",
            witness=witness,
        )

    def confirmed(self, one: Saying, other: Saying) -> Any:
        """The claim line on which the two rules bring the decision to `review`; None when there is none.

        A text when none was found in the tries allowed.
        """
        denied: list[Formula] = []
        among = self.prover.firing.among([one.rule, other.rule])
        codes = [*self.other_code(one, other), *self.other_code(other, one)]
        for _ in range(MAX_TRIES):
            situation = self.prover.together([one.rule, other.rule], denied, codes)
            if situation is None:
                return None
            data = self.prover.space.claim(situation.chosen, situation.items)
            verdict = self.tried(data, one, other) if data is not None else []
            if verdict is None:
                return data
            denied.extend(self.prover.firing.full(rule, among) for rule in verdict)
            if not verdict:
                denied.append(situation.formula())
        return f"no claim line confirmed it in {MAX_TRIES} tries"

    def other_code(self, one: Saying, other: Saying) -> Iterator[Formula]:
        """The fact that holds the one's code names a code, and not just the other's."""
        if one.part == "code" and one.value[0] == "from":
            fact = one.value[1]
            if other.value[0] == "from":
                yield self.prover.firing.test(Test(fact, "present"), True)
            else:
                yield self.prover.firing.another(fact, other.value[1])

    def tried(self, data: Any, one: Saying, other: Saying) -> list[Rule] | None:
        """None when the claim line shows the conflict; else the rules that hide it (none: the two do not fire)."""
        line = claim_.read(data)
        payer = self.desk.rulebook.payer(facts_.payer_path(line, self.desk.reference))
        facts = facts_.build(payer.payer, line.facts, self.desk.reference, self.desk.rulebook.vocabulary)
        fired = [payer.by_id[name] for name in sorted(chain(payer, facts.keys).fired())]
        if one.rule not in fired or other.rule not in fired:
            return []
        hiding = _hiding(payer, fired, one, other)
        if hiding:
            return hiding
        body = self.desk.decide(data).decision.body
        shown = any(
            caution["kind"] == "conflict" and {one.rule.id, other.rule.id} <= set(caution["rules"])
            for caution in body["cautions"]
        )
        return None if body["outcome"] == "review" and shown else []


def _hiding(payer: PayerRules, fired: list[Rule], one: Saying, other: Saying) -> list[Rule]:
    """The rules that keep the two from standing against each other in the decision."""
    hiding = [rule for rule in fired if any(conclusion.verb == "not_billable" for conclusion in rule.then)]
    depth = payer.depth[one.rule.ruleset]
    for rule in fired:
        speaks = [conclusion for conclusion in rule.then if part_of(conclusion) == one.part]
        if not speaks or rule in (one.rule, other.rule):
            continue
        nearer = payer.depth[rule.ruleset] > depth and any(_stated(conclusion) is not None for conclusion in speaks)
        if nearer or overrides(rule, one.rule) or overrides(rule, other.rule):
            hiding.append(rule)
    return hiding


def _stated(conclusion: Conclusion) -> Any:
    """The value that a conclusion gives its part, as far as the rule itself says; None where it says none."""
    if part_of(conclusion) is None:
        return None
    if conclusion.verb == "use_code":
        settings = conclusion.settings
        return ("code", settings["code"]) if "code" in settings else ("from", settings["from"])
    return value_of(conclusion, {})


def _overrides_one(one: Rule, other: Rule) -> bool:
    return overrides(one, other) or overrides(other, one)


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(str(part) for part in value if part is not None)
    return str(value)


# --- what another rule decides already, and overrides ----------------------------------------------------------------


def _decided_already(prover: Prover, rules: Sequence[Rule]) -> Iterator[Finding]:
    said = {rule.id: frozenset(_conclusion_key(conclusion) for conclusion in rule.then) for rule in rules}
    by_conclusion: dict[Any, list[Rule]] = defaultdict(list)
    for rule in rules:
        for key in said[rule.id]:
            by_conclusion[key].append(rule)
    redundant: set[str] = set()
    for rule in rules:
        rarest = min((by_conclusion[key] for key in said[rule.id]), key=len, default=[])
        for other in rarest:
            if other is rule or other.id in redundant or not said[rule.id] <= said[other.id]:
                continue
            if not set(rule.overrides) <= set(other.overrides) or _overrides_one(rule, other):
                continue
            if not {(s.document, s.statement) for s in rule.sources} <= {
                (s.document, s.statement) for s in other.sources
            }:
                continue
            if prover.covered(rule, other):
                redundant.add(rule.id)
                yield _finding(
                    rule,
                    "decided-already",
                    f"whenever {rule.id} fires, {other.id} fires and concludes the same",
                    found=f"the other is at {other.file}:{other.line}",
                    expected="one rule that cites both statements, or tests that tell the two apart",
                    severity="warning",
                )
                break


def _conclusion_key(conclusion: Conclusion) -> Any:
    return conclusion.verb, tuple(sorted((name, repr(value)) for name, value in conclusion.settings.items()))


def _overrides(prover: Prover, rules: Sequence[Rule]) -> Iterator[Finding]:
    by_name: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for name in {rule.id, rule.table or rule.id}:
            by_name[name].append(rule)
    for name, group in by_name.items():
        if group[0].table not in (None, name):
            continue
        for target in group[0].overrides:
            targets = [rule for rule in by_name.get(target, ()) if rule.table != name or target != name]
            if target in by_name:
                yield from _override(prover, name, group, target, targets)
    yield from _each_other(prover, rules)


def _override(prover: Prover, name: str, group: list[Rule], target: str, targets: list[Rule]) -> Iterator[Finding]:
    pairs = [
        (rule, other) for rule in group for other in targets if rule.id != other.id and _parts(rule) & _parts(other)
    ]
    if any(prover.together(pair) is not None for pair in pairs):
        return
    why = "they never fire together" if pairs else "no part has one value in both"
    yield _finding(
        group[0],
        "overrides-nothing",
        f"{name} overrides {target} to no effect: {why}",
        found=target,
        expected="no override, or a rule that fires together with this one on the same part",
        severity="warning",
    )


def _each_other(prover: Prover, rules: Sequence[Rule]) -> Iterator[Finding]:
    overriding = [rule for rule in rules if rule.overrides]
    reported: set[tuple[str, str]] = set()
    for one, other in itertools.combinations(overriding, 2):
        if not (overrides(one, other) and overrides(other, one) and _parts(one) & _parts(other)):
            continue
        names = (_name(one), _name(other))
        if names not in reported and prover.together([one, other]) is not None:
            reported.add(names)
            yield _finding(
                one,
                "override-circle",
                f"{one.id} and {other.id} override each other, so that neither would stand",
                expected="`overrides:` in one of them",
            )


def _parts(rule: Rule) -> set[str]:
    return {part for conclusion in rule.then if (part := part_of(conclusion)) is not None}


# --- rows and versions ----------------------------------------------------------------------------------------------


def _repeated_rows(rules: Iterable[Rule]) -> Iterator[Finding]:
    seen: dict[Any, Rule] = {}
    for rule in sorted(rules, key=lambda rule: (rule.file, rule.line)):
        if rule.table is None:
            continue
        first = seen.setdefault((rule.table, _shape(rule.condition)), rule)
        if first is not rule:
            yield _finding(
                rule,
                "repeated-tests",
                f"the row {rule.id} tests the same as the row {first.id}",
                found=f"the other is at {first.file}:{first.line}",
                expected="one row for the two",
            )


def _versions(rules: Iterable[Rule]) -> Iterator[Finding]:
    """Rules or rows that differ only in their dates and in what they say of the same things.

    Versions that are in effect together are told of only where they say different things.
    """
    versions: dict[Any, list[Rule]] = defaultdict(list)
    for rule in rules:
        if rule.effective_from or rule.effective_to:
            versions[_shape(rule.when), frozenset(map(_subject, rule.then))].append(rule)
    for group in versions.values():
        group.sort(key=lambda rule: (rule.effective_from or "", rule.effective_to or "9"))
        for earlier, later in itertools.pairwise(group):
            yield from _between(earlier, later)


def _between(earlier: Rule, later: Rule) -> Iterator[Finding]:
    last, first = earlier.effective_to, later.effective_from
    if first is None or last is None or last >= first:
        alike = {_conclusion_key(c) for c in earlier.then} == {_conclusion_key(c) for c in later.then}
        if alike or _disagree(earlier, later):
            return
        kind, text = "version-overlap", "are both in effect"
        days = f"{first or 'the beginning'} to {min(last or '…', later.effective_to or '…')}"
    else:
        after = (date.fromisoformat(last) + timedelta(days=1)).isoformat()
        if after == first:
            return
        kind, text = "version-gap", "are both out of effect"
        days = f"{after} to {(date.fromisoformat(first) - timedelta(days=1)).isoformat()}"
    yield _finding(
        later,
        kind,
        f"{earlier.id} and {later.id}, alike but for their dates, {text} for some days",
        found=days,
        expected="the later version from the day after the earlier one ends",
        severity="warning",
    )


def _disagree(one: Rule, other: Rule) -> bool:
    """Whether the two give a part with one value different values: that is a conflict, and told as one."""
    values = {part_of(c): _stated(c) for c in one.then if _stated(c) is not None}
    return any(values.get(part_of(c), _stated(c)) != _stated(c) for c in other.then if _stated(c) is not None)


def _subject(conclusion: Conclusion) -> Any:
    """What a conclusion speaks of: versions of a rule speak of the same and may say different things of it."""
    settings = conclusion.settings
    if conclusion.verb == "prior_authorization" and settings["status"] == "unknown":
        return conclusion.verb, settings.get("how")
    names = ("item", "field", "modifier", "what", "fact", "group", "carc", "rarc", "reason", "text")
    return conclusion.verb, tuple(settings.get(name) for name in names)


def _shape(condition: Condition) -> Any:
    """The condition without the order of its parts, to compare by."""
    if isinstance(condition, Test):
        value = frozenset(condition.value) if condition.operator == "one_of" else condition.value
        if condition.operator == "equals":
            value = frozenset({value})
        operator = "one_of" if condition.operator == "equals" else condition.operator
        return condition.fact, operator, value
    if isinstance(condition, Not):
        return "not", _shape(condition.item)
    shapes = frozenset(_shape(item) for item in condition.items)
    if len(shapes) == 1:
        return next(iter(shapes))
    return type(condition).__name__, shapes


def _never_read(rulebook: Rulebook) -> Iterator[Finding]:
    read = {test.fact for rule in rulebook.rules() for test in tests(rule.condition)}
    seen: set[str] = set()
    for rule in rulebook.rules():
        for conclusion in rule.then:
            name = conclusion.settings.get("fact") if conclusion.verb == "conclude" else None
            if name is not None and name not in read and name not in seen:
                seen.add(name)
                yield _finding(
                    rule,
                    "never-read",
                    f"{rule.id} concludes {name}, which no rule tests",
                    found=name,
                    severity="warning",
                )


def _name(rule: Rule) -> str:
    return rule.table or rule.id


def _finding(rule: Rule, kind: str, message: str, **details: Any) -> Finding:
    return Finding(rule.file, rule.line, 1, kind, message, **details)


__all__ = ["Prover", "payers_by_ruleset", "prove"]
