"""The pages over HTTP: what stands on each, that nothing in them can run, and who may post."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from byreport.argument import Argument, argument, changes, graph
from byreport.chain import chain
from byreport.desk import Desk
from byreport.docket import Docket
from byreport.findings import Finding
from byreport.live import Fault, Live
from byreport.log import Filters, Log, NewRecord, now
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web import drawing, overview, pages, policy_pages, trial
from byreport.web.app import create_app

HERE = {"Sec-Fetch-Site": "same-origin"}
FIRST = {
    "payer": "medicare/mac/novitas-jl",
    "line.code": "J3490",
    "date_of_service": "2020-10-15",
    "setting": "office",
    "drug.name": "eptinezumab-jjmr",
}
LINE = {
    "payer": "medicare/mac/novitas-jl",
    "date_of_service": "2020-10-15",
    "setting": "office",
    "line": {"code": "J3490"},
    "drug": {"name": "eptinezumab-jjmr"},
}


@pytest.fixture(scope="module")
def docket(tmp_path_factory: pytest.TempPathFactory, rulebook: Rulebook, reference: Reference) -> Iterator[Docket]:
    made = Docket(Desk(rulebook, reference), Log.open(tmp_path_factory.mktemp("pages") / "log.db"))
    yield made
    made.log.close()


@pytest.fixture(scope="module")
def client(docket: Docket) -> FlaskClient:
    return create_app(docket).test_client()


@pytest.fixture(scope="module")
def decision(docket: Docket) -> str:
    """The id of a recorded decision on the seed line, after its drug got a code of its own."""
    return str(json.loads(docket.record([docket.decide(LINE)], [LINE])[0])["decision_id"])


def text_of(answer: TestResponse) -> str:
    """What a reader sees: the text of the page with runs of spaces as one."""

    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []

        def handle_data(self, data: str) -> None:
            self.parts.append(data)

    parser = Text()
    parser.feed(answer.get_data(as_text=True))
    return " ".join(" ".join(parser.parts).split())


def checked(client: FlaskClient, **more: Any) -> TestResponse:
    return client.post("/", data={**FIRST, **more}, headers=HERE)


# --- every page --------------------------------------------------------------------------------------------------


PLACES = [
    ("/", "Check a line"),
    ("/?decision={}", "Change the code from J3490 to J3032"),
    ("/decisions/{}", "What was derived from what"),
    ("/log", "decisions are in the log"),
    ("/payers", "Medicaid: prior authorization for NOC drugs"),
    ("/payers/medicaid/TX", "Texas Medicaid"),
    ("/payers/medicare/national", "Looked for and not found"),
    ("/rules/common.code.specific", "The drug has a code of its own"),
    ("/rules/common.noc.kind", "A biological product"),
    ("/rules/common.noc.kind:a-drug", "a row of the table"),
    ("/workbench", "Edit a copy of one rule file"),
    ("/workbench?file=rules/medicaid/TX.yaml", "ruleset: medicaid/TX"),
]


@pytest.mark.parametrize(("place", "content"), PLACES)
def test_each_page_says_what_it_is_for(client: FlaskClient, decision: str, place: str, content: str) -> None:
    answer = client.get(place.format(decision))
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert content in text_of(answer)


@pytest.mark.parametrize("place", [place for place, _ in PLACES])
def test_nothing_in_a_page_runs_or_comes_from_elsewhere(client: FlaskClient, decision: str, place: str) -> None:
    answer = client.get(place.format(decision))
    page = answer.get_data(as_text=True)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.findall(r"<script(?![^>]*\bsrc=\"/static/)", page) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=\"|javascript:", page) == []
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]+)\"", page)
    assert loaded
    assert [address for address in loaded if not address.startswith("/static/")] == []


@pytest.mark.parametrize("place", [place for place, _ in PLACES])
def test_ids_stand_once(client: FlaskClient, decision: str, place: str) -> None:
    ids = re.findall(r"\sid=\"([^\"]+)\"", client.get(place.format(decision)).get_data(as_text=True))
    assert len(ids) == len(set(ids))


def test_what_is_not_there_is_said_on_a_page(client: FlaskClient) -> None:
    for place, content in (
        ("/decisions/00000000-0000-0000-0000-000000000000", "No decision with that id"),
        ("/decisions/nonsense", "No decision with that id"),
        ("/payers/medicaid/ZZ", "Near it:"),
        ("/rules/no.such.rule", "No rule or table of that id"),
        ("/workbench?file=/etc/passwd", "no rule file has this name"),
        ("/workbench?file=rules/../policy_docs/medicaid/TX.yaml", "no rule file has this name"),
    ):
        answer = client.get(place)
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), place
        assert content in text_of(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("place", ["/", "/workbench/try"])
def test_a_form_sent_from_elsewhere_is_refused(
    client: FlaskClient, docket: Docket, place: str, headers: dict[str, str]
) -> None:
    before = docket.log.head()
    assert client.post(place, data=FIRST, headers=headers).status_code == 403
    assert docket.log.head() == before


@pytest.mark.parametrize("headers", [HERE, {"Origin": "http://localhost"}])
def test_a_form_sent_from_the_page_is_taken(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/", data=FIRST, headers=headers).status_code == 303


def test_pages_say_what_is_wrong_with_the_rules_on_disk(docket: Docket) -> None:
    fault = Fault(
        "2026-11-23T10:00:00.000000Z", None, (Finding("rules/private/acme.yaml", 7, 5, "key", "no such <key>"),)
    )
    page = create_app(docket, cast(Live, SimpleNamespace(fault=fault))).test_client().get("/")
    assert "The rules on disk have a fault; the last good rules answer." in text_of(page)
    assert "rules/private/acme.yaml:7: no such <key>" in text_of(page)


# --- check a line ------------------------------------------------------------------------------------------------


def test_a_checked_line_is_in_the_log_before_it_is_shown(client: FlaskClient, docket: Docket) -> None:
    seq = docket.log.head()[0]
    answer = checked(client)
    assert answer.status_code == 303
    assert docket.log.head()[0] == seq + 1
    record = docket.log.recent(1)[0]
    assert record.decision_id in answer.headers["Location"]
    assert json.loads(record.claim) == LINE
    shown = text_of(client.get(answer.headers["Location"]))
    assert "Fix before sending" in shown
    assert "Change the code from J3490 to J3032" in shown


def test_the_first_questions_are_the_most_decisive_ones(client: FlaskClient, docket: Docket) -> None:
    page = client.get(checked(client).headers["Location"]).get_data(as_text=True)
    questions = [one["fact"] for one in json.loads(docket.log.recent(1)[0].decision)["questions"]]
    asked = re.findall(r'name="asked" value="([^"]+)"', page)
    assert asked == questions[: pages.ASKED]


def test_answers_are_carried_along_and_passed_questions_come_last(client: FlaskClient, docket: Docket) -> None:
    first = client.get(checked(client).headers["Location"]).get_data(as_text=True)
    asked = re.findall(r'name="asked" value="([^"]+)"', first)
    answer = client.post(
        "/", data={**FIRST, "asked": asked, asked[0]: "false", "line.modifiers": "jz, JW"}, headers=HERE
    )
    claim = json.loads(docket.log.recent(1)[0].claim)
    group, leaf = asked[0].split(".")
    assert claim[group][leaf] is False
    assert claim["line"]["modifiers"] == ["jz", "JW"]
    second = client.get(answer.headers["Location"]).get_data(as_text=True)
    again = re.findall(r'name="asked" value="([^"]+)"', second)
    assert set(asked[1:]) <= set(again)  # kept as passed
    shown = second.split("more question")[0]
    assert not any(f'<fieldset id="f-{name}"' in shown for name in asked)


def test_questions_end_when_nothing_left_could_change_the_decision(client: FlaskClient, docket: Docket) -> None:
    """Answering the most decisive question with its first possible answer, again and again, comes to an end."""
    vocab = docket.desk.rulebook.vocabulary
    given: dict[str, Any] = dict(FIRST)
    for _ in range(80):
        answer = client.post("/", data=given, headers=HERE)
        assert answer.status_code == 303, text_of(answer)
        questions = json.loads(docket.log.recent(1)[0].decision)["questions"]
        if not questions:
            break
        fact = vocab.facts[questions[0]["fact"]]
        value = {
            "boolean": "false", "date": "2020-10-20", "text": "eptinezumab 100 mg", "code": "NJ", "ndc": "67386013051",
            "integer": "1", "quantity": "1", "amount": "1.00",
        }.get(fact.type)  # fmt: skip
        given[fact.name] = value if value is not None else next(iter(fact.values or {}))
    assert "Nothing left could change the decision." in text_of(client.get(answer.headers["Location"]))


def test_known_to_be_empty_is_not_unknown(client: FlaskClient, docket: Docket) -> None:
    checked(client, none=["line.modifiers", "prior_authorization.number", "documentation"])
    claim = json.loads(docket.log.recent(1)[0].claim)
    assert claim["line"]["modifiers"] == []
    assert claim["documentation"] == []
    assert claim["prior_authorization"]["number"] == ""


def test_a_faulty_line_comes_back_with_what_was_typed(client: FlaskClient, docket: Docket) -> None:
    before = docket.log.head()
    answer = checked(client, **{"date_of_service": "2020-13-45", "line.units": "many"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 400
    assert 'value="many"' in page
    assert 'href="#f-date-of-service"' in page
    assert 'href="#f-line-units"' in page
    assert page.count('aria-invalid="true"') == 2
    assert docket.log.head() == before


def test_a_payer_may_be_named(client: FlaskClient, docket: Docket) -> None:
    assert checked(client, payer="texas medicaid").status_code == 303
    assert docket.log.recent(1)[0].payer == "medicaid/TX"
    assert checked(client, payer="Original Medicare in New Jersey (its contractor)").status_code == 303
    assert docket.log.recent(1)[0].payer == "medicare/mac/novitas-jl"


def test_a_drug_that_is_not_known_gets_near_names(client: FlaskClient) -> None:
    answer = checked(client, **{"drug.name": "eptinezumab"})
    page = client.get(answer.headers["Location"])
    assert "Is it one of these? eptinezumab-jjmr" in text_of(page)
    assert '<option value="eptinezumab-jjmr">' in page.get_data(as_text=True)


def test_an_unknown_payer_gets_near_ones(client: FlaskClient) -> None:
    answer = checked(client, payer="Texsa Medicade")
    assert answer.status_code == 400
    assert "near it" in text_of(answer)
    assert "medicaid/TX" in text_of(answer)


def test_what_a_line_says_is_text_and_never_markup(client: FlaskClient, docket: Docket) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    line = {**LINE, "drug": {"name": evil}, "line": {"code": "J3490", "description": evil}}
    record = json.loads(docket.record([docket.decide(line)], [line])[0])
    name = record["decision_id"]
    places = (
        f"/?decision={name}",
        f"/decisions/{name}",
        f"/decisions/{name}/decision.html",
        "/log",
        f"/log?drug_name={evil}",
        f"/workbench?decision={name}&file=rules/medicaid/TX.yaml",
        f"/payers/{evil}",
        f"/rules/{evil}",
    )
    for place in places:
        page = client.get(place).get_data(as_text=True)
        assert "<script>alert" not in page, place
        assert "<img src=x" not in page, place
    answer = client.post("/", data={**FIRST, "drug.name": evil, "date_of_service": evil, "payer": evil}, headers=HERE)
    assert "<script>alert" not in answer.get_data(as_text=True)


def test_only_web_addresses_are_links() -> None:
    assert pages.web_link("https://www.cms.gov/a?b#c") == "https://www.cms.gov/a?b#c"
    others = (
        "javascript:alert(1)",
        "data:text/html,x",
        "//a.example",
        "ftp://a.example/",
        "http:",
        "http://[",
        "",
        None,
    )
    for address in others:
        assert pages.web_link(address) is None, address


# --- a decision ----------------------------------------------------------------------------------------------------


def test_a_decision_gives_each_requirement_its_rule_statement_and_document(client: FlaskClient, decision: str) -> None:
    page = client.get(f"/decisions/{decision}").get_data(as_text=True)
    first = page.split('<ol class="requirements">')[1].split("</li>")[0]
    assert "Change the code from J3490 to J3032" in first
    assert 'href="/rules/common.code.specific"' in first
    assert "A NOC code may be used only when no more specific code describes the drug." in first
    assert re.search(r'<a href="https://[^"]+" rel="noreferrer noopener external">', first)


def test_the_json_of_a_decision_holds_the_record_and_the_argument(
    client: FlaskClient, docket: Docket, decision: str
) -> None:
    answer = client.get(f"/decisions/{decision}/decision.json")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    data = answer.get_json()
    record = docket.log.get(decision)
    assert record is not None
    assert data["decision"] == json.loads(record.decision)
    assert data["hash"] == record.hash
    assert {one["fact"] for one in data["argument"]["unknown"]} == {
        one["fact"] for one in data["decision"]["questions"]
    }


def test_the_file_of_a_decision_needs_nothing_else(client: FlaskClient, decision: str) -> None:
    answer = client.get(f"/decisions/{decision}/decision.html")
    page = answer.get_data(as_text=True)
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert re.findall(r'(?:src|href)="(/[^"]*)"', page) == []
    assert "<script" not in page
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))


def test_a_decision_of_rules_that_changed_is_explained_by_the_rules_of_its_time(
    docket: Docket, reference: Reference, tmp_path: Path
) -> None:
    line = {**LINE, "payer": "private/acme"}
    log = Log.open(tmp_path / "log.db")
    old = Docket(Desk(Rulebook(tree("old statement")), reference), log)
    name = json.loads(old.record([old.decide(line)], [line])[0])["decision_id"]
    new = Docket(Desk(Rulebook(tree("new statement")), reference), log)
    client = create_app(new).test_client()
    assert "old statement" in text_of(client.get(f"/decisions/{name}"))
    assert "new statement" not in text_of(client.get(f"/decisions/{name}"))
    rule = text_of(client.get("/rules/acme.pa"))
    assert "new statement" in rule
    assert "as it is now" in rule  # the statement's text is the document's, the rule itself is the same
    log.close()


def test_an_altered_record_says_so(reference: Reference, tmp_path: Path) -> None:
    log = Log.open(tmp_path / "log.db")
    made = Docket(Desk(Rulebook(tree("a statement")), reference), log)
    line = {**LINE, "payer": "private/acme"}
    name = json.loads(made.record([made.decide(line)], [line])[0])["decision_id"]
    client = create_app(made).test_client()
    assert "altered" not in text_of(client.get(f"/decisions/{name}"))
    with log._writing.begin() as connection:
        connection.exec_driver_sql("UPDATE decision SET outcome = 'ready'")
    assert "it was altered after it was written" in text_of(client.get(f"/decisions/{name}"))
    log.close()


def tree(statement: str) -> dict[str, bytes]:
    """A payer with one rule for a drug under a NOC code."""
    rules = """
ruleset: private/acme
title: Acme Health
rules:
  - id: acme.pa
    title: A drug under a NOC code needs authorization
    when: {line.noc: true}
    then:
      - prior_authorization: required
    source: {document: acme-manual, statement: acme-pa}
    examples:
      - given: {line.code: J3490, date_of_service: 2026-02-03}
        fires: true
      - given: {line.code: J3032, date_of_service: 2026-02-03}
        fires: false
  - id: acme.old
    title: In old times an invoice was needed
    effective: {to: 2019-12-31}
    when: {line.noc: true}
    then:
      - require_document: invoice
    source: {document: acme-manual, statement: acme-pa}
    examples:
      - given: {line.code: J3490, date_of_service: 2019-02-03}
        fires: true
      - given: {line.code: J3490, date_of_service: 2026-02-03}
        fires: false
  - id: acme.self
    title: What patients give to themselves goes to the pharmacy benefit
    when: {line.noc: true, drug.self_administered: true}
    then:
      - not_billable: Bill the pharmacy benefit
    source: {document: acme-manual, statement: acme-pa}
    examples:
      - given: {line.code: J3490, date_of_service: 2026-02-03, drug.self_administered: true}
        fires: true
      - given: {line.code: J3490, date_of_service: 2026-02-03, drug.self_administered: false}
        fires: false
"""
    policy = f"""
payer: private/acme
name: Acme Health
documents:
  - id: acme-manual
    title: Provider manual
    publisher: Acme Health
    url: "javascript:alert(1)"
    published: 2025-01-02
    kind: provider manual
    authority: primary
    statements:
      - {{id: acme-pa, topic: prior_authorization, statement: {statement}, confidence: high}}
"""
    return {"rules/private/acme.yaml": rules.encode(), "policy_docs/private/acme.yaml": policy.encode()}


# --- the argument ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def acme(reference: Reference) -> tuple[dict[str, Any], Argument]:
    rulebook = Rulebook(tree("a statement"))
    decided = Desk(rulebook, reference).decide({**LINE, "payer": "private/acme"})
    body = decided.decision.body
    return body, argument(body, decided.facts, rulebook.payer("private/acme"), rulebook.vocabulary, reference)


def test_a_rule_that_failed_on_one_condition_nearly_fired(acme: tuple[dict[str, Any], Argument]) -> None:
    _, found = acme
    assert [(miss.rule, miss.failed, dict(miss.found)) for miss in found.near] == [
        ("acme.old", "date_of_service up to 2019-12-31", {"date_of_service": "2020-10-15"})
    ]
    assert found.near[0].would_conclude == ("require document: invoice",)


def test_what_an_answer_would_change(acme: tuple[dict[str, Any], Argument]) -> None:
    _, found = acme
    unknown = next(one for one in found.unknown if one.fact == "drug.self_administered")
    assert unknown.waiting == ("acme.self",)
    by_answer = {answer.answers: answer.changes for answer in unknown.answers}
    assert by_answer["no",] == ()
    assert "outcome: needs information → not billable" in by_answer["yes",]
    assert "adds not billable: Bill the pharmacy benefit" in by_answer["yes",]


def test_answers_tell_what_the_engine_then_decides(desk: Desk, docket: Docket) -> None:
    """What the naive evaluator says of an answer is what deciding with that answer says."""
    before = desk.decide(LINE)
    payer = desk.rulebook.payer(before.decision.payer)
    found = argument(before.decision.body, before.facts, payer, desk.rulebook.vocabulary, desk.reference)
    tried = 0
    for unknown in found.unknown:
        if unknown.fact.startswith("drug.") and len(unknown.answers) and unknown.answers[0].answers[0] in ("yes", "no"):
            for answer in unknown.answers:
                for name in answer.answers:
                    line = {**LINE, "drug": {**LINE["drug"], unknown.fact.split(".")[1]: name == "yes"}}  # type: ignore[dict-item]
                    after = desk.decide(line).decision.body
                    assert tuple(changes(before.decision.body, after)) == answer.changes, (unknown.fact, name)
                    tried += 1
    assert tried > 5


def test_the_graph_holds_every_firing_and_leads_from_left_to_right(desk: Desk) -> None:
    body = desk.decide(LINE).decision.body
    made = graph(body)
    nodes = {node.id: node for node in made.nodes}
    assert {node.name for node in made.nodes if node.kind == "rule"} == {one["rule"] for one in body["fired"]}
    assert all(nodes[start].column < nodes[end].column for start, end in made.edges)
    assert ("rule:common.code.specific", "part:Code:J3032") in made.edges
    assert ("fact:line.noc", "rule:common.code.specific") in made.edges
    last = max(node.column for node in made.nodes)
    assert {node.column for node in made.nodes if node.kind == "part"} == {last}


def test_boxes_of_the_drawing_do_not_overlap(desk: Desk) -> None:
    made = drawing.draw(graph(desk.decide(LINE).decision.body))
    for column in {box.x for box in made.boxes}:
        spans = sorted((box.y, box.y + box.height) for box in made.boxes if box.x == column)
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(box.x > 0 and box.x + made.box_width < made.width + 1 for box in made.boxes)
    assert all(box.y > 0 and box.y + box.height < made.height for box in made.boxes)


def test_near_misses_are_false_and_one_change_from_true(desk: Desk) -> None:
    decided = desk.decide(LINE)
    payer = desk.rulebook.payer(decided.decision.payer)
    found = argument(decided.decision.body, decided.facts, payer, desk.rulebook.vocabulary, desk.reference)
    verdict = chain(payer, decided.facts.keys)
    assert found.near
    for miss in found.near:
        rules = [rule for rule in payer.rules if miss.rule in (rule.id, rule.table)]
        assert any(verdict.truth[rule.id] is False for rule in rules), miss


# --- the log -------------------------------------------------------------------------------------------------------


def filled(docket: Docket, count: int, **values: Any) -> list[NewRecord]:
    """Records made from a real one, with other ids and values."""
    base = docket.new_record(docket.decide(LINE), LINE)
    made = []
    for _ in range(count):
        made.append(replace(base, decision_id=str(uuid.uuid4()), decided_at=now(), **values))
    docket.record([docket.decide(LINE)], [LINE])  # the rulebook is kept from here on
    docket.log.append(made)
    return made


def test_the_log_is_paged_without_gaps_or_repeats(client: FlaskClient, docket: Docket) -> None:
    made = filled(docket, 120, drug_name="paged drug")
    place, seen = "/log?drug_name=paged drug", []
    while place:
        page = client.get(place).get_data(as_text=True)
        seen += re.findall(r'href="/decisions/([^"]+)"', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        place = following[1].replace("&amp;", "&") if following else ""
    assert sorted(seen) == sorted(record.decision_id for record in made)


SEARCHED = {
    "drug_name": "searched drug",
    "payer": "private/searched",
    "code_billed": "J7999",
    "code_recommended": "J7999",
    "outcome": "review",
    "pa_status": "conditional",
    "fired": ("searched.rule",),
    "date_of_service": "1999-01-02",
}


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("payer=private/searched", True),
        ("code_billed=j7999&payer=private/searched", True),
        ("code_billed=J3490&payer=private/searched", False),
        ("code_recommended=J7999&drug_name=searched drug", True),
        ("drug_name=searched drug&outcome=review", True),
        ("drug_name=searched drug&outcome=ready", False),
        ("pa_status=conditional&drug_name=searched drug", True),
        ("rule=searched.rule", True),
        ("rule=searched.rule&pa_status=required", False),
        ("date_of_service_from=1999-01-02&date_of_service_to=1999-01-02", True),
        ("payer=private&drug_name=searched drug", True),
        ("payer=medicaid&drug_name=searched drug", False),
        ("drug_name=searched drug&decided_from=2020-01-01", True),
        ("drug_name=searched drug&decided_to=2020-01-01", False),
        ("date_of_service_from=1999-01-03&date_of_service_to=1999-12-31", False),
    ],
)
def test_the_log_is_searched(client: FlaskClient, docket: Docket, query: str, hits: bool) -> None:
    if not docket.log.search(Filters(drug_name="searched drug")):
        filled(docket, 1, **SEARCHED)
    page = text_of(client.get(f"/log?{query}"))
    assert ("searched drug 1999-01-02" in page or "1999-01-02" in page.split("are in the log")[1]) is hits
    assert ("No decision matches" in page) is not hits


def test_a_table_is_followed_through_its_rows(client: FlaskClient, docket: Docket, rulebook: Rulebook) -> None:
    rows = rulebook.rule("common.noc.kind")
    assert len(rows) == 3
    for row in rows:
        filled(docket, 1, drug_name=f"row {row.row}", fired=(row.id,))
    page = text_of(client.get("/log?rule=common.noc.kind"))
    assert all(f"row {row.row}" in page for row in rows)
    for row in rows:
        page = text_of(client.get(f"/rules/{row.id}")).split("Latest decisions it fired in")[1]
        assert [other.row for other in rows if f"row {other.row}" in page] == [row.row]


def test_csv_holds_every_match_and_no_formula(client: FlaskClient, docket: Docket) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", 'a "quoted", one', "plain"]
    for number, name in enumerate(names):
        filled(docket, 1, drug_name=name, payer="private/formula", charge=number * 100 + 5)
    answer = client.get("/log.csv?payer=private/formula")
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert [row["drug_name"] for row in reversed(rows)] == [f"'{name}" for name in names[:5]] + names[5:]
    assert rows[0]["charge"] == "6.05"


def test_csv_goes_on_beyond_a_page(client: FlaskClient, docket: Docket) -> None:
    made = filled(docket, 1_203, payer="private/many")
    rows = list(csv.DictReader(io.StringIO(client.get("/log.csv?payer=private/many").get_data(as_text=True))))
    assert [row["decision_id"] for row in reversed(rows)] == [record.decision_id for record in made]


@pytest.mark.parametrize("query", ["before=x", "before=-1", "date_of_service_from=yesterday", "before=" + "9" * 40])
def test_a_search_that_can_not_be_is_a_problem(client: FlaskClient, query: str) -> None:
    assert client.get(f"/log?{query}").status_code == 400


# --- payers and rules ------------------------------------------------------------------------------------------------


def test_the_map_has_every_state_once_and_says_the_same_without_colour(client: FlaskClient) -> None:
    page = client.get("/payers").get_data(as_text=True)
    assert sorted(state for state, _, _ in overview.TILES) == sorted(overview.STATES)
    assert len({(column, row) for _, column, row in overview.TILES}) == len(overview.TILES)
    for state, name in overview.STATES.items():
        assert page.count(f"<abbr>{state}</abbr>") == 1
        assert f'<span class="hidden">{name}: ' in page
    assert set(overview.SIGNS) == set(overview.KINDS) == set(overview.BRIEF)
    assert len(set(overview.SIGNS.values())) == len(overview.SIGNS)


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        ("- prior_authorization: required", "all"),
        ("- prior_authorization: {status: unknown, how: Ask}", "ask"),
        ("- prior_authorization: not_required", "none"),
        ("- caution: Nothing of it", "nothing"),
    ],
)
def test_what_is_known_of_prior_authorization(then: str, kind: str) -> None:

    files = tree("a statement")
    files["rules/private/acme.yaml"] = files["rules/private/acme.yaml"].replace(
        b"- prior_authorization: required", then.encode()
    )
    known = overview.known(Rulebook(files), "private/acme", date(2026, 11, 23))
    assert known.kind == kind
    assert known.old is False
    assert overview.known(Rulebook(files), "private/acme", date(2028, 11, 23)).old is (kind != "nothing")


def test_a_payer_page_puts_statements_beside_their_rules(client: FlaskClient) -> None:
    page = client.get("/payers/medicaid/TX").get_data(as_text=True)
    row = next(row for row in page.split('<tr role="row">') if 'id="s-tx-noc-when-no-code"' in row)
    assert 'href="/rules/tx.noc.when"' in row


def test_versions_of_a_rule_are_listed_by_date(client: FlaskClient) -> None:
    page = text_of(client.get("/rules/medadv.appeal.until-2024"))
    history = page.split("By date of service")[1].split("In the rulebooks")[0]
    assert "up to 2024-12-31" in history
    assert "from 2025-01-01" in history


def test_a_rule_shows_its_text_as_the_file_has_it(client: FlaskClient, rulebook: Rulebook) -> None:
    rule = rulebook.rule("common.code.specific")[0]
    text = policy_pages.source_text(rulebook, rule)
    assert text.startswith("- id: common.code.specific")
    assert "fires: false" in text
    assert "common.code.specific-instead-of-lapsed" not in text


# --- the workbench ---------------------------------------------------------------------------------------------------


def tried(client: FlaskClient, text: str, file: str = "rules/medicaid/TX.yaml", claim: Any = None) -> str:
    line = claim if claim is not None else json.dumps({**LINE, "payer": "medicaid/TX"})
    data = {"file": file, "text": text, "claim": line}
    answer = client.post("/workbench/try", data=data, headers={**HERE, "X-Part": "trial"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return text_of(answer)


@pytest.fixture(scope="module")
def texas(rulebook: Rulebook) -> str:
    return rulebook.files["rules/medicaid/TX.yaml"].decode()


def test_a_copy_that_was_not_edited_changes_nothing(client: FlaskClient, docket: Docket, texas: str) -> None:
    before, files = docket.log.head(), dict(docket.desk.rulebook.files)
    said = tried(client, texas)
    assert "The file is clean" in said
    assert "all hold" in said
    assert "Nothing: the decision on this line stays as it is." in said
    assert docket.log.head() == before
    assert docket.desk.rulebook.files == files


def test_an_edit_shows_what_it_would_change(client: FlaskClient, texas: str) -> None:
    added = (
        texas.rstrip()
        + """
  - id: tx.tried
    title: Every NOC drug line needs authorization, tried
    when: {line.noc: true}
    then:
      - prior_authorization: required
    source: {document: tmppm-2016-12-misc-codes, statement: tx-noc-when-no-code}
    examples:
      - given: {line.code: J3490, date_of_service: 2026-02-03}
        fires: true
      - given: {line.code: J3032, date_of_service: 2026-02-03}
        fires: true
"""
    )
    said = tried(client, added)
    assert "prior authorization: unknown → required" in said
    assert "fires now: tx.tried" in said
    assert "example 2 of tx.tried should fire, but did not fire" in said


def test_a_fault_is_named_with_its_place(client: FlaskClient, texas: str) -> None:
    line = texas.splitlines().index("    when:") + 1
    said = tried(client, texas.replace("    when:", "    wenn:", 1))
    assert "The file has faults" in said
    assert f"Line {line}, column 5 error: unknown key 'wenn'" in said
    assert "The edited rules can't decide" in said


@pytest.mark.parametrize(
    "text", ["", "a: [", "\x00", "- - - -", "rules: *x", "ruleset: medicaid/TX\nrules: 3\n", "x" * 1000]
)
def test_any_text_can_be_tried(client: FlaskClient, text: str) -> None:
    assert "The file" in tried(client, text)


@pytest.mark.parametrize(
    "claim", ["", "{", "[]", "null", '{"payer": 1}', json.dumps({**LINE, "payer": "private/none"})]
)
def test_any_claim_line_can_be_tried(client: FlaskClient, texas: str, claim: str) -> None:
    assert "The claim line can't be decided" in tried(client, texas, claim=claim)


def test_a_ruleset_outside_the_chain_says_so(client: FlaskClient, texas: str) -> None:
    assert "is not in the chain of medicare/mac/novitas-jl" in tried(client, texas, claim=json.dumps(LINE))


@pytest.mark.parametrize("file", ["", "rules/none.yaml", "policy_docs/medicaid/TX.yaml", "/etc/passwd"])
def test_only_rule_files_are_tried(client: FlaskClient, file: str) -> None:
    data = {"file": file, "text": "", "claim": ""}
    assert client.post("/workbench/try", data=data, headers=HERE).status_code == 400


def test_a_text_too_large_to_try_is_refused(client: FlaskClient) -> None:
    data = {"file": "rules/medicaid/TX.yaml", "text": "x" * (trial.MAX_TEXT + 1), "claim": ""}
    answer = client.post("/workbench/try", data=data, headers={**HERE, "X-Part": "trial"})
    assert (answer.status_code, answer.mimetype) == (413, "application/problem+json")


def test_an_edit_that_takes_too_long_is_given_up(docket: Docket, texas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> None:
        while True:
            pass

    monkeypatch.setattr(trial, "examine", endless)
    monkeypatch.setattr(trial, "SECONDS", 1)
    with pytest.raises(pages.Problem) as caught:
        trial.try_edit(docket, "rules/medicaid/TX.yaml", texas, json.dumps(LINE))
    assert caught.value.status == 503
    assert "more than 1 seconds" in caught.value.detail


def test_the_workbench_works_without_script(client: FlaskClient, texas: str) -> None:
    data = {"file": "rules/medicaid/TX.yaml", "text": texas, "claim": json.dumps(LINE)}
    page = client.post("/workbench/try", data=data, headers=HERE)
    assert "The file is clean" in text_of(page)
    assert "Copy of rules/medicaid/TX.yaml" in text_of(page)
