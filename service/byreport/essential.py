"""Which facts of a condition over unknown facts can make it hold or cease to hold.

Each alternative of the condition is completed in turn with values that satisfy it, and each fact is then given
every value that the tests on it can tell apart: a fact that never changes the outcome is not essential.

Literals are bits here: what a value of a fact makes true is a number, and so is what an alternative needs.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, reduce
from operator import or_
from typing import Any

from byreport.dnf import Literal, TooManyAlternatives, conjunctions, true_bits
from byreport.patterns import sample
from byreport.rule import Condition, Test, tests
from byreport.vocabulary import Fact, Key, Vocabulary

_TRIES = 256


@lru_cache(maxsize=16_384)
def essential(condition: Condition, vocab: Vocabulary) -> frozenset[str]:
    """The facts of a condition over unknown facts whose answer can make it hold or cease to hold."""
    try:
        alternatives = conjunctions(condition)
    except TooManyAlternatives:
        return frozenset(test.fact for test in tests(condition))
    bits: dict[Literal, int] = {}
    for alternative in alternatives:
        for literal in alternative:
            bits.setdefault(literal, 1 << len(bits))
    needs = _least(reduce(or_, (bits[literal] for literal in each), 0) for each in alternatives)
    literals: dict[str, list[Literal]] = defaultdict(list)
    for literal, bit in bits.items():
        if any(need & bit for need in needs):
            literals[literal[0].fact].append(literal)
    asked = {name: _Asked.of(vocab.facts[name], found, bits) for name, found in literals.items()}
    return frozenset(name for name in asked if _toggles(name, needs, asked))


def _least(needs: Iterable[int]) -> list[int]:
    """Alternatives that need more than another does change nothing."""
    found: list[int] = []
    for need in sorted(set(needs), key=lambda need: bin(need).count("1")):
        if not any(less & need == less for less in found):
            found.append(need)
    return found


@dataclass(frozen=True)
class _Asked:
    """What a condition asks of one fact: the bits of its literals, and which of them each value makes true."""

    bits: int
    outcomes: tuple[int, ...]
    unknown: int
    """What is true while the fact is unknown."""
    varies: bool
    """A test of `unknown` stops holding once its fact is answered: such a fact varies even where it is not named."""

    @classmethod
    def of(cls, fact: Fact, literals: list[Literal], bits: Mapping[Literal, int]) -> _Asked:
        asked = [(literal, bits[literal]) for literal in literals]
        own = [test for test, _ in literals]
        return cls(
            sum(bit for _, bit in asked),
            tuple(dict.fromkeys(true_bits(asked, value) for value in _values(fact, own))),
            true_bits(asked, None),
            any(test.operator == "unknown" for test in own),
        )


def _toggles(name: str, needs: list[int], asked: Mapping[str, _Asked]) -> bool:
    mine = asked[name]
    for need in needs:
        if not need & mine.bits or all(need & mine.bits & ~outcome for outcome in mine.outcomes):
            continue
        for others in itertools.islice(_completions(name, need, asked), _TRIES):
            # With a value of its own that fits, the alternative holds: does it, or another, with every value?
            if not all(any(each & (others | outcome) == each for each in needs) for outcome in mine.outcomes):
                return True
    return False


def _completions(name: str, need: int, asked: Mapping[str, _Asked]) -> Iterator[int]:
    """What values of the other facts make true, for values with which the alternative can hold."""
    silent = 0
    options = []
    for other, fact in asked.items():
        if other == name:
            continue
        if need & fact.bits or fact.varies:
            options.append([outcome for outcome in fact.outcomes if not need & fact.bits & ~outcome])
        else:
            silent |= fact.unknown
    for choice in itertools.product(*options):
        yield reduce(or_, choice, silent)


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
    # A comparison with a fact that is unknown has None for a value, which nothing is equal to.
    values = test.value if test.operator == "one_of" else () if test.value is None else (test.value,)
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
