"""The naive three-valued evaluator: the meaning of a condition in a page of plain Python.

It explains why a rule did not fire, finds the questions, and is the oracle against which the engine is tested.
True, False, or None for "depends on a fact that is unknown" (strong Kleene logic).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from byreport.rule import All, AnyOf, Condition, Not, Test
from byreport.vocabulary import Key


def truth(condition: Condition, keys: Mapping[str, Key]) -> bool | None:
    """Whether `condition` holds of the facts; `keys` maps each known fact to its key, unknown facts are absent."""
    if isinstance(condition, Test):
        return holds(condition, keys.get(condition.fact))
    if isinstance(condition, Not):
        inner = truth(condition.item, keys)
        return None if inner is None else not inner
    values = [truth(item, keys) for item in condition.items]
    decisive = isinstance(condition, AnyOf)
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def holds(test: Test, key: Key | None) -> bool | None:
    """Whether one test holds of a fact's key; None is an unknown fact."""
    if test.operator == "unknown":
        return key is None
    if key is None:
        return None
    if isinstance(key, frozenset):
        return _of_list(test, key)
    return _of_scalar(test, key)


def _of_list(test: Test, key: frozenset[Any]) -> bool:
    if test.operator == "present":
        return bool(key)
    if test.operator == "missing":
        return not key
    return any(_of_scalar(test, item) for item in key)


def _of_scalar(test: Test, key: Any) -> bool:
    operator, value = test.operator, test.value
    if operator == "missing":
        return bool(key == "" and isinstance(key, str))
    if key == "" and isinstance(key, str):
        return False
    if operator == "present":
        return True
    if operator == "equals":
        return bool(key == value)
    if operator == "one_of":
        return key in value
    if operator in ("at_least", "on_or_after"):
        return bool(key >= value)
    if operator in ("below", "before"):
        return bool(key < value)
    if operator == "up_to":
        return bool(key <= value)
    if operator == "matches":
        return pattern(value).search(key) is not None
    raise ValueError(f"unknown operator {operator!r}")


@lru_cache(maxsize=4096)
def pattern(text: str) -> re.Pattern[str]:
    """The compiled pattern of a `matches` test; texts are folded, so patterns ignore case."""
    return re.compile(text, re.IGNORECASE)


__all__ = ["All", "AnyOf", "Not", "Test", "holds", "truth"]
