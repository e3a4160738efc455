"""The vocabulary: every fact that a rule may test or conclude, read from schemas/vocabulary.yaml.

A fact's value has two faces. The *shown* value is what people and JSON see ("J3490", "1250.00", "2026-10-02").
The *key* is what tests compare: text folded (case, spaces, Unicode form), codes in upper case, dates as ISO
text, amounts and quantities as ten-thousandths in an integer, lists as frozensets of keys.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

from byreport import yamlfile
from byreport.findings import RulebookError, nearest
from byreport.ndc import NdcError, normalise
from byreport.resources import bundled

Scalar = str | bool | int
Key = str | bool | int | frozenset[Any]

EMPTY = ""
"""The key of a value known to be empty (an empty text; an empty list's key is the empty frozenset)."""

MAX_TEXT = 2_000
MAX_LIST = 100
SCALE = 10_000
FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Days outside are slips, and too near the ends of the calendar to count deadlines from."""

_TYPES = ("text", "code", "ndc", "choice", "boolean", "date", "integer", "quantity", "amount", "fact")
ORDERED = frozenset({"date", "integer", "quantity", "amount"})
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{0,9}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,11}(\.[0-9]{1,4})?|\.[0-9]{1,4}")
"""Figures as claims carry them: what Decimal takes besides (1e3, 1_000, other scripts' digits) is likelier a slip."""
_SPACES = re.compile(r"\s+")


class UnfitValue(ValueError):
    """A value that does not fit its fact; `expected` says what would, `nearest` the likeliest right value."""

    def __init__(self, message: str, expected: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.expected = expected
        self.nearest = nearest


def fold(text: str) -> str:
    """The form in which texts are compared: NFC, one space for any run of spaces, without case."""
    if text.isascii():
        return " ".join(text.lower().split())
    return _SPACES.sub(" ", unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())).strip()


@dataclass(frozen=True, eq=False)
class Fact:
    """One fact of the vocabulary.

    `values` maps each allowed value of a choice to its label. `origin` is claim, computed or concluded;
    `sources` are the facts from which reference data or arithmetic may know this one. A fact with `aliases` has one
    shown value but a key of all names that mean the same.
    """

    name: str
    type: str
    meaning: str
    origin: str
    ask: str
    is_list: bool = False
    aliases: bool = False
    required: bool = False
    filled: str | None = None
    sources: tuple[str, ...] = ()
    unit: str | None = None
    list_name: str | None = None
    values: Mapping[str, str] | None = None
    where: Mapping[str, str] | None = None

    def shown(self, value: Any) -> Any:
        """`value` as it is shown and stored: a scalar, or a tuple for a list fact.

        Raises UnfitValue when it does not fit the fact's type.
        """
        if not self.is_list:
            return self._scalar(value)
        if isinstance(value, (str, int)):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise UnfitValue(f"{self.name} is a list", "a list of " + self.expected())
        if len(value) > MAX_LIST:
            raise UnfitValue(f"{self.name} holds more than {MAX_LIST} values", f"at most {MAX_LIST} values")
        items = (self._scalar(item) for item in value)
        return tuple(dict.fromkeys(item for item in items if item != EMPTY))

    def key(self, shown: Any) -> Key:
        """The key of a shown value."""
        if self.is_list:
            return frozenset(self.scalar_key(item) for item in shown)
        if self.aliases:
            return frozenset({self.scalar_key(shown)} - {EMPTY})
        return self.scalar_key(shown)

    @property
    def many(self) -> bool:
        """Whether the key is a set: a list, or a name with its aliases."""
        return self.is_list or self.aliases

    def scalar_key(self, shown: Any) -> Scalar:
        """The key of one shown scalar of this fact."""
        if shown == EMPTY and isinstance(shown, str):
            return EMPTY
        if self.type == "text":
            return fold(shown)
        if self.type in ("quantity", "amount"):
            return int(Decimal(shown) * SCALE)
        result: Scalar = shown
        return result

    def constant(self, value: Any) -> Scalar:
        """The key of a constant in a rule. Raises UnfitValue when it does not fit, or is empty."""
        scalar = self._scalar(value)
        if scalar == EMPTY and isinstance(scalar, str):
            raise UnfitValue("an empty value", f"{self.expected()}, or the test `missing`")
        return self.scalar_key(scalar)

    def expected(self) -> str:
        """What a value of this fact looks like, for error messages."""
        if self.values is not None:
            return "one of " + ", ".join(self.values)
        return {
            "text": f"text of at most {MAX_TEXT} characters",
            "code": "a code of letters and digits, such as J3490",
            "ndc": "an NDC of 11 digits (5-4-2), such as 67386-0130-51",
            "boolean": "true or false",
            "date": "a date YYYY-MM-DD",
            "integer": "a whole number",
            "quantity": 'a number of at most 4 decimals, such as "1.5"',
            "amount": 'an amount in US dollars, such as "1250.00"',
            "fact": "the name of a claim fact, such as line.ndc.code",
        }[self.type]

    def _scalar(self, value: Any) -> Scalar:
        if value is None or isinstance(value, (list, dict, tuple)):
            raise UnfitValue(f"{_clipped(value)} is no value of {self.name}", self.expected())
        if isinstance(value, str) and value.strip() == "" and self.type != "boolean":
            return EMPTY
        parse = getattr(self, f"_{self.type}")
        result: Scalar = parse(value)
        return result

    def _refuse(self, value: Any, names: Iterable[str] = ()) -> UnfitValue:
        close = nearest(str(value), names)
        return UnfitValue(f"{_clipped(value)} is no value of {self.name}", self.expected(), close[0] if close else None)

    def _text(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self._refuse(value)
        text = str(value).strip()
        if len(text) > MAX_TEXT or "\x00" in text:
            raise self._refuse(text[:40] + "…")
        return text

    def _code(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self._refuse(value)
        code = str(value).strip()
        if not _CODE.fullmatch(code):
            raise self._refuse(value)
        return code.upper()

    def _ndc(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > 80:
            raise self._refuse(value)
        try:
            return normalise(value)
        except NdcError as error:
            raise UnfitValue(str(error), self.expected()) from None

    def _choice(self, value: Any) -> str:
        assert self.values is not None
        if not isinstance(value, str) or value not in self.values:
            raise self._refuse(value, self.values)
        return value

    def _boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._refuse(value)
        return value

    def _date(self, value: Any) -> str:
        if isinstance(value, datetime.date):
            value = value.isoformat()
        if not isinstance(value, str) or not _DAY.fullmatch(value):
            raise self._refuse(value)
        try:
            day = datetime.date.fromisoformat(value)
        except ValueError:
            raise self._refuse(value) from None
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise self._refuse(value)
        return value

    def _integer(self, value: Any) -> int:
        if isinstance(value, bool):
            raise self._refuse(value)
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,9}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or abs(value) > 10**9:
            raise self._refuse(value)
        return value

    def _number(self, value: Any, least_places: int) -> str:
        if isinstance(value, (bool, float)) or not isinstance(value, (str, int, Decimal)):
            raise self._refuse(value)
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            raise self._refuse(value)
        try:
            number = Decimal(value.strip() if isinstance(value, str) else value)
        except InvalidOperation:
            raise self._refuse(value) from None
        if not number.is_finite() or not 0 <= number < 10**11 or number * SCALE % 1:
            raise self._refuse(value)
        return f"{number:.{max(least_places, _decimals(number.normalize()))}f}"

    def _amount(self, value: Any) -> str:
        return self._number(value, 2)

    def _quantity(self, value: Any) -> str:
        return self._number(value, 0)

    def _fact(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._refuse(value)
        return value


def _clipped(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 80 else text[:79] + "…"


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """All facts by name, the named lists of allowed values, and the fact that carries a documentation item."""

    facts: Mapping[str, Fact]
    lists: Mapping[str, Mapping[str, str]]
    document_facts: Mapping[str, str]

    def nearest(self, name: str) -> str | None:
        """The fact whose name is most like `name`."""
        close = nearest(name, self.facts)
        return close[0] if close else None

    def claim_facts(self) -> list[Fact]:
        """The facts that a claim line may give."""
        return [fact for fact in self.facts.values() if fact.origin == "claim"]

    def where(self, name: str, form: str | None) -> str:
        """Where the fact stands on the claim: on paper and in X12 of the claim form, both forms when it is unknown."""
        places = (self.facts[name].where if name in self.facts else None) or {}
        wanted = {
            "professional": ("cms_1500", "837p"),
            "institutional": ("ub_04", "837i"),
        }.get(form or "", ("cms_1500", "837p", "ub_04", "837i"))
        return "; ".join(_PLACES[key] + " " + places[key] for key in wanted if key in places)


_PLACES = {"cms_1500": "CMS-1500 item", "ub_04": "UB-04 FL", "837p": "837P", "837i": "837I"}


def load(path: Path | None = None) -> Vocabulary:
    """Read the vocabulary. Raises RulebookError with every fault of the file."""
    document = yamlfile.read(path or bundled("schemas") / "vocabulary.yaml", "schemas/vocabulary.yaml")
    if document.findings:
        raise RulebookError(document.findings)
    lists = document.data["lists"]
    facts: dict[str, Fact] = {}
    for entry in document.data["facts"]:
        kind = entry["type"]
        if kind not in _TYPES or entry["name"] in facts:
            raise ValueError(f"schemas/vocabulary.yaml: fact {entry['name']}: bad type {kind!r} or repeated name")
        facts[entry["name"]] = Fact(
            name=entry["name"],
            type=kind,
            meaning=entry["meaning"],
            origin=entry["origin"],
            ask=entry.get("ask", ""),
            is_list=entry.get("list", False),
            aliases=entry.get("aliases", False),
            required=entry.get("required", False),
            filled=entry.get("filled"),
            sources=tuple(entry.get("from", ())),
            unit=entry.get("unit"),
            list_name=entry.get("values"),
            values=lists[entry["values"]] if "values" in entry else None,
            where=entry.get("where"),
        )
    return Vocabulary(facts, lists, document.data["document_facts"])


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The bundled vocabulary, read once."""
    return load()
