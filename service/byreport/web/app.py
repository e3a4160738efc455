"""The Flask application on one docket."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, request
from flask_smorest import Api  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException

from byreport import __version__
from byreport.docket import Docket
from byreport.live import Live
from byreport.schema_files import claim_schema, decision_schema
from byreport.web import api as api_
from byreport.web import pages, problems, schemas
from byreport.web.loopback import is_own

_HEADERS = [
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


class _Api(Api):  # type: ignore[misc]
    ERROR_SCHEMA = schemas.ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None  # each operation names its own statuses


def create_app(docket: Docket, live: Live | None = None) -> Flask:
    """The application that decides on `docket`; it closes nothing.

    Templates see as `live` what keeps the rules at those on disk; `live.fault` says what is wrong with these.
    """
    app = Flask("byreport.web")
    app.config.update(
        MAX_CONTENT_LENGTH=api_.MAX_BODY,
        API_TITLE="byreport",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        API_SPEC_OPTIONS={"info": {"description": _DESCRIPTION, "license": {"name": "Apache-2.0"}}},
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    api = _Api(app)
    _components(api)
    api.register_blueprint(api_.blueprint(docket, live))
    app.register_blueprint(pages.blueprint(docket))
    for kind in (Exception, HTTPException):
        app.register_error_handler(kind, problems.response)
    app.before_request(_refuse_other_names)
    app.after_request(_secured)
    app.context_processor(lambda: {"live": live})
    app.add_url_rule("/docs", "docs", _docs)
    app.add_url_rule("/docs/problems.json", "problem_kinds", _problem_kinds)
    return app


_DESCRIPTION = (
    "Decides drug claim lines billed under not-otherwise-classified HCPCS codes. Every part of a decision names the "
    "rules behind it, and every rule the published policy it stands on. Faults are application/problem+json (RFC 9457)."
)


def _components(api: Any) -> None:
    for name, made in (("ClaimLine", claim_schema()), ("Decision", decision_schema()), ("Results", api_.RESULTS)):
        api.spec.components.schema(name, {key: value for key, value in made.items() if key != "$schema"})
    api.spec.components.schema("Table", schema=schemas.TableSchema)
    api.spec.components.schemas.pop("PaginationMetadata", None)  # nothing here comes in pages


def _refuse_other_names() -> None:
    """A page of another site may make a browser on this machine ask us by a name of its own that leads here.

    werkzeug's `TRUSTED_HOSTS` would do, but takes no IPv6 addresses.
    """
    if not is_own(request.host):
        raise problems.Problem(400, "bad-request", f"{request.host!r} is no loopback address of this machine")


def _secured(response: Response) -> Response:
    present = {name.lower() for name, _ in response.headers}
    response.headers.extend([pair for pair in _HEADERS if pair[0].lower() not in present])
    if request.path.startswith("/v1/decisions"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _docs() -> Response:
    return current_app.send_static_file("docs.html")


def _problem_kinds() -> dict[str, str]:
    return problems.KINDS
