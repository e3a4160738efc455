"""Which patterns a text can match together: for each combination of yes and no that some text brings about, texts.

Patterns are read as Python reads them (searched anywhere in the text, without regard to case) and become
nondeterministic automata; their product is walked breadth first, so a combination that no text brings about is
known not to exist and every other comes with a short text. Exact for texts of ASCII characters in the form that
facts have (folded texts, codes, NDCs); of other characters one letter and one sign are tried.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

try:  # the parser of `re` moved in Python 3.11
    from re import _parser as _sre  # type: ignore[attr-defined]
except ImportError:
    import sre_parse as _sre

MAX_STATES = 20_000
_MATCHED = frozenset({-1})
_REPEATS = 400
_FORMS = {
    "text": string.ascii_lowercase + string.digits + " " + string.punctuation + "é—",
    "code": string.ascii_uppercase + string.digits + ".",
    "ndc": string.digits,
}
_Predicate = Callable[[str], bool]


class Unreadable(ValueError):
    """A pattern with a construct that is not read here (look-around, back references and the like)."""


@dataclass
class _Automaton:
    """States are numbers; the last added by `end` is the accepting one."""

    moves: dict[int, list[tuple[_Predicate, int]]] = field(default_factory=dict)
    jumps: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    predicates: list[_Predicate] = field(default_factory=list)
    size: int = 1
    accepting: int = 0

    def state(self) -> int:
        self.size += 1
        if self.size > 5_000:
            raise Unreadable("too long")
        return self.size - 1

    def read(self, parsed: Any, start: int) -> int:
        for operator, argument in parsed:
            start = self.one(str(operator), argument, start)
        return start

    def one(self, operator: str, argument: Any, start: int) -> int:
        if operator == "SUBPATTERN":
            return self.read(argument[-1], start)
        end = self.state()
        if operator in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            predicate = _predicate(operator, argument)
            self.predicates.append(predicate)
            self.moves.setdefault(start, []).append((predicate, end))
        elif operator == "AT":
            self.jumps.setdefault(start, []).append((str(argument), end))
        elif operator == "BRANCH":
            for branch in argument[1]:
                self.jump(self.read(branch, start), end)
        elif operator in ("MAX_REPEAT", "MIN_REPEAT"):
            self.repeat(argument, start, end)
        else:
            raise Unreadable(operator)
        return end

    def jump(self, start: int, end: int) -> None:
        self.jumps.setdefault(start, []).append(("", end))

    def repeat(self, argument: Any, start: int, end: int) -> None:
        least, most, body = int(argument[0]), int(argument[1]), argument[2]
        for _ in range(least):
            start = self.read(body, start)
        if most > _REPEATS:
            # A state of its own to come back to: nothing before the repeat may be entered again.
            loop = self.state()
            self.jump(start, loop)
            self.jump(self.read(body, loop), loop)
            self.jump(loop, end)
            return
        self.jump(start, end)
        for _ in range(most - least):
            start = self.read(body, start)
            self.jump(start, end)

    def closure(self, states: Iterable[int], before: str | None, after: str | None) -> frozenset[int]:
        found = set(states)
        waiting = list(found)
        while waiting:
            for kind, target in self.jumps.get(waiting.pop(), ()):
                if target not in found and _passes(kind, before, after):
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    def step(self, states: frozenset[int], before: str | None, char: str) -> frozenset[int]:
        """The states after one character; the start is entered anew at each place, for patterns are searched."""
        if states is _MATCHED:
            return _MATCHED
        here = self.closure(states | {0}, before, char)
        if self.accepting in here:
            return _MATCHED
        return frozenset(target for state in here for predicate, target in self.moves.get(state, ()) if predicate(char))

    def ends(self, states: frozenset[int], before: str | None) -> bool:
        """Whether a text that ends here matches."""
        return states is _MATCHED or self.accepting in self.closure(states | {0}, before, None)


def _automaton(pattern: str) -> _Automaton:
    result = _Automaton()
    try:
        result.accepting = result.read(_sre.parse(pattern, re.IGNORECASE), 0)
    except re.error as error:
        raise Unreadable(str(error)) from None
    return result


def _passes(kind: str, before: str | None, after: str | None) -> bool:
    if kind == "":
        return True
    if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return before is None
    if kind in ("AT_END", "AT_END_STRING"):
        return after is None
    if kind in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
        return (_is_word(before) != _is_word(after)) is (kind == "AT_BOUNDARY")
    raise Unreadable(kind)


def _is_word(char: str | None) -> bool:
    return char is not None and (char.isalnum() or char == "_")


def _predicate(operator: str, argument: Any) -> _Predicate:
    if operator == "LITERAL":
        return _either(lambda char: ord(char) == argument)
    if operator == "NOT_LITERAL":
        is_it = _either(lambda char: ord(char) == argument)
        return lambda char: not is_it(char)
    if operator == "ANY":
        return lambda char: True
    items = [(str(kind), value) for kind, value in argument]
    negated = bool(items) and items[0][0] == "NEGATE"
    member = _either(lambda char: any(_member(kind, value, char) for kind, value in items))
    return (lambda char: not member(char)) if negated else member


def _either(predicate: _Predicate) -> _Predicate:
    """Without regard to case."""
    return lambda char: any(predicate(form) for form in {char, char.lower()[:1], char.upper()[:1]})


def _member(kind: str, value: Any, char: str) -> bool:
    if kind == "LITERAL":
        return bool(ord(char) == value)
    if kind == "RANGE":
        return bool(value[0] <= ord(char) <= value[1])
    if kind == "NEGATE":
        return False
    categories: dict[str, _Predicate] = {
        "CATEGORY_DIGIT": str.isdigit,
        "CATEGORY_SPACE": str.isspace,
        "CATEGORY_WORD": _is_word,
    }
    name = str(value)
    if name in categories:
        return categories[name](char)
    positive = name.replace("CATEGORY_NOT_", "CATEGORY_")
    if kind == "CATEGORY" and positive in categories:
        return not categories[positive](char)
    raise Unreadable(f"{kind} {value}")


@dataclass(frozen=True)
class Languages:
    """`texts` maps each combination (one flag per pattern) to texts that bring it about, the shortest first.

    `complete` is False when the product of the patterns was too large to walk to its end.
    """

    texts: dict[tuple[bool, ...], tuple[str, ...]]
    complete: bool


def combinations(patterns: Sequence[str], form: str, taken: Callable[[str], bool] = lambda text: False) -> Languages:
    """Every combination of matches that a text of the form (text, code, ndc) can bring about.

    A text for which `taken` is true is passed over while another of the same characters' kinds is found.
    Raises Unreadable.
    """
    machines = [_automaton(pattern) for pattern in patterns]
    kinds = _kinds(form, [predicate for machine in machines for predicate in machine.predicates])
    texts: dict[tuple[bool, ...], list[str]] = {}
    start = (None, 0, tuple(frozenset[int]() for _ in machines))
    seen: set[Any] = {start}
    layer: list[tuple[str, Any]] = [("", start)]
    while layer and len(seen) <= MAX_STATES:
        following = []
        for text, (before, _, states) in layer:
            if _may_end(form, text):
                flags = tuple(m.ends(s, before) for m, s in zip(machines, states, strict=True))
                if len(texts.setdefault(flags, [])) < 3:
                    texts[flags].extend(_free(text, kinds, taken))
            for char in kinds:
                if not _may_follow(form, text, char):
                    continue
                moved = tuple(m.step(s, before, char) for m, s in zip(machines, states, strict=True))
                state = (char, len(text) + 1 if form == "ndc" else min(len(text) + 1, 2), moved)
                if state not in seen:
                    seen.add(state)
                    following.append((text + char, state))
        layer = following
    return Languages({flags: tuple(found) for flags, found in texts.items() if found}, not layer)


def _kinds(form: str, predicates: list[_Predicate]) -> dict[str, str]:
    """One character for each set of characters that no predicate tells apart, with the whole set."""
    kinds: dict[tuple[bool, ...], str] = {}
    for char in _FORMS[form]:
        flags = (char == " ", char == ".", _is_word(char), *(predicate(char) for predicate in predicates))
        kinds[flags] = kinds.get(flags, "") + char
    return {chars[0]: chars for chars in kinds.values()}


def _may_follow(form: str, text: str, char: str) -> bool:
    if form == "code":
        return len(text) < 10 and (char != "." or text != "")
    if form == "ndc":
        return len(text) < 11
    return not (char == " " and (text == "" or text.endswith(" ")))


def _may_end(form: str, text: str) -> bool:
    if form == "ndc":
        return len(text) == 11
    return text != "" and not text.endswith(" ")


def _free(text: str, kinds: dict[str, str], taken: Callable[[str], bool]) -> Iterator[str]:
    """The text, or one of the same kinds of characters, that is not taken."""
    for other in itertools.islice(_alike(text, kinds), 5_000):
        if not taken(other):
            yield other
            return


def _alike(text: str, kinds: dict[str, str]) -> Iterator[str]:
    # The last characters vary first; long texts vary only at their end.
    head, tail = text[:-6], text[-6:]
    for chars in itertools.product(*(kinds[char] for char in tail)):
        yield head + "".join(chars)


__all__ = ["Languages", "Unreadable", "combinations"]
