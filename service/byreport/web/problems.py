"""Everything that can go wrong with a request, as a problem document (RFC 9457)."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Response
from werkzeug.exceptions import HTTPException

from byreport.claim import ClaimError
from byreport.findings import Finding, RulebookError
from byreport.log import IdempotencyConflict, LogError
from byreport.rulebook import UnknownPayer
from byreport.strictjson import JsonError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
"""Errors named in one problem; `detail` says how many there are."""

_LOG = logging.getLogger("byreport.web")

KINDS = {
    "bad-request": "The request can't be read",
    "bad-json": "The body is not JSON that can be taken",
    "bad-claim": "The claim line can't be read",
    "too-many-lines": "Too many claim lines in one request",
    "bad-idempotency-key": "The idempotency key can't be used",
    "idempotency-conflict": "The idempotency key was used for another request",
    "refused-before": "The line was refused when the request was first answered",
    "unknown-payer": "No payer of that path",
    "unknown-decision": "No decision with that id",
    "unknown-rule": "No rule or table of that id",
    "not-found": "Nothing is at that path",
    "method-not-allowed": "The path does not take that method",
    "body-too-large": "The body is too large",
    "media-type": "The body has to be application/json",
    "rulebook": "Rule files of the payer are faulty",
    "log": "The decision log can't be used",
    "not-ready": "Lines can't be decided and recorded",
    "internal": "The service failed",
}
"""Every kind of problem and its title. A problem's `type` is a place on the page at /docs."""


@dataclass(frozen=True)
class FieldError:
    """One field at fault: its dotted name (or the place in a file), and what is wrong and how to fix it."""

    field: str
    problem: str


@dataclass(eq=False)
class Problem(Exception):
    """A request that is answered with a problem document."""

    status: int
    kind: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    near: tuple[str, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The members of the problem document."""
        document: dict[str, Any] = {
            "type": f"/docs#{self.kind}",
            "title": KINDS[self.kind],
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [
                {"field": error.field, "problem": error.problem} for error in self.errors[:MAX_ERRORS]
            ]
        if self.near is not None:
            document["near"] = list(self.near)
        return document

    def to_json(self) -> str:
        """The problem document as JSON text."""
        return json.dumps(self.as_dict(), ensure_ascii=False)


def of(error: Exception) -> Problem:
    """The problem that an exception of the core or of Flask stands for; what is not foreseen is `internal`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, JsonError):
        return Problem(400, "bad-json", str(error), (FieldError(error.place, error.problem),))
    if isinstance(error, ClaimError):
        return _claim(error)
    if isinstance(error, UnknownPayer):
        return Problem(404, "unknown-payer", str(error), near=tuple(error.near))
    if isinstance(error, RulebookError):
        return _rulebook(error)
    if isinstance(error, IdempotencyConflict):
        return Problem(409, "idempotency-conflict", str(error))
    if isinstance(error, LogError):
        return Problem(503, "log", str(error))
    if isinstance(error, HTTPException):
        return _http(error)
    return _internal(error)


def _claim(error: ClaimError) -> Problem:
    errors = _field_errors(error.problems.items())
    count = f"{len(errors)} fields are" if len(errors) > 1 else "one field is"
    return Problem(400, "bad-claim", f"{count} at fault; first, {errors[0].field}: {errors[0].problem}", errors)


def _field_errors(items: Iterable[tuple[str, str]]) -> tuple[FieldError, ...]:
    return tuple(FieldError(name[:200], problem) for name, problem in items)


def _rulebook(error: RulebookError) -> Problem:
    first = error.findings[0]
    detail = f"no line of this payer can be decided; first, {first.file}:{first.line}: {first.message}"
    return Problem(503, "rulebook", detail, finding_errors(error.findings))


def finding_errors(findings: Iterable[Finding]) -> tuple[FieldError, ...]:
    """Faults of rule files as errors whose field is file, line and column."""
    return tuple(
        FieldError(
            f"{finding.file}:{finding.line}:{finding.column}",
            finding.message + (f"; expected {finding.expected}" if finding.expected else ""),
        )
        for finding in findings
        if finding.severity == "error"
    )


_HTTP_KINDS = {
    404: ("not-found", "see /openapi.json or /docs for what there is"),
    405: ("method-not-allowed", "the header Allow names the methods that are taken"),
    413: ("body-too-large", "send at most 2 MB; split a long list"),
    415: ("media-type", "send the header Content-Type: application/json"),
}


def _http(error: HTTPException) -> Problem:
    status = error.code or 500
    if status >= 500:
        return _internal(error)
    kind, detail = _HTTP_KINDS.get(status, ("bad-request", error.description or HTTPStatus(status).phrase))
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return Problem(status, kind, detail, headers=headers)


def _internal(error: Exception) -> Problem:
    number = uuid.uuid4().hex[:12]
    _LOG.error("fault %s", number, exc_info=error)
    return Problem(500, "internal", f"the service's own log has the fault under {number}")


def response(error: Exception) -> Response:
    """The answer to a request that ended in `error`."""
    problem = of(error)
    return Response(problem.to_json(), status=problem.status, headers=dict(problem.headers), mimetype=MEDIA_TYPE)
