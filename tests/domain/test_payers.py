"""Every payer of the tree answers, and nothing that it answers is without a rule and a source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from claims import Body, Claim, decide, line, rules_named
from examples_as_claims import Worked, random_claims, worked
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.precedence import says_something
from byreport.reference import Reference
from byreport.rule import Rule
from byreport.rulebook import Rulebook
from byreport.schema_files import decision_schema
from byreport.web.api import MAX_LINES
from byreport.web.app import create_app

PAYERS = Rulebook.open().payers()
UNLISTED = "zyxafusp"
"""The name of no drug: no list names it, and no drug is spelled like it."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, rulebook: Rulebook, reference: Reference) -> Iterator[FlaskClient]:
    docket = Docket(Desk(rulebook, reference), Log.open(tmp_path_factory.mktemp("log") / "log.db"))
    yield create_app(docket).test_client()
    docket.close()


def ask(client: FlaskClient, claims: list[Claim]) -> list[dict[str, Any]]:
    """The answers of the service to many lines, as many requests as they take."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(claims), MAX_LINES):
        response = client.post("/v1/decisions", json=claims[start : start + MAX_LINES])
        assert response.status_code == 200, response.get_data(as_text=True)[:500]
        answers.extend(response.get_json()["results"])
    return answers


def faults(body: Body, by_id: dict[str, Rule], published: set[tuple[str, str]]) -> Iterator[str]:
    """What a decision says without a rule that fired, or a rule without a published statement."""
    entries = {entry["rule"]: entry for entry in body["fired"]}
    for entry in body["fired"]:
        for source in (entry["source"], *entry.get("also", ())):
            if (source["document"], source["statement"]) not in published:
                yield f"{entry['rule']} stands on {source['document']}/{source['statement']}, which is not on file"
    for part, rules in rules_named(body):
        yield from (f"{part} names {rule}, which did not fire" for rule in rules if rule not in entries)
        yield from (f"{part} names {rule}, which is no rule" for rule in rules if rule not in by_id)
    for part in ("documentation", "edits", "denials", "deadlines", "exclusions"):
        yield from (f"an entry of {part} names no rule: {entry}" for entry in body[part] if not entry["rules"])
    if (body["code"]["recommended"] or body["code"].get("candidates")) and not body["code"]["rules"]:
        yield "the code recommended names no rule"
    if body["pricing"]["basis"] and not body["pricing"]["rules"]:
        yield "the price names no rule"
    for caution in body["cautions"]:
        if not caution["rules"] and caution["kind"] not in ("no_policy_on_file", "conflict"):
            yield f"a caution names no rule: {caution}"
    yield from _authorization_faults(body, by_id)


def _authorization_faults(body: Body, by_id: dict[str, Rule]) -> Iterator[str]:
    part = body["prior_authorization"]
    if not part["how"].strip():
        yield "prior authorization does not say how"
    if part["status"] == "unknown":
        if "no_policy_on_file" not in {caution["kind"] for caution in body["cautions"]} | {"conflict"}:
            yield "authorization is unknown and no caution says so"
        return
    status = {"on_file": {"required", "conditional"}}.get(part["status"], {part["status"]})
    saying = [
        rule
        for rule in part["rules"]
        for conclusion in by_id[rule].then
        if conclusion.verb == "prior_authorization" and conclusion.settings["status"] in status
    ]
    if not saying:
        yield f"authorization is {part['status']}, and none of its rules says so"
    if part["status"] == "not_required":
        yield from (f"{rule} says not_required without a source" for rule in saying if not by_id[rule].sources)


@pytest.fixture(scope="module")
def by_id(rulebook: Rulebook) -> dict[str, Rule]:
    return {rule.id: rule for rule in rulebook.rules()}


@pytest.fixture(scope="module")
def published(rulebook: Rulebook) -> set[tuple[str, str]]:
    policies = [policy for path in rulebook.paths() if (policy := rulebook.policy(path)) is not None]
    return {(document.id, statement.id) for policy in policies for document, statement in policy.statements()}


# --- every payer, over HTTP -------------------------------------------------------------------------------------------


def test_every_payer_answers_a_plain_j3490_line(
    client: FlaskClient, by_id: dict[str, Rule], published: set[tuple[str, str]]
) -> None:
    contract = Draft202012Validator(decision_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    answers = ask(client, [line(payer) for payer in PAYERS])
    assert len(answers) == len(PAYERS)
    for payer, answer in zip(PAYERS, answers, strict=True):
        decision = answer["decision"]
        assert decision["payer"] == payer
        assert not list(contract.iter_errors(decision)), payer
        assert not list(faults(decision, by_id, published)), payer


def test_there_are_the_states_the_contractors_and_the_private_payers() -> None:
    states = {path for path in PAYERS if path.startswith("medicaid/") and path.count("/") == 1}
    assert len(states - {"medicaid/federal"}) == 56  # fifty states, DC and five territories
    assert len([path for path in PAYERS if path.startswith("medicare/mac/")]) == 12
    assert len([path for path in PAYERS if path.startswith("medicare/dme-mac/")]) == 2
    assert len([path for path in PAYERS if path.startswith("private/") and path.count("/") == 1]) >= 37


def test_every_example_of_a_rule_fires_it_when_it_comes_over_http(client: FlaskClient, rulebook: Rulebook) -> None:
    """An example is proved in its rule file by the plain evaluator; here by the engine, from the claim on."""
    cases: list[Worked] = list(worked(rulebook))
    assert len({str(case) for case in cases}) >= 900
    missed = []
    for case, answer in zip(cases, ask(client, [case.claim for case in cases]), strict=True):
        assert "decision" in answer, (str(case), answer)
        entries = answer["decision"]["fired"]
        names = {name for entry in entries for name in (entry["rule"], entry.get("table"))}
        if str(case) not in names:
            missed.append((str(case), case.claim))
    assert missed == []


def test_an_example_that_does_not_fire_its_rule_does_not_over_http_either(
    client: FlaskClient, rulebook: Rulebook
) -> None:
    # Facts that only the usual line gives could make a rule fire, so an example has to give these itself.
    needed = {"line.code", "setting", "date_of_service"}
    cases = [case for case in worked(rulebook, fires=False) if needed <= set(case.example.given)]
    assert len(cases) >= 300
    wrong = []
    for case, answer in zip(cases, ask(client, [case.claim for case in cases]), strict=True):
        fired = {entry["rule"] for entry in answer["decision"]["fired"]}
        rows = {rule.id for rule in rulebook.rule(str(case)) if case.example.row in (None, rule.row)}
        if fired & rows:
            wrong.append((str(case), case.claim))
    assert wrong == []


# --- prior authorization ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payer", PAYERS)
def test_authorization_of_a_drug_that_no_list_names_is_unknown_unless_a_rule_speaks_of_all(
    desk: Desk, by_id: dict[str, Rule], payer: str
) -> None:
    body = decide(desk, line(payer, UNLISTED, drug__specific_code=[]))
    part = body["prior_authorization"]
    assert part["how"].strip()
    assert part["status"] != "not_required"
    if part["status"] == "unknown":
        assert "no_policy_on_file" in {caution["kind"] for caution in body["cautions"]}
        assert body["outcome"] in ("needs_information", "fix", "not_billable", "review")
        return
    saying = [
        rule
        for rule in part["rules"]
        if any(c.verb == "prior_authorization" and says_something(c) for c in by_id[rule].then)
    ]
    assert saying
    assert all(by_id[rule].sources for rule in saying)


def test_most_payers_have_published_nothing_about_such_a_drug(desk: Desk) -> None:
    statuses = [
        decide(desk, line(payer, UNLISTED, drug__specific_code=[]))["prior_authorization"]["status"] for payer in PAYERS
    ]
    assert statuses.count("unknown") > len(PAYERS) / 2


def test_a_medicaid_program_names_its_own_place_to_ask_or_it_is_said_to_ask_the_program(desk: Desk) -> None:
    """For nine no place was found for an office line; a tenth would be a rule that was lost."""
    without = set()
    for payer in PAYERS:
        if not payer.startswith("medicaid/") or payer.count("/") > 1 or payer == "medicaid/federal":
            continue
        part = decide(desk, line(payer, UNLISTED, drug__specific_code=[]))["prior_authorization"]
        if not {rule.id for rule in desk.rulebook.ruleset(payer)} & set(part["rules"]):
            without.add(payer.removeprefix("medicaid/"))
            assert part["how"].startswith("Ask the state's program."), payer
    assert without == {"AS", "DC", "GU", "LA", "MP", "OK", "PR", "RI", "VI"}


# --- thousands of random lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_no_random_line_is_answered_without_rule_and_source(
    desk: Desk, by_id: dict[str, Rule], published: set[tuple[str, str]], seed: int
) -> None:
    statuses, outcomes = set(), set()
    for claim in random_claims(desk.rulebook, Random(seed), 400):
        body = decide(desk, claim)
        assert list(faults(body, by_id, published)) == [], json.dumps(claim)
        statuses.add(body["prior_authorization"]["status"])
        outcomes.add(body["outcome"])
    # Else nothing would be shown of an answer that never came.
    assert statuses == {"required", "conditional", "unknown", "on_file", "not_required"}
    assert {"not_billable", "fix", "needs_information"} <= outcomes


@pytest.mark.parametrize("seed", range(3))
def test_no_authorization_needed_holds_for_the_line_as_it_should_be_billed(desk: Desk, seed: int) -> None:
    """Whoever changes the code as told must not find that the new code needs authorization after all."""
    checked = 0
    for claim in random_claims(desk.rulebook, Random(1000 + seed), 800):
        body = decide(desk, claim)
        wanted = body["code"]["recommended"]
        if body["prior_authorization"]["status"] != "not_required" or wanted in (None, body["code"]["billed"]):
            continue
        checked += 1
        corrected = decide(desk, {**claim, "line": {**claim["line"], "code": wanted}})
        assert corrected["prior_authorization"]["status"] in ("not_required", "unknown"), json.dumps(claim)
    assert checked > 0


def test_every_rule_that_says_no_authorization_is_needed_stands_on_a_primary_source(rulebook: Rulebook) -> None:
    saying = [
        rule
        for rule in rulebook.rules()
        if any(c.verb == "prior_authorization" and c.settings["status"] == "not_required" for c in rule.then)
    ]
    assert len(saying) >= 10
    for rule in saying:
        assert rule.sources, rule.id
        assert {source.authority for source in rule.sources} == {"primary"}, rule.id


def test_the_policy_documents_directory_is_that_of_the_rules(rulebook: Rulebook) -> None:
    names = {Path(name).with_suffix("") for name in rulebook.files if name.startswith("rules/")}
    documents = {Path(name).with_suffix("") for name in rulebook.files if name.startswith("policy_docs/")}
    missing = {name for name in names if Path("policy_docs", *name.parts[1:]) not in documents}
    assert missing == set()
