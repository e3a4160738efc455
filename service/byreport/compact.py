"""A decision in one short row: what came out, the rules that fired, and the facts it stands on.

Nothing is lost: facts and rulebook give the whole decision again, and `open_row` makes it and checks that it says what
the row says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from byreport import facts as facts_
from byreport.brief import brief
from byreport.decision import decide
from byreport.engine import Engine, Handles
from byreport.facts import Facts
from byreport.jsontext import dumps
from byreport.rulebook import Rulebook
from byreport.template import Form, Template


class RowError(ValueError):
    """A row that can't be opened: it is none, or the rulebook is another, or it says what the rules do not say."""


@dataclass(frozen=True, eq=False)
class Brief:
    """What rows and sums need of the decision on a situation; its template holds far more."""

    form: Form
    counted: tuple[str, str, tuple[str, ...]]
    """Outcome, authorization and denials."""


def brief_of(template: Template) -> Brief:
    """The decision on a situation in brief."""
    return Brief(template.brief, (template.outcome, template.authorization, template.denials))


class Row(NamedTuple):
    """What the row of a line is made of."""

    line: int
    decision_id: str
    decided_at: str
    payer: str
    brief: Brief
    facts: Facts


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a row as `facts.stored` gives them. Raises what that raises, and KeyError."""
    part = row["facts"]
    return facts_.stored(json.loads(part) if isinstance(part, str) else part, row["payer"])


class Rows:
    """Makes rows of decisions under one rulebook."""

    def __init__(self, rulebook: str) -> None:
        self.rulebook = rulebook
        self._payers: dict[str, str] = {}

    def outcome_text(self, row: Row) -> str:
        """The row as JSON, but for the facts and the closing bracket."""
        line, decision_id, decided_at, payer, held, facts = row
        common = self._payers.get(payer)
        if common is None:
            common = self._payers[payer] = f'"rulebook":"{self.rulebook}","payer":{dumps(payer)},'
        return (
            f'{{"line":{line},"decision_id":"{decision_id}","decided_at":"{decided_at}",'
            f"{common}{held.form.render(facts)[1:-1]}"
        )


def open_row(row: Mapping[str, Any], rulebook: Rulebook) -> dict[str, Any]:
    """The whole decision that a row stands for, explanations included.

    Raises RowError when the rulebook is not the row's, or the facts and the rules do not give what the row says.
    """
    try:
        stated = row["rulebook"]
        facts = facts_.of_stored(facts_of(row), rulebook.vocabulary)
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
    part = json.loads(dumps(brief(body, [entry["rule"] for entry in body["fired"]])))
    differing = [name for name in part if part[name] != row.get(name)]
    if differing:
        raise RowError(f"the row does not say what its facts and rules give: {', '.join(differing)}")
    return decision.as_dict(row["decision_id"], row["decided_at"])


__all__ = ["Row", "RowError", "Rows", "facts_of", "open_row"]
