"""A decision with holes: what depends only on the situation is written once, the line's own values are filled in.

Two lines in the same situation get the same rules, requirements and questions; they differ in the values shown
(the date, the charge, the NDC). A template is the decision's JSON text cut at those values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring
from typing import Any

from byreport.facts import Facts

_HOLE = re.compile(r'"\\u0000(\d+)\\u0000"')


@dataclass(frozen=True, eq=False)
class Hole:
    """A place for one of the line's own values; `fill` takes it from the facts. Equal places are one object."""

    fill: Callable[[Facts], Any]


@lru_cache(maxsize=4_096)
def shown(name: str) -> Hole:
    """The shown value of a fact."""
    return Hole(lambda facts: facts.shown.get(name))


@lru_cache(maxsize=4_096)
def origin(name: str) -> Hole:
    """Where the value of a fact comes from."""
    return Hole(lambda facts: facts.origin.get(name, "unknown"))


class Holes:
    """The holes of a text while it is built. A hole stands in the data as a marker text."""

    def __init__(self) -> None:
        self.made: list[Hole] = []
        self._markers: dict[Hole, str] = {}

    def mark(self, hole: Hole) -> Any:
        """The marker of a hole."""
        marker = self._markers.get(hole)
        if marker is None:
            marker = self._markers[hole] = f"\0{len(self.made)}\0"
            self.made.append(hole)
        return marker


@dataclass(frozen=True, eq=False)
class Piece:
    """A text with holes: `texts` and `holes` alternate, starting and ending with a text."""

    texts: tuple[str, ...]
    holes: tuple[Hole, ...] = ()


def cut(text: str, holes: Holes) -> Piece:
    """A JSON text cut at the markers of its holes."""
    parts = _HOLE.split(text)
    return Piece(tuple(parts[::2]), tuple([holes.made[int(number)] for number in parts[1::2]]))


def joined(pieces: Iterable[Piece]) -> Piece:
    """Pieces one after the other."""
    texts = [""]
    holes: list[Hole] = []
    for piece in pieces:
        texts[-1] += piece.texts[0]
        texts += piece.texts[1:]
        holes += piece.holes
    return Piece(tuple(texts), tuple(holes))


class Brief:
    """A decision in short, as rows of a batch have it; who asks for none pays for none."""

    def __init__(self, data: Any, holes: Holes) -> None:
        self._data = data
        self._holes = holes

    @cached_property
    def piece(self) -> Piece:
        """The text with the line's holes."""
        return cut(dumps(self._data), self._holes)


@dataclass(frozen=True)
class Template:
    """The decision on every line of one situation.

    `texts` are the body's JSON cut at its holes; `slots` names for each hole which of `fills` gives its value. The
    other attributes are what the log and summaries index; they are the same for all lines of the situation.
    """

    texts: tuple[str, ...]
    slots: tuple[int, ...]
    fills: tuple[Hole, ...]
    outcome: str
    authorization: str
    recommended: str | None
    fired: tuple[str, ...]
    denials: tuple[str, ...]
    brief: Brief

    def values(self, facts: Facts) -> tuple[str, ...]:
        """What each fill gives on these facts, as JSON."""
        return tuple([_value(hole.fill(facts)) for hole in self.fills])

    def render(self, facts: Facts) -> str:
        """The JSON text of the decision's body on these facts."""
        return filled(self.texts, self.slots, self.values(facts))


def filled(texts: Sequence[str], slots: Sequence[int], values: Sequence[str]) -> str:
    """The whole text: each slot's value stands between two texts."""
    parts = [""] * (2 * len(texts) - 1)
    parts[::2] = texts
    parts[1::2] = [values[slot] for slot in slots]
    return "".join(parts)


def _value(value: Any) -> str:
    """A shown value as JSON: what `dumps` gives, without its set-up for each small value."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, tuple):
        return f"[{','.join([encode_basestring(item) for item in value])}]"
    return dumps(value)


_WORDS = {None: "null", True: "true", False: "false"}


def numbered(holes: Iterable[Hole]) -> tuple[tuple[int, ...], tuple[Hole, ...]]:
    """Holes as numbers into the list of the different ones, and that list."""
    numbers: dict[Hole, int] = {}
    slots = tuple([numbers.setdefault(hole, len(numbers)) for hole in holes])
    return slots, tuple(numbers)


dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""JSON as the log keeps it: compact, in the order given, not escaped beyond need."""
