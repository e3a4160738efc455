"""The shapes of the answers, for rendering and for the OpenAPI document.

Claim lines and decisions are not here: their JSON Schemas are made from the vocabulary (`schema_files`) and stand
in the OpenAPI document as they are.
"""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from byreport import policy
from byreport.payers import PARTS
from byreport.rulebook import PROGRAMS
from byreport.verbs import VERBS
from byreport.web.problems import KINDS


def _text(meaning: str | None = None, **settings: Any) -> fields.String:
    return fields.String(required=True, metadata={"description": meaning} if meaning else {}, **settings)


def _text_or_null(meaning: str | None = None) -> fields.String:
    return _text(meaning, allow_none=True)


def _day(meaning: str) -> fields.String:
    return fields.String(
        required=True, allow_none=True, metadata={"format": "date", "description": f"{meaning}; null when undated"}
    )  # fmt: skip


def _count(meaning: str) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": meaning})


def _texts(meaning: str | None = None) -> fields.List[Any]:
    return fields.List(fields.String(), required=True, metadata={"description": meaning} if meaning else {})


class FieldErrorSchema(Schema):
    field = _text("Dotted name of the field, or the place in a file")
    problem = _text("What is wrong, and what would be right")


class ProblemSchema(Schema):
    """A problem document (RFC 9457)."""

    type = fields.String(required=True, validate=validate.OneOf([f"/docs#{kind}" for kind in KINDS]))
    title = _text()
    status = fields.Integer(required=True)
    detail = _text()
    errors = fields.List(fields.Nested(FieldErrorSchema))
    near = fields.List(fields.String(), metadata={"description": "Payer paths that were likely meant, best first"})


class PayerLineSchema(Schema):
    path = _text("The payer's path, as a claim line names it")
    name = _text()
    program = _text(validate=validate.OneOf(PROGRAMS))
    rules = _count("Rules and tables of the payer's own ruleset")
    documents = _count("Documents on file")
    statements = _count("Statements of those documents")
    newest = _day("Date of the newest document")
    oldest = _day("Date of the oldest document")


class PayerListSchema(Schema):
    payers = fields.List(fields.Nested(PayerLineSchema), required=True)


class SourceSchema(Schema):
    document = _text()
    statement = _text()
    title = _text()
    publisher = _text()
    where = _text_or_null("Section or page")
    url = _text_or_null()
    published = _text_or_null("Day of publication")
    authority = _text(validate=validate.OneOf(policy.AUTHORITIES))
    confidence = _text(validate=validate.OneOf(policy.CONFIDENCES))


class RuleLineSchema(Schema):
    id = _text()
    title = _text()
    ruleset = _text()
    rows = fields.Integer(required=True, allow_none=True, metadata={"description": "Rows of a table; null for a rule"})
    sources = fields.List(fields.Nested(SourceSchema), required=True)


class StatementSchema(Schema):
    id = _text()
    topic = _text(validate=validate.OneOf(policy.TOPICS))
    statement = _text("What the document says, in our own words")
    where = _text_or_null("Section or page")
    confidence = _text(validate=validate.OneOf(policy.CONFIDENCES))
    rules = _texts("The rules that carry the statement out")
    no_rule = _text_or_null("Why no rule carries it out")


class DocumentSchema(Schema):
    id = _text()
    title = _text()
    publisher = _text()
    url = _text_or_null()
    published = _text_or_null("Day of publication")
    kind = _text(validate=validate.OneOf(policy.KINDS))
    authority = _text(validate=validate.OneOf(policy.AUTHORITIES))
    statements = fields.List(fields.Nested(StatementSchema), required=True)


class AnswerSchema(Schema):
    rules = _texts("Rules and tables that answer the question and have not ended")
    rulesets = _texts("Where in the chain they stand")
    newest = _day("Date of the newest document cited")
    oldest = _day("Date of the oldest document cited")
    authority = fields.List(fields.String(validate=validate.OneOf(policy.AUTHORITIES)), required=True)


def _parts() -> validate.OneOf:
    return validate.OneOf(list(PARTS))


class PayerSchema(Schema):
    path = _text()
    name = _text()
    program = _text(validate=validate.OneOf(PROGRAMS))
    chain = _texts("The rulesets that apply, farthest first")
    rules = fields.List(fields.Nested(RuleLineSchema), required=True)
    documents = fields.List(fields.Nested(DocumentSchema), required=True)
    gaps = _texts("What was looked for and not found")
    answers = fields.Dict(
        keys=fields.String(validate=_parts()),
        values=fields.Nested(AnswerSchema),
        required=True,
        metadata={"description": "The questions that published policy on file answers: " + ", ".join(PARTS)},
    )
    unanswered = fields.List(
        fields.String(validate=_parts()),
        required=True,
        metadata={"description": "The questions that nothing published on file answers"},
    )


class EffectiveSchema(Schema):
    from_ = fields.String(data_key="from", attribute="from", required=True, allow_none=True)
    to = _text_or_null()


class ConclusionSchema(Schema):
    verb = _text(validate=validate.OneOf(list(VERBS)))
    settings = fields.Dict(keys=fields.String(), required=True)


class ExampleSchema(Schema):
    given = fields.Dict(keys=fields.String(), required=True)
    fires = fields.Boolean(required=True)
    row = _text_or_null()
    note = _text_or_null()


class RuleRowSchema(Schema):
    """A rule, or one row of a table."""

    id = _text()
    kind = _text(validate=validate.OneOf(["rule", "row"]))
    title = _text()
    ruleset = _text()
    table = _text_or_null("The table of the row")
    row = _text_or_null()
    effective = fields.Nested(EffectiveSchema, required=True)
    when = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata={"description": "A tree of `all`, `any` (lists), `not` and tests; a test has fact, operator and test"},
    )
    then = fields.List(fields.Nested(ConclusionSchema), required=True)
    sources = fields.List(fields.Nested(SourceSchema), required=True)
    overrides = _texts()
    examples = fields.List(fields.Nested(ExampleSchema), required=True)
    file = _text("The rule file")
    line = _count("The line of the rule in the file")


class TableSchema(Schema):
    """A table with all its rows."""

    id = _text()
    kind = _text(validate=validate.OneOf(["table"]))
    ruleset = _text()
    file = _text("The rule file")
    rows = fields.List(fields.Nested(RuleRowSchema), required=True)


class FactSchema(Schema):
    name = _text()
    type = _text()
    list = fields.Boolean(required=True)
    required = fields.Boolean(required=True)
    origin = _text("Whether the claim gives it, it is computed, or rules conclude it")
    filled = _text_or_null("`reference` where reference data may fill it in")
    meaning = _text()
    ask = _text_or_null("The question to a person when it is unknown")
    unit = _text_or_null()
    values = _text_or_null("The list of allowed values, for a choice")
    where = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        allow_none=True,
        metadata={"description": "Where the fact stands on each claim form"},
    )


class VocabularySchema(Schema):
    facts = fields.List(fields.Nested(FactSchema), required=True)
    lists = fields.Dict(
        keys=fields.String(),
        values=fields.Dict(keys=fields.String(), values=fields.String()),
        required=True,
        metadata={"description": "Each list's values with their labels"},
    )
    document_facts = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class HealthSchema(Schema):
    status = _text(validate=validate.OneOf(["ok"]))
    version = _text()


class RulesFaultSchema(Schema):
    since = _text("When it was found, UTC")
    rulebook = _text("Content hash of the rules refused; null when they could not be read", allow_none=True)
    errors = fields.List(fields.Nested(FieldErrorSchema), required=True)


class ReadySchema(Schema):
    status = _text(validate=validate.OneOf(["ready"]))
    rulebook = _text("Content hash of the rules in use")
    payers = _count("Payers a claim line may name")
    rules_fault = fields.Nested(RulesFaultSchema, metadata={"description": "Why the rules on disk do not answer"})
