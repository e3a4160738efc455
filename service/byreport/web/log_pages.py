"""The pages on the decision log: search, and the result as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from flask import Blueprint, Response, render_template, request

from byreport import render
from byreport.docket import Docket
from byreport.log import Filters, Record
from byreport.rulebook import Rulebook
from byreport.web.naming import payer_names, payer_path
from byreport.web.problems import Problem

PAGE = 50
"""Decisions on one page."""

_DATES = ("date_of_service_from", "date_of_service_to", "decided_from", "decided_to")
_FILTERS = (
    *("payer", "code_billed", "code_recommended", "drug_name", "outcome", "pa_status", "rulebook"),
    *_DATES,
)
_COLUMNS = (
    "decided_at", "decision_id", "payer", "date_of_service", "code_billed", "code_recommended", "drug_name", "outcome",
    "pa_status", "charge", "rulebook", "fired",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _asked_filters(rulebook: Rulebook) -> tuple[dict[str, str], Filters, list[str]]:
    """The search as sent, as the log takes it, and the rules looked for (a table stands for its rows)."""
    sent = {name: request.args.get(name, "").strip() for name in (*_FILTERS, "rule")}
    values = {name: sent[name] or None for name in _FILTERS}
    values["payer_below"] = payer_path(rulebook, sent["payer"]) if sent["payer"] else None
    del values["payer"]
    for name in ("code_billed", "code_recommended"):
        values[name] = sent[name].upper() or None
    for name in _DATES:
        if values[name] is not None:
            _check_day(name, sent[name])
    return sent, Filters(**values), _rules(rulebook, sent["rule"])


def _rules(rulebook: Rulebook, name: str) -> list[str]:
    """The rule of that id, or the rows of the table; none when there is no name."""
    return [rule.id for rule in rulebook.rule(name)] or [name] if name else []


def _check_day(name: str, text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "bad-request", f"{name.replace('_', ' ')} has to be a date YYYY-MM-DD") from None


def _before() -> int | None:
    text = request.args.get("before", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Problem(400, "bad-request", "`before` has to be the number of a record")
    return int(text)


def add(pages: Blueprint, docket: Docket) -> None:
    """Add the pages to the blueprint."""

    @pages.get("/log")
    def log() -> str:
        rulebook = docket.desk.rulebook
        sent, filters, rules = _asked_filters(rulebook)
        found = docket.log.search(filters, PAGE + 1, _before(), rules)
        asked = {name: value for name, value in sent.items() if value}
        return render_template(
            "log.html",
            records=found[:PAGE],
            following=found[PAGE - 1].seq if len(found) > PAGE else None,
            paged=_before() is not None,
            asked=asked,
            sent=sent,
            size=docket.log.head()[0],
            payers=payer_names(rulebook),
            outcomes=render.OUTCOMES,
            statuses=["on_file", *rulebook.vocabulary.lists["prior_authorization"]],
        )

    @pages.get("/log.csv")
    def log_csv() -> Response:
        _, filters, rules = _asked_filters(docket.desk.rulebook)
        first = docket.log.search(filters, 500, None, rules)  # a log that does not answer is a problem, not half a file
        return Response(
            _csv(docket, filters, rules, first),
            mimetype="text/csv",
            headers={"Content-Disposition": 'attachment; filename="decisions.csv"'},
        )


def _csv(docket: Docket, filters: Filters, rules: Sequence[str], records: list[Record]) -> Iterator[str]:
    yield _csv_lines([_COLUMNS])
    while records:
        yield _csv_lines([_csv_values(record) for record in records])
        if len(records) < 500:
            return
        records = docket.log.search(filters, 500, records[-1].seq, rules)


def _csv_values(record: Record) -> list[str]:
    values = {**vars(record), "fired": " ".join(record.fired)}
    if record.charge is not None:
        values["charge"] = f"{record.charge / 100:.2f}"
    return [_cell(values[name]) for name in _COLUMNS]


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_lines(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
