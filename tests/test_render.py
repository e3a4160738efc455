"""A decision in words: what a biller reads first, what it rests on, and that a claim can't steer a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from byreport import render
from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.vocabulary import vocabulary

EXAMPLES = sorted((Path(__file__).parent.parent / "examples" / "claims").glob("*.json"))
SOURCE = {
    "document": "doc", "statement": "s1", "title": "Manual", "publisher": "Payer", "where": "4.2",
    "url": "https://example.org/manual", "published": None, "authority": "secondary", "confidence": "low",
}  # fmt: skip


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(Rulebook.open(), Reference.load())


def decision(**parts: Any) -> dict[str, Any]:
    """A decision with nothing to do, changed as told."""
    return {
        "decision_id": "00000000-0000-0000-0000-000000000000",
        "decided_at": "2026-01-01T00:00:00.000000Z",
        "rulebook": "sha256:0",
        "payer": "private/example",
        "outcome": "ready",
        "code": {"billed": "J3490", "recommended": "J3490", "rules": ["r"]},
        "prior_authorization": {"status": "not_required", "how": "None is needed.", "rules": ["r"]},
        "documentation": [], "edits": [], "denials": [], "deadlines": [], "exclusions": [], "questions": [],
        "pricing": {"basis": None, "percent": None, "estimate": None, "rules": []},
        "cautions": [], "fired": [], "overridden": [], "notice": "A decision reports published policy.",
    } | parts  # fmt: skip


def words(made: dict[str, Any], why: bool = True) -> str:
    return render.text_of(render.decision_lines(made, "J3490 on 2026-01-01", why))


def section(text: str, title: str) -> str:
    """The text of one section, without its title."""
    found = [part for part in text.split("\n\n") if part.startswith(title + "\n")]
    return found[0].removeprefix(title + "\n") if found else ""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_told_within_100_columns_with_everything_in_it(path: Path, desk: Desk) -> None:
    made = desk.decide(json.loads(path.read_text())).decision.as_dict("id", "now")
    text = words(made)
    long = [line for line in text.splitlines() if len(line) > render.WIDTH and "://" not in line]
    assert not long
    flat = " ".join(text.split())
    for firing in made["fired"]:
        assert f"rule {firing['rule']}" in flat
        for source in (firing["source"], *firing.get("also", ())):
            assert " ".join(source["title"].split()) in flat
    for question in made["questions"]:
        assert " ".join(question["ask"].split()) in flat
    for edit in made["edits"]:
        assert edit["where"] in flat
    assert flat.count("Old source") <= 1


def test_the_outcome_comes_first_and_cautions_come_last() -> None:
    made = decision(outcome="fix", cautions=[{"kind": "policy", "text": "Take care.", "rules": []}])
    lines = words(made).splitlines()
    assert lines[:2] == ["J3490 on 2026-01-01", "Fix before sending"]
    assert "The payer says: Take care." in words(made).split("\n\n")[-2]


@pytest.mark.parametrize("outcome", ["not_billable", "review", "fix", "needs_information", "ready"])
def test_every_outcome_has_words(outcome: str) -> None:
    assert words(decision(outcome=outcome)).splitlines()[1] == render.OUTCOMES[outcome]


def test_steps_are_numbered_with_the_code_first() -> None:
    edits = [
        {"field": "claim_form", "found": "professional", "expected": "institutional", "where": "", "rules": ["r"]},
        {"field": "line.code", "found": "J3490", "expected": "J3032", "where": "CMS-1500 item 24D", "rules": ["r"]},
        {"field": "line.modifiers", "found": "", "expected": "U3", "where": "24D", "note": "Always", "rules": ["r"]},
        {"field": "line.ndc.code", "found": None, "expected": "filled in", "where": "24", "rules": ["r"]},
        {"field": "line.units", "found": "1", "expected": "100", "where": "24G", "rules": ["r"]},
    ]
    documents = [{"item": "invoice", "status": "missing", "where": "PWK", "label": "Invoice", "rules": ["r"]}]
    wanted = {"status": "required", "how": "Call the payer.", "rules": ["r"]}
    steps = section(words(decision(edits=edits, documentation=documents, prior_authorization=wanted)), "What to do")
    numbered = [line[5:] for line in steps.splitlines() if line[2:3].isdigit()]
    assert numbered[0] == "Change the code from J3490 to J3032 [CMS-1500 item 24D]"
    assert numbered[1].startswith("Change from professional to institutional (UB-04 or 837I): Claim form")
    assert numbered[2] == "Add modifier U3 [24D]. Always"
    assert numbered[3] == "Fill in: NDC of the package used, 11 digits [24]"
    assert numbered[4] == "Change from 1 to 100: HCPCS units billed [24G]"
    assert numbered[5] == "Attach or write down: Invoice [PWK]"
    assert numbered[6].startswith("Get authorization before the drug is given")
    assert "Call the payer." in steps


def test_filled_in_is_not_said_twice_where_the_values_are_said() -> None:
    edits = [
        {"field": "line.ndc.unit", "found": None, "expected": "ML or UN", "where": "24", "rules": ["r"]},
        {"field": "line.ndc.unit", "found": None, "expected": "filled in", "where": "24", "rules": ["r"]},
    ]
    steps = section(words(decision(outcome="fix", edits=edits)), "What to do")
    assert steps.count("Unit of the NDC quantity") == 1
    assert "ML (Milliliter) or UN" in steps


def test_what_is_in_order_is_no_step() -> None:
    documents = [{"item": "invoice", "status": "present", "where": "PWK", "label": "Invoice", "rules": ["r"]}]
    text = words(decision(documentation=documents))
    assert not section(text, "What to do")
    in_order = section(text, "Already in order")
    assert "Code J3490" in in_order
    assert "says that none is needed. None is needed." in in_order
    assert "With the line: Invoice" in in_order


def test_an_unknown_authorization_says_where_to_ask() -> None:
    unknown = {"status": "unknown", "how": "Ask Example before the drug is given.", "rules": []}
    assert "Ask Example before" in section(words(decision(prior_authorization=unknown)), "What to do")


def test_denials_price_and_deadlines() -> None:
    made = decision(
        denials=[{"group": "CO", "carc": "16", "rarc": "N350", "unless": "it is described", "rules": ["r"]}],
        pricing={"basis": "wac", "percent": "103", "estimate": "12.34", "label": "Wholesale", "rules": ["r"]},
        deadlines=[{"what": "appeal", "date": "2026-05-01", "text": "appeal: 120 days", "rules": ["r"]}],
    )
    text = words(made)
    assert "CO 16 with remark N350, unless it is described" in section(text, "Would be denied otherwise")
    assert section(text, "Price") == "  103 percent of: Wholesale. Estimate: $12.34"
    assert section(text, "Deadlines") == "  - Appeal: 120 days, by 2026-05-01"


def test_why_names_facts_their_origin_and_the_source() -> None:
    because = [
        {"fact": "line.noc", "is": True, "test": "line.noc is true", "from": "computed"},
        {"fact": "drug.route", "is": "oral", "test": "drug.route is one of oral, nasal", "from": "claim"},
        {"fact": "line.ndc.code", "is": None, "test": "line.ndc.code unknown", "from": "unknown"},
        {"fact": "noc.fits", "is": "J3490", "test": "noc.fits has J3490", "from": "concluded", "by": ["a.rule"]},
    ]
    fired = [{"rule": "x.y", "title": "Why so", "because": because, "concluded": [], "source": SOURCE}]
    old = {"kind": "old_source", "text": "Manual (Payer) carries no date; check.", "rules": ["x.y"]}
    text = words(decision(fired=fired, cautions=[old]))
    why = section(text, "Why")
    assert "because line.noc is true (worked out)" in why
    assert "drug.route is one of oral, nasal; it is oral (given by the claim)" in why
    assert "line.ndc.code is not known" in why
    assert "noc.fits has J3490 (concluded by a.rule)" in why
    assert "source  [1] 4.2" in why
    assert "[1] Manual (Payer), undated, second-hand\n      https://example.org/manual" in section(text, "Sources")
    assert section(text, "Watch").endswith("[1]")
    assert not section(words(decision(fired=fired), why=False), "Why")


def test_overridden_rules_are_named() -> None:
    overridden = [{"rule": "far", "by": "near", "part": "code"}]
    text = words(decision(overridden=overridden))
    assert section(text, "Given way to a nearer rule") == "  - far gave way to near on which code to bill"


def test_a_claim_cant_steer_the_terminal() -> None:
    nasty = "\x1b[31mred\x1b]0;title\x07\u202e\u0000[bold]"
    caution = {"kind": "policy", "text": nasty, "rules": []}
    edit = {"field": "line.units", "found": nasty, "expected": "1", "where": nasty, "rules": []}
    lines = render.decision_lines(decision(cautions=[caution], edits=[edit]), nasty)
    text = render.text_of(lines)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "<U+001B>[31mred" in text
    assert "[bold]" in text
    out = io.StringIO()
    render.show(lines, Console(file=out, force_terminal=True, color_system="standard", width=80, highlight=False))
    assert "[bold]" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()


def test_color_changes_no_word() -> None:
    lines = render.decision_lines(decision(outcome="fix"), "J3490 on 2026-01-01")
    out = io.StringIO()
    render.show(lines, Console(file=out, no_color=True, width=200, highlight=False))
    assert out.getvalue() == render.text_of(lines)


def test_every_part_a_question_can_decide_has_words() -> None:
    from byreport.payers import PARTS

    assert set(PARTS) <= set(render.DECIDES)
    assert set(vocabulary().lists["caution"]) == set(render.CAUTIONS)
    assert set(vocabulary().lists["prior_authorization"]) <= set(render.AUTHORIZATION)
