"""The form of a claim line, made from the vocabulary: fields to fill in, and the claim line that was filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from byreport.claim import nested
from byreport.vocabulary import Fact, Vocabulary

FIRST = ("payer", "line.code", "date_of_service", "setting", "drug.name")
"""What is asked of every line, before any question of a decision."""

NONE = "none"
"""The name of the check boxes that say a field is known to be empty; their value is the fact's name."""

_SEPARATORS = re.compile(r"[\s,;]+")
_LABELS = {
    "payer": "Payer",
    "line.code": "HCPCS code billed",
    "date_of_service": "Date of service",
    "setting": "Where was the drug given?",
    "drug.name": "Drug (brand or full nonproprietary name)",
}
_HINTS = {
    "payer": "Type a name or a path, for example Texas Medicaid or medicaid/TX",
    "line.code": "For example J3490",
    "line.modifiers": "Several with commas or spaces between them",
    "diagnoses": "Several with commas or spaces between them",
    "drug.specific_code": "Several with commas or spaces between them",
    "line.ndc.code": "11 digits (5-4-2), for example 67386-0130-51",
}
_NUMBERS = ("integer", "quantity", "amount")


@dataclass(frozen=True)
class Field:
    """One field of the form.

    `kind` is text, number, date, yes_no, choice, choices or payer; `values` are the values it holds now. `empty` says
    whether it is known to be empty, None where that can't be said of it. `options` are (value, label), suggestions
    where the field is a text.
    """

    name: str
    label: str
    hint: str
    kind: str
    values: tuple[str, ...] = ()
    empty: bool | None = None
    options: tuple[tuple[str, str], ...] = ()
    required: bool = False
    problem: str = ""

    @property
    def id(self) -> str:
        """The field's id in the page."""
        return "f-" + self.name.replace(".", "-").replace("_", "-")

    @property
    def value(self) -> str:
        """The value of a field that holds one."""
        return self.values[0] if self.values else ""

    @property
    def answered(self) -> bool:
        """Whether anything was said."""
        return bool(self.values) or bool(self.empty)


def field(
    name: str,
    vocab: Vocabulary,
    given: Mapping[str, Any],
    problems: Mapping[str, str] | None = None,
    ask: str | None = None,
    candidates: Sequence[str] = (),
) -> Field:
    """The field of one fact (or of the payer), holding what `given` (flat, by dotted name) says of it."""
    problem = (problems or {}).get(name, "")
    value = given.get(name)
    if name == "payer":
        return Field(name, _LABELS[name], _HINTS[name], "payer", _texts(value), required=True, problem=problem)
    fact = vocab.facts[name]
    return Field(
        name=name,
        label=_LABELS.get(name) or ask or fact.ask or fact.meaning,
        hint=ask if ask and candidates else _hint(fact),
        kind=_kind(fact),
        values=_texts(value),
        empty=(value is not None and not _texts(value)) if _may_be_empty(fact) else None,
        options=tuple((_candidate(text), text) for text in candidates) or tuple((fact.values or {}).items()),
        required=fact.required,
        problem=problem,
    )


def _candidate(text: str) -> str:
    """The name in a near name, without the brands behind it."""
    return text.split(" (")[0]


def _hint(fact: Fact) -> str:
    example = _HINTS.get(fact.name, "")
    unit = f"In {fact.unit}" if fact.unit and not example else ""
    return example or unit


def _kind(fact: Fact) -> str:
    if fact.type == "boolean":
        return "yes_no"
    if fact.type == "choice":
        return "choices" if fact.is_list else "choice"
    if fact.type == "date":
        return "date"
    return "number" if fact.type in _NUMBERS else "text"


def _may_be_empty(fact: Fact) -> bool:
    """Whether a person can say that there is none: no modifier, no authorization number."""
    return not fact.required and (fact.is_list or fact.type in ("text", "code", "ndc"))


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value if str(item).strip())
    return (str(value),) if value is not None and str(value).strip() else ()


def given(form: MultiDict[str, str], vocab: Vocabulary) -> dict[str, Any]:
    """What a sent form says, flat, by dotted name; what was left blank is left out, and so is what is no field."""
    empty = set(form.getlist(NONE))
    facts: dict[str, Any] = {}
    for fact in vocab.claim_facts():
        value = _given(fact, [text.strip() for text in form.getlist(fact.name)], fact.name in empty)
        if value is not None:
            facts[fact.name] = value
    return {"payer": (form.get("payer") or "").strip(), **facts}


def _given(fact: Fact, texts: list[str], empty: bool) -> Any:
    if fact.is_list:
        items = texts if fact.type == "choice" else _SEPARATORS.split(" ".join(texts))
        kept = [item for item in items if item]
        return kept or ([] if empty else None)
    text = texts[0] if texts else ""
    if text == "":
        return "" if empty and fact.type != "boolean" else None
    if fact.type == "boolean":
        return {"true": True, "false": False}.get(text)
    return text


def claim_line(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The claim line (nested, as JSON has it) of what a form says."""
    return nested(facts)


def flat(claim: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A stored claim line, nested, by dotted name."""
    facts: dict[str, Any] = {}
    for name, value in claim.items():
        if isinstance(value, Mapping):
            facts.update(flat(value, f"{prefix}{name}."))
        elif value is not None:
            facts[prefix + name] = value
    return facts


def fields(names: Iterable[str], vocab: Vocabulary, facts: Mapping[str, Any]) -> list[Field]:
    """The fields of several facts."""
    return [field(name, vocab, facts) for name in names]
