"""Conditions as alternatives of conjunctions (disjunctive normal form), which is what the engine takes."""

from __future__ import annotations

from collections.abc import Iterable

from byreport.evaluate import holds
from byreport.rule import AnyOf, Condition, Not, Test
from byreport.vocabulary import Key

MAX_ALTERNATIVES = 512
"""Conjunctions of one rule; more is refused when the rule is loaded."""

Literal = tuple[Test, bool]
"""A test and whether it has to hold (True) or be known not to hold (False)."""


class TooManyAlternatives(ValueError):
    """A rule whose nested `any` and `not` multiply to more conjunctions than the engine gets."""


def conjunctions(condition: Condition, wanted: bool = True) -> list[frozenset[Literal]]:
    """The condition as alternatives: it is known to hold iff every literal of one of them does.

    Raises TooManyAlternatives.
    """
    if isinstance(condition, Test):
        return [frozenset({(condition, wanted)})]
    if isinstance(condition, Not):
        return conjunctions(condition.item, not wanted)
    parts = [conjunctions(item, wanted) for item in condition.items]
    if isinstance(condition, AnyOf) == wanted:
        return _bounded(dict.fromkeys(each for part in parts for each in part))
    product: list[frozenset[Literal]] = [frozenset()]
    for part in parts:
        product = _bounded(dict.fromkeys(left | right for left in product for right in part))
    return product


def true_bits(asked: Iterable[tuple[Literal, int]], key: Key | None) -> int:
    """The bits of the literals of one fact that hold for its key; None is an unknown fact."""
    bits = 0
    for (test, wanted), bit in asked:
        if holds(test, key) is wanted:
            bits |= bit
    return bits


def _bounded(alternatives: Iterable[frozenset[Literal]]) -> list[frozenset[Literal]]:
    result = list(alternatives)
    if len(result) > MAX_ALTERNATIVES:
        raise TooManyAlternatives(f"more than {MAX_ALTERNATIVES} alternatives")
    return result
