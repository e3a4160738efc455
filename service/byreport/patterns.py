"""A text that a pattern matches, to try what answering an unknown fact would do."""

from __future__ import annotations

import re
from typing import Any

try:  # the parser of `re` moved in Python 3.11
    from re import _parser as _sre  # type: ignore[attr-defined]
except ImportError:
    import sre_parse as _sre


def sample(pattern: str) -> str | None:
    """The shortest text that this module can write for the pattern and that it does match, or None."""
    try:
        text = _write(_sre.parse(pattern))
    except (re.error, _Unsupported):
        return None
    return text if re.compile(pattern, re.IGNORECASE).search(text) else None


class _Unsupported(Exception):
    pass


def _write(parsed: Any) -> str:
    return "".join(_one(str(operator), argument) for operator, argument in parsed)


def _one(operator: str, argument: Any) -> str:
    if operator == "LITERAL":
        return chr(argument)
    if operator == "AT":
        return ""
    if operator == "ANY":
        return "x"
    if operator == "IN":
        return _member(argument)
    if operator == "BRANCH":
        return _write(argument[1][0])
    if operator == "SUBPATTERN":
        return _write(argument[-1])
    if operator in ("MAX_REPEAT", "MIN_REPEAT"):
        return _write(argument[2]) * int(argument[0])
    raise _Unsupported(operator)


def _member(items: Any) -> str:
    operator, argument = str(items[0][0]), items[0][1]
    if operator == "LITERAL":
        return chr(argument)
    if operator == "RANGE":
        return chr(argument[0])
    if operator == "CATEGORY":
        return {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}.get(str(argument), "-")
    if operator == "NEGATE":
        return "~"
    raise _Unsupported(operator)
