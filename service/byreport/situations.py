"""The finite space of situations that the rules of a tree can tell apart, and claim lines that bring one about.

A situation gives each fact a value or leaves it unknown. Of the values of a fact only those count that some test
tells apart: every constant of a test and its neighbours (dates, numbers), every code and drug name that reference
data knows (line.noc and the like follow from them, and a name brings its aliases), and for every combination of
patterns that a text can match together one text that does (see `languages`). What is worked out from another fact
is no value of its own here: line.noc, line.noc_category and line.code_in_force are read off the code (and day),
payer.program and payer.state off the payer's path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from dateutil.relativedelta import relativedelta

from byreport.claim import nested
from byreport.evaluate import holds
from byreport.facts import names_of
from byreport.languages import Unreadable, combinations
from byreport.patterns import sample
from byreport.reference import DrugMatch, Reference
from byreport.rule import All, Condition, Not, Rule, Test, tests
from byreport.vocabulary import FIRST_YEAR, LAST_YEAR, SCALE, Fact, Key, Vocabulary, fold

USUAL_DAY = date(2026, 6, 1)
USUAL = {"line.code": "J3490", "setting": "office", "date_of_service": USUAL_DAY.isoformat()}
"""What a claim line has to have, where nothing asks for something else."""

DERIVED = {
    "line.noc": "line.code",
    "line.noc_category": "line.code",
    "payer.program": "payer.path",
    "payer.state": "payer.path",
}
"""Computed facts that are read off one other fact."""

COUNTED = {"drug.months_since_approval": "drug.fda_approval_date", "claim.days_after_service": "claim.received_date"}
"""Computed facts that count from one date to another: known just when the claim fact is."""

PLAIN = "unlisted product"
"""A text that stands for every text of which no rule and no table knows anything."""

FILLED = ("drug.biologic", "drug.biosimilar", "drug.antineoplastic", "drug.fda_approval_date", "drug.fda_approved")
"""Facts that reference data gives for a drug's name where the claim leaves them out."""


@dataclass(frozen=True)
class Value:
    """One value of a fact as shown and as tests see it; the key None is an unknown fact."""

    shown: Any
    key: Key | None


@dataclass
class Variable:
    """A fact with one of `values` (the likeliest first), or for a list fact any set of `items`.

    Sets of values are integers with bit i for the value i.
    """

    name: str
    values: list[Value] = field(default_factory=list)
    many: bool = False
    everything: int = 0
    _index: dict[Any, int] = field(default_factory=dict)
    _masks: dict[tuple[str, str, Any, bool], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.everything = (1 << len(self.values)) - 1
        for place, value in enumerate(self.values):
            for key in value.key if isinstance(value.key, frozenset) else (value.key,):
                self._index[key] = self._index.get(key, 0) | 1 << place


class Situations:
    """The space of a set of rules. `payers` maps each ruleset to the payers whose chain holds it, likeliest first.

    Without reference data nothing follows from a code, a name or a path: every fact stands for itself.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        payers: Mapping[str, Sequence[str]],
        vocab: Vocabulary,
        reference: Reference | None,
    ) -> None:
        self.vocab = vocab
        self.reference = reference
        self.payers = payers
        self.incomplete: list[str] = []
        self.found: dict[str, list[Test]] = {}
        held: dict[str, None] = {}
        codes: dict[str, None] = {}
        for rule in rules:
            for test in tests(rule.condition):
                self.found.setdefault(test.fact, []).append(test)
                if test.fact == "recommends.code":
                    codes.update(dict.fromkeys(_constants(test)))
            for conclusion in rule.then:
                if conclusion.verb == "use_code":
                    fact = conclusion.settings.get("from")
                    (codes if fact is None else held)[fact or conclusion.settings["code"]] = None
        for fact in held:
            # What such a fact holds is compared with what other rules say.
            compared = Test(fact, "one_of", tuple(codes), f"{fact} is one of the codes that rules name")
            self.found.setdefault(fact, []).append(compared)
        self.variables: dict[str, Variable] = {}
        self._needs: dict[str, dict[str, int]] = {}
        self._filled: dict[str, int] = {}

    def variable_of(self, fact: str) -> Variable:
        """The variable that a test of the fact looks at."""
        name = DERIVED.get(fact, fact) if self.reference is not None else fact
        if name not in self.variables:
            self.variables[name] = Variable(name, self._values(name), self.vocab.facts[name].is_list)
        return self.variables[name]

    def mask(self, test: Test, wanted: bool) -> int:
        """The values (or for a list fact the items) for which the test is known to hold (or not to hold)."""
        variable = self.variable_of(test.fact)
        place = (test.fact, test.operator, test.value, wanted)
        found = variable._masks.get(place)
        if found is None:
            found = variable._masks[place] = self._mask(variable, test, wanted)
        return found

    def _mask(self, variable: Variable, test: Test, wanted: bool) -> int:
        if variable.many and test.operator in ("present", "missing", "unknown"):
            raise ValueError(f"{test} looks at no item")
        if wanted and test.operator in ("equals", "one_of") and test.fact == variable.name:
            mask = 0
            for key in test.value if test.operator == "one_of" else (test.value,):
                mask |= variable._index.get(key, 0)
            return mask
        mask = 0
        for place, value in enumerate(variable.values):
            if holds(test, self.derived(test.fact, value)) is wanted:
                mask |= 1 << place
        return mask

    def derived(self, fact: str, value: Value) -> Key | None:
        """The key of a fact that is read off another's value; the value's own key otherwise."""
        if self.reference is None or fact not in DERIVED or value.key is None:
            return value.key
        if fact.startswith("payer."):
            parts = str(value.shown).split("/")
            if fact == "payer.program":
                return parts[0]
            state = parts[0] == "medicaid" and len(parts) > 1 and len(parts[1]) == 2
            return parts[1] if state else None
        noc = self.reference.noc(str(value.shown))
        is_noc = noc is not None and noc.kind != "ingredient_residual"
        if fact == "line.noc":
            return is_noc
        return fold(noc.category) if noc is not None and is_noc else None

    def filled(self, fact: str) -> int:
        """The drug names for which reference data fills the fact in."""
        assert self.reference is not None
        if fact not in self._filled:
            mask = 0
            for place, value in enumerate(self.variable_of("drug.name").values):
                match = self.reference.match(str(value.shown)) if value.shown else None
                if match is not None and _fills(match, fact):
                    mask |= 1 << place
            self._filled[fact] = mask
        return self._filled[fact]

    # --- what a condition needs of each fact, told at a glance ------------------------------------------------------

    def needs(self, rule: Rule) -> dict[str, int]:
        """For each fact with one value, values outside of which the rule can't fire."""
        if rule.id not in self._needs:
            found = self._need(rule.condition, True)
            path = self.variable_of("payer.path")
            found["payer.path"] = found.get("payer.path", path.everything) & self.payer_mask(rule.ruleset)
            self._needs[rule.id] = found
        return self._needs[rule.id]

    def payer_mask(self, ruleset: str) -> int:
        """The payers whose chain holds the ruleset."""
        return self.mask(Test("payer.path", "one_of", tuple(fold(path) for path in self.payers[ruleset])), True)

    def _need(self, condition: Condition, wanted: bool) -> dict[str, int]:
        if isinstance(condition, Test):
            fact = self.vocab.facts[condition.fact]
            if fact.origin == "concluded" or self.spread(condition) or self.variable_of(fact.name).many:
                return {}
            return {self.variable_of(fact.name).name: self.mask(condition, wanted)}
        if isinstance(condition, Not):
            return self._need(condition.item, not wanted)
        parts = [self._need(item, wanted) for item in condition.items]
        if isinstance(condition, All) is wanted:
            result: dict[str, int] = {}
            for part in parts:
                for name, mask in part.items():
                    result[name] = result.get(name, -1) & mask
            return result
        if not parts:
            return {"payer.path": 0}
        common = set(parts[0]).intersection(*parts[1:])
        union = dict.fromkeys(common, 0)
        for part in parts:
            for name in common:
                union[name] |= part[name]
        return union

    def apart(self, one: Rule, other: Rule) -> bool:
        """Whether two rules need different values of one fact, so that they surely never fire together."""
        mine, theirs = self.needs(one), self.needs(other)
        return any(name in theirs and not mask & theirs[name] for name, mask in mine.items())

    def spread(self, test: Test) -> bool:
        """Whether the test looks at two facts at once: the code in force on a day."""
        return self.reference is not None and test.fact == "line.code_in_force"

    # --- the values of a fact ---------------------------------------------------------------------------------------

    def _values(self, name: str) -> list[Value]:
        fact = self.vocab.facts[name]
        if name == "payer.path":
            return [Value(path, fact.scalar_key(path)) for path in self._paths()]
        scalars = list(dict.fromkeys(self._scalars(fact)))
        if fact.is_list:
            return [Value(shown, fact.scalar_key(shown)) for shown in scalars]
        values = [Value(shown, self._key(fact, shown)) for shown in scalars]
        if not fact.required or self.reference is None:
            never = fact.type == "boolean" or (fact.origin == "computed" and self.reference is not None)
            empty = [] if never else [Value("", fact.key(""))]
            values = [*values, *empty, Value(None, None)]
        return values

    def _paths(self) -> list[str]:
        return list(dict.fromkeys(path for paths in self.payers.values() for path in paths))

    def _key(self, fact: Fact, shown: Any) -> Key:
        if fact.name == "drug.name" and self.reference is not None:
            match = self.reference.match(str(shown))
            if match is not None:
                return names_of(match, str(shown))
        return fact.key(shown)

    def _scalars(self, fact: Fact) -> Iterator[Any]:
        found = self.found.get(fact.name, [])
        constants = [key for test in found for key in _constants(test)]
        if fact.type == "boolean":
            yield from (True, False)
        elif fact.values is not None:
            first = [USUAL["setting"]] if fact.name == "setting" else []
            yield from (*first, *(value for value in fact.values if value not in first))
        elif fact.type == "date":
            yield from self._dates(fact, constants)
        elif fact.type in ("integer", "quantity", "amount"):
            yield from _numbers(fact, constants)
        else:
            yield from self._texts(fact, constants, [t.value for t in found if t.operator == "matches"])

    def _dates(self, fact: Fact, constants: list[Any]) -> Iterator[str]:
        days = {date.fromisoformat(day) for day in constants}
        if self.reference is not None and fact.name == "date_of_service" and "line.code_in_force" in self.found:
            for code in self.reference.codes.values():
                days.update(day for day in (code.effective_from, code.effective_to) if day is not None)
            for noc in self.reference.noc_codes.values():
                days.update(day for day in (noc.effective_from, noc.effective_to) if day is not None)
        near = {day + timedelta(days=shift) for day in days for shift in (-1, 0, 1)}
        every = {*near, date(FIRST_YEAR, 1, 1), USUAL_DAY, date(LAST_YEAR, 12, 31)}
        kept = (day for day in every if FIRST_YEAR <= day.year <= LAST_YEAR)
        yield from (day.isoformat() for day in sorted(kept, key=lambda day: (abs(day - USUAL_DAY), day)))

    def _texts(self, fact: Fact, constants: list[Any], patterns: list[str]) -> Iterator[str]:
        known = self._known_texts(fact)
        if USUAL.get(fact.name):
            yield USUAL[fact.name]
        yield from constants
        yield from self._fresh(fact, list(dict.fromkeys(patterns)), known)
        yield from known

    def _known_texts(self, fact: Fact) -> list[str]:
        """The values that reference data knows something of."""
        if self.reference is None:
            return []
        if fact.name == "line.code":
            return [*self.reference.noc_codes, *self.reference.codes]
        if fact.name == "drug.name":
            names = [name for code in self.reference.codes.values() for name in (code.generic, *code.brands)]
            names += [name for drug in self.reference.drugs for name in (drug.generic, *drug.brands)]
            return [fold(name) for name in names if name]
        return []

    def _fresh(self, fact: Fact, patterns: list[str], known: list[str]) -> Iterator[str]:
        """Texts that reference data does not know, one for each combination of patterns."""
        form = fact.type if fact.type in ("code", "ndc") else "text"
        constants = {key for test in self.found.get(fact.name, []) for key in _constants(test)}
        taken = constants | set(known)

        def is_taken(text: str) -> bool:
            if text in taken:
                return True
            return fact.type == "ndc" and self.reference is not None and bool(self.reference.by_ndc(text))

        try:
            languages = combinations(patterns, form, is_taken)
        except Unreadable:
            self.incomplete.append(f"{fact.name}: a pattern that is tried with one text only")
            yield from (text for pattern in patterns if (text := sample(pattern)) is not None)
            yield from (text for text in ("ZZZZZ", "99999999999", "something else") if _of_form(fact, text))
            return
        if not languages.complete:
            self.incomplete.append(f"{fact.name}: too many patterns to try every combination")
        compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        plain = tuple(pattern.search(PLAIN) is not None for pattern in compiled)
        for flags, texts in languages.texts.items():
            yield PLAIN if form == "text" and flags == plain and PLAIN not in taken else texts[0]

    # --- from a situation to a claim line ---------------------------------------------------------------------------

    def claim(self, chosen: Mapping[str, int], items: Mapping[str, int | None]) -> dict[str, Any] | None:
        """A claim line, as JSON, of the situation; None where days and counts can't be made to agree.

        `chosen` maps each fact with one value to its possible values, `items` each list fact to its items (None:
        unknown).
        """
        shown: dict[str, Any] = dict(USUAL)
        for name, mask in chosen.items():
            value = self.variables[name].values[_first(mask)]
            if value.key is None:
                shown.pop(name, None)
            else:
                shown[name] = value.shown
        for name, members in items.items():
            if members is not None:
                variable = self.variables[name]
                shown[name] = [value.shown for place, value in enumerate(variable.values) if members >> place & 1]
        for counted, start in COUNTED.items():
            if counted in chosen and not self._count(shown, counted, start, chosen):
                return None
        payer = shown.pop("payer.path", None)
        facts = {name: value for name, value in shown.items() if self.vocab.facts[name].origin == "claim"}
        return {"payer": payer or self._paths()[0], **nested(facts)}

    def _count(self, shown: dict[str, Any], counted: str, start: str, chosen: Mapping[str, int]) -> bool:
        """Set the claim's two dates so that the count comes out; False where they can't be."""
        if shown.get(counted) is None:
            return shown.get(start) in (None, "")
        for count, day, other in self._dates_apart(counted, start, chosen, str(shown["date_of_service"])):
            if self._fits(chosen, "date_of_service", day) and self._fits(chosen, start, other):
                shown[counted], shown["date_of_service"], shown[start] = count, day, other
                return True
        return False

    def _dates_apart(
        self, counted: str, start: str, chosen: Mapping[str, int], usual: str
    ) -> Iterator[tuple[int, str, str]]:
        """Pairs of a day of service and the other date that the count allows, from each end in turn."""
        for count in self._members(counted, chosen, []):
            months = counted == "drug.months_since_approval"
            span = relativedelta(months=-count) if months else timedelta(days=count)
            for day in self._members("date_of_service", chosen, [usual]):
                yield from _dates(count, day, _shifted(day, span))
            for other in self._members(start, chosen, []):
                back = relativedelta(months=count) if months else timedelta(days=-count)
                yield from _dates(count, _shifted(other, back), other)

    def _members(self, name: str, chosen: Mapping[str, int], otherwise: list[Any]) -> list[Any]:
        if name not in chosen:
            return otherwise
        values = self.variables[name].values
        return [v.shown for place, v in enumerate(values) if chosen[name] >> place & 1 and v.shown not in (None, "")]

    def _fits(self, chosen: Mapping[str, int], name: str, day: str) -> bool:
        return name not in chosen or self._same(name, day, chosen[name])

    def _same(self, name: str, day: str, mask: int) -> bool:
        """Whether no test of the tree tells the day from one of the values."""
        variable = self.variables[name]
        found = {(t.operator, t.value): t for t in self.found.get(name, [])}.values()
        wanted = [holds(test, day) for test in found]
        return any(
            mask >> place & 1 and value.key is not None and [holds(test, value.key) for test in found] == wanted
            for place, value in enumerate(variable.values)
        )


def _fills(match: DrugMatch, fact: str) -> bool:
    if fact == "drug.biosimilar":
        return bool(match.codes) and all(code.biosimilar for code in match.codes)
    if fact == "drug.fda_approved":
        return match.fda_approval_date is not None
    return getattr(match, fact.removeprefix("drug.")) is not None


def _constants(test: Test) -> tuple[Any, ...]:
    if test.operator in ("present", "missing", "unknown", "matches"):
        return ()
    return tuple(test.value) if test.operator == "one_of" else (test.value,)


def _shifted(day: str, span: Any) -> str | None:
    try:
        moved = date.fromisoformat(day) + span
    except (OverflowError, ValueError):
        return None
    return moved.isoformat() if FIRST_YEAR <= moved.year <= LAST_YEAR else None


def _dates(count: int, day: str | None, other: str | None) -> Iterator[tuple[int, str, str]]:
    if day is not None and other is not None:
        yield count, day, other


def _numbers(fact: Fact, constants: list[int]) -> Iterator[Any]:
    least, most = (-(10**9), 10**9) if fact.type == "integer" else (0, 10**11 * SCALE - 1)
    near = {number + shift for number in constants for shift in (-1, 0, 1)} | {0, SCALE, most}
    for number in sorted(near):
        if least <= number <= most:
            yield number if fact.type == "integer" else f"{Decimal(number) / SCALE:f}"


def _of_form(fact: Fact, text: str) -> bool:
    return bool({"ndc": re.fullmatch(r"9{11}", text), "code": text == "ZZZZZ"}.get(fact.type, text == "something else"))


def _first(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


__all__ = ["COUNTED", "DERIVED", "FILLED", "USUAL", "Situations", "Value", "Variable"]
