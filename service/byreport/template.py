"""A decision with holes: what depends only on the situation is written once, the line's own values are filled in.

Two lines in the same situation get the same rules, requirements and questions; they differ in the values shown
(the date, the charge, the NDC). A template is the decision's JSON text cut at those values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

from byreport.facts import Facts

Fill = Callable[[Facts], Any]
_HOLE = re.compile(r'"\\u0000(\d+)\\u0000"')


class Holes:
    """Collects the holes of a decision while it is built. A hole stands in the data as a marker text."""

    def __init__(self) -> None:
        self.fills: list[Fill] = []
        self.known: dict[Any, str] = {}

    def make(self, key: Any, fill: Fill) -> Any:
        """A marker for the value that `fill` takes from the facts; equal keys share one."""
        if key not in self.known:
            self.known[key] = f"\0{len(self.fills)}\0"
            self.fills.append(fill)
        return self.known[key]

    def shown(self, name: str) -> Any:
        """The shown value of a fact."""
        return self.make(("shown", name), lambda facts: facts.shown.get(name))

    def origin(self, name: str) -> Any:
        """Where the value of a fact comes from."""
        return self.make(("origin", name), lambda facts: facts.origin.get(name, "unknown"))


@dataclass(frozen=True)
class Template:
    """The decision on every line of one situation.

    `texts` are the body's JSON cut at its holes; `slots` names for each hole which of `fills` gives its value. The
    other attributes are what the log and summaries index; they are the same for all lines of the situation.
    """

    texts: tuple[str, ...]
    slots: tuple[int, ...]
    fills: tuple[Fill, ...]
    outcome: str
    authorization: str
    recommended: str | None
    fired: tuple[str, ...]
    denials: tuple[str, ...]

    def values(self, facts: Facts) -> tuple[str, ...]:
        """What each fill gives on these facts, as JSON."""
        return tuple([_value(fill(facts)) for fill in self.fills])

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


def template(body: Mapping[str, Any], holes: Holes) -> Template:
    """The template of a body whose holes are markers."""
    texts = _HOLE.split(dumps(body))
    return Template(
        texts=tuple(texts[::2]),
        slots=tuple(map(int, texts[1::2])),
        fills=tuple(holes.fills),
        outcome=body["outcome"],
        authorization=body["prior_authorization"]["status"],
        recommended=body["code"]["recommended"],
        fired=tuple(entry["rule"] for entry in body["fired"]),
        denials=tuple(" ".join(filter(None, (d["group"], d["carc"], d["rarc"]))) for d in body["denials"]),
    )


def dumps(value: Any) -> str:
    """JSON as the log keeps it: compact, in the order given, not escaped beyond need."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
