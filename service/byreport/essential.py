"""Which facts of a condition over unknown facts can make it hold or cease to hold.

Each alternative of the condition is completed in turn with values that satisfy it, and each fact is then given
every value that the tests on it can tell apart: a fact that never changes the outcome is not essential.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from byreport.dnf import Literal, TooManyAlternatives, conjunctions
from byreport.evaluate import holds, truth
from byreport.patterns import sample
from byreport.rule import Condition, Test, tests
from byreport.vocabulary import Fact, Key, Vocabulary

_TRIES = 256


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
