"""A decision in one short row: what came out, the rules that fired, and the facts it stands on.

Nothing is lost: facts and rulebook give the whole decision again, and `open_row` makes it and checks that it says what
the row says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from byreport import facts as facts_
from byreport.brief import brief
from byreport.decision import decide
from byreport.desk import Decided
from byreport.engine import Engine, Handles
from byreport.facts import Facts
from byreport.rulebook import Rulebook

Row = dict[str, Any]

ORIGINS = ("claim", "reference", "computed")
REMEMBERED = 20_000
"""Values of facts whose part of a row is remembered."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RowError(ValueError):
    """A row that can't be opened: it is none, or the rulebook is another, or it says what the rules do not say."""


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a row as the decision log stores them."""
    part = row["facts"]
    if isinstance(part, str):
        part = json.loads(part)
    found = {name: {"is": value, "from": origin} for origin in ORIGINS for name, value in part.get(origin, {}).items()}
    return {
        "payer": row["payer"],
        "facts": {name: found[name] for name in sorted(found)},
        "names": part.get("names", []),
        "disagreements": part.get("disagreements", []),
        "candidates": part.get("candidates", []),
        "drug_recognised": part.get("drug_recognised", False),
    }


class Rows:
    """Makes rows. What decisions on the same situation have in common is worked out once."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, Any], str] = {}

    def outcome_text(self, line: int, decided: Decided, decision_id: str, decided_at: str) -> str:
        """The row as JSON, but for the facts and the closing bracket."""
        decision = decided.decision
        return (
            f'{{"line":{line},"decision_id":"{decision_id}","decided_at":"{decided_at}",'
            f'"rulebook":"{decision.rulebook}","payer":{_encode(decision.payer)},'
            f"{decision.template.brief.render(decided.facts)[1:-1]}"
        )

    def text(self, line: int, decided: Decided, decision_id: str, decided_at: str) -> str:
        """The row as JSON."""
        head = self.outcome_text(line, decided, decision_id, decided_at)
        return f'{head},"facts":{self.facts_text(decided.facts)}}}'

    def facts_text(self, facts: Facts) -> str:
        """The facts of a decision by origin, and what else its explanation needs, as JSON; nothing that is empty."""
        by_origin: dict[str, list[str]] = {}
        for name, value in facts.shown.items():
            # No fact has both true and 1 among its values, so that equal pairs are the same text.
            member = self._members.get((name, value))
            if member is None:
                member = f"{_encode(name)}:{_encode(value)}"
                if len(self._members) < REMEMBERED:
                    self._members[name, value] = member
            by_origin.setdefault(facts.origin[name], []).append(member)
        parts = [f'"{origin}":{{{",".join(members)}}}' for origin, members in by_origin.items()]
        names = facts.keys.get("drug.name")
        if isinstance(names, frozenset) and names:
            parts.append(f'"names":{_encode(sorted(names))}')
        if facts.disagreements:
            parts.append(
                f'"disagreements":{_encode([[d.fact, d.claim, d.reference, d.text] for d in facts.disagreements])}'
            )
        if facts.candidates:
            parts.append(f'"candidates":{_encode(facts.candidates)}')
        if facts.drug_recognised:
            parts.append('"drug_recognised":true')
        return f"{{{','.join(parts)}}}"


def open_row(row: Mapping[str, Any], rulebook: Rulebook) -> dict[str, Any]:
    """The whole decision that a row stands for, explanations included.

    Raises RowError when the rulebook is not the row's, or the facts and the rules do not give what the row says.
    """
    try:
        stated = row["rulebook"]
        facts = facts_.from_json(facts_of(row), rulebook.vocabulary)
    except (KeyError, TypeError, ValueError) as error:
        raise RowError(f"this is no row of a batch: {error!r}") from None
    if stated != rulebook.hash:
        raise RowError(f"the row was decided with rulebook {stated}, this one is {rulebook.hash}")
    payer = rulebook.payer(row["payer"])
    engine = Engine(payer, Handles(rulebook.vocabulary))
    try:
        decision = decide(payer, facts, engine.fire(facts.keys), rulebook.hash, rulebook.vocabulary)
    finally:
        engine.close()
    body = decision.body
    part = json.loads(_encode(brief(body, [entry["rule"] for entry in body["fired"]])))
    differing = [name for name in part if part[name] != row.get(name)]
    if differing:
        raise RowError(f"the row does not say what its facts and rules give: {', '.join(differing)}")
    return decision.as_dict(row["decision_id"], row["decided_at"])


__all__ = ["Row", "RowError", "Rows", "facts_of", "open_row"]
