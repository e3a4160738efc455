"""Which unknown facts could change a decision, and what each would decide.

A fact matters iff there is some completion of the facts in which answering it makes a rule fire that would
not fire otherwise, or the reverse. Every undecided rule is reduced to what its unknown facts leave open; for
each alternative of what is left, values that satisfy it are tried with and without the fact.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from byreport.chain import Verdict, concluded_facts
from byreport.dnf import Literal, TooManyAlternatives, conjunctions
from byreport.evaluate import holds, truth
from byreport.patterns import sample
from byreport.precedence import codes_named
from byreport.rule import All, Any_, Condition, Not, Rule, Test, asserts, tests
from byreport.rulebook import PayerRules
from byreport.vocabulary import Fact, Key, Vocabulary

PARTS = {
    "not_billable": "coverage",
    "use_code": "code",
    "prior_authorization": "prior_authorization",
    "require_document": "documentation",
    "require_field": "edits",
    "require_modifier": "edits",
    "require_units": "edits",
    "deny": "denials",
    "price": "pricing",
    "deadline": "deadlines",
    "caution": "cautions",
}
"""The part of the decision that each verb speaks of; `conclude` speaks of none itself."""

WEIGHT = {
    "coverage": 64,
    "code": 32,
    "prior_authorization": 32,
    "denials": 12,
    "edits": 8,
    "documentation": 8,
    "pricing": 3,
    "deadlines": 2,
    "cautions": 1,
    "explanation": 0,
}
MATTERS = frozenset({"coverage", "code", "prior_authorization", "denials", "edits", "documentation"})
"""Parts that hold a line up while they are open; a price, a deadline or a caution does not."""

EXPLANATION = "explanation"
_TRUE: Condition = All(())
_FALSE: Condition = Any_(())
_TRIES = 256


@dataclass(frozen=True)
class Question:
    """An unknown fact, and the parts of the decision that its answer could change."""

    fact: str
    would_decide: tuple[str, ...]

    @property
    def weight(self) -> int:
        """How decisive the answer is; the greater, the earlier it is asked."""
        return sum(WEIGHT[part] for part in self.would_decide)


def open_facts(
    payer: PayerRules, keys: Mapping[str, Key], verdict: Verdict, vocab: Vocabulary
) -> dict[str, set[str]]:
    """The unknown facts that could make some rule fire or not, with the parts those rules speak of."""
    residues = _Residues(payer, keys, verdict)
    found: dict[str, set[str]] = defaultdict(set)
    for rule in payer.rules:
        truth_ = verdict.truth.get(rule.id)
        if truth_ is not None and not _asks_unknown(rule, keys):
            continue
        parts = {PARTS[c.verb] for c in rule.then if c.verb in PARTS} or {EXPLANATION}
        for fact in essential(residues.of(rule), vocab):
            found[fact].update(parts)
    return found


def _asks_unknown(rule: Rule, keys: Mapping[str, Key]) -> bool:
    return any(test.operator == "unknown" and test.fact not in keys for test in tests(rule.condition))


class _Residues:
    """What the unknown facts leave open of each rule's condition."""

    def __init__(self, payer: PayerRules, keys: Mapping[str, Key], verdict: Verdict) -> None:
        self.rules = payer.by_id
        self.keys = keys
        self.verdict = verdict
        self.done: dict[str, Condition] = {}
        self.producers: dict[str, list[Rule]] = defaultdict(list)
        for rule in payer.rules:
            if verdict.truth.get(rule.id) is not None:
                continue
            for fact in {fact for c in rule.then for fact in _made(c, keys)}:
                self.producers[fact].append(rule)

    def of(self, rule: Rule) -> Condition:
        if rule.id not in self.done:
            self.done[rule.id] = self.residue(rule.condition)
        return self.done[rule.id]

    def residue(self, condition: Condition) -> Condition:
        if isinstance(condition, Test):
            return self.test(condition)
        if isinstance(condition, Not):
            inner = self.residue(condition.item)
            return _FALSE if inner == _TRUE else _TRUE if inner == _FALSE else Not(inner)
        any_ = isinstance(condition, Any_)
        decisive, neutral = (_TRUE, _FALSE) if any_ else (_FALSE, _TRUE)
        items = [self.residue(item) for item in condition.items]
        if decisive in items:
            return decisive
        kept = tuple(item for item in items if item != neutral)
        if len(kept) == 1:
            return kept[0]
        return Any_(kept) if any_ else All(kept)

    def test(self, test: Test) -> Condition:
        if test.fact in concluded_facts():
            value = self.verdict.concluded.holds(test)
            if value is not None:
                return _TRUE if value else _FALSE
            values = test.value if test.operator == "one_of" else (test.value,)
            makers = [
                rule for rule in self.producers[test.fact] if _may_make(rule, test.fact, values, self.keys)
            ]
            kept = tuple(self.of(rule) for rule in makers)
            return _TRUE if _TRUE in kept else Any_(kept)
        if test.fact not in self.keys:
            return test
        return _TRUE if holds(test, self.keys[test.fact]) else _FALSE


def _made(conclusion: Any, keys: Mapping[str, Key]) -> Iterator[str]:
    pair = asserts(conclusion)
    if pair is not None:
        yield pair[0]
    if conclusion.verb == "use_code":
        yield "recommends.code"
    if conclusion.verb == "prior_authorization" and conclusion.settings["status"] == "required":
        yield "requires.prior_authorization"


def _may_make(rule: Rule, fact: str, values: Iterable[Any], keys: Mapping[str, Key]) -> bool:
    for conclusion in rule.then:
        pair = asserts(conclusion)
        if pair is not None and pair[0] == fact and pair[1] in values:
            return True
        if fact == "requires.prior_authorization" and "requires.prior_authorization" in _made(
            conclusion, keys
        ):
            return True
        if fact == "recommends.code" and conclusion.verb == "use_code":
            settings = conclusion.settings
            if (
                "from" in settings
                and settings["from"] not in keys
                or set(codes_named(conclusion, keys)) & set(values)
            ):
                return True
    return False


# --- which facts of a condition are essential --------------------------------------------------------------------


def essential(condition: Condition, vocab: Vocabulary) -> set[str]:
    """The facts of a condition over unknown facts whose answer can make it hold or cease to hold."""
    facts = {test.fact for test in tests(condition)}
    if not facts:
        return set()
    try:
        alternatives = conjunctions(condition)
    except TooManyAlternatives:
        return facts
    candidates = {
        fact: _values(vocab.facts[fact], [t for t in tests(condition) if t.fact == fact]) for fact in facts
    }
    return {fact for fact in facts if _toggles(condition, fact, alternatives, candidates)}


def _toggles(
    condition: Condition,
    fact: str,
    alternatives: list[frozenset[Literal]],
    candidates: Mapping[str, list[Key | None]],
) -> bool:
    for alternative in alternatives:
        if not any(test.fact == fact for test, _ in alternative):
            continue
        for keys in itertools.islice(_completions(alternative, candidates), _TRIES):
            with_fact = _holds(condition, keys)
            for value in candidates[fact]:
                if _holds(condition, {**keys, fact: value}) is not with_fact:
                    return True
    return False


def _completions(
    alternative: frozenset[Literal], candidates: Mapping[str, list[Key | None]]
) -> Iterator[dict[str, Key | None]]:
    """Assignments that make every literal of the alternative hold; None is a fact left unknown."""
    by_fact: dict[str, list[Literal]] = defaultdict(list)
    for literal in alternative:
        by_fact[literal[0].fact].append(literal)
    options = []
    for name in sorted(by_fact):
        fitting = [
            v for v in candidates[name] if all(holds(test, v) is wanted for test, wanted in by_fact[name])
        ]
        options.append([(name, value) for value in fitting])
    for choice in itertools.product(*options):
        yield dict(choice)


def _holds(condition: Condition, keys: Mapping[str, Key | None]) -> bool:
    return truth(condition, {name: key for name, key in keys.items() if key is not None}) is True


def _values(fact: Fact, found: list[Test]) -> list[Key | None]:
    """Values that tell the tests on a fact apart: each constant, its neighbours, something else, empty, unknown."""
    scalars: dict[Any, None] = {}
    for test in found:
        for value in _near(fact, test):
            scalars[value] = None
    scalars.update(dict.fromkeys(_others(fact, scalars)))
    listed = list(scalars)
    if not fact.many:
        return [*listed, "", None]
    sets: list[Key | None] = [frozenset(), frozenset(listed), *(frozenset({value}) for value in listed)]
    if len(listed) <= 5:
        sets.extend(
            frozenset(c) for size in range(2, len(listed)) for c in itertools.combinations(listed, size)
        )
    else:
        sets.extend(frozenset(listed) - {value} for value in listed)
    return [*dict.fromkeys(sets), None]


def _near(fact: Fact, test: Test) -> Iterator[Any]:
    if test.operator in ("present", "missing", "unknown"):
        return
    if test.operator == "matches":
        text = sample(test.value)
        if text is not None:
            yield text
        return
    values = test.value if test.operator == "one_of" else (test.value,)
    for value in values:
        yield value
        if fact.type == "date":
            day = date.fromisoformat(value)
            yield from ((day + timedelta(days=shift)).isoformat() for shift in (-1, 1))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield from (value - 1, value + 1)


def _others(fact: Fact, taken: Mapping[Any, None]) -> Iterator[Any]:
    if fact.type == "boolean":
        yield from (True, False)
    elif fact.values is not None:
        yield from itertools.islice((value for value in fact.values if value not in taken), 1)
    elif fact.type == "date":
        yield from ("1900-01-01", "2199-12-31")
    elif fact.type in ("integer", "quantity", "amount"):
        yield from (0, 10**12)
    else:
        yield {"ndc": "00000000000", "code": "ZZZZZ"}.get(fact.type, "something else")


# --- the questions of a decision -----------------------------------------------------------------------------------


def questions(
    payer: PayerRules,
    keys: Mapping[str, Key],
    verdict: Verdict,
    direct: Mapping[str, Iterable[str]],
    given: Iterable[str],
    vocab: Vocabulary,
) -> list[Question]:
    """The questions of a decision, the most decisive first.

    `direct` maps unknown facts that the decision itself compares (a field some rule requires) to the parts they
    decide. A computed fact is asked through the claim facts it comes from. `given` are the facts the claim gave:
    naming the drug could show that one of them disagrees with reference data.
    """
    found = open_facts(payer, keys, verdict, vocab)
    for fact, parts in direct.items():
        found[fact].update(parts)
    asked: dict[str, set[str]] = defaultdict(set)
    for name, parts in found.items():
        for source in _askable(vocab.facts[name], keys, vocab):
            asked[source].update(parts)
    if "drug.name" not in keys and any(vocab.facts[name].filled for name in given if name in vocab.facts):
        for source in _askable(vocab.facts["drug.name"], keys, vocab):
            asked[source].add("cautions")
    result = []
    for name, parts in asked.items():
        shown = parts - {EXPLANATION} or parts
        result.append(Question(name, tuple(sorted(shown, key=lambda part: (-WEIGHT[part], part)))))
    return sorted(result, key=lambda question: (-question.weight, question.fact))


def _askable(fact: Fact, keys: Mapping[str, Key], vocab: Vocabulary) -> Iterator[str]:
    """The unknown claim facts from which this fact could become known, itself among them if a claim may give it."""
    if fact.origin == "claim" and fact.name not in keys:
        yield fact.name
    for source in fact.sources:
        if source not in keys and (source != "line.ndc.code" or "drug.name" not in keys):
            yield from _askable(vocab.facts[source], keys, vocab)


__all__ = ["MATTERS", "Question", "essential", "open_facts", "questions"]
