"""A decision with holes: what depends only on the situation is written once, the line's own values are filled in.

Two lines in the same situation get the same rules, requirements and questions; they differ in the values shown
(the date, the charge, the NDC). A template is the decision's JSON text cut at those values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring
from typing import Any

from byreport.facts import Facts
from byreport.jsontext import dumps, interleaved

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


@dataclass(frozen=True, eq=False)
class Form:
    """A piece ready to be filled in: `slots` names for each hole which of `fills`, the different ones, it is."""

    texts: tuple[str, ...]
    slots: tuple[int, ...]
    fills: tuple[Hole, ...]

    def values(self, facts: Facts) -> tuple[str, ...]:
        """What stands between the texts on these facts, as JSON."""
        given = [_value(hole.fill(facts)) for hole in self.fills]
        return tuple([given[slot] for slot in self.slots])

    def render(self, facts: Facts) -> str:
        """The text on these facts."""
        return interleaved(self.texts, self.values(facts))


def form(piece: Piece) -> Form:
    """A piece with its holes numbered."""
    numbers: dict[Hole, int] = {}
    slots = tuple([numbers.setdefault(hole, len(numbers)) for hole in piece.holes])
    return Form(piece.texts, slots, tuple(numbers))


@dataclass(frozen=True, eq=False)
class Template:
    """The decision on every line of one situation.

    `write` and `write_brief` give the body's JSON and, in short, what rows of a batch have; who asks for one of them
    does not pay for the other. The other attributes are what the log and summaries index; they are the same for all
    lines of the situation.
    """

    write: Callable[[], Piece]
    write_brief: Callable[[], Piece]
    outcome: str
    authorization: str
    recommended: str | None
    fired: tuple[str, ...]
    denials: tuple[str, ...]

    @cached_property
    def whole(self) -> Form:
        """The decision's body."""
        return form(self.write())

    @cached_property
    def brief(self) -> Form:
        """The body in short."""
        return form(self.write_brief())


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
