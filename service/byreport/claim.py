"""A claim line as a billing system sends it: nested JSON, checked against the vocabulary, then flat facts.

The marshmallow schema is generated from the vocabulary. Unknown fields are refused, so that nothing that
identifies a patient is ever stored by accident; a field that is left out (or null) stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields

from byreport import strictjson
from byreport.findings import nearest
from byreport.jsontext import dumps
from byreport.vocabulary import MAX_TEXT, Fact, Key, UnfitValue, Vocabulary, vocabulary

MAX_PROBLEMS = 100
"""Faults named of one line; looking for what was meant takes a while for each."""

MAX_PAYER = 120
"""Characters of a payer's path."""


@dataclass(frozen=True)
class ClaimLine:
    """One claim line: the payer's path as given, and the known facts by dotted name with their shown values.

    `keys` are what tests compare of the same facts, as the bundled vocabulary has them, and `members` the facts as
    members of a JSON object; None where the reader did not come by them.
    """

    payer: str
    facts: Mapping[str, Any]
    keys: Mapping[str, Key] | None = field(default=None, compare=False, repr=False)
    members: Sequence[str] | None = field(default=None, compare=False, repr=False)


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
    found = _quick(data)
    return found[0] if found else read_fully(data)


def read_text(raw: bytes) -> tuple[ClaimLine, Any]:
    """The claim line in a JSON text, and the parsed object. Raises strictjson.JsonError, ClaimError.

    Python's parser takes more than `strictjson` does. Of that a line without fault can't hold anything but a name that
    stands twice; where no quote is escaped, the text then has more quotes than the strings that are left.
    """
    if b"\\" not in raw:
        try:
            data = _decode(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            data = None
        found = _quick(data)
        if found and raw.count(b'"') == 2 * found[1]:
            return found[0], data
    data = strictjson.loads(raw)
    return read(data), data


_decode = json.JSONDecoder().decode


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

REMEMBERED = 8_192
"""Values remembered of each fact; when there are more, all are forgotten, and the frequent ones are soon back."""
LONGEST_REMEMBERED = 500
"""Characters of a text, or of all texts of a list, that are remembered."""


class _UnusualError(Exception):
    pass


Said = tuple[str, Any, Key, str]
"""What a value says: the fact's name, the value as it is shown, its key, and name and value as a member of JSON."""


def said(name: str, shown: Any, key: Key) -> Said:
    """What a shown value of a fact says."""
    return name, shown, key, f"{dumps(name)}:{dumps(shown)}"


def memorable(value: Any) -> bool:
    """Whether a value is short enough to be remembered."""
    texts = value if type(value) is tuple else (value,)
    return sum(len(text) + 1 for text in texts if type(text) is str) <= LONGEST_REMEMBERED


class Values:
    """What the values of one fact that were read before say."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.known: dict[Any, Said] = {}

    def read(self, value: Any) -> Said:
        """What a value says that is not known yet. Raises UnfitValue."""
        shown = self.fact.shown(value)
        return said(self.fact.name, shown, self.fact.key(shown))

    def keep(self, remembered: Any, found: Said) -> None:
        """Know a value from now on; `remembered` is equal for no two values that are read differently."""
        if memorable(remembered):
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            self.known[remembered] = found


class _Node:
    """One object of the claim's tree: what values of its facts say, their readers, and the objects below."""

    def __init__(self, prefix: str, facts: Sequence[Fact]) -> None:
        below = [fact for fact in facts if fact.name.startswith(prefix)]
        own = {fact.name[len(prefix) :]: fact for fact in below if "." not in fact.name[len(prefix) :]}
        groups = {fact.name[len(prefix) :].split(".")[0] for fact in below} - set(own)
        self.values: dict[Any, Values | None] = {member: Values(fact) for member, fact in own.items()}
        self.known: dict[Any, dict[Any, Said]] = {
            member: values.known for member, values in self.values.items() if values
        }
        self.below: dict[Any, _Node] = {group: _Node(f"{prefix}{group}.", below) for group in groups}
        if not prefix:
            # The payer stands among the facts and is none.
            self.values["payer"], self.known["payer"] = None, {}


@lru_cache(maxsize=1)
def _tree() -> tuple[_Node, tuple[str, ...]]:
    facts = vocabulary().claim_facts()
    return _Node("", facts), tuple(fact.name for fact in facts if fact.required)


def _quick(data: Any) -> tuple[ClaimLine, int] | None:
    """The line, and how many strings its JSON text has; None where the schema has to look at it."""
    if type(data) is not dict:
        return None
    payer = data.get("payer")
    if type(payer) is not str:
        return None
    root, required = _tree()
    facts: dict[str, Any] = {}
    keys: dict[str, Key] = {}
    members: list[str] = []
    try:
        _payer_path(payer)
        strings = _walk(root, data, facts, keys, members)
    except (_UnusualError, ValidationError, UnfitValue, TypeError):
        return None
    for name in required:
        if not facts.get(name):
            return None
    return ClaimLine(payer.strip().strip("/"), facts, keys, members), strings


def _walk(node: _Node, data: dict[Any, Any], facts: dict[str, Any], keys: dict[str, Key], members: list[str]) -> int:
    """Add what an object's members say; how many strings the object holds, names included.

    Raises _UnusualError, UnfitValue, or TypeError for lists of lists.
    """
    known = node.known
    strings = 2 * len(data)
    for member, value in data.items():
        kind = type(value)
        if kind is str:
            remembered = value
        elif kind is dict and member in node.below:
            strings += _walk(node.below[member], value, facts, keys, members) - 1
            continue
        elif kind is list:
            # Only lists of texts are known, and texts are equal to nothing but texts.
            remembered = tuple(value)
            strings += len(value) - 1
        elif kind is bool or kind is int:
            # True and 1 are equal keys, so the type is part of the key.
            remembered = kind, value
            strings -= 1
        elif value is None and member in known:
            strings -= 1
            continue
        else:
            raise _UnusualError
        try:
            one = known[member].get(remembered)
        except KeyError:
            raise _UnusualError from None
        if one is None:
            values = node.values[member]
            if values is None:
                continue
            if kind is list and not all(type(item) is str for item in value):
                raise _UnusualError
            one = values.read(value)
            values.keep(remembered, one)
        name, shown, keys[name], text = one
        facts[name] = shown
        members.append(text)
    return strings


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
