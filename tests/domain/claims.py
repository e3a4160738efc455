"""Claim lines as a biller speaks of them: a payer, a drug, a code and a day, and whatever else matters to the test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from byreport.claim import nested
from byreport.desk import Desk

Claim = dict[str, Any]
Body = dict[str, Any]

NOVITAS = "medicare/mac/novitas-jl"


def line(
    payer: str,
    drug: str | None = None,
    *,
    code: str = "J3490",
    on: str = "2026-02-03",
    setting: str = "office",
    **more: Any,
) -> Claim:
    """A claim line. `more` names other claim facts with `__` for the dot: `drug__route="oral"`, `line__units="1"`.

    What is not named is left out, so it is unknown.
    """
    facts: dict[str, Any] = {"date_of_service": on, "setting": setting, "line.code": code}
    if drug is not None:
        facts["drug.name"] = drug
    facts.update({name.replace("__", "."): value for name, value in more.items()})
    return {"payer": payer, **nested(facts)}


def decide(desk: Desk, claim: Claim) -> Body:
    """The parts of the decision on a line, as JSON-ready data."""
    return dict(desk.decide(claim).decision.body)


def fired(body: Body) -> set[str]:
    """The ids of the rules that fired."""
    return {entry["rule"] for entry in body["fired"]}


def statements(body: Body, rule: str) -> set[str]:
    """The published statements that a fired rule stands on."""
    for entry in body["fired"]:
        if entry["rule"] == rule:
            return {source["statement"] for source in (entry["source"], *entry.get("also", ()))}
    raise AssertionError(f"{rule} did not fire; fired: {', '.join(sorted(fired(body)))}")


def required(body: Body) -> dict[str, str]:
    """Item or field that is asked for, to where on the claim it goes."""
    return {
        **{part["item"]: part["where"] for part in body["documentation"]},
        **{part["field"]: part["where"] for part in body["edits"]},
    }


def denied(body: Body) -> set[str]:
    """The denials that would follow, as group and reason code."""
    return {f"{part['group']} {part['carc']}" for part in body["denials"]}


def rules_named(body: Body) -> Iterable[tuple[str, list[str]]]:
    """Every entry of every part of a decision with the rules that it says put it there."""
    for part in ("code", "prior_authorization", "pricing"):
        yield part, body[part]["rules"]
    for part in ("documentation", "edits", "denials", "deadlines", "exclusions"):
        for entry in body[part]:
            yield part, entry["rules"]
