"""Rule files and policy documents against their JSON Schemas: the faults of shape that the loaders let pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from byreport.findings import Finding
from byreport.schema_files import policy_document_schema, ruleset_schema
from byreport.yamlfile import Document


@lru_cache(maxsize=2)
def _validator(root: str) -> Draft202012Validator:
    return Draft202012Validator(policy_document_schema() if root == "policy_docs" else ruleset_schema())


def shape_findings(document: Document) -> list[Finding]:
    """What does not fit the schema of the file's kind, at the place of each fault.

    Nothing for a file whose YAML could not be read: the values at the faulty places are not known.
    """
    if document.findings or document.data is None:
        return []
    return list(dict.fromkeys(_findings(document)))


def _findings(document: Document) -> Iterator[Finding]:
    validator = _validator(document.file.split("/")[0])
    for fault in validator.iter_errors(document.data):
        error = _telling(best_match([fault]) or fault)
        path = tuple(error.absolute_path)
        line, column = document.place(path)
        yield Finding(
            document.file,
            line,
            column,
            "shape",
            _message(error),
            found=_clipped(error.instance),
            expected=_expected(error),
        )


def _telling(error: ValidationError) -> ValidationError:
    """The error that says what would be right: where alternatives failed at one place, all of them together."""
    parent = error.parent
    while isinstance(parent, ValidationError) and parent.absolute_path == error.absolute_path:
        error, parent = parent, parent.parent
    return error


def _message(error: ValidationError) -> str:
    name = str(error.absolute_path[-1]) if error.absolute_path else "the file"
    if error.validator in ("additionalProperties", "required", "minProperties", "maxProperties", "minItems"):
        return f"{name}: {_clipped_text(error.message)}"
    return f"{name} does not fit the schema"


def _expected(error: ValidationError) -> str | None:
    schema: Any = error.schema
    described = schema.get("description") if isinstance(schema, dict) else None
    allowed = [value for part in (schema, *schema.get("anyOf", ())) for value in part.get("enum", ())]
    named = "one of " + ", ".join(str(value) for value in allowed) if allowed else None
    return "; ".join(filter(None, (described, named))) or f"{error.validator}: {_clipped(error.validator_value)}"


def _clipped(value: Any) -> str:
    return _clipped_text(json.dumps(value, ensure_ascii=False, default=str))


def _clipped_text(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
