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
from functools import lru_cache
from typing import Any

from byreport.chain import Verdict, concluded_facts
from byreport.dnf import Literal, TooManyAlternatives, conjunctions
from byreport.evaluate import holds, truth
from byreport.patterns import sample
from byreport.residues import Residues
from byreport.rule import Condition, Test, tests
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


def open_facts(payer: PayerRules, keys: Mapping[str, Key], verdict: Verdict, vocab: Vocabulary) -> dict[str, set[str]]:
    """The unknown facts that could make some rule fire or not, with the parts those rules speak of."""
    residues = Residues(payer, keys, verdict)
    found: dict[str, set[str]] = defaultdict(set)
    for rule in payer.rules:
        if rule.id not in residues.open and not residues.codes_held(rule):
            continue
        facts = essential(residues.of(rule), vocab) - concluded_facts() if rule.id in residues.open else frozenset()
        parts = {PARTS[c.verb] for c in rule.then if c.verb in PARTS} or {EXPLANATION}
        for fact in facts:
            found[fact].update(parts)
        # A rule may be undecided and yet never fire, when what it waits for contradicts itself.
        for held in residues.codes_held(rule) if facts or residues.fires(rule) else ():
            found[held].add("code")
    return found


# --- which facts of a condition are essential --------------------------------------------------------------------


@lru_cache(maxsize=16_384)
def essential(condition: Condition, vocab: Vocabulary) -> frozenset[str]:
    """The facts of a condition over unknown facts whose answer can make it hold or cease to hold."""
    facts = {test.fact for test in tests(condition)}
    if not facts:
        return frozenset()
    try:
        alternatives = conjunctions(condition)
    except TooManyAlternatives:
        return frozenset(facts)
    candidates = {fact: _values(vocab.facts[fact], [t for t in tests(condition) if t.fact == fact]) for fact in facts}
    # A test of `unknown` stops holding once its fact is answered: such facts vary even where they are not named.
    vary = {test.fact for test in tests(condition) if test.operator == "unknown"}
    return frozenset(fact for fact in facts if _toggles(condition, fact, alternatives, candidates, vary))


def _toggles(
    condition: Condition,
    fact: str,
    alternatives: list[frozenset[Literal]],
    candidates: Mapping[str, list[Key | None]],
    vary: set[str],
) -> bool:
    for alternative in alternatives:
        if not any(test.fact == fact for test, _ in alternative):
            continue
        for keys in itertools.islice(_completions(alternative, candidates, vary), _TRIES):
            before = _holds(condition, keys)
            if any(_holds(condition, {**keys, fact: value}) is not before for value in candidates[fact]):
                return True
    return False


def _completions(
    alternative: frozenset[Literal], candidates: Mapping[str, list[Key | None]], vary: set[str]
) -> Iterator[dict[str, Key | None]]:
    """Assignments that make every literal of the alternative hold; None is a fact left unknown."""
    by_fact: dict[str, list[Literal]] = {name: [] for name in vary}
    for literal in alternative:
        by_fact.setdefault(literal[0].fact, []).append(literal)
    options = []
    for name in sorted(by_fact):
        fitting = [v for v in candidates[name] if all(holds(test, v) is wanted for test, wanted in by_fact[name])]
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
        # A yes-or-no fact can be unknown, never empty.
        return [*listed, *([""] if fact.type != "boolean" else []), None]
    sets: list[Key | None] = [frozenset(), frozenset(listed), *(frozenset({value}) for value in listed)]
    if len(listed) <= 5:
        sets.extend(frozenset(c) for size in range(2, len(listed)) for c in itertools.combinations(listed, size))
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
            yield from (near for near in (value - 1, value + 1) if near >= 0 or fact.type == "integer")


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
    vocab: Vocabulary,
) -> list[Question]:
    """The questions of a decision, the most decisive first.

    `direct` maps unknown facts that the decision itself compares (a field some rule requires) to the parts they
    decide. A computed fact is asked through the claim facts it comes from. A drug that is not named is always asked
    for: its name could show that a fact disagrees with reference data.
    """
    found = open_facts(payer, keys, verdict, vocab)
    for fact, parts in direct.items():
        found[fact].update(parts)
    asked: dict[str, set[str]] = defaultdict(set)
    for name, parts in found.items():
        for source in _askable(vocab.facts[name], keys, vocab):
            asked[source].update(parts)
    if "drug.name" not in keys:
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
