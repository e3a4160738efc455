"""The service against its own OpenAPI document: data that fits it and data that does not, for every operation.

The examples are few and the same at every run. Payers, rules and decisions that exist are put into a part of the
requests, because made-up names never get past the first check.
"""

from __future__ import annotations

import atexit
import itertools
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.app import create_app

KNOWN = {"path": "medicaid/TX", "rule_id": "common.code.specific"}
KEY = re.compile(r"[\x21-\x7e]{1,255}")
PAYERS = ("medicare/mac/novitas-jl", "medicaid/TX", "private/uhc")


def _application() -> Flask:
    """The service on the bundled rules, with a log that goes when the tests end."""
    directory = tempfile.TemporaryDirectory(prefix="byreport-")
    docket = Docket(Desk(Rulebook.open(), Reference.load()), Log.open(Path(directory.name) / "log.db"))
    atexit.register(directory.cleanup)
    atexit.register(docket.close)
    return create_app(docket)


# 413 for a list of too many lines is a refusal as good as 400.
REFUSALS = ["400", "404", "405", "409", "413", "415"]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
schema = schemathesis.openapi.from_wsgi("/openapi.json", _application(), config=CONFIG)
numbers = itertools.count()
statuses: dict[str, Counter[int]] = defaultdict(Counter)


def _made_to_meet_rules(case: Any) -> None:
    """Puts names that exist in the place of made-up ones that are as valid, so that requests get to the rules.

    An idempotency key gets a number, or nearly all requests would be conflicts.
    """
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{key[:200]}-{next(numbers)}"
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("payer"), str) and 0 < len(body["payer"].strip()) <= 120:
        case.body = {**body, "payer": PAYERS[len(body["payer"]) % len(PAYERS)]}
    for name, known in KNOWN.items():
        if name in (case.path_parameters or {}) and next(numbers) % 2:
            case.path_parameters[name] = known


@schema.parametrize()
@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_contract(case: Any) -> None:
    _made_to_meet_rules(case)
    answer = case.call_and_validate()
    statuses[f"{case.method} {case.path}"][answer.status_code] += 1
    if case.path == "/v1/decisions" and answer.status_code == 200 and "decision_id" in answer.json():
        KNOWN["decision_id"] = answer.json()["decision_id"]


def test_requests_that_fit_were_decided() -> None:
    """What the test above met: without it, data that is always refused at the door would look like success."""
    met = {operation: set(counts) for operation, counts in statuses.items()}
    assert met["POST /v1/decisions"] >= {200, 400, 413, 415}
    assert met["GET /v1/decisions/{decision_id}"] >= {200, 404}
    assert met["GET /v1/payers/{path}"] >= {200, 404}
    assert met["GET /v1/rules/{rule_id}"] >= {200, 404}
    assert statuses["POST /v1/decisions"][200] >= 100
