"""JSON read strictly: what parsers read differently, or databases can't keep, is refused (RFC 8259, RFC 7493)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NoReturn

MAX_DEPTH = 20
MAX_MEMBERS = 500
"""Of one object; the vocabulary has far fewer names."""


class JsonError(ValueError):
    """Bytes that are no JSON this package takes. `place` says where, `problem` what and how to fix it."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


def loads(data: bytes | str) -> Any:
    """The JSON value in `data`.

    Raises JsonError for text that is not UTF-8 or not JSON, for a name that stands twice in one object, NaN and
    infinities, lone surrogates, and for nesting deeper than MAX_DEPTH.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise JsonError(f"byte {error.start}", "not UTF-8; send the text encoded as UTF-8") from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
    except json.JSONDecodeError as error:
        raise JsonError(f"line {error.lineno}, column {error.colno}", f"not valid JSON: {error.msg}") from None
    except RecursionError:
        raise JsonError("body", f"nested deeper than {MAX_DEPTH} levels") from None
    except JsonError:
        raise
    except ValueError:  # Python converts no text of more than 4300 digits to a number
        raise JsonError("body", "a number has too many digits") from None
    # Each level of nesting takes a bracket.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    # UTF-8 has no half surrogate pairs, so that only an escape could bring one in.
    if "\\u" in text or not (text.isascii() or isinstance(data, bytes)):
        _check_texts(value)
    return value


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counted.items() if count > 1)
        raise JsonError(twice[:80], "the name stands twice in one object; only one can count")
    if len(result) > MAX_MEMBERS:
        raise JsonError("body", f"an object has more than {MAX_MEMBERS} members")
    return result


def _constant(name: str) -> NoReturn:
    raise JsonError(name, "no number of JSON; leave the field out where the value is unknown")


def _number(text: str) -> float | int:
    """A number written with a fraction or an exponent; 43.0 is the same number as 43 (RFC 8259, JSON Schema)."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise JsonError(text[:40], "the number is too large")
    if not number.is_integer():
        return number
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else number


def _check_depth(value: Any) -> None:
    level = [value]
    for depth in range(MAX_DEPTH + 1):
        level = [item for item in level if type(item) is dict or type(item) is list]
        if depth == MAX_DEPTH and any(level):
            raise JsonError("body", f"nested deeper than {MAX_DEPTH} levels")
        level = [entry for item in level for entry in (item.values() if type(item) is dict else item)]


def _check_texts(value: Any) -> None:
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise JsonError("body", "a text holds half a surrogate pair (\\ud800 to \\udfff) by itself") from None
