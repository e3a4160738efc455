"""The service as a billing system meets it: requests over HTTP, and what stands in the log afterwards."""

from __future__ import annotations

import copy
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from byreport.desk import Desk
from byreport.docket import Docket, replay
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.schema_files import decision_schema
from byreport.web.api import MAX_LINES
from byreport.web.app import create_app
from byreport.web.loopback import AddressRefused, loopback
from byreport.web.server import _request_line

EXAMPLES = """
    examples:
      - given: {line.code: J3490, date_of_service: 2026-02-03}
        fires: true
      - given: {line.code: J3032, date_of_service: 2026-02-03}
        fires: false
"""
ACME_RULES = (
    """
ruleset: private/acme
title: Acme Health
rules:
  - id: acme.pa
    title: A drug under a NOC code needs authorization
    when: {line.noc: true}
    then:
      - prior_authorization: {status: required, how: Call the pharmacy desk}
    source: {document: acme-manual, statement: acme-pa}"""
    + EXAMPLES
    + """
  - id: acme.invoice
    title: A drug under a NOC code is paid from its invoice
    when: {line.noc: true}
    then:
      - price: {basis: invoice, percent: 103}
      - require_document: invoice
      - deny: {group: CO, carc: 16, rarc: M23, unless: the invoice is attached}
      - deadline: {what: timely_filing, days: 90}
    source: {document: acme-manual, statement: acme-invoice}"""
    + EXAMPLES
    + """
  - id: acme.excluded
    title: Some drugs are not paid under the medical benefit
    effective: {to: 2021-12-31}
    when: {drug.name: $drug}
    then:
      - not_billable: $drug goes to the pharmacy benefit
    source: {document: acme-bulletin, statement: acme-excluded}
    rows:
      - {drug: insulin glargine}
      - {drug: semaglutide}
    examples:
      - given: {drug.name: semaglutide, date_of_service: 2021-02-03}
        fires: true
      - given: {drug.name: eptinezumab-jjmr, date_of_service: 2021-02-03}
        fires: false
"""
)
ACME_POLICY = """
payer: private/acme
name: Acme Health
documents:
  - id: acme-manual
    title: Provider manual
    publisher: Acme Health
    url: https://example.org/manual
    published: 2025-01-15
    kind: provider manual
    authority: primary
    statements:
      - {id: acme-pa, topic: prior_authorization, statement: NOC drugs need authorization., confidence: high}
      - {id: acme-invoice, topic: pricing, statement: NOC drugs are paid from the invoice., confidence: high}
      - id: acme-background
        topic: coverage
        statement: The committee meets every quarter.
        confidence: high
        no_rule: {why: payer_process}
  - id: acme-bulletin
    title: Bulletin 12
    publisher: Acme Health
    url: null
    published: 2020-06-01
    kind: bulletin
    authority: secondary
    statements:
      - {id: acme-excluded, topic: coverage, statement: Some drugs are pharmacy only., confidence: medium}
gaps:
  - Nothing says how many units to bill.
"""
BROKEN_RULES = """
ruleset: private/broken
title: Broken Health
rules:
  - id: broken.rule
    title: A rule with a wrong fact
    when: {line.kode: J3490}
    then:
      - caution: never said
    source: {document: none, statement: none}
    examples: []
"""

LINE: dict[str, Any] = {
    "payer": "private/acme",
    "date_of_service": "2026-02-03",
    "setting": "office",
    "line": {"code": "J3490", "charge": "1000.00"},
    "drug": {"name": "zyxafusp", "compounded": False},
    "documentation": ["drug_name"],
    "prior_authorization": {"number": ""},
}


def write_tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(
        tmp_path_factory.mktemp("acme"),
        rules__private__acme=ACME_RULES,
        rules__private__broken=BROKEN_RULES,
        policy_docs__private__acme=ACME_POLICY,
    )


@pytest.fixture
def docket(acme: Path, tmp_path: Path, reference: Reference) -> Iterator[Docket]:
    made = Docket(Desk(Rulebook.open(acme), reference), Log.open(tmp_path / "log.db"))
    yield made
    made.close()


@pytest.fixture
def client(docket: Docket) -> FlaskClient:
    return create_app(docket).test_client()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> Iterator[FlaskClient]:
    """The service on the bundled rules."""
    docket = Docket(Desk(Rulebook.open(), reference), Log.open(tmp_path_factory.mktemp("log") / "log.db"))
    yield create_app(docket).test_client()
    docket.close()


def line(**changes: Any) -> dict[str, Any]:
    """The usual line with some fields changed; `line__code="J3032"` reaches into a group."""
    made = copy.deepcopy(LINE)
    for name, value in changes.items():
        *groups, leaf = name.split("__")
        node = made
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return made


def ask(client: FlaskClient, data: Any, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/decisions", data=json.dumps(data), content_type="application/json", headers=named)


def problem(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """The problem document, which has to be one of this status and kind."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.mimetype == "application/problem+json"
    document: dict[str, Any] = answer.get_json()
    assert document["type"] == f"/docs#{kind}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def fields(document: dict[str, Any]) -> list[str]:
    return [error["field"] for error in document["errors"]]


# --- the seed case: a drug before and after it got a code of its own -------------------------------------------------


@pytest.mark.parametrize("payer", ["medicare/mac/novitas-jl", "medicaid/TX"])
def test_eptinezumab_has_no_code_of_its_own_before_october_2020(published: FlaskClient, payer: str) -> None:
    seed = {
        "payer": payer,
        "setting": "office",
        "line": {"code": "J3490"},
        "drug": {"name": "eptinezumab-jjmr", "antineoplastic": False, "compounded": False},
    }
    before = ask(published, {**seed, "date_of_service": "2020-09-30"}).get_json()
    after = ask(published, {**seed, "date_of_service": "2020-10-01"}).get_json()
    assert "J3032" not in (before["code"]["recommended"], *before["code"].get("candidates", ()))
    assert after["code"]["recommended"] == "J3032"
    assert after["outcome"] == "fix"
    assert [edit["expected"] for edit in after["edits"] if edit["field"] == "line.code"] == ["J3032"]
    fired = {entry["rule"]: entry for entry in after["fired"]}
    assert all(rule in fired and fired[rule]["source"]["title"] for rule in after["code"]["rules"])


def test_decisions_on_bundled_rules_keep_the_contract(published: FlaskClient) -> None:
    contract = Draft202012Validator(decision_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    payers = [entry["path"] for entry in published.get("/v1/payers").get_json()["payers"]]
    lines = [
        line(payer=payer, **change)
        for payer in payers[::12]
        for change in ({}, {"drug__name": "eptinezumab-jjmr"}, {"drug": {}, "documentation": None})
    ]
    results = ask(published, lines).get_json()["results"]
    decided = [result["decision"] for result in results if "decision" in result]
    assert len(decided) == len(lines), [r for r in results if "problem" in r][:1]
    assert [error.message for decision in decided for error in contract.iter_errors(decision)] == []
    assert len({decision["outcome"] for decision in decided}) > 1


# --- one line --------------------------------------------------------------------------------------------------------


def test_a_line_is_decided_by_its_payers_policy(client: FlaskClient) -> None:
    decision = ask(client, line()).get_json()
    assert decision["payer"] == "private/acme"
    assert decision["outcome"] == "fix"
    assert decision["prior_authorization"] == {
        "status": "required",
        "how": "Call the pharmacy desk.",
        "rules": ["acme.pa"],
    }
    assert [part["item"] for part in decision["documentation"] if part["status"] == "missing"] == ["invoice"]
    assert decision["deadlines"][0]["date"] == "2026-05-04"


def test_the_decision_answered_is_in_the_log_and_stays_as_it_is(client: FlaskClient, docket: Docket) -> None:
    answer = ask(client, line())
    decision_id = answer.get_json()["decision_id"]
    record = docket.log.get(decision_id)
    assert record is not None
    assert record.decision.encode() == answer.data
    assert json.loads(record.claim) == line()
    again = client.get(f"/v1/decisions/{decision_id}")
    assert (again.status_code, again.data, again.mimetype) == (200, answer.data, "application/json")
    assert replay(docket.log, record).same


def test_a_decision_nobody_made(client: FlaskClient) -> None:
    for unknown in ("00000000-0000-4000-8000-000000000000", "x", "%00", "a" * 3000, "%FF"):
        problem(client.get(f"/v1/decisions/{unknown}"), 404, "unknown-decision")


def test_decisions_are_kept_in_no_cache(client: FlaskClient) -> None:
    assert ask(client, line()).headers["Cache-Control"] == "no-store"
    assert ask(client, {}).headers["Cache-Control"] == "no-store"


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_unknown_payer_gets_near_names(client: FlaskClient, docket: Docket) -> None:
    document = problem(ask(client, line(payer="private/Acme")), 404, "unknown-payer")
    assert document["near"] == ["private/acme"]
    assert problem(ask(client, line(payer="private/acne")), 404, "unknown-payer")["near"][0] == "private/acme"
    assert docket.log.head()[0] == 0


def test_a_patients_name_is_refused_and_not_repeated(client: FlaskClient) -> None:
    document = problem(ask(client, line(patient__name="Erika Mustermann")), 400, "bad-claim")
    assert fields(document) == ["patient.name"]
    assert "Mustermann" not in json.dumps(document)


def test_every_field_at_fault_is_named_with_what_would_be_right(client: FlaskClient) -> None:
    bad = line(date_of_service="2026-02-30", setting="ofice", line__units=1.5, drug__biologic="yes", drug__nmae="x")
    errors = {error["field"]: error["problem"] for error in problem(ask(client, bad), 400, "bad-claim")["errors"]}
    assert sorted(errors) == ["date_of_service", "drug.biologic", "drug.nmae", "line.units", "setting"]
    assert "did you mean 'office'" in errors["setting"]
    assert "YYYY-MM-DD" in errors["date_of_service"]
    assert "did you mean drug.name" in errors["drug.nmae"]


def test_what_a_claim_line_must_have_is_named(client: FlaskClient) -> None:
    document = problem(ask(client, {}), 400, "bad-claim")
    assert fields(document) == ["date_of_service", "line", "payer", "setting"]
    assert all("expected" in error["problem"] for error in document["errors"])


@pytest.mark.parametrize(
    "value",
    [1, True, None, "J3490", 1.5, [], {}, "", " ", "0001-01-01", "9999-12-31", 10**40, -1, ["x"], [[]], [None], "\x00"],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["payer", "date_of_service", "setting", "line", "line__code", "line__charge", "line__ndc__code",
             "line__modifiers", "drug__name", "drug__biologic", "drug", "diagnoses", "patient__age_years",
             "drug__fda_approval_date", "claim__received_date"],
)  # fmt: skip
def test_no_value_of_any_field_is_a_fault_of_the_service(client: FlaskClient, name: str, value: Any) -> None:
    assert ask(client, line(**{name: value})).status_code in (200, 400, 404)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"payer": "private/acme"} x', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"payer": "\xff"}', "not UTF-8"),
        (b'{"payer": "private/acme", "payer": "private/other"}', "stands twice"),
        (b'{"line": {"code": "J3490", "code": "J3590"}}', "stands twice"),
        (b'{"payer": NaN}', "no number of JSON"),
        (b'{"payer": -Infinity}', "no number of JSON"),
        (b'{"payer": 1e400}', "too large"),
        (b'{"payer": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"payer": "\\udfff"}', "surrogate"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "nested deeper"),
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(client: FlaskClient, body: bytes, said: str) -> None:
    answer = client.post("/v1/decisions", data=body, content_type="application/json")
    assert said in problem(answer, 400, "bad-json")["detail"]


@pytest.mark.parametrize("data", [None, 1, "J3490", True, [], 0.5, "\x00"])
def test_json_that_is_no_claim_line_is_refused(client: FlaskClient, data: Any) -> None:
    problem(ask(client, data), 400, "bad-claim")


def test_only_json_is_taken(client: FlaskClient) -> None:
    body = json.dumps(line())
    for media in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"):
        problem(client.post("/v1/decisions", data=body, content_type=media), 415, "media-type")
    with_charset = client.post("/v1/decisions", data=body, content_type="application/json; charset=utf-8")
    assert with_charset.status_code == 200


def test_a_body_over_two_megabytes_is_refused(client: FlaskClient) -> None:
    body = json.dumps(line()) + " " * 2_000_000
    problem(client.post("/v1/decisions", data=body, content_type="application/json"), 413, "body-too-large")


@pytest.mark.parametrize(("size", "status"), [(1_999_999, 200), (2_000_000, 413), (3_000_000, 413)])
def test_a_body_in_chunks_has_the_same_limit(client: FlaskClient, size: int, status: int) -> None:
    """Such a body names no length, so it could be cut off at the limit and read as if it were whole."""
    answer = client.post(
        "/v1/decisions",
        input_stream=io.BytesIO(json.dumps(line()).encode().ljust(size)),
        headers={"Transfer-Encoding": "chunked"},
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == status


def test_of_hundreds_of_unknown_fields_a_hundred_are_named(client: FlaskClient) -> None:
    document = problem(ask(client, line(**{f"x{n}": 1 for n in range(400)})), 400, "bad-claim")
    assert len(document["errors"]) == 100


def test_a_name_of_a_megabyte_takes_no_longer_than_a_short_one(client: FlaskClient) -> None:
    started = time.monotonic()
    document = problem(ask(client, line(setting="x" * 900_000, **{"y" * 900_000: 1})), 400, "bad-claim")
    assert len(json.dumps(document)) < 5_000
    assert time.monotonic() - started < 2


def test_a_faulty_rule_file_stops_its_payer_and_no_other(client: FlaskClient) -> None:
    document = problem(ask(client, line(payer="private/broken")), 503, "rulebook")
    assert "rules/private/broken.yaml:5" in document["detail"]
    assert any(field.startswith("rules/private/broken.yaml:7:") for field in fields(document))
    assert ask(client, line()).status_code == 200


def test_paths_and_methods_that_are_not_there(client: FlaskClient) -> None:
    problem(client.get("/v1/nothing"), 404, "not-found")
    problem(client.get("/v1//payers"), 404, "not-found")
    problem(client.get("/static/../app.py"), 404, "not-found")
    answer = client.get("/v1/decisions")
    problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]


def test_another_host_name_is_not_answered(client: FlaskClient) -> None:
    """A page of another site that resolves its own name to this machine gets nothing."""
    problem(client.get("/v1/payers", headers={"Host": "evil.example"}), 400, "bad-request")


def test_a_fault_of_the_service_shows_no_trace(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(docket.desk, "decide", fails)
    document = problem(ask(create_app(docket).test_client(), line()), 500, "internal")
    assert "secret" not in json.dumps(document)


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_the_same_request_under_a_key_gets_the_stored_answer(client: FlaskClient, docket: Docket) -> None:
    first = ask(client, line(), Idempotency_Key="run-7/line-1")
    reordered = dict(reversed(line().items()))
    assert ask(client, reordered, Idempotency_Key="run-7/line-1").data == first.data
    assert docket.log.head()[0] == 1
    assert ask(client, line()).get_json()["decision_id"] != first.get_json()["decision_id"]


def test_a_stored_answer_needs_no_rules_any_more(acme: Path, tmp_path: Path, reference: Reference) -> None:
    later = write_tree(tmp_path / "later", rules__private__other="ruleset: private/other\nrules: []\n")
    answers = []
    for tree in (acme, later):
        docket = Docket(Desk(Rulebook.open(tree), reference), Log.open(tmp_path / "log.db"))
        client = create_app(docket).test_client()
        answers.append(ask(client, line(), Idempotency_Key="k").data)
        decision_id = json.loads(answers[0])["decision_id"]
        answers.append(client.get(f"/v1/decisions/{decision_id}").data)
        docket.close()
    assert len(set(answers)) == 1


def test_another_request_under_the_key_is_a_conflict(client: FlaskClient, docket: Docket) -> None:
    ask(client, line(), Idempotency_Key="k")
    problem(ask(client, line(date_of_service="2026-02-04"), Idempotency_Key="k"), 409, "idempotency-conflict")
    problem(ask(client, [line()], Idempotency_Key="k"), 409, "idempotency-conflict")
    assert docket.log.head()[0] == 1


def test_a_refused_line_leaves_its_key_free(client: FlaskClient) -> None:
    problem(ask(client, line(payer="private/acne"), Idempotency_Key="k"), 404, "unknown-payer")
    assert ask(client, line(), Idempotency_Key="k").status_code == 200


def test_a_list_under_a_key_is_answered_as_it_was(client: FlaskClient, docket: Docket) -> None:
    lines = [line(), line(payer="nobody"), line(), {"payer": 1}, line(date_of_service="2026-02-04")]
    first = ask(client, lines, Idempotency_Key="night-1")
    assert ask(client, lines, Idempotency_Key="night-1").data == first.data
    assert docket.log.head()[0] == 3
    nothing = ask(client, [{}], Idempotency_Key="night-2")
    assert ask(client, [{}], Idempotency_Key="night-2").data == nothing.data


def test_a_line_refused_in_a_list_stays_refused_under_its_key(acme: Path, tmp_path: Path, reference: Reference) -> None:
    """What was answered under a key is not decided anew, even where another rulebook could decide it by now."""
    lines = [line(), line(payer="private/newcomer"), line(date_of_service="2026-02-04")]
    later = write_tree(
        tmp_path / "later",
        rules__private__acme=ACME_RULES.replace("percent: 103", "percent: 99"),
        policy_docs__private__acme=ACME_POLICY,
        policy_docs__private__newcomer="payer: private/newcomer\nname: Newcomer\n",
    )
    answers = []
    for tree in (acme, later):
        docket = Docket(Desk(Rulebook.open(tree), reference), Log.open(tmp_path / "log.db"))
        answers.append(ask(create_app(docket).test_client(), lines, Idempotency_Key="k").get_json()["results"])
        docket.close()
    first, second = answers
    assert (second[0], second[2]) == (first[0], first[2])
    assert first[1]["problem"]["type"] == "/docs#unknown-payer"
    assert second[1]["problem"]["type"] == "/docs#refused-before"


def test_two_requests_at_once_under_a_key_are_decided_once(docket: Docket) -> None:
    app, answers = create_app(docket), []
    barrier = threading.Barrier(6)

    def send() -> None:
        barrier.wait()
        answers.append(ask(app.test_client(), line(), Idempotency_Key="k").data)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert docket.log.head()[0] == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ü"])
def test_a_key_is_visible_ascii(client: FlaskClient, key: str) -> None:
    problem(ask(client, line(), Idempotency_Key=key), 400, "bad-idempotency-key")


# --- lists -----------------------------------------------------------------------------------------------------------


def test_one_bad_line_of_a_list_costs_the_others_nothing(client: FlaskClient, docket: Docket) -> None:
    lines = [line(), line(setting="ofice"), line(payer="private/acne"), line(payer="private/broken"), [], line()]
    answer = ask(client, lines)
    assert answer.status_code == 200
    results = answer.get_json()["results"]
    assert [sorted(result) for result in results] == [["decision"], *([["problem"]] * 4), ["decision"]]
    assert [result["problem"]["status"] for result in results if "problem" in result] == [400, 404, 503, 400]
    stored = [docket.log.get(results[place]["decision"]["decision_id"]) for place in (0, 5)]
    assert all(record is not None and record.decision.encode() in answer.data for record in stored)
    assert docket.log.head()[0] == 2


def test_a_list_holds_one_to_five_hundred_lines(client: FlaskClient, docket: Docket) -> None:
    problem(ask(client, []), 400, "bad-claim")
    problem(ask(client, [line()] * (MAX_LINES + 1)), 413, "too-many-lines")
    assert docket.log.head()[0] == 0
    assert len(ask(client, [{}] * MAX_LINES).get_json()["results"]) == MAX_LINES


# --- payers, rules, vocabulary ---------------------------------------------------------------------------------------


def test_the_list_of_payers_counts_what_is_on_file(client: FlaskClient) -> None:
    listed = {entry["path"]: entry for entry in client.get("/v1/payers").get_json()["payers"]}
    assert listed["private/acme"] == {
        "path": "private/acme",
        "name": "Acme Health",
        "program": "private",
        "rules": 3,
        "documents": 2,
        "statements": 4,
        "newest": "2025-01-15",
        "oldest": "2020-06-01",
    }


def test_a_payer_says_what_its_policy_answers_and_what_not(client: FlaskClient) -> None:
    acme = client.get("/v1/payers/private/acme").get_json()
    assert acme["answers"]["prior_authorization"] == {
        "rules": ["acme.pa"],
        "rulesets": ["private/acme"],
        "newest": "2025-01-15",
        "oldest": "2025-01-15",
        "authority": ["primary"],
    }
    assert set(acme["answers"]) == {"prior_authorization", "pricing", "documentation", "deadlines"}
    # The exclusion ended in 2021: today nothing published answers for coverage.
    assert acme["unanswered"] == ["code", "units", "coverage"]
    statements = {s["id"]: s for document in acme["documents"] for s in document["statements"]}
    assert statements["acme-invoice"]["rules"] == ["acme.invoice"]
    assert statements["acme-background"]["no_rule"].startswith("payer_process")
    assert {rule["id"]: rule["rows"] for rule in acme["rules"]} == {
        "acme.excluded": 2,
        "acme.invoice": None,
        "acme.pa": None,
    }
    assert acme["gaps"] == ["Nothing says how many units to bill."]


def test_where_to_ask_is_no_answer(tmp_path: Path, reference: Reference) -> None:
    """A rule may say where to ask about authorization; whether it is needed stays unanswered."""
    rules = ACME_RULES.replace("{status: required,", "{status: unknown,")
    tree = write_tree(tmp_path, rules__private__acme=rules, policy_docs__private__acme=ACME_POLICY)
    docket = Docket(Desk(Rulebook.open(tree), reference), Log.open(tmp_path / "log.db"))
    acme = create_app(docket).test_client().get("/v1/payers/private/acme").get_json()
    docket.close()
    assert "prior_authorization" in acme["unanswered"]


def test_a_payer_of_several_steps_has_its_chain(published: FlaskClient) -> None:
    assert published.get("/v1/payers/medicaid/TX/tchp").get_json()["chain"] == [
        "common",
        "medicaid/federal",
        "medicaid/TX",
        "medicaid/TX/tchp",
    ]


def test_payers_that_are_not_there(client: FlaskClient) -> None:
    assert problem(client.get("/v1/payers/private/Acme"), 404, "unknown-payer")["near"] == ["private/acme"]
    problem(client.get("/v1/payers/common"), 404, "unknown-payer")
    problem(client.get("/v1/payers/private/broken"), 503, "rulebook")


def test_a_rule_shows_what_it_stands_on(client: FlaskClient) -> None:
    rule = client.get("/v1/rules/acme.pa").get_json()
    assert rule["when"] == {"fact": "line.noc", "operator": "equals", "test": "line.noc is true"}
    assert rule["then"] == [
        {"verb": "prior_authorization", "settings": {"status": "required", "how": "Call the pharmacy desk"}}
    ]
    assert rule["sources"][0]["title"] == "Provider manual"
    assert [example["fires"] for example in rule["examples"]] == [True, False]
    assert (rule["file"], rule["line"]) == ("rules/private/acme.yaml", 5)


def test_a_table_shows_its_rows(client: FlaskClient) -> None:
    table = client.get("/v1/rules/acme.excluded").get_json()
    assert table["kind"] == "table"
    assert [row["row"] for row in table["rows"]] == ["insulin-glargine", "semaglutide"]
    row = client.get("/v1/rules/acme.excluded:semaglutide").get_json()
    assert row == table["rows"][1]
    assert row["effective"] == {"from": None, "to": "2021-12-31"}
    problem(client.get("/v1/rules/acme.nothing"), 404, "unknown-rule")


def test_the_vocabulary_names_every_fact(client: FlaskClient, docket: Docket) -> None:
    words = client.get("/v1/vocabulary").get_json()
    facts = {fact["name"]: fact for fact in words["facts"]}
    assert list(facts) == list(docket.desk.rulebook.vocabulary.facts)
    assert facts["line.code"]["required"]
    assert facts["setting"]["values"] == "setting"
    assert "office" in words["lists"]["setting"]


# --- health, the description, the page -------------------------------------------------------------------------------


def test_ready_says_what_is_wrong(client: FlaskClient, published: FlaskClient) -> None:
    assert client.get("/healthz").get_json()["status"] == "ok"
    document = problem(client.get("/readyz"), 503, "not-ready")
    assert any(field.startswith("rules/private/broken.yaml:7:") for field in fields(document))


def test_ready_when_rules_are_whole_and_the_log_can_be_written(tmp_path: Path, reference: Reference) -> None:
    tree = write_tree(tmp_path, rules__private__acme=ACME_RULES, policy_docs__private__acme=ACME_POLICY)
    docket = Docket(Desk(Rulebook.open(tree), reference), Log.open(tmp_path / "log.db"))
    client = create_app(docket).test_client()
    assert client.get("/readyz").get_json() == {
        "status": "ready",
        "rulebook": docket.desk.rulebook.hash,
        "payers": 1,
    }
    docket.log._reading.dispose()
    for path in tmp_path.glob("log.db*"):
        path.unlink()
    (tmp_path / "log.db").mkdir()
    assert fields(problem(client.get("/readyz"), 503, "not-ready")) == ["log"]
    problem(ask(client, line()), 503, "log")


def test_the_description_is_openapi_3_1_and_names_every_route(client: FlaskClient, docket: Docket) -> None:
    described = client.get("/openapi.json").get_json()
    assert described["openapi"].startswith("3.1")
    app: Flask = create_app(docket)
    routes = {
        rule.rule.replace("<path:", "{").replace("<", "{").replace(">", "}")
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("byreport.")
    }
    assert set(described["paths"]) == routes
    decision = described["components"]["schemas"]["Decision"]
    assert {**decision, "$schema": decision_schema()["$schema"]} == decision_schema()


def test_the_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    texts = [page.get_data(as_text=True)]
    for path in ("/static/docs.js", "/static/docs.css", "/docs/problems.json"):
        answer = client.get(path)
        assert answer.status_code == 200
        texts.append(answer.get_data(as_text=True))
    assert not any("http://" in text or "https://" in text or "//cdn" in text for text in texts)
    # The policy forbids these, so the page would be broken by them.
    assert "style=" not in texts[0]
    assert "<script>" not in texts[0]


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "10.0.0.1", "127.0.0.1.evil.example"]
)
def test_only_loopback_addresses_are_served(host: str) -> None:
    with pytest.raises(AddressRefused, match="no access control"):
        loopback(host)


def test_loopback_addresses() -> None:
    assert [loopback(host) for host in ("localhost", "127.0.0.1", "127.0.0.9", "::1", "[::1]")] == [
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.9",
        "::1",
        "::1",
    ]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "127.0.0.9", "[::1]", "[::1]:8000"])
def test_requests_by_a_loopback_name_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "[::2]:80", "[::1", "127.0.0.1:x", "10.0.0.1"]
)
def test_requests_by_other_names_are_refused(client: FlaskClient, host: str) -> None:
    problem(client.get("/healthz", headers={"Host": host}), 400, "bad-request")


SERVE = """
import sys
from datetime import timedelta
from pathlib import Path
from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.server import serve

tree, host, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
serve(lambda: Docket(Desk(Rulebook.open(tree), Reference.load()), Log.open(tree / "log.db")), host, port, workers=2)
"""


def start(tree: Path, host: str, port: int) -> subprocess.Popen[str]:
    service = Path(__file__).resolve().parent.parent / "service"
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tree), host, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(service)},
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(port: int, data: Any) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/decisions",
        json.dumps(data).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(200):
        assert server.poll() is None, server.communicate()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_server_answers_what_is_under_way_when_it_is_told_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    tree = write_tree(tmp_path, rules__private__acme=ACME_RULES, policy_docs__private__acme=ACME_POLICY)
    port = free_port()
    server = start(tree, "127.0.0.1", port)
    try:
        wait_for(port, server)
        answers: list[bytes] = []
        sender = threading.Thread(target=lambda: answers.append(post(port, [line()] * MAX_LINES)))
        sender.start()
        time.sleep(0.15)
        os.killpg(server.pid, stop) if stop == signal.SIGINT else server.send_signal(stop)  # as a terminal does
        out, err = server.communicate(timeout=40)
        sender.join(30)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "Traceback" not in err
    assert len(json.loads(answers[0])["results"]) == MAX_LINES
    assert '"POST /v1/decisions" 200' in out
    assert "zyxafusp" not in out + err
    log = Log.open(tree / "log.db")
    assert log.head()[0] == MAX_LINES
    assert log.verify().ok
    log.close()


def test_more_connections_than_threads_are_all_answered(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, rules__private__acme=ACME_RULES, policy_docs__private__acme=ACME_POLICY)
    port = free_port()
    server = start(tree, "127.0.0.1", port)  # two processes with eight threads each
    answered = [0] * 60
    over = threading.Event()

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not over.is_set():
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            answered[number] += 1
        connection.close()

    drain = threading.Thread(target=lambda: list(server.stdout or ()))  # a full pipe would hold the server up
    drain.start()
    try:
        wait_for(port, server)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answered))]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while min(answered) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        over.set()
        for thread in threads:
            thread.join(30)
    finally:
        server.terminate()
        server.wait(40)
        drain.join(40)
    assert min(answered) >= 3, answered


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc, as Linux has it")
def test_killed_processes_are_replaced_or_end_with_the_first(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, rules__private__acme=ACME_RULES, policy_docs__private__acme=ACME_POLICY)
    port = free_port()
    server = start(tree, "127.0.0.1", port)

    def others() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]

    drain = threading.Thread(target=lambda: list(server.stdout or ()))
    drain.start()
    try:
        wait_for(port, server)
        before = others()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(set(others()) - set(before)) == 2)
        wait_for(port, server)
        assert json.loads(post(port, line()))["payer"] == "private/acme"
    finally:
        server.kill()
        server.wait(40)
        drain.join(40)
    eventually(lambda: not listened_to(port))  # its other processes ended too


def listened_to(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_request_is_one_line_of_the_log_whatever_its_path() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": '/a"\nb\x1bé', "QUERY_STRING": "drug=secret"}
    line = _request_line(environ, "404 NOT FOUND", "12", 0.0039)
    assert line == r""""GET /a\"\nb\x1b\xe9" 404 12 bytes 3 ms"""


def test_an_address_that_is_not_loopback_ends_with_exit_code_2(tmp_path: Path) -> None:
    server = start(tmp_path, "0.0.0.0", 1)
    _, err = server.communicate(timeout=30)
    assert server.returncode == 2
    assert "no access control" in err
    assert "Traceback" not in err
