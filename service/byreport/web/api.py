"""The API: each view validates, calls one function of the core, and renders."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeVar, cast

from flask import Response, request
from flask_smorest import Blueprint  # type: ignore[import-untyped]
from marshmallow import Schema
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from byreport import __version__, payers, ruledata, strictjson
from byreport.claim import ClaimError
from byreport.desk import Decided
from byreport.docket import Docket, digest
from byreport.findings import RulebookError
from byreport.live import Fault, Live
from byreport.log import Idempotency, LogError
from byreport.rulebook import UnknownPayer
from byreport.vocabulary import Fact, Vocabulary
from byreport.web import schemas
from byreport.web.problems import MEDIA_TYPE, FieldError, Problem, finding_errors, of

MAX_LINES = 500
MAX_BODY = 2_000_000
"""Bytes of a request's body."""
SHORT_LIST = 16
_LONG_LIST = threading.Lock()
"""Longer lists are decided one after the other in a process: side by side they take longer, single lines behind them
included."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_DECISION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Line = Decided | Problem
View = TypeVar("View", bound=Callable[..., Any])


# --- decisions -----------------------------------------------------------------------------------------------------


def decide(docket: Docket, data: Any, key: str | None) -> str | bytes:
    """The JSON text that answers a request for decisions; every decision in it is in the log by then.

    Raises Problem, ClaimError, UnknownPayer, RulebookError, LogError.
    """
    idempotency = Idempotency(key, digest(data)) if key is not None else None
    if isinstance(data, list):
        return _decide_list(docket, data, idempotency)
    if idempotency is not None:
        before = docket.recall(idempotency)
        if before:
            return before[0]
    return docket.record([docket.decide(data)], [data], idempotency)[0]


def _decide_list(docket: Docket, lines: Sequence[Any], idempotency: Idempotency | None) -> bytes:
    if not lines or len(lines) > MAX_LINES:
        raise Problem(
            400 if not lines else 413,
            "too-many-lines" if lines else "bad-claim",
            f"a list holds 1 to {MAX_LINES} claim lines; this one has {len(lines)}",
        )
    if len(lines) <= SHORT_LIST:
        return _decide_lines(docket, lines, idempotency)
    with _LONG_LIST:
        return _decide_lines(docket, lines, idempotency)


def _decide_lines(docket: Docket, lines: Sequence[Any], idempotency: Idempotency | None) -> bytes:
    if idempotency is not None and docket.recall(idempotency) is not None:
        return _results(_answered_before(docket, lines, idempotency))
    decided = [_decide_line(docket, line) for line in lines]
    good = [(one, line) for one, line in zip(decided, lines, strict=True) if isinstance(one, Decided)]
    texts = docket.record([one for one, _ in good], [line for _, line in good], idempotency)
    if len(texts) != len(good):  # another process answered the same request meanwhile, by another rulebook
        assert idempotency is not None
        return _results(_answered_before(docket, lines, idempotency))
    following = iter(texts)
    return _results([one if isinstance(one, Problem) else next(following) for one in decided])


def _decide_line(docket: Docket, line: Any) -> Line:
    try:
        return docket.decide(line)
    except (ClaimError, UnknownPayer, RulebookError) as error:
        return of(error)


def _answered_before(docket: Docket, lines: Sequence[Any], idempotency: Idempotency) -> list[str | Problem]:
    """The answers given before: each stored decision at the line it was made of, the other lines' problems anew."""
    kept = list(docket.recalled(idempotency) or ())
    answers: list[str | Problem] = []
    for line in lines:
        if kept and strictjson.loads(kept[0].claim) == line:
            answers.append(kept.pop(0).decision)
            continue
        again = _decide_line(docket, line)
        answers.append(again if isinstance(again, Problem) else _REFUSED_BEFORE)
    return answers


_REFUSED_BEFORE = Problem(409, "refused-before", "send the line under another idempotency key to have it decided")


def _results(answers: Sequence[str | Problem]) -> bytes:
    """Stored texts are put in as they are, so that a decision is the same bytes wherever it is read."""
    parts = [b'{"results":[']
    for answer in answers:
        if isinstance(answer, Problem):
            parts += b'{"problem":', answer.to_json().encode(), b"},"
        else:
            parts += b'{"decision":', answer.encode(), b"},"
    parts[-1] = b"}]}"
    return b"".join(parts)


def _body() -> Any:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    data = request.get_data(cache=False)
    # A body sent in chunks names no length, and is cut off at the limit without a word.
    if request.content_length is None and len(data) >= MAX_BODY:
        raise RequestEntityTooLarge
    return strictjson.loads(data)


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(400, "bad-idempotency-key", "the header Idempotency-Key takes 1 to 255 visible ASCII characters")
    return key


def _stored(text: str | bytes) -> Response:
    return Response(text, mimetype="application/json")


# --- what the operations say of themselves ----------------------------------------------------------------------------


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


CLAIM_EXAMPLE = {
    "payer": "medicare/mac/novitas-jl",
    "date_of_service": "2020-09-15",
    "claim_form": "professional",
    "setting": "office",
    "line": {"code": "J3490", "units": "1", "description": "eptinezumab 100 mg IV"},
    "drug": {"name": "eptinezumab-jjmr", "dose": "100 mg", "route": "intravenous"},
    "documentation": ["drug_name", "dose", "route"],
}

_REQUEST = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    _reference("ClaimLine"),
                    {"type": "array", "items": {}, "minItems": 1, "maxItems": MAX_LINES},
                ],
            },
            "examples": {
                "one line": {"value": CLAIM_EXAMPLE},
                "several lines": {"value": [CLAIM_EXAMPLE, {**CLAIM_EXAMPLE, "date_of_service": "2020-10-15"}]},
            },
        }
    },
}

RESULTS: dict[str, Any] = {
    "type": "object",
    "description": "One entry for each line, in the order given",
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {"decision": _reference("Decision")},
                        "required": ["decision"],
                        "additionalProperties": False,
                    },
                    {
                        "type": "object",
                        "properties": {"problem": _reference("Problem")},
                        "required": ["problem"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    },
    "required": ["results"],
    "additionalProperties": False,
}

_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
    "description": "The same request under the same key gets the stored answer, byte for byte.",
}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schemas.ProblemSchema}},
    }


def operation(
    blueprint: Any,
    rule: str,
    answer: type[Schema] | Mapping[str, Any],
    problems: Sequence[int] = (),
    method: str = "GET",
    **documented: Any,
) -> Callable[[View], View]:
    """Route a view and document it: its answer under 200, a problem under each other status."""

    def decorate(view: View) -> View:
        made: Any = blueprint.response(200, answer)(view)
        # Not by `alt_response`, which puts a function around the view for each status.
        described = {str(status): _problem(status) for status in sorted({*problems, 400})}
        made = blueprint.doc(responses=described, **documented)(made)
        return cast(View, blueprint.route(rule, methods=[method])(made))

    return decorate


# --- the blueprint ---------------------------------------------------------------------------------------------------


def blueprint(docket: Docket, live: Live | None = None) -> Any:
    """The operations of the API on one docket, whose rules `live` keeps at what stands on disk."""
    api = Blueprint("byreport", __name__, description="Decisions on claim lines, and what they stand on")
    _decisions(api, docket)
    _policy(api, docket)
    _health(api, docket, live)
    return api


def _decisions(api: Any, docket: Docket) -> None:
    @operation(
        api,
        "/v1/decisions",
        {"oneOf": [_reference("Decision"), _reference("Results")]},
        (400, 404, 409, 413, 415, 503),
        "POST",
        requestBody=_REQUEST,
        parameters=[_KEY_HEADER],
        operationId="decide",
    )
    def decide_lines() -> Response:
        """Decide a claim line, or each line of a list

        One line is answered with its decision, a list of up to 500 with `results` in the order given, where a line
        that can't be decided has a `problem` of its own. Every decision answered is in the log.
        """
        key = _idempotency_key()
        return _stored(decide(docket.for_request(), _body(), key))

    @operation(api, "/v1/decisions/<decision_id>", _reference("Decision"), (404, 503), operationId="decision")
    def decision(decision_id: str) -> Response:
        """A decision made before, as it was answered"""
        record = docket.log.get(decision_id) if _DECISION_ID.fullmatch(decision_id) else None
        if record is None:
            raise Problem(404, "unknown-decision", "the log has no decision with this id")
        return _stored(record.decision)


def _policy(api: Any, docket: Docket) -> None:
    @operation(api, "/v1/payers", schemas.PayerListSchema, operationId="payers")
    def payer_list() -> Any:
        """Every payer a claim line may name, with what is on file"""
        return {"payers": payers.payers(docket.desk.rulebook)}

    @operation(api, "/v1/payers/<path:path>", schemas.PayerSchema, (404, 503), operationId="payer")
    def payer(path: str) -> Any:
        """One payer: its rules, documents and statements, and what published policy answers and what not

        The path may hold slashes, for example /v1/payers/medicaid/TX.
        """
        return payers.payer(docket.desk.rulebook, path)

    @operation(
        api,
        "/v1/rules/<rule_id>",
        {"oneOf": [_reference("RuleRow"), _reference("Table")]},
        (404,),
        operationId="rule",
    )
    def rule(rule_id: str) -> Response:
        """A rule, a table with its rows, or one row (`table:row`)"""
        found = docket.desk.rulebook.rule(rule_id)
        if not found:
            raise Problem(404, "unknown-rule", "no rule or table has this id; /v1/payers/{path} lists a payer's rules")
        return Response(json.dumps(ruledata.rule_or_table(found, rule_id)), mimetype="application/json")

    @operation(api, "/v1/vocabulary", schemas.VocabularySchema, operationId="vocabulary")
    def vocabulary() -> Any:
        """Every fact a claim line may give or a rule may test"""
        return _vocabulary(docket.desk.rulebook.vocabulary)


def _health(api: Any, docket: Docket, live: Live | None) -> None:
    @operation(api, "/healthz", schemas.HealthSchema, operationId="health")
    def health() -> Any:
        """Whether the process is alive"""
        return {"status": "ok", "version": __version__}

    @operation(api, "/readyz", schemas.ReadySchema, (503,), operationId="ready")
    def ready() -> Any:
        """Whether lines can be decided and recorded, and if not, why

        `rules_fault` is there when the rules on disk were changed and have a fault: the last good ones still answer.
        """
        rulebook = docket.desk.rulebook
        passed = live is not None and live.passed == rulebook.hash
        faults = (*_log_faults(docket), *(() if passed else finding_errors(rulebook.load())))
        if faults:
            raise Problem(503, "not-ready", f"{len(faults)} fault(s) in the decision log and the rule files", faults)
        answer = {"status": "ready", "rulebook": rulebook.hash, "payers": len(rulebook.payers())}
        if live is not None and live.fault is not None:
            answer["rules_fault"] = _rules_fault(live.fault)
        return answer


def _rules_fault(fault: Fault) -> dict[str, Any]:
    errors = [asdict(error) for error in finding_errors(fault.findings)]
    return {"since": fault.since, "rulebook": fault.rulebook, "errors": errors}


def _log_faults(docket: Docket) -> tuple[FieldError, ...]:
    try:
        docket.log.check_writable()
    except LogError as error:
        return (FieldError("log", str(error)),)
    return ()


def _vocabulary(words: Vocabulary) -> dict[str, Any]:
    return {
        "facts": [_fact(fact) for fact in words.facts.values()],
        "lists": words.lists,
        "document_facts": words.document_facts,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "type": fact.type,
        "list": fact.is_list,
        "required": fact.required,
        "origin": fact.origin,
        "filled": fact.filled,
        "meaning": fact.meaning,
        "ask": fact.ask or None,
        "unit": fact.unit,
        "values": fact.list_name,
        "where": fact.where,
    }
