"""A claim line as a billing system sends it: nested JSON, checked against the vocabulary, then flat facts.

The marshmallow schema is generated from the vocabulary. Unknown fields are refused, so that nothing that
identifies a patient is ever stored by accident; a field that is left out (or null) stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields

from byreport.findings import nearest
from byreport.vocabulary import MAX_TEXT, Fact, UnfitValue, Vocabulary, vocabulary

MAX_PROBLEMS = 100
"""Faults named of one line; looking for what was meant takes a while for each."""

MAX_PAYER = 120
"""Characters of a payer's path."""


@dataclass(frozen=True)
class ClaimLine:
    """One claim line: the payer's path as given, and the known facts by dotted name with their shown values."""

    payer: str
    facts: Mapping[str, Any]


class ClaimError(ValueError):
    """A claim line that can't be read. `problems` maps each field's dotted name to what is wrong and how to fix it."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(sorted(problems.items()))
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in self.problems.items()))


class FactField(fields.Field[Any]):
    """A marshmallow field whose values are those of one fact of the vocabulary."""

    def __init__(self, fact: Fact, **settings: Any) -> None:
        super().__init__(allow_none=not fact.required, required=fact.required, metadata=_described(fact), **settings)
        self.fact = fact

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            shown = self.fact.shown(value)
        except UnfitValue as error:
            near = f"; did you mean {error.nearest!r}?" if error.nearest else ""
            raise ValidationError(f"{error}; expected {error.expected}{near}") from None
        if self.fact.required and shown == "":
            raise ValidationError(f"{self.fact.name} is empty; expected {self.fact.expected()}")
        return shown


_OBJECT = "expected an object with named fields"


class _Strict(Schema):
    class Meta:
        unknown = RAISE

    error_messages = {"type": _OBJECT}  # noqa: RUF012 - marshmallow declares it so


_PAYER = "expected a payer's path such as medicaid/TX"


def _payer_path(value: str) -> None:
    if not value.strip():
        raise ValidationError(f"payer is empty; {_PAYER}")
    if len(value) > MAX_PAYER:
        raise ValidationError(f"payer is longer than {MAX_PAYER} characters; {_PAYER}")


def _described(fact: Fact) -> dict[str, Any]:
    described = {"description": fact.meaning + (f" ({fact.unit})" if fact.unit else "")}
    shapes: dict[str, dict[str, Any]] = {
        "boolean": {"type": "boolean"},
        "integer": {"type": "integer", "minimum": -(10**9), "maximum": 10**9},
        "date": {"type": "string", "format": "date"},
        "choice": {"type": "string", "enum": list(fact.values or ())},
        "quantity": {"type": "string", "pattern": r"^[0-9]{1,11}(\.[0-9]{1,4})?$", "example": "1"},
        "amount": {"type": "string", "pattern": r"^[0-9]{1,11}(\.[0-9]{1,4})?$", "example": "1250.00"},
        "ndc": {"type": "string", "example": "67386-0130-51"},
        "code": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9.]{0,9}$", "example": "J3490"},
    }
    item = shapes.get(fact.type, {"type": "string", "maxLength": MAX_TEXT})
    return {**described, **({"type": "array", "items": item, "maxItems": 100} if fact.is_list else item)}


@lru_cache(maxsize=4)
def claim_schema(vocab: Vocabulary | None = None) -> type[Schema]:
    """The marshmallow schema of a claim line, generated from the vocabulary."""
    tree: dict[str, Any] = {}
    node: dict[str, Any]
    for fact in (vocab or vocabulary()).claim_facts():
        *groups, leaf = fact.name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = FactField(fact)
    tree["payer"] = fields.String(
        required=True,
        error_messages={"invalid": _PAYER, "null": _PAYER},
        validate=_payer_path,
        metadata={
            "description": "Path of the payer, for example medicaid/TX, or `medicare` with provider.state",
            "example": "medicaid/TX",
        },
    )
    return _schema("ClaimLine", tree)


def _schema(name: str, tree: Mapping[str, Any]) -> type[Schema]:
    made = {
        key: fields.Nested(
            _schema(name + key.title().replace("_", ""), value),
            required=key == "line",
            error_messages={"null": _OBJECT + "; leave it out when all of it is unknown"},
        )
        if isinstance(value, dict)
        else value
        for key, value in tree.items()
    }
    return type(name, (_Strict,), made)


def read(data: Any) -> ClaimLine:
    """The claim line in a parsed JSON object. Raises ClaimError naming every field at fault."""
    line = _quick(data)
    return read_fully(data) if line is None else line


def read_fully(data: Any) -> ClaimLine:
    """As `read`, by the marshmallow schema alone, which has the last word on what a claim line is."""
    try:
        loaded = _loader().load(data)
    except ValidationError as error:
        raise ClaimError(dict(islice(_problems(error.messages_dict, ""), MAX_PROBLEMS))) from None
    return ClaimLine(loaded["payer"].strip().strip("/"), flat(loaded))


@lru_cache(maxsize=1)
def _loader() -> Schema:
    return claim_schema()()


# The schema takes about 150 microseconds a line, more than all the rest of deciding it. A line without any fault is
# read by the same facts in the same tree below; at the first thing that is unusual the schema reads it instead.


class _Node:
    """One object of the claim's tree: its facts with the values read before, and the objects below it."""

    def __init__(self, facts: Mapping[str, Fact], nodes: Mapping[str, _Node]) -> None:
        self.facts: dict[Any, tuple[Fact, str, bool, dict[Any, Any]]] = {
            key: (fact, fact.name, fact.is_list, {}) for key, fact in facts.items()
        }
        self.nodes = nodes


@lru_cache(maxsize=1)
def _tree() -> tuple[_Node, tuple[str, ...]]:
    facts = vocabulary().claim_facts()

    def node(prefix: str) -> _Node:
        below = [fact for fact in facts if fact.name.startswith(prefix)]
        own = {fact.name[len(prefix) :]: fact for fact in below if "." not in fact.name[len(prefix) :]}
        groups = {fact.name[len(prefix) :].split(".")[0] for fact in below} - set(own)
        return _Node(own, {group: node(f"{prefix}{group}.") for group in groups})

    return node(""), tuple(fact.name for fact in facts if fact.required)


_KNOWN_VALUES = 2_048


class _UnusualError(Exception):
    pass


def _quick(data: Any) -> ClaimLine | None:
    """The line, or None where the schema has to look at it."""
    if type(data) is not dict:
        return None
    payer = data.get("payer")
    if type(payer) is not str:
        return None
    root, required = _tree()
    facts: dict[str, Any] = {}
    try:
        _payer_path(payer)
        _walk(root, data, facts, True)
    except (_UnusualError, ValidationError, UnfitValue):
        return None
    if any(not facts.get(name) for name in required):
        return None
    return ClaimLine(payer.strip().strip("/"), facts)


def _walk(node: _Node, data: dict[Any, Any], facts: dict[str, Any], is_root: bool) -> None:
    for key, value in data.items():
        found = node.facts.get(key)
        if found is None:
            if key in node.nodes and type(value) is dict:
                _walk(node.nodes[key], value, facts, False)
            elif not (is_root and key == "payer"):
                raise _UnusualError
        elif value is not None:
            fact, name, is_list, known = found
            if is_list:
                facts[name] = fact.shown(value)
                continue
            kind = type(value)
            if kind is not str and kind is not bool and kind is not int:
                raise _UnusualError
            # True and 1 are equal keys, so the type is part of the key.
            shown = known.get((kind, value))
            if shown is None:
                shown = fact.shown(value)
                if len(known) < _KNOWN_VALUES:
                    known[kind, value] = shown
            facts[name] = shown


def flat(loaded: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The nested claim as facts by dotted name; null is left out."""
    facts: dict[str, Any] = {}
    for key, value in loaded.items():
        if isinstance(value, Mapping):
            facts.update(flat(value, f"{prefix}{key}."))
        elif value is not None and (prefix or key != "payer"):
            facts[prefix + key] = value
    return facts


def nested(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by dotted name as the nested object that a claim line is; the reverse of `flat`."""
    result: dict[str, Any] = {}
    for name, value in facts.items():
        *groups, leaf = name.split(".")
        node = result
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = list(value) if isinstance(value, tuple) else value
    return result


def _expected(name: str) -> str:
    fact = vocabulary().facts.get(name)
    return f"expected {fact.expected()}" if fact else _PAYER if name == "payer" else _OBJECT


def _did_you_mean(name: str) -> str:
    near = nearest(name, [fact.name for fact in vocabulary().claim_facts()])
    return f" (did you mean {near[0]}?)" if near else ""


def _problems(messages: Mapping[Any, Any] | list[Any], prefix: str) -> Any:
    if isinstance(messages, list):
        yield prefix or "claim", "; ".join(str(message) for message in messages)
        return
    for key, value in messages.items():
        name = (prefix or "claim") if key == "_schema" else f"{prefix}.{key}" if prefix else str(key)
        if value == ["Unknown field."]:
            yield name, "unknown field; a claim line carries nothing else" + _did_you_mean(name)
        elif value == ["Missing data for required field."]:
            yield name, "is required; " + _expected(name)
        else:
            yield from _problems(value, name)
