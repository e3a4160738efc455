"""The closed set of verbs of a rule's `then`, each with its own settings.

`VERBS` maps a verb to its settings; the JSON Schema of rule files and the loader's checks both come from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from byreport.findings import nearest
from byreport.rule import Conclusion
from byreport.vocabulary import Fact, UnfitValue, Vocabulary


@dataclass(frozen=True)
class Setting:
    """One setting of a verb. `type` is text, number, days, fact, code, or `list:<name>` of the vocabulary."""

    type: str
    meaning: str
    required: bool = False
    many: bool = False


@dataclass(frozen=True)
class Verb:
    """A verb: what it says, its settings, and the one that a bare value stands for (`short`)."""

    meaning: str
    settings: Mapping[str, Setting]
    short: str | None = None
    many: bool = False


_NOTE = Setting("text", "What the person at the claim should know, in our own words")

VERBS: Mapping[str, Verb] = {
    "conclude": Verb("Assert a concluded fact, for later rules to test", {}),
    "use_code": Verb(
        "The code to bill",
        {
            "code": Setting("code", "The code"),
            "from": Setting("fact", "The fact that holds the code, such as drug.specific_code"),
            "note": _NOTE,
        },
        short="code",
    ),
    "not_billable": Verb(
        "The payer or benefit excludes the line",
        {"reason": Setting("text", "Why, and where the drug goes instead", required=True)},
        short="reason",
    ),
    "require_document": Verb(
        "A document or datum that has to go with the line",
        {
            "item": Setting("list:documentation", "The item", required=True),
            "where": Setting("text", "Where the payer wants it, if not in the usual place"),
            "note": _NOTE,
        },
        short="item",
        many=True,
    ),
    "require_field": Verb(
        "A claim field that has to be filled, or hold one of some values",
        {
            "field": Setting("fact", "The claim fact", required=True),
            "one_of": Setting("text", "Values that the payer accepts", many=True),
            "note": _NOTE,
        },
        short="field",
        many=True,
    ),
    "require_modifier": Verb(
        "A modifier that the line has to carry",
        {"modifier": Setting("code", "The modifier", required=True), "note": _NOTE},
        short="modifier",
        many=True,
    ),
    "require_units": Verb(
        "The HCPCS units that the payer expects",
        {"units": Setting("number", "The units", required=True), "note": _NOTE},
        short="units",
    ),
    "prior_authorization": Verb(
        "Whether prior authorization is needed, and how to ask for it",
        {
            "status": Setting("list:prior_authorization", "The answer", required=True),
            "how": Setting("text", "How and where to ask"),
        },
        short="status",
    ),
    "price": Verb(
        "How the payer prices the line",
        {
            "basis": Setting("list:pricing_basis", "The price it starts from", required=True),
            "percent": Setting("number", "Percent of the basis"),
            "note": _NOTE,
        },
    ),
    "deny": Verb(
        "The denial that follows otherwise",
        {
            "group": Setting("list:denial_group", "Group code", required=True),
            "carc": Setting("code", "Claim adjustment reason code", required=True),
            "rarc": Setting("code", "Remittance advice remark code"),
            "unless": Setting("text", "What avoids the denial", required=True),
        },
    ),
    "deadline": Verb(
        "A last day, counted from the date of service or a later event",
        {
            "what": Setting("list:deadline", "Which last day", required=True),
            "days": Setting("days", "Days after the date of service"),
            "months": Setting("days", "Months after the date of service"),
            "years": Setting("days", "Years after the date of service"),
            "from": Setting("list:deadline_from", "What the count starts from; the date of service when left out"),
            "note": _NOTE,
        },
    ),
    "caution": Verb(
        "Something the payer's policy says to watch",
        {"text": Setting("text", "What", required=True)},
        short="text",
    ),
}


class VerbError(ValueError):
    """A conclusion that does not fit its verb. `key` is the setting at fault, None for the whole."""

    def __init__(
        self, message: str, key: str | None = None, expected: str | None = None, nearest: str | None = None
    ) -> None:
        super().__init__(message)
        self.key = key
        self.expected = expected
        self.nearest = nearest


def conclusions(verb: str, value: Any, vocabulary: Vocabulary) -> Iterator[Conclusion]:
    """The conclusions that one entry of `then` states. Raises VerbError."""
    if verb not in VERBS:
        close = nearest(verb, VERBS)
        raise VerbError(
            f"{verb!r} is no verb", expected="one of " + ", ".join(VERBS), nearest=close[0] if close else None
        )
    if verb == "conclude":
        yield from _conclude(value, vocabulary)
        return
    definition = VERBS[verb]
    for entry in value if isinstance(value, list) and definition.many else [value]:
        yield Conclusion(verb, _settings(verb, definition, entry, vocabulary))


def _conclude(value: Any, vocabulary: Vocabulary) -> Iterator[Conclusion]:
    if not isinstance(value, dict) or not value:
        raise VerbError("`conclude` names concluded facts and their values", expected="for example {noc.fits: J3590}")
    for name, entry in value.items():
        fact = vocabulary.facts.get(name)
        if fact is None:
            raise VerbError(
                f"unknown fact {name!r}", name, "a concluded fact of the vocabulary", vocabulary.nearest(name)
            )
        if fact.origin != "concluded":
            raise VerbError(f"{name} is a {fact.origin} fact; rules conclude only concluded facts", name)
        try:
            key = fact.constant(entry)
        except UnfitValue as error:
            raise VerbError(str(error), name, error.expected, error.nearest) from None
        if key is False:
            raise VerbError(f"a rule concludes that {name} is true, never that it is false", name, "true")
        yield Conclusion("conclude", {"fact": name, "key": key, "value": entry})


def _settings(verb: str, definition: Verb, value: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    if not isinstance(value, dict):
        if definition.short is None:
            raise VerbError(f"`{verb}` needs its settings by name", expected=", ".join(definition.settings))
        value = {definition.short: value}
    result: dict[str, Any] = {}
    for key, entry in value.items():
        setting = definition.settings.get(key)
        if setting is None:
            close = nearest(key, definition.settings)
            raise VerbError(
                f"`{verb}` has no setting {key!r}",
                key,
                ", ".join(definition.settings),
                close[0] if close else None,
            )
        if setting.many:
            entries = entry if isinstance(entry, list) else [entry]
            result[key] = tuple(_setting(key, setting, item, vocabulary) for item in entries)
        else:
            result[key] = _setting(key, setting, entry, vocabulary)
    missing = [key for key, setting in definition.settings.items() if setting.required and key not in result]
    if missing:
        raise VerbError(f"`{verb}` lacks {', '.join(missing)}", expected=", ".join(definition.settings))
    _check_whole(verb, result, vocabulary)
    return result


def _setting(key: str, setting: Setting, value: Any, vocabulary: Vocabulary) -> Any:
    kind = setting.type
    if kind == "text":
        if not isinstance(value, (str, int)) or isinstance(value, bool) or not str(value).strip():
            raise VerbError(f"{key} has to be text", key, setting.meaning)
        return " ".join(str(value).split())
    if kind.startswith("list:"):
        allowed = vocabulary.lists[kind.removeprefix("list:")]
        if not isinstance(value, str) or value not in allowed:
            close = nearest(str(value), allowed)
            raise VerbError(f"{value!r} is no {key}", key, "one of " + ", ".join(allowed), close[0] if close else None)
        return value
    if kind == "fact":
        # `from` of use_code may name any fact; a required field has to be one a claim can hold.
        fact = vocabulary.facts.get(value) if isinstance(value, str) else None
        if fact is None or fact.origin == "concluded":
            raise VerbError(
                f"unknown claim fact {value!r}",
                key,
                "a claim fact of the vocabulary",
                vocabulary.nearest(str(value)),
            )
        return value
    if kind == "code":
        try:
            return Fact("code", "code", "", "claim", "").shown(value)
        except UnfitValue as error:
            raise VerbError(f"{value!r} is no code", key, error.expected) from None
    return _number(key, kind, value)


def _number(key: str, kind: str, value: Any) -> Any:
    if kind == "days":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10_000:
            raise VerbError(f"{key} has to be a whole number above 0", key, "for example 365")
        return value
    try:
        number = Decimal(str(value)) if not isinstance(value, (bool, float)) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 <= number < 10**7:
        raise VerbError(f"{value!r} is no number", key, 'for example 106 or "89.5"')
    return f"{number.normalize():f}"


def _check_whole(verb: str, settings: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    if verb == "use_code" and ("code" in settings) == ("from" in settings):
        raise VerbError(
            "`use_code` needs either a code or `from`",
            expected="use_code: J3590, or use_code: {from: drug.specific_code}",
        )
    if verb == "deadline" and sum(unit in settings for unit in ("days", "months", "years")) != 1:
        raise VerbError(
            "`deadline` needs one of days, months, years",
            expected="for example {what: timely_filing, days: 365}",
        )
    if verb == "require_field" and "one_of" in settings:
        fact = vocabulary.facts[settings["field"]]
        for value in settings["one_of"]:
            try:
                fact.constant(value)
            except UnfitValue as error:
                raise VerbError(str(error), "one_of", error.expected, error.nearest) from None
