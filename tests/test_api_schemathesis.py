"""The service against its own OpenAPI document: data that fits it and data that does not, for every operation.

The examples are few and the same at every run. Payers, rules and decisions that exist are put into a part of the
requests, because made-up names never get past the first check.
"""

from __future__ import annotations

import atexit
import itertools
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.api import CLAIM_EXAMPLE
from byreport.web.app import create_app

KNOWN = {"path": "medicaid/TX", "rule_id": "common.code.specific"}
KEY = re.compile(r"[\x21-\x7e]{1,255}")
PAYERS = ("medicare/mac/novitas-jl", "medicaid/TX", "private/uhc")


def _application() -> Flask:
    """The service on the bundled rules, with a log that goes when the tests end."""
    directory = tempfile.TemporaryDirectory(prefix="byreport-")
    docket = Docket(Desk(Rulebook.open(), Reference.load()), Log.open(Path(directory.name) / "log.db"))
    (text,) = docket.record([docket.decide(CLAIM_EXAMPLE)], [CLAIM_EXAMPLE])
    KNOWN["decision_id"] = json.loads(text)["decision_id"]
    atexit.register(directory.cleanup)
    atexit.register(docket.close)
    return create_app(docket)


# 413 for a list of too many lines is a refusal as good as 400.
REFUSALS = ["400", "404", "405", "409", "413", "415"]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
schema = schemathesis.openapi.from_wsgi("/openapi.json", _application(), config=CONFIG)
numbers = itertools.count()
REACHED = {
    "POST /v1/decisions": {200, 400, 413, 415},
    "GET /v1/decisions/{decision_id}": {200, 404},
    "GET /v1/payers/{path}": {200, 404},
    "GET /v1/rules/{rule_id}": {200, 404},
}
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


@pytest.fixture(autouse=True)
def _rules_were_reached() -> Iterator[None]:
    """Without this, data that is always refused at the door would look like success."""
    statuses.clear()
    yield
    for operation, counts in statuses.items():
        assert set(counts) >= REACHED.get(operation, set()), (operation, counts)
        assert operation != "POST /v1/decisions" or counts[200] >= 100, counts


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
