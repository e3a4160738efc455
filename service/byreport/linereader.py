"""Many claim lines read fast: what a value of a fact means is worked out once and remembered.

Whatever this reader takes, `claim.read` takes with the same facts; what it can't take it leaves to `claim.read`, so
that a faulty line is refused with the same words wherever it comes from.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from byreport import claim, strictjson
from byreport.claim import MAX_PAYER, ClaimError, ClaimLine, Said, Values
from byreport.findings import nearest
from byreport.vocabulary import EMPTY, Key, UnfitValue, Vocabulary, vocabulary

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

    def read_text(self, raw: bytes) -> tuple[ClaimLine, Any]:
        """The claim line in a JSON text, and the parsed object. Raises strictjson.JsonError, ClaimError."""
        return claim.read_text(raw)

    def read_cells(self, names: Iterable[str], values: Iterable[Any]) -> ClaimLine:
        """The claim line in one row of a table; None leaves a fact unknown. Raises ClaimError."""
        facts: dict[str, Any] = {}
        keys: dict[str, Key] = {}
        members: list[str] = []
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
            found = self.columns[name].of_cell(value)
            if found is None:
                sound = False
            else:
                _, facts[name], keys[name], member = found
                members.append(member)
        line = self._line(payer, facts, keys, members) if sound else None
        if line is not None:
            return line
        given = {name: plain for name, cell in cells if (plain := self.columns[name].plain(cell)) is not None}
        data = claim.nested(given)
        if payer is not None:
            data[PAYER] = payer
        return claim.read(data)

    def _line(self, payer: Any, facts: dict[str, Any], keys: dict[str, Key], members: list[str]) -> ClaimLine | None:
        if type(payer) is not str or len(payer) > MAX_PAYER or not payer.strip():
            return None
        for name in self._required:
            if not facts.get(name):
                return None
        return ClaimLine(payer.strip().strip("/"), facts, keys, members)

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


class _Column(Values):
    """One fact's values as cells have them."""

    def of_cell(self, value: Any) -> Said | None:
        """What a cell says, or None where it does not fit."""
        if type(value) is str:
            remembered: Any = value
        elif type(value) is list and all(type(item) is str for item in value):
            remembered = tuple(value)
        else:
            # True and 1 are equal keys, so the type is part of the key.
            remembered = (type(value), value) if type(value) in (bool, int) else None
        if remembered is None:
            return self._read(value)
        found = self.known.get(remembered)
        if found is None:
            found = self._read(value)
            if found is not None:
                self.keep(remembered, found)
        return found

    def _read(self, value: Any) -> Said | None:
        plain = self.plain(value)
        try:
            return None if plain is None else self.read(plain)
        except UnfitValue:
            return None

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


def problems(error: ClaimError | strictjson.JsonError) -> Mapping[str, str]:
    """What is wrong with a line that can't be read, by field."""
    if isinstance(error, ClaimError):
        return error.problems
    return {"line of the file": str(error)}
