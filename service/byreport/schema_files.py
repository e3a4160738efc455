"""The JSON Schemas of the contracts (JSON Schema 2020-12), made from the vocabulary, the verbs and the policy model.

The files in `schemas/` are what these functions return: claim lines and decisions for billing systems, rule files and
policy documents for editors (completion and hover through a YAML language server) and for `byreport check`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from byreport import policy
from byreport.decision import OUTCOMES
from byreport.verbs import VERBS, Setting, Verb
from byreport.vocabulary import FIRST_YEAR, LAST_YEAR, MAX_LIST, MAX_TEXT, Fact, Vocabulary, vocabulary

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Shape = dict[str, Any]

_FILLED: Shape = {"type": "string", "pattern": r"\S"}
_NO_NUL = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_BLANK: Shape = {"type": "string", "pattern": r"^\s*$"}
_COLUMN: Shape = {"type": "string", "pattern": r"^\$[a-z][a-z0-9_]*$"}
_NULL: Shape = {"type": "null"}
_CODE = r"[A-Za-z0-9][A-Za-z0-9.]{0,9}"
_LAYOUTS = ((5, 4, 2), (4, 4, 2), (5, 3, 2), (5, 4, 1))
_NDC = "|".join(["[0-9]{11}", *(rf"[0-9]{{{a}}}-[0-9]{{{b}}}-[0-9]{{{c}}}" for a, b, c in _LAYOUTS)])
_NUMBER = r"([0-9]{1,11}(\.[0-9]{1,4})?|\.[0-9]{1,4})"
_YEARS = "|".join(str(century) for century in range(FIRST_YEAR // 100, LAST_YEAR // 100 + 1))
_DAY = rf"^({_YEARS})[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}}$"
_WORDS = {
    "present": "The fact is known and not empty",
    "missing": "The fact is known to be empty",
    "unknown": "Nobody has said",
}


def files() -> dict[str, str]:
    """The text of every schema file, by its name in `schemas/`."""
    vocab = vocabulary()
    made: dict[str, Callable[[], Shape]] = {
        "claim.schema.json": lambda: claim_schema(vocab),
        "decision.schema.json": lambda: decision_schema(vocab),
        "ruleset.schema.json": lambda: ruleset_schema(vocab),
        "policy_document.schema.json": policy_document_schema,
    }
    return {name: json.dumps(make(), indent=1, ensure_ascii=False) + "\n" for name, make in made.items()}


def write(directory: Path) -> list[Path]:
    """Write the schema files into `directory`; the paths of those that changed."""
    changed = []
    for name, text in files().items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _head(title: str, description: str) -> Shape:
    return {"$schema": DRAFT, "title": title, "description": description}


def _object(properties: Mapping[str, Any], required: Iterable[str] | None = None, **more: Any) -> Shape:
    """An object without other members; every property is required unless `required` says which are."""
    wanted = list(properties if required is None else required)
    shape: Shape = {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}
    return {**shape, "required": wanted} if wanted else shape


def _list_of(item: Shape, **more: Any) -> Shape:
    return {"type": "array", "items": item, **more}


def _either(*shapes: Shape, **more: Any) -> Shape:
    return {"anyOf": list(shapes), **more}


# --- values of facts -------------------------------------------------------------------------------------------------


def _scalars(fact: Fact) -> list[Shape]:
    """What one known, non-empty value of the fact may look like."""
    integer: Shape = {"type": "integer", "minimum": -(10**9), "maximum": 10**9}
    shapes: dict[str, list[Shape]] = {
        "text": [{"type": "string", "pattern": _NO_NUL, "maxLength": MAX_TEXT}, {"type": "integer"}],
        "code": [
            {"type": "string", "pattern": rf"^\s*{_CODE}\s*$"},
            {"type": "integer", "minimum": 0, "maximum": 10**10 - 1},
        ],
        "ndc": [{"type": "string", "pattern": rf"^\s*({_NDC})\s*$"}],
        "choice": [{"enum": list(fact.values or ())}],
        "boolean": [{"type": "boolean"}],
        "date": [{"type": "string", "format": "date", "pattern": _DAY}],
        "integer": [integer, {"type": "string", "pattern": r"^\s*[-+]?[0-9]{1,9}\s*$"}],
        "quantity": [
            {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*$"},
            {"type": "integer", "minimum": 0, "maximum": 10**11 - 1},
        ],
        "fact": [{"type": "string"}],
    }
    return shapes["quantity" if fact.type == "amount" else fact.type]


def _meaning(fact: Fact) -> str:
    unit = f" ({fact.unit})" if fact.unit else ""
    return f"{fact.meaning}{unit}. {fact.expected().capitalize()}."


def _claim_value(fact: Fact) -> Shape:
    empty = [] if fact.type == "boolean" or fact.required else [_BLANK]
    unknown = [] if fact.required else [_NULL]
    scalars = _scalars(fact)
    shapes = [*scalars, *empty, *unknown]
    if fact.is_list:
        shapes = [_list_of(_either(*scalars, *empty), maxItems=MAX_LIST), *shapes]
    return _either(*shapes, description=_meaning(fact))


def claim_schema(vocab: Vocabulary | None = None) -> Shape:
    """The schema of a claim line as it is sent to `POST /v1/decisions`."""
    words = vocab or vocabulary()
    tree: dict[str, Any] = {
        "payer": {
            "type": "string",
            "pattern": r"\S",
            "maxLength": 120,
            "description": "Path of the payer, for example medicaid/TX; or `medicare`, with provider.state.",
        }
    }
    for fact in words.claim_facts():
        *groups, leaf = fact.name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = _claim_value(fact)
    needed = {fact.name for fact in words.claim_facts() if fact.required} | {"payer"}
    return {
        **_head(
            "Claim line",
            "One drug claim line. What is left out, or null, is unknown; an empty text or list is known to be empty. "
            "There is no field that identifies a patient, and no other field is taken.",
        ),
        **_claim_group(tree, "", needed),
    }


def _claim_group(tree: Mapping[str, Any], prefix: str, needed: set[str]) -> Shape:
    properties, required = {}, []
    for name, node in tree.items():
        path = f"{prefix}{name}"
        is_fact = "description" in node and ("anyOf" in node or "type" in node)
        properties[name] = node if is_fact else _claim_group(node, f"{path}.", needed)
        if path in needed or any(other.startswith(f"{path}.") for other in needed):
            required.append(name)
    return _object(properties, required)


# --- decisions -------------------------------------------------------------------------------------------------------

_TEXT: Shape = {"type": "string"}
_TEXT_OR_NULL: Shape = {"type": ["string", "null"]}
_DATE_OR_NULL: Shape = {"type": ["string", "null"], "format": "date"}


def _rules(meaning: str = "The rules that put the entry here") -> Shape:
    return {"type": "array", "items": {"type": "string"}, "description": meaning}


def _one_of(names: Iterable[str], **more: Any) -> Shape:
    return {"type": "string", "enum": list(names), **more}


def _said(text: str, shape: Shape = _TEXT) -> Shape:
    return {**shape, "description": text}


def decision_schema(vocab: Vocabulary | None = None) -> Shape:
    """The schema of a decision."""
    lists = (vocab or vocabulary()).lists
    return {
        **_head("Decision", "What published policy says of one claim line, with the rules and sources behind it."),
        **_object(
            {
                "decision_id": {"type": "string", "format": "uuid"},
                "decided_at": _said("UTC", {"type": "string", "format": "date-time"}),
                "rulebook": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
                "payer": _said("Path of the payer whose rules were applied"),
                "outcome": _one_of(OUTCOMES, description="The first of these that holds"),
                "code": _code_part(),
                "prior_authorization": _authorization_part(),
                "documentation": _list_of(_document_part(lists)),
                "edits": _list_of(_edit_part()),
                "denials": _list_of(_denial_part(lists)),
                "pricing": _pricing_part(lists),
                "deadlines": _list_of(_deadline_part(lists)),
                "exclusions": _list_of(_object({"reason": _said("Why the line is excluded"), "rules": _rules()})),
                "questions": _list_of(_question_part(), description="The most decisive first"),
                "cautions": _list_of(
                    _object({"kind": _one_of(lists["caution"]), "text": _TEXT, "rules": _rules()})
                ),
                "fired": _list_of(_fired_part(), description="Every rule that fired, farthest ruleset first"),
                "overridden": _list_of(
                    _object({"rule": _TEXT, "by": _TEXT, "part": _said("The part of the decision")})
                ),
                "notice": _TEXT,
            }
        ),
    }  # fmt: skip


def _part(properties: Mapping[str, Shape], optional: Mapping[str, Shape]) -> Shape:
    return _object({**properties, **optional, "rules": _rules()}, [*properties, "rules"])


def _code_part() -> Shape:
    return _part(
        {"billed": _TEXT_OR_NULL, "recommended": _said("Null where no one code is published", _TEXT_OR_NULL)},
        {"candidates": _list_of(_TEXT), "note": _TEXT},
    )


def _authorization_part() -> Shape:
    statuses = ("required", "on_file", "conditional", "not_required", "unknown")
    return _part({"status": _one_of(statuses), "how": _said("How and where to ask")}, {})


def _document_part(lists: Mapping[str, Mapping[str, str]]) -> Shape:
    return _part(
        {
            "item": _one_of(lists["documentation"]),
            "status": _one_of(("present", "missing")),
            "where": _said("Where on the claim or beside it"),
            "label": _TEXT,
        },
        {"note": _TEXT},
    )


def _edit_part() -> Shape:
    found = _said("What the claim has; null where it is unknown", {"type": ["string", "boolean", "integer", "null"]})
    return _part({"field": _said("The claim fact"), "found": found, "expected": _TEXT, "where": _TEXT}, {"note": _TEXT})


def _denial_part(lists: Mapping[str, Mapping[str, str]]) -> Shape:
    return _part(
        {
            "group": _one_of(lists["denial_group"]),
            "carc": _said("Claim adjustment reason code"),
            "rarc": _said("Remittance advice remark code", _TEXT_OR_NULL),
            "unless": _said("What avoids the denial"),
        },
        {},
    )


def _pricing_part(lists: Mapping[str, Mapping[str, str]]) -> Shape:
    return _part(
        {
            "basis": {"enum": [*lists["pricing_basis"], None]},
            "percent": _said("Percent of the basis", _TEXT_OR_NULL),
            "estimate": _said("US dollars; null where the basis or the percentage is unknown", _TEXT_OR_NULL),
        },
        {"label": _TEXT, "note": _TEXT},
    )


def _deadline_part(lists: Mapping[str, Mapping[str, str]]) -> Shape:
    return _part(
        {
            "what": _one_of(lists["deadline"]),
            "date": _said("Null where it counts from an event to come", _DATE_OR_NULL),
            "text": _TEXT,
        },
        {"note": _TEXT},
    )


def _question_part() -> Shape:
    asked = {"fact": _TEXT, "ask": _TEXT, "would_decide": _list_of(_TEXT)}
    near = _list_of(_TEXT, description="Names that reference data has, where the name given is only near them")
    return _object({**asked, "candidates": near}, list(asked))


def _fired_part() -> Shape:
    because = _object(
        {
            "fact": _TEXT,
            "is": _said("The fact's value; null where the test is that it is unknown", {}),
            "test": _TEXT,
            "from": _one_of(("claim", "reference", "computed", "concluded", "unknown")),
            "by": _rules("The rules that concluded the fact"),
        },
        ("fact", "is", "test", "from"),
    )
    source = _source_part()
    return _object(
        {
            "rule": _TEXT,
            "title": _TEXT,
            "table": _TEXT,
            "row": _TEXT,
            "because": _list_of(because),
            "concluded": _list_of(_TEXT),
            "source": source,
            "also": _list_of(source),
        },
        ("rule", "title", "because", "concluded", "source"),
    )


def _source_part() -> Shape:
    return _object(
        {
            "document": _TEXT,
            "statement": _TEXT,
            "title": _TEXT,
            "publisher": _TEXT,
            "where": _TEXT_OR_NULL,
            "url": _TEXT_OR_NULL,
            "published": _TEXT_OR_NULL,
            "authority": _one_of(policy.AUTHORITIES),
            "confidence": _one_of(policy.CONFIDENCES),
        }
    )


# --- rule files ------------------------------------------------------------------------------------------------------


def ruleset_schema(vocab: Vocabulary | None = None) -> Shape:
    """The schema of a rule file: every fact with its meaning, its operators by type, and the verbs."""
    words = vocab or vocabulary()
    definitions: dict[str, Shape] = {}
    for fact in words.facts.values():
        definitions.setdefault(_kind(fact), _test(fact, words))
        definitions.setdefault(_given_kind(fact), _given(fact, words))
    definitions["condition"] = _condition(words)
    definitions["verb"] = _object(
        {name: _verb(name, verb, words) for name, verb in VERBS.items()}, (), minProperties=1, maxProperties=1
    )
    definitions["effective"] = _effective()
    definitions["source"] = _source_shape()
    definitions["example"] = _example(words)
    definitions["rule"] = _rule()
    return {
        **_head(
            "byreport ruleset", "The rules of one payer: what follows from which facts, and who published it."
        ),
        **_object(
            {
                "ruleset": _said("The payer's path; the file's place in the tree", _FILLED),
                "title": _said("The payer's name"),
                "rules": {"type": ["array", "null"], "items": {"$ref": "#/$defs/rule"}},
            },
            ("ruleset",),
        ),
        "$defs": definitions,
    }  # fmt: skip


def _kind(fact: Fact) -> str:
    family = f"choice_{fact.list_name}" if fact.type == "choice" else fact.type
    return f"concluded_{family}" if fact.origin == "concluded" else f"test_{family}"


def _given_kind(fact: Fact) -> str:
    family = f"choice_{fact.list_name}" if fact.type == "choice" else fact.type
    return f"given_{family}" + ("_list" if fact.is_list else "")


def _constants(fact: Fact, words: Vocabulary) -> list[Shape]:
    """A constant of a rule; editors read as numbers what the loader keeps as it is written."""
    numbers: Shape = {"type": "number", "minimum": 0}
    if fact.type in ("quantity", "amount"):
        return [numbers, _scalars(fact)[0]]
    if fact.type == "text":
        return [_scalars(fact)[0], {"type": "number"}]
    if fact.type == "fact":
        return [{"enum": _claim_facts(words)}]
    return _scalars(fact)


def _claim_facts(words: Vocabulary) -> list[str]:
    return [fact.name for fact in words.facts.values() if fact.origin != "concluded"]


def _test(fact: Fact, words: Vocabulary) -> Shape:
    constants = _constants(fact, words)
    operators: dict[str, Shape] = {
        "equals": _either(*constants, _COLUMN, description="The fact is this value; a list holds it"),
        "one_of": _either(
            _list_of(_either(*constants), minItems=1),
            _COLUMN,
            description="The fact is one of these values; a list holds one of them",
        ),
    }
    if fact.origin == "concluded":
        shapes = _either(*constants, _COLUMN, _object(operators, (), minProperties=1))
        return {**shapes, "not": {"enum": list(_WORDS)}}
    if fact.type in ("integer", "quantity", "amount"):
        operators["at_least"] = _either(*constants, _COLUMN, description="The fact is this number or more")
        operators["below"] = _either(*constants, _COLUMN, description="The fact is less than this number")
    if fact.type == "date":
        operators["before"] = _either(*constants, _COLUMN, description="The fact is a day before this one")
        operators["on_or_after"] = _either(*constants, _COLUMN, description="The fact is this day or a later one")
    if fact.type in ("text", "code", "ndc"):
        operators["matches"] = {
            "type": "string",
            "maxLength": 300,
            "description": "A pattern that the fact contains",
        }
    for word, meaning in _WORDS.items():
        operators[word] = {"const": True, "description": meaning}
    return _either(*constants, {"enum": list(_WORDS)}, _COLUMN, _object(operators, (), minProperties=1))


def _condition(words: Vocabulary) -> Shape:
    again = {"$ref": "#/$defs/condition"}
    properties: dict[str, Shape] = {
        "any": _list_of(again, minItems=1, description="At least one of these conditions holds"),
        "all": _list_of(again, minItems=1, description="Every one of these conditions holds"),
        "not": {**again, "description": "The condition is known not to hold"},
    }
    for fact in words.facts.values():
        properties[fact.name] = {"$ref": f"#/$defs/{_kind(fact)}", "description": _meaning(fact)}
    named_by_column: Shape = {"description": "The row names the fact"}
    mapping = _object(properties, (), patternProperties={_COLUMN["pattern"]: named_by_column})
    return _either(mapping, _list_of(again), description="Facts and their tests; all have to hold")


def _verb(name: str, verb: Verb, words: Vocabulary) -> Shape:
    if name == "conclude":
        return _conclude(verb, words)
    settings = {key: _setting(setting, words) for key, setting in verb.settings.items()}
    required = [key for key, setting in verb.settings.items() if setting.required]
    whole = _object(settings, required)
    shapes = [whole, _COLUMN]
    if verb.short is not None:
        shapes.insert(0, settings[verb.short])
    if verb.many:
        shapes.append(_list_of(_either(*shapes[:-1]), minItems=1))
    return _either(*shapes, description=verb.meaning)


def _conclude(verb: Verb, words: Vocabulary) -> Shape:
    properties: dict[str, Shape] = {}
    for fact in words.facts.values():
        if fact.origin == "concluded":
            values = [{"const": True}] if fact.type == "boolean" else _constants(fact, words)
            properties[fact.name] = _either(*values, _COLUMN, description=fact.meaning)
    return _object(properties, (), minProperties=1, description=verb.meaning)


def _setting(setting: Setting, words: Vocabulary) -> Shape:
    kind = setting.type
    number: Shape = {"type": "number", "minimum": 0, "exclusiveMaximum": 10**7}
    shapes: dict[str, list[Shape]] = {
        "text": [{"type": "string", "pattern": r"\S"}, {"type": "number"}],
        "code": [{"type": "string", "pattern": rf"^\s*{_CODE}\s*$"}, {"type": "integer", "minimum": 0}],
        "fact": [{"enum": _claim_facts(words)}],
        "days": [{"type": "integer", "minimum": 1, "maximum": 9_999}],
        "number": [number, {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]+)?$"}],
    }
    of_list = [{"enum": list(words.lists.get(kind.removeprefix("list:"), ()))}]
    options = [*shapes.get(kind, of_list), _COLUMN]
    if setting.many:
        options = [*options, _list_of(_either(*options), minItems=1)]
    return _either(*options, description=setting.meaning)


def _effective() -> Shape:
    day = _either({"type": "string", "format": "date", "pattern": _DAY}, _NULL)
    return _object(
        {
            "from": {**day, "description": "First date of service to which the rule applies"},
            "to": {**day, "description": "Last date of service to which the rule applies"},
        },
        (),
    )


def _source_shape() -> Shape:
    one = _object(
        {
            "document": _said("Id of a document of the payer's policy file"),
            "statement": _said("Id of a statement of that document"),
            "payer": _said("Whose policy file, where it is not the ruleset's own"),
        },
        ("document", "statement"),
    )
    return _either(
        one,
        _list_of(one, minItems=1),
        _COLUMN,
        description="The published statement on which the rule stands",
    )


def _given(fact: Fact, words: Vocabulary) -> Shape:
    values = [*_constants(fact, words), {"const": ""}, _NULL]
    return _either(_list_of(_either(*values)), *values) if fact.is_list else _either(*values)


def _example(words: Vocabulary) -> Shape:
    given = {
        fact.name: {"$ref": f"#/$defs/{_given_kind(fact)}", "description": _meaning(fact)}
        for fact in words.facts.values()
    }
    return _object(
        {
            "given": _object(given, (), description="The known facts; all others are unknown"),
            "fires": {"type": "boolean", "description": "Whether the rule fires on these facts"},
            "row": {"type": ["string", "number"], "description": "The row of the table, where not any row"},
            "note": _TEXT_OR_NULL,
        },
        ("given", "fires"),
    )


def _rule() -> Shape:
    row = {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "row": {"type": ["string", "number"], "description": "The row's name; the first column's value without it"},
            "effective": {"$ref": "#/$defs/effective"},
            "source": {"$ref": "#/$defs/source"},
        },
        "description": "A value for each `$column` of the rule; `any` leaves the column's test or setting out",
    }  # fmt: skip
    return _object(
        {
            "id": _said("Unique in the whole tree", {**_TEXT, "pattern": "^[a-z0-9][a-z0-9_.-]{0,118}[a-z0-9]$"}),
            "title": _said("What the policy says, in one line", _FILLED),
            "effective": {"$ref": "#/$defs/effective"},
            "when": {"$ref": "#/$defs/condition"},
            "then": _list_of({"$ref": "#/$defs/verb"}, minItems=1, description="What follows"),
            "source": {"$ref": "#/$defs/source"},
            "overrides": _list_of(_TEXT, description="Rules or tables of this ruleset that give way to this one"),
            "rows": _list_of(row, minItems=1, description="Makes the rule a table: one rule for each row"),
            "examples": _list_of({"$ref": "#/$defs/example"}, minItems=1),
            "note": _TEXT_OR_NULL,
        },
        ("id", "title", "then", "source", "examples"),
    )  # fmt: skip


# --- policy documents ------------------------------------------------------------------------------------------------


def policy_document_schema() -> Shape:
    """The schema of a payer's policy file: its documents, and under each the statements."""
    day: Shape = {"type": ["string", "null"], "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    no_rule = _object(
        {
            "why": {"oneOf": [{"const": why, "description": text} for why, text in policy.NO_RULE.items()]},
            "note": _TEXT_OR_NULL,
        },
        ("why",),
        description="Why no rule carries the statement out",
    )
    statement = _object(
        {
            "id": _FILLED,
            "topic": _one_of(policy.TOPICS),
            "statement": _said("What the document says, in our own words", _FILLED),
            "where": _said("Section or page of the document", {"type": ["string", "number", "null"]}),
            "confidence": _one_of(policy.CONFIDENCES, description="How sure the reading is"),
            "effective_from": day,
            "effective_to": day,
            "no_rule": no_rule,
            "note": _TEXT_OR_NULL,
        },
        ("id", "topic", "statement", "confidence"),
    )
    document = _object(
        {
            "id": _FILLED,
            "title": _FILLED,
            "publisher": _FILLED,
            "url": _TEXT_OR_NULL,
            "published": _said("The day of publication; null when the document carries none", day),
            "kind": _one_of(policy.KINDS),
            "authority": _one_of(policy.AUTHORITIES, description="The payer's own word, or somebody's account of it"),
            "statements": {"type": ["array", "null"], "items": statement},
            "note": _TEXT_OR_NULL,
        },
        ("id", "title", "publisher", "kind", "authority"),
    )  # fmt: skip
    return {
        **_head("byreport policy documents", "What one payer published, and where each statement stands."),
        **_object(
            {
                "payer": _said("The payer's path; the file's place in the tree", _FILLED),
                "name": _said("The payer's name", _FILLED),
                "documents": {"type": ["array", "null"], "items": document},
                "gaps": {
                    "type": ["array", "null"],
                    "items": {"type": ["string", "number"]},
                    "description": "What was looked for and not found",
                },
                "note": _TEXT_OR_NULL,
            },
            ("payer", "name"),
        ),
    }
