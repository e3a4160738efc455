"""Many claim lines read fast: what a value of a fact means is worked out once and remembered.

Whatever this reader takes, `claim.read` takes with the same facts; what it can't take it leaves to `claim.read`, so
that a faulty line is refused with the same words wherever it comes from.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from byreport import claim, strictjson
from byreport.claim import MAX_PAYER, ClaimError, ClaimLine
from byreport.findings import nearest
from byreport.vocabulary import EMPTY, Fact, UnfitValue, Vocabulary, vocabulary

REMEMBERED = 8_192
"""Values remembered per fact."""

PAYER = "payer"
SEPARATOR = "|"
"""Between the values of a list in one cell; alone in a cell it says that the value is known to be empty."""

_BOOLEANS = {"true": True, "false": False}


class UnknownColumns(ValueError):
    """A table has columns that are no claim facts, or lacks one that every line needs."""


class LineReader:
    """Reads claim lines from JSON texts, parsed JSON, or rows of a table whose columns are dotted fact names."""

    def __init__(self, vocab: Vocabulary | None = None) -> None:
        facts = (vocab or vocabulary()).claim_facts()
        self.columns = {fact.name: _Column(fact) for fact in facts}
        self._required = [fact.name for fact in facts if fact.required]

    def read(self, data: Any) -> ClaimLine:
        """The claim line in parsed JSON. Raises ClaimError."""
        return claim.read(data)

    def read_cells(self, names: Iterable[str], values: Iterable[Any]) -> ClaimLine:
        """The claim line in one row of a table; None leaves a fact unknown. Raises ClaimError."""
        facts: dict[str, Any] = {}
        cells: list[tuple[str, Any]] = []
        payer = None
        sound = True
        for name, value in zip(names, values, strict=True):
            if value is None:
                continue
            if name == PAYER:
                payer = value
                continue
            cells.append((name, value))
            shown = self.columns[name].of_cell(value)
            if shown is None:
                sound = False
            else:
                facts[name] = shown
        line = self._line(payer, facts) if sound else None
        if line is not None:
            return line
        given = {name: plain for name, cell in cells if (plain := self.columns[name].plain(cell)) is not None}
        data = claim.nested(given)
        if payer is not None:
            data[PAYER] = payer
        return claim.read(data)

    def _line(self, payer: Any, facts: dict[str, Any]) -> ClaimLine | None:
        if type(payer) is not str or len(payer) > MAX_PAYER or not payer.strip():
            return None
        for name in self._required:
            if not facts.get(name):
                return None
        return ClaimLine(payer.strip().strip("/"), facts)

    def check_columns(self, names: Iterable[str]) -> None:
        """Raises UnknownColumns where the columns of a table can't be those of claim lines."""
        listed = list(names)
        known = [PAYER, *self.columns]
        faults = []
        for name in dict.fromkeys(listed):
            if name not in self.columns and name != PAYER:
                near = nearest(name, known)
                faults.append(f"{name!r} is no claim fact" + (f" (did you mean {near[0]}?)" if near else ""))
            elif listed.count(name) > 1:
                faults.append(f"{name!r} stands twice")
        faults += [f"{name!r} is missing" for name in (PAYER, *self._required) if name not in listed]
        if faults:
            raise UnknownColumns("; ".join(faults))


class _Column:
    """One fact's values: what each shows, remembered for texts and lists of texts."""

    def __init__(self, fact: Fact) -> None:
        self.name = fact.name
        self.fact = fact
        self._of_json: dict[Any, Any] = {}
        self._of_text: dict[str, Any] = {}

    def of_json(self, value: Any) -> Any:
        """The shown value of a JSON value, or None where it does not fit."""
        if type(value) is bool and self.fact.type == "boolean":
            return value
        key: Any
        if type(value) is str:
            key = value
        elif type(value) is list and all(type(item) is str for item in value):
            key = tuple(value)
        else:
            # Numbers are not remembered: 1, 1.0 and true are one key of a dict.
            return self._shown(value)
        shown = self._of_json.get(key)
        if shown is None:
            shown = self._shown(value)
            if len(self._of_json) < REMEMBERED:
                self._of_json[key] = shown
        return shown

    def of_cell(self, value: Any) -> Any:
        """The shown value of a cell, or None where it does not fit."""
        if type(value) is str:
            shown = self._of_text.get(value)
            if shown is None:
                plain = self.plain(value)
                shown = None if plain is None else self._shown(plain)
                if len(self._of_text) < REMEMBERED:
                    self._of_text[value] = shown
            return shown
        plain = self.plain(value)
        return None if plain is None else self.of_json(plain)

    def plain(self, value: Any) -> Any:
        """The JSON value that a cell stands for; None for a number that is none.

        Texts: lists are separated by `|`, booleans are true or false in any case. Columnar files' dates, timestamps at
        midnight and floating-point numbers become what JSON would have.
        """
        if isinstance(value, str):
            return self._of_words(value)
        if isinstance(value, (list, tuple)):
            return [_scalar(item) for item in value if item is not None]
        return _scalar(value)

    def _of_words(self, text: str) -> Any:
        stripped = text.strip()
        if stripped in ("", SEPARATOR):
            return [] if self.fact.is_list else EMPTY
        if self.fact.is_list:
            return [part for part in (part.strip() for part in stripped.split(SEPARATOR)) if part]
        if self.fact.type == "boolean":
            return _BOOLEANS.get(stripped.lower(), stripped)
        return stripped

    def _shown(self, value: Any) -> Any:
        try:
            return self.fact.shown(value)
        except UnfitValue:
            return None


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float):
        if value != value:  # NaN, which data frames write for null
            return None
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value


# --- JSON texts -----------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs) or len(pairs) > strictjson.MAX_MEMBERS:
        raise ValueError("a name stands twice, or there are too many")
    return result


def _constant(name: str) -> Any:
    raise ValueError(name)


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_constant).decode


def loads(raw: bytes) -> Any:
    r"""The JSON value in `raw`, as `strictjson.loads` gives it. Raises strictjson.JsonError.

    Without a \u escape no text can hold a NUL or half a surrogate pair, so that nothing else has to be looked
    through; everything doubtful is left to `strictjson`.
    """
    if b"\\u" not in raw:
        try:
            value = _decode(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            return strictjson.loads(raw)
        if type(value) is dict and _shallow(value):
            return value
    return strictjson.loads(raw)


def _shallow(value: dict[str, Any]) -> bool:
    """Whether nothing in the object is nested deeper than a claim line is."""
    for item in value.values():
        if type(item) is dict:
            for inner in item.values():
                if type(inner) is dict and any(type(leaf) is dict for leaf in inner.values()):
                    return False
                if type(inner) is list and not all(type(leaf) is str for leaf in inner):
                    return False
        elif type(item) is list and not all(type(leaf) is str for leaf in item):
            return False
    return True


def problems(error: ClaimError | strictjson.JsonError) -> Mapping[str, str]:
    """What is wrong with a line that can't be read, by field."""
    if isinstance(error, ClaimError):
        return error.problems
    return {"line of the file": str(error)}
