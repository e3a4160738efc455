"""Whether rules can fire together, decided by an SMT solver over the finite space of situations.

A rule fires iff its condition is known to hold, so each test becomes two sets of values: those for which it is known
to hold and those for which it is known not to. A test of a concluded fact becomes "some rule of the chain that
concludes it fires"; `recommends.code`, `recommends.another_code` and `requires.prior_authorization` also ask that no
rule of the ruleset overrides it and that no nearer ruleset says otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Union

import z3

from byreport.evaluate import holds
from byreport.precedence import part_of, says_something
from byreport.rule import All, Condition, Not, Rule, Test, asserts
from byreport.rulebook import COMMON, PROGRAM_ROOTS
from byreport.situations import COUNTED, FILLED, Situations
from byreport.strata import strata

RECOMMENDED, ANOTHER, REQUIRED = "recommends.code", "recommends.another_code", "requires.prior_authorization"
PART_BEHIND = {RECOMMENDED: "code", ANOTHER: "code", REQUIRED: "prior_authorization"}
"""Concluded facts that stand on what is left of a part after precedence."""


@dataclass(frozen=True)
class In:
    """The variable has one of the values of the mask."""

    variable: str
    mask: int


@dataclass(frozen=True)
class Has:
    """The list is known and holds an item of the mask (or, not wanted, is known and holds none)."""

    variable: str
    mask: int
    wanted: bool


@dataclass(frozen=True)
class Open:
    """The list is unknown (or, not wanted, known)."""

    variable: str
    wanted: bool


@dataclass(frozen=True)
class Said:
    """Some rule concludes that the fact has the value: free, whoever concludes it."""

    fact: str
    value: Any


@dataclass(frozen=True)
class Every:
    """All of the formulas hold."""

    items: tuple[Formula, ...]


@dataclass(frozen=True)
class Some:
    """At least one of the formulas holds."""

    items: tuple[Formula, ...]


@dataclass(frozen=True)
class Deny:
    """The formula does not hold."""

    item: Formula


Formula = Union[In, Has, Open, Said, Every, Some, Deny]  # noqa: UP007 - evaluated at run time
FALSE: Formula = Some(())
TRUE: Formula = Every(())


@dataclass(frozen=True)
class Situation:
    """What the solver chose: for each variable of the question its values, for each list its items (None: unknown)."""

    chosen: Mapping[str, int]
    items: Mapping[str, int | None]
    groups: Mapping[str, tuple[int, ...]]
    """For each list the items that the question does not tell apart."""

    def formula(self) -> Formula:
        """The situation itself, to be denied when another is wanted."""
        parts: list[Formula] = [In(name, mask) for name, mask in self.chosen.items()]
        for name, members in self.items.items():
            parts.append(Open(name, members is None))
            if members is not None:
                parts.extend(Has(name, group, bool(group & members)) for group in self.groups[name])
        return Every(tuple(parts))


class Firing:
    """The formulas under which the rules of a tree fire.

    A formula may be made for some payers only (`among`, a mask of their paths): other payers' rules stay out of it.
    """

    def __init__(self, rules: Sequence[Rule], space: Situations) -> None:
        self.space = space
        _, circular = strata(rules)
        self.circular = frozenset(circular)
        self.producers: dict[tuple[str, Any], list[Rule]] = defaultdict(list)
        self.speakers: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            if rule.id in self.circular:
                continue
            for pair in dict.fromkeys(_concludes(rule)):
                self.producers[pair].append(rule)
            for part in dict.fromkeys(part_of(conclusion) for conclusion in rule.then):
                if part is not None:
                    self.speakers[part].append(rule)
        self._free: dict[str, Formula] = {}
        self._full: dict[tuple[str, int], Formula] = {}
        self._said: dict[tuple[str, Any, int], Formula] = {}
        self._kept: dict[tuple[str, str, int], Formula] = {}

    def free(self, rule: Rule) -> Formula:
        """When the rule fires, with every concluded fact it tests free to be concluded or not."""
        if rule.id not in self._free:
            self._free[rule.id] = self._fires(rule, None)
        return self._free[rule.id]

    def full(self, rule: Rule, among: int) -> Formula:
        """When the rule fires, its concluded facts traced to the rules that conclude them."""
        if (rule.id, among) not in self._full:
            self._full[rule.id, among] = self._fires(rule, among)
        return self._full[rule.id, among]

    def among(self, rules: Iterable[Rule]) -> int:
        """The payers whose chain holds all of the rules."""
        mask = -1
        for rule in rules:
            mask &= self.space.payer_mask(rule.ruleset)
        return mask

    def tests_concluded(self, rule: Rule) -> bool:
        """Whether the rule tests a concluded fact."""
        return any(self.space.vocab.facts[fact].origin == "concluded" for fact in rule.facts())

    def _fires(self, rule: Rule, among: int | None) -> Formula:
        payers = self.space.payer_mask(rule.ruleset)
        inside = In("payer.path", payers if among is None else payers & among)
        return Every((inside, self.condition(rule.condition, True, among)))

    def condition(self, condition: Condition, wanted: bool, among: int | None) -> Formula:
        """When the condition is known to hold, or (not wanted) known not to hold.

        Without `among` concluded facts are free, else they are traced.
        """
        if isinstance(condition, Test):
            if self.space.vocab.facts[condition.fact].origin == "concluded":
                return self._concluded(condition, among) if wanted else FALSE
            return self.test(condition, wanted)
        if isinstance(condition, Not):
            return self.condition(condition.item, not wanted, among)
        items = tuple(self.condition(item, wanted, among) for item in condition.items)
        return Every(items) if isinstance(condition, All) is wanted else Some(items)

    def test(self, test: Test, wanted: bool) -> Formula:
        """When a test of a claim or computed fact is known to hold (or not to)."""
        if self.space.spread(test):
            return self._code_in_force(test, wanted)
        variable = self.space.variable_of(test.fact)
        if not variable.many:
            return In(variable.name, self.space.mask(test, wanted))
        if test.operator == "unknown":
            return Open(variable.name, wanted)
        if test.operator in ("present", "missing"):
            return Has(variable.name, variable.everything, (test.operator == "present") is wanted)
        return Has(variable.name, self.space.mask(test, True), wanted)

    def _code_in_force(self, test: Test, wanted: bool) -> Formula:
        reference = self.space.reference
        assert reference is not None
        codes = self.space.variable_of("line.code")
        days = self.space.variable_of("date_of_service")
        by_days: dict[tuple[int, int], int] = defaultdict(int)
        spans: dict[Any, int] = {}
        for place, value in enumerate(codes.values):
            entries = tuple(
                entry for entry in (reference.noc(str(value.shown)), reference.code(str(value.shown))) if entry
            )
            key = tuple((entry.effective_from, entry.effective_to) for entry in entries)
            if key not in spans:
                inside = [
                    any(entry.in_force(date.fromisoformat(str(day.shown))) for entry in entries) for day in days.values
                ]
                truths = inside if entries else [None] * len(inside)
                spans[key] = sum(1 << at for at, truth in enumerate(truths) if holds(test, truth) is wanted)
            by_days[spans[key], 0] |= 1 << place
        return Some(
            tuple(Every((In("line.code", mask), In("date_of_service", at))) for (at, _), mask in by_days.items() if at)
        )

    def _concluded(self, test: Test, among: int | None) -> Formula:
        values = test.value if test.operator == "one_of" else (test.value,)
        if among is None:
            return Some(tuple(Said(test.fact, value) for value in values))
        return Some(tuple(self._traced(test.fact, value, among) for value in values))

    def _traced(self, fact: str, value: Any, among: int) -> Formula:
        key = (fact, value, among)
        if key not in self._said:
            self._said[key] = self._another(among) if fact == ANOTHER else self._made(fact, value, among)
        return self._said[key]

    def _made(self, fact: str, value: Any, among: int) -> Formula:
        rules = [*self.producers.get((fact, value), ())]
        if fact == RECOMMENDED:
            rules += self.producers.get((fact, None), ())
        return Some(
            tuple(
                Every((self._counts(rule, fact, among), self._names(rule, fact, value)))
                for rule in rules
                if self.space.payer_mask(rule.ruleset) & among
            )
        )

    def _names(self, rule: Rule, fact: str, value: Any) -> Formula:
        """When what the rule says, if it fires, comes to the fact having the value."""
        if fact != RECOMMENDED:
            return TRUE
        ways: list[Formula] = []
        for conclusion in rule.then:
            if conclusion.verb == "use_code":
                held = conclusion.settings.get("from")
                if held is not None:
                    ways.append(self.test(Test(held, "equals", value), True))
                elif conclusion.settings["code"] == value:
                    return TRUE
        return Some(tuple(ways))

    def _another(self, among: int) -> Formula:
        """When codes are recommended and the one billed is not among them."""
        rules = [
            rule for rule in self.producers.get((ANOTHER, True), ()) if self.space.payer_mask(rule.ruleset) & among
        ]
        counting = [(rule, self._counts(rule, ANOTHER, among)) for rule in rules]
        some = Some(tuple(Every((counts, self._says(rule, "code"))) for rule, counts in counting))
        billed = tuple(Every((counts, self._names_billed(rule))) for rule, counts in counting)
        return Every((some, Deny(Some(billed))))

    def _names_billed(self, rule: Rule) -> Formula:
        ways: list[Formula] = []
        for conclusion in rule.then:
            if conclusion.verb == "use_code":
                code, held = conclusion.settings.get("code"), conclusion.settings.get("from")
                codes = [code] if code else [value.key for value in self.space.variable_of(held or "").values]
                for each in codes:
                    here = self.test(Test("line.code", "equals", each), True)
                    ways.append(here if code else Every((here, self.test(Test(held or "", "equals", each), True))))
        return Some(tuple(ways))

    # --- what is left after precedence -------------------------------------------------------------------------------

    def _counts(self, rule: Rule, fact: str, among: int) -> Formula:
        """When the rule fires and what it says on the part behind the fact is overridden by nothing."""
        part = PART_BEHIND.get(fact)
        if part is None:
            return self.full(rule, among)
        return Every((self._stands(rule, part, among), Deny(self._nearer(rule.ruleset, part, among))))

    def _stands(self, rule: Rule, part: str, among: int) -> Formula:
        """When the rule fires and no rule of its ruleset overrides it on the part."""
        over = [other for other in self.speakers[part] if overrides(other, rule)]
        return Every((self.full(rule, among), Deny(Some(tuple(self.full(other, among) for other in over)))))

    def _nearer(self, ruleset: str, part: str, among: int) -> Formula:
        """When a rule of a ruleset nearer to the payer says something on the part."""
        key = (ruleset, part, among)
        if key not in self._kept:
            here = self.space.payer_mask(ruleset) & among
            self._kept[key] = Some(
                tuple(
                    Every((self._stands(rule, part, among), self._says(rule, part)))
                    for rule in self.speakers[part]
                    if _rank(rule.ruleset) > _rank(ruleset) and self.space.payer_mask(rule.ruleset) & here
                )
            )
        return self._kept[key]

    def _says(self, rule: Rule, part: str) -> Formula:
        """When the rule, firing, gives the part a value."""
        ways: list[Formula] = []
        for conclusion in rule.then:
            if part_of(conclusion) == part and says_something(conclusion):
                held = conclusion.settings.get("from") if conclusion.verb == "use_code" else None
                ways.append(TRUE if held is None else self.test(Test(held, "present"), True))
        return Some(tuple(ways))

    def another(self, fact: str, code: str) -> Formula:
        """The claim fact holds a code other than this one."""
        variable = self.space.variable_of(fact)
        same = self.space.mask(Test(fact, "equals", code), True)
        if variable.many:
            return Has(variable.name, variable.everything & ~same, True)
        return In(variable.name, self.space.mask(Test(fact, "present"), True) & ~same)


def _concludes(rule: Rule) -> Iterator[tuple[str, Any]]:
    """The concluded facts and values that the rule may assert; the value None is what a claim fact holds."""
    for conclusion in rule.then:
        pair = asserts(conclusion)
        if pair is not None:
            yield pair
        settings = conclusion.settings
        if conclusion.verb == "use_code":
            yield RECOMMENDED, settings.get("code")
            yield ANOTHER, True
        if conclusion.verb == "prior_authorization" and settings["status"] == "required":
            yield REQUIRED, True


def overrides(rule: Rule, other: Rule) -> bool:
    """Whether the rule says that it overrides the other."""
    return rule.ruleset == other.ruleset and rule.id != other.id and bool({other.id, other.table} & set(rule.overrides))


def _rank(ruleset: str) -> int:
    """The place of a ruleset in any chain that holds it; the higher, the nearer to the payer."""
    if ruleset == COMMON:
        return 0
    return 1 if ruleset in PROGRAM_ROOTS.values() else 1 + len(ruleset.split("/"))


class Solver:
    """Finds a situation in which formulas hold. One instance may be asked again with more formulas."""

    def __init__(self, space: Situations) -> None:
        self.space = space
        self.context = z3.Context()
        self.asked = 0

    def solve(self, formulas: Iterable[Formula]) -> Situation | None:
        """A situation in which all formulas hold, or None when there is none."""
        self.asked += 1
        wanted = list(formulas)
        masks: dict[str, set[int]] = defaultdict(set)
        lists: dict[str, set[int]] = defaultdict(set)
        seen: set[int] = set()
        for formula in wanted:
            _leaves(formula, masks, lists, seen)
        return _Asked(self, masks, lists).answer(wanted)


def _leaves(formula: Formula, masks: dict[str, set[int]], lists: dict[str, set[int]], seen: set[int]) -> None:
    if id(formula) in seen:
        return
    seen.add(id(formula))
    if isinstance(formula, In):
        masks[formula.variable].add(formula.mask)
    elif isinstance(formula, Has):
        lists[formula.variable].add(formula.mask)
    elif isinstance(formula, Open):
        lists[formula.variable].add(0)
    elif isinstance(formula, Deny):
        _leaves(formula.item, masks, lists, seen)
    elif isinstance(formula, (Every, Some)):
        for item in formula.items:
            _leaves(item, masks, lists, seen)


class _Asked:
    """One question to the solver, written in SMT-LIB: values that no formula of it tells apart are one."""

    def __init__(self, solver: Solver, masks: Mapping[str, set[int]], lists: Mapping[str, set[int]]) -> None:
        self.space = solver.space
        self.context = solver.context
        self.lines: list[str] = []
        self.names = 0
        self.groups: dict[str, list[tuple[int, str]]] = {}
        self.items: dict[str, list[tuple[int, str]]] = {}
        self.open: dict[str, str] = {}
        self.said: dict[Said, str] = {}
        self.done: dict[int, str] = {}
        filled = self._filled(masks)
        for name in sorted(masks):
            extra = [mask for mask, _ in filled] if name == "drug.name" else []
            self._choose(name, [*masks[name], *extra, *self._unknowns(name)])
        for name in sorted(lists):
            self._gather(name, lists[name])
        for mask, unknown in filled:
            self._assert(f"(not (and {self._unknown(unknown)} {self._in('drug.name', mask)}))")
        self._count(masks)

    def _assert(self, term: str) -> None:
        self.lines.append(f"(assert {term})")

    def _new(self) -> str:
        self.names += 1
        name = f"b{self.names}"
        self.lines.append(f"(declare-const {name} Bool)")
        return name

    def _choose(self, name: str, masks: Iterable[int]) -> None:
        groups = _split(self.space.variable_of(name).everything, masks)
        terms = [self._new() for _ in groups]
        self.groups[name] = list(zip(groups, terms, strict=True))
        self._assert(_joined("or", terms))
        if len(terms) > 1:
            self._assert(f"((_ at-most 1) {' '.join(terms)})")

    def _gather(self, name: str, masks: Iterable[int]) -> None:
        groups = _split(self.space.variable_of(name).everything, masks)
        unknown = self.open[name] = self._new()
        terms = [self._new() for _ in groups]
        self.items[name] = list(zip(groups, terms, strict=True))
        for term in terms:
            self._assert(f"(not (and {term} {unknown}))")

    def _unknowns(self, name: str) -> list[int]:
        if name in (*FILLED, *COUNTED, *COUNTED.values()) and self.space.reference is not None:
            return [_unknown_mask(self.space, name, True), _unknown_mask(self.space, name, False)]
        return []

    def _filled(self, masks: Mapping[str, set[int]]) -> list[tuple[int, str]]:
        """Names for which reference data fills in a fact of the question, with that fact."""
        if self.space.reference is None or "drug.name" not in masks:
            return []
        return [(self.space.filled(fact), fact) for fact in FILLED if fact in masks]

    def _unknown(self, name: str) -> str:
        return self._in(name, _unknown_mask(self.space, name, False))

    def _count(self, masks: Mapping[str, set[int]]) -> None:
        """A count is known just when both its days are."""
        if self.space.reference is None:
            return
        for counted, start in COUNTED.items():
            if counted in masks and start in masks:
                none = self._in(start, _unknown_mask(self.space, start, True))
                self._assert(f"(= {none} {self._unknown(counted)})")

    def _in(self, name: str, mask: int) -> str:
        return _joined("or", [term for group, term in self.groups[name] if group & mask])

    def term(self, formula: Formula) -> str:
        found = self.done.get(id(formula))
        if found is None:
            found = self._term(formula)
            if len(found) > 12:
                self.names += 1
                self.lines.append(f"(define-fun f{self.names} () Bool {found})")
                found = f"f{self.names}"
            self.done[id(formula)] = found
        return found

    def _term(self, formula: Formula) -> str:
        if isinstance(formula, In):
            return self._in(formula.variable, formula.mask)
        if isinstance(formula, Has):
            some = _joined("or", [term for group, term in self.items[formula.variable] if group & formula.mask])
            return some if formula.wanted else f"(not (or {self.open[formula.variable]} {some}))"
        if isinstance(formula, Open):
            term = self.open[formula.variable]
            return term if formula.wanted else f"(not {term})"
        if isinstance(formula, Said):
            if formula not in self.said:
                self.said[formula] = self._new()
            return self.said[formula]
        if isinstance(formula, Deny):
            return f"(not {self.term(formula.item)})"
        terms = [self.term(item) for item in formula.items]
        return _joined("and" if isinstance(formula, Every) else "or", terms)

    def answer(self, formulas: Iterable[Formula]) -> Situation | None:
        for formula in formulas:
            self._assert(self.term(formula))
        solver = z3.SolverFor("QF_FD", ctx=self.context)
        solver.from_string("\n".join(self.lines))
        if solver.check() != z3.sat:
            return None
        model = solver.model()
        true = {declared.name() for declared in model.decls() if z3.is_true(model[declared])}
        chosen = {name: next(group for group, term in groups if term in true) for name, groups in self.groups.items()}
        items: dict[str, int | None] = {}
        for name, groups in self.items.items():
            members = sum(group & -group for group, term in groups if term in true)
            items[name] = None if self.open[name] in true else members
        return Situation(chosen, items, {name: tuple(g for g, _ in groups) for name, groups in self.items.items()})


def _joined(word: str, terms: Sequence[str]) -> str:
    if not terms:
        return "true" if word == "and" else "false"
    return terms[0] if len(terms) == 1 else f"({word} {' '.join(terms)})"


def _split(everything: int, masks: Iterable[int]) -> list[int]:
    """The coarsest parts of `everything` that no mask cuts, the one with the likeliest value first."""
    groups = [everything] if everything else []
    for mask in masks:
        cut: list[int] = []
        for group in groups:
            inside = group & mask
            outside = group & ~mask
            cut.extend(part for part in (inside, outside) if part)
        groups = cut
    return sorted(groups, key=lambda group: group & -group)


def _unknown_mask(space: Situations, name: str, or_empty: bool) -> int:
    variable = space.variable_of(name)
    return sum(
        1 << place
        for place, value in enumerate(variable.values)
        if value.key is None or (or_empty and value.key == "" and isinstance(value.key, str))
    )


__all__ = ["Deny", "Every", "Firing", "Formula", "In", "Situation", "Solver", "Some"]
