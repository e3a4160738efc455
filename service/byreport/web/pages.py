"""The pages for people: check a line, read a decision, search the log, look at payers and rules, try an edit.

Every page is made on the server and works without script. Views find what is asked for, call the core, and render.
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request, url_for

from byreport import facts as facts_
from byreport import payers, render
from byreport.argument import Argument, Requirement, argument, condition_text, graph, requirements, shown
from byreport.claim import ClaimError
from byreport.docket import Docket
from byreport.facts import Facts
from byreport.findings import RulebookError, nearest
from byreport.log import Filters, LogError, Record
from byreport.rule import All, AnyOf, Condition, Not, Rule, Source, Test, tests
from byreport.rulebook import Rulebook, UnknownPayer
from byreport.ruledata import conclusion_data
from byreport.web import drawing, forms, overview, problems, trial
from byreport.web.problems import Problem

PAGE = 50
"""Decisions on one page of the log."""

ASKED = 6
"""Questions put at a time."""

_DECISION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATES = tuple(overview.STATES.items())


# --- every page ------------------------------------------------------------------------------------------------------


def blueprint(docket: Docket) -> Blueprint:
    """The pages on one docket."""
    pages = Blueprint("pages", __name__)
    for name, made in (("shown", shown), ("web_link", web_link), ("day", _day), ("words", _words)):
        pages.add_app_template_filter(made, name)
    pages.before_request(_same_origin)
    pages.after_request(_finished)
    pages.register_error_handler(Exception, _problem_page)
    _check_routes(pages, docket)
    _decision_routes(pages, docket)
    _log_routes(pages, docket)
    _policy_routes(pages, docket)
    _workbench_routes(pages, docket)
    return pages


def web_link(url: str | None) -> str | None:
    """The address if it leads to the web and may be a link, else None."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def _day(moment: str | None) -> str:
    """A moment of the log to the minute."""
    return f"{moment[:10]} {moment[11:16]} UTC" if moment and len(moment) > 16 else moment or ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def _same_origin() -> None:
    """Refuse what another site makes a browser send. Browsers say where a POST comes from; nothing else posts here."""
    if request.method != "POST":
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site != "same-origin" if site is not None else origin != request.host_url.rstrip("/"):
        raise Problem(403, "bad-request", "send the form from the page itself; programs use /v1/decisions")


def _finished(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    # Browsers send no origin along with a form where the policy is no-referrer; other sites still learn nothing.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _problem_page(error: Exception) -> tuple[str, int] | Response:
    problem = problems.of(error)
    if request.headers.get("X-Part"):
        return problems.response(error)
    return render_template("problem.html", problem=problem, title=problems.KINDS[problem.kind]), problem.status


# --- check a line ----------------------------------------------------------------------------------------------------


def _check_routes(pages: Blueprint, docket: Docket) -> None:
    @pages.get("/")
    def check() -> str:
        warm(docket)
        decision_id = request.args.get("decision")
        if decision_id is None:
            given = {name: request.args[name] for name in forms.FIRST if name in request.args}
            return _check_page(docket, given)
        record = _record(docket, decision_id)
        return _check_page(docket, forms.flat(json.loads(record.claim)), record)

    @pages.post("/")
    def checked() -> Any:
        rulebook = docket.desk.rulebook
        given = forms.given(request.form, rulebook.vocabulary)
        given["payer"] = payer_path(rulebook, given["payer"])
        claim = forms.claim_line(given)
        try:
            decided = docket.decide(claim)
        except ClaimError as error:
            return _check_page(docket, given, faults=error.problems), 400
        except UnknownPayer as error:
            return _check_page(docket, given, faults={"payer": _no_payer(rulebook, error)}), 400
        text = docket.record([decided], [claim])[0]
        answered = set(given)
        passed = [name for name in request.form.getlist("asked") if name not in answered]
        decision_id = json.loads(text)["decision_id"]
        return redirect(url_for("pages.check", decision=decision_id, passed=passed) + "#decision", 303)


def payer_path(rulebook: Rulebook, text: str) -> str:
    """The path of a payer given by its path or name; the text itself where it names none."""
    names = payer_names(rulebook)
    if text in names:
        return text
    wanted = " ".join(text.casefold().split())
    exact = [path for path, name in names.items() if wanted in (name.casefold(), path.casefold())]
    found = exact or [path for path, name in names.items() if wanted and name.casefold().startswith(wanted)]
    return found[0] if len(found) == 1 else text


def _no_payer(rulebook: Rulebook, error: UnknownPayer) -> str:
    """What to say of a payer that is not known, with those of a name like it."""
    named = payer_names(rulebook)
    by_name = {f"{name} ({path})" for path, name in named.items()}
    near = nearest(error.path, by_name, 3) or error.near
    return "no payer of that name or path is on file" + (f"; near it: {'; '.join(near)}" if near else "")


@lru_cache(maxsize=2)
def payer_names(rulebook: Rulebook) -> dict[str, str]:
    """Every payer that a claim line may name, by path; `medicare/XX` is the contractor of a state."""
    named = {
        path: (policy.name if policy else path) for path in rulebook.payers() for policy in [rulebook.policy(path)]
    }
    contractors = {f"medicare/{code}": f"Original Medicare in {state} (its contractor)" for code, state in _STATES}
    return {**named, **contractors}


@dataclass(frozen=True)
class _Form:
    first: list[forms.Field]
    answered: list[forms.Field]
    asked: list[forms.Field]
    others: list[forms.Field]
    faulty: list[forms.Field]
    decides: Mapping[str, list[str]]


def _form(
    docket: Docket, given: Mapping[str, Any], questions: Sequence[Mapping[str, Any]], faults: Mapping[str, str]
) -> _Form:
    vocab = docket.desk.rulebook.vocabulary
    by_fact = {question["fact"]: question for question in questions}

    def made(name: str) -> forms.Field:
        question = by_fact.get(name, {})
        return forms.field(name, vocab, given, faults, question.get("ask"), question.get("candidates", ()))

    passed = set(request.args.getlist("passed"))
    left = [name for name in by_fact if name not in forms.FIRST and name not in given]
    asked = [name for name in left if name not in passed][:ASKED]
    first = [made(name) for name in forms.FIRST]
    answered = [made(fact.name) for fact in vocab.claim_facts() if fact.name in given and fact.name not in forms.FIRST]
    return _Form(
        first=first,
        answered=answered,
        asked=[made(name) for name in asked],
        others=[made(name) for name in left if name not in asked],
        faulty=[one for one in (*first, *answered) if one.problem],
        decides={name: [render.DECIDES.get(part, part) for part in q["would_decide"]] for name, q in by_fact.items()},
    )


def _check_page(
    docket: Docket, given: Mapping[str, Any], record: Record | None = None, faults: Mapping[str, str] | None = None
) -> str:
    decision = json.loads(record.decision) if record else None
    questions = decision["questions"] if decision else ()
    context: dict[str, Any] = {}
    if decision is not None and record is not None:
        context = _said(decision, docket.desk.rulebook.vocabulary) | {"stored": json.loads(record.facts)["facts"]}
    return render_template(
        "check.html",
        form=_form(docket, given, questions, faults or {}),
        payers=payer_names(docket.desk.rulebook),
        decision=decision,
        record=record,
        passed=request.args.getlist("passed"),
        **context,
    )


# --- a decision ------------------------------------------------------------------------------------------------------


def _record(docket: Docket, decision_id: str) -> Record:
    record = docket.log.get(decision_id) if _DECISION_ID.fullmatch(decision_id) else None
    if record is None:
        raise Problem(404, "unknown-decision", "the log has no decision with this id")
    return record


_TO_DO = ("exclusion", "conflict", "edit", "document", "authorization")


def _said(decision: Mapping[str, Any], vocab: Any, found: Sequence[Requirement] = ()) -> dict[str, Any]:
    """What every view of a decision shows: its requirements in groups, and the firing of each rule."""
    said = list(found) or list(requirements(decision, vocab))
    return {
        "to_do": [one for one in said if one.kind in _TO_DO],
        "besides": {kind: [one for one in said if one.kind == kind] for kind in ("denial", "price", "deadline")},
        "in_order": [one for one in said if one.kind == "in_order"],
        "doubts": _doubts(decision),
        "firings": {firing["rule"]: firing for firing in decision["fired"]},
        "headline": render.OUTCOMES.get(decision["outcome"], decision["outcome"]),
        "decides": render.DECIDES,
        "cautions": render.CAUTIONS,
        "origins": render.ORIGINS,
    }


def _doubts(decision: Mapping[str, Any]) -> dict[str, list[str]]:
    """The cautions on the age and the hand of sources, which are many, by kind."""
    kinds = ("old_source", "secondary_source")
    return {kind: [one["text"] for one in decision["cautions"] if one["kind"] == kind] for kind in kinds}


@dataclass(frozen=True)
class _Read:
    """A stored decision with everything that the rulebook of its time tells about it."""

    record: Record
    decision: Mapping[str, Any]
    stored: Mapping[str, Any]
    argument: Argument | None
    statements: Mapping[tuple[str, str], str]
    payer: str


class _Rulebooks:
    """The rulebooks of stored decisions, read from the log when first needed; the last few are kept."""

    def __init__(self, docket: Docket, bound: int = 4) -> None:
        self._docket = docket
        self._bound = bound
        self._kept: OrderedDict[str, Rulebook] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, content_hash: str) -> Rulebook:
        """The rulebook of that content hash. Raises LogError."""
        live = self._docket.desk.rulebook
        if live.hash == content_hash:
            return live
        with self._lock:
            if content_hash not in self._kept:
                self._kept[content_hash] = Rulebook.from_archive(self._docket.log.rulebook(content_hash))
                if len(self._kept) > self._bound:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(content_hash)
            return self._kept[content_hash]


def _read(docket: Docket, rulebooks: _Rulebooks, decision_id: str) -> _Read:
    record = _record(docket, decision_id)
    decision, stored = json.loads(record.decision), json.loads(record.facts)
    try:
        rulebook = rulebooks.of(record.rulebook)
        payer = rulebook.payer(record.payer)
    except (LogError, LookupError):  # what the record itself says can still be read
        return _Read(record, decision, stored, None, {}, record.payer)
    facts: Facts = facts_.from_json(stored, rulebook.vocabulary)
    reference = docket.desk.reference
    same = reference if reference.fingerprint == record.reference else None
    made = argument(decision, facts, payer, rulebook.vocabulary, same)
    cited = [payer.by_id[firing["rule"]] for firing in decision["fired"] if firing["rule"] in payer.by_id]
    return _Read(record, decision, stored, made, statements(rulebook, payer.chain, cited), payer.name)


def statements(rulebook: Rulebook, chain: Sequence[str], rules: Sequence[Rule]) -> dict[tuple[str, str], str]:
    """The text of each statement that the rules cite, by (document, statement); the chain's documents come first."""
    wanted = {(source.document, source.statement) for rule in rules for source in rule.sources}
    found: dict[tuple[str, str], str] = {}
    for path in (*chain, *(path for path in rulebook.paths() if path not in chain)):
        if wanted <= found.keys():
            break
        policy = rulebook.policy(path)
        for document, statement in policy.statements() if policy else ():
            key = document.id, statement.id
            if key in wanted:
                found.setdefault(key, statement.text)
    return found


def _decision_routes(pages: Blueprint, docket: Docket) -> None:
    rulebooks = _Rulebooks(docket)

    def context(read: _Read) -> dict[str, Any]:
        found = read.argument
        vocab = docket.desk.rulebook.vocabulary
        return {
            "record": read.record,
            "decision": read.decision,
            "stored": read.stored["facts"],
            "argument": found,
            "same_reference": docket.desk.reference.fingerprint == read.record.reference,
            "drawing": drawing.draw(found.graph if found else graph(read.decision)),
            "statements": read.statements,
            "payer_name": read.payer,
            **_said(read.decision, vocab, found.requirements if found else ()),
        }

    @pages.get("/decisions/<decision_id>")
    def decision(decision_id: str) -> str:
        return render_template("decision.html", **context(_read(docket, rulebooks, decision_id)))

    @pages.get("/decisions/<decision_id>/decision.html")
    def decision_file(decision_id: str) -> Response:
        """The decision as one file without anything outside it, to keep or to print."""
        page = render_template("decision_file.html", style=_style(), **context(_read(docket, rulebooks, decision_id)))
        return _download(_by_itself(page), "text/html", f"decision-{decision_id}.html")

    @pages.get("/decisions/<decision_id>/decision.json")
    def decision_json(decision_id: str) -> Response:
        """The whole record with its argument."""
        read = _read(docket, rulebooks, decision_id)
        data = {
            **{
                name: value for name, value in asdict(read.record).items() if name not in ("facts", "claim", "decision")
            },
            "claim": json.loads(read.record.claim),
            "facts": read.stored,
            "decision": read.decision,
            "argument": asdict(read.argument) if read.argument else None,
        }
        text = json.dumps(data, ensure_ascii=False, indent=2)
        return _download(text, "application/json", f"decision-{decision_id}.json")


_LINK = re.compile(r'<a(?: class="code")? href="/(rules|payers)/([^"]*)">(.*?)</a>')


def _by_itself(page: str) -> str:
    """A page without the service: links to rules lead to the firing in the page, or are no links."""

    def changed(link: re.Match[str]) -> str:
        kind, name, text = link.groups()
        anchor = f"rule-{name}"
        return f'<a class="code" href="#{anchor}">{text}</a>' if kind == "rules" and f'id="{anchor}"' in page else text

    return _LINK.sub(changed, page)


def _download(text: str, mimetype: str, name: str) -> Response:
    return Response(text, mimetype=mimetype, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@lru_cache(maxsize=1)
def _style() -> str:
    return (Path(__file__).parent / "static" / "pages.css").read_text(encoding="utf-8")


# --- the log ---------------------------------------------------------------------------------------------------------

_FILTERS = (
    "payer", "date_of_service_from", "date_of_service_to", "code_billed", "code_recommended", "drug_name", "outcome",
    "pa_status", "rulebook",
)  # fmt: skip
_COLUMNS = (
    "decided_at", "decision_id", "payer", "date_of_service", "code_billed", "code_recommended", "drug_name", "outcome",
    "pa_status", "charge", "rulebook", "fired",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _asked_filters(rulebook: Rulebook) -> tuple[dict[str, str], Filters, list[str] | None]:
    """The search as sent, as the log takes it, and the rules looked for (a table stands for its rows)."""
    sent = {name: request.args.get(name, "").strip() for name in (*_FILTERS, "rule")}
    values = {name: sent[name] or None for name in _FILTERS}
    if sent["payer"]:
        values["payer"] = payer_path(rulebook, sent["payer"])
    for name in ("code_billed", "code_recommended"):
        values[name] = sent[name].upper() or None
    for name in ("date_of_service_from", "date_of_service_to"):
        if values[name] is not None:
            _check_day(name, sent[name])
    rules = [rule.id for rule in rulebook.rule(sent["rule"])] or [sent["rule"]] if sent["rule"] else None
    return sent, Filters(**values), rules


def _check_day(name: str, text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "bad-request", f"{_words(name)} has to be a date YYYY-MM-DD") from None


def search(
    docket: Docket, filters: Filters, rules: Sequence[str] | None, limit: int, before: int | None
) -> list[Record]:
    """The latest matching decisions, newest first; of several rules those in which any of them fired."""
    if rules is None:
        return docket.log.search(filters, limit, before)
    if len(rules) == 1:
        return docket.log.search(_with_rule(filters, rules[0]), limit, before)
    pages = [docket.log.search(_with_rule(filters, rule), limit, before) for rule in rules]
    merged = heapq.merge(*pages, key=lambda record: -record.seq)
    found = {record.seq: record for record in merged}
    return list(found.values())[:limit]


def _with_rule(filters: Filters, rule: str) -> Filters:
    return Filters(**{**vars(filters), "rule": rule})


def _before() -> int | None:
    text = request.args.get("before", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Problem(400, "bad-request", "`before` has to be the number of a record")
    return int(text)


def _log_routes(pages: Blueprint, docket: Docket) -> None:
    @pages.get("/log")
    def log() -> str:
        rulebook = docket.desk.rulebook
        sent, filters, rules = _asked_filters(rulebook)
        found = search(docket, filters, rules, PAGE + 1, _before())
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
        first = search(docket, filters, rules, 500, None)  # a log that does not answer is a problem, not half a file
        return Response(
            _csv(docket, filters, rules, first),
            mimetype="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="decisions.csv"'},
        )


def _csv(docket: Docket, filters: Filters, rules: Sequence[str] | None, records: list[Record]) -> Iterator[str]:
    yield _csv_lines([_COLUMNS])
    while records:
        yield _csv_lines([_csv_values(record) for record in records])
        if len(records) < 500:
            return
        records = search(docket, filters, rules, 500, records[-1].seq)


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


# --- payers and rules ------------------------------------------------------------------------------------------------

_overviews: dict[tuple[str, str], list[overview.Known]] = {}
_overview_lock = threading.Lock()


def known_payers(rulebook: Rulebook, on: date) -> list[overview.Known]:
    """What is known of every payer on a day, worked out once a day for each rulebook.

    Payers whose files are faulty are left out; raises nothing for them.
    """
    key = rulebook.hash, on.isoformat()
    with _overview_lock:
        if key not in _overviews:
            _overviews.clear()
            _overviews[key] = list(_known(rulebook, on))
        return _overviews[key]


def _known(rulebook: Rulebook, on: date) -> Iterator[overview.Known]:
    for path in rulebook.payers():
        try:
            yield overview.known(rulebook, path, on)
        except RulebookError:
            continue


_warming: set[str] = set()


def warm(docket: Docket) -> None:
    """Read what the pages on payers need, in the background, once for each rulebook."""
    rulebook = docket.desk.rulebook
    if rulebook.hash not in _warming:
        _warming.add(rulebook.hash)
        threading.Thread(target=known_payers, args=(rulebook, date.today()), daemon=True).start()


@dataclass(frozen=True)
class _Line:
    """One line of a condition, indented by `depth`."""

    depth: int
    text: str


def condition_lines(condition: Condition, depth: int = 0) -> Iterator[_Line]:
    """A condition as indented lines."""
    if isinstance(condition, Test):
        yield _Line(depth, condition.shown)
    elif isinstance(condition, Not):
        yield _Line(depth, "not")
        yield from condition_lines(condition.item, depth + 1)
    elif not condition.items:
        yield _Line(depth, "never" if isinstance(condition, AnyOf) else "always")
    elif isinstance(condition, All) and depth == 0:
        for item in condition.items:
            yield from condition_lines(item, depth)
    else:
        yield _Line(depth, "any of" if isinstance(condition, AnyOf) else "all of")
        for item in condition.items:
            yield from condition_lines(item, depth + 1)


def _policy_routes(pages: Blueprint, docket: Docket) -> None:
    @pages.get("/payers")
    def payer_list() -> str:
        found = known_payers(docket.desk.rulebook, date.today())
        by_path = {one.path: one for one in found}
        tiles = [(state, column, row, by_path.get(f"medicaid/{state}")) for state, column, row in overview.TILES]
        states = {f"medicaid/{state}" for state, _ in _STATES}
        return render_template(
            "payers.html",
            tiles=tiles,
            kinds=overview.KINDS,
            brief=overview.BRIEF,
            signs=overview.SIGNS,
            state_names=overview.STATES,
            groups={
                "Medicare contractors and national policy": [one for one in found if one.path.startswith("medicare/")],
                "Medicaid plans and federal rules": [
                    one for one in found if one.path.startswith("medicaid/") and one.path not in states
                ],
                "Private payers, TRICARE and VA": [one for one in found if one.path.startswith("private/")],
            },
            today=date.today().isoformat(),
        )

    @pages.get("/payers/<path:path>")
    def payer(path: str) -> str:
        rulebook = docket.desk.rulebook
        found = payers.payer(rulebook, path)
        own = [rule for rule in found.rules if rule.ruleset == path]
        cited = {rule for document in found.documents for line in document.statements for rule in line.rules}
        return render_template(
            "payer.html",
            payer=found,
            own=own,
            apart=[rule for rule in own if not _cites(rule.id, cited)],
            titles={rule.id: rule.title for rule in found.rules},
            inherited=[rule for rule in found.rules if rule.ruleset != path],
            decides=render.DECIDES,
            below=[other for other in rulebook.payers() if other.startswith(f"{path}/")],
            names=payer_names(rulebook),
        )

    @pages.get("/rules/<path:rule_id>")
    def rule(rule_id: str) -> str:
        rulebook = docket.desk.rulebook
        found = rulebook.rule(rule_id)
        if not found:
            raise Problem(404, "unknown-rule", "no rule or table has this id; a payer's page lists its rules")
        return render_template("rule.html", **_rule_context(docket, rulebook, rule_id, found))


def _cites(rule_id: str, cited: set[str]) -> bool:
    return any(other == rule_id or other.startswith(f"{rule_id}:") for other in cited)


def _rule_context(docket: Docket, rulebook: Rulebook, rule_id: str, found: Sequence[Rule]) -> dict[str, Any]:
    first = found[0]
    is_table = not (len(found) == 1 and first.id == rule_id)
    sources = dict.fromkeys(source for rule in found for source in rule.sources)
    return {
        "rule_id": rule_id,
        "rules": found,
        "first": first,
        "is_table": is_table,
        "conditions": {rule.id: list(condition_lines(rule.when)) for rule in found},
        "in_one_line": {rule.id: condition_text(rule.when) for rule in found},
        "conclusions": {rule.id: [_conclusion_text(rule, n) for n in range(len(rule.then))] for rule in found},
        "sources": [source.as_dict() for source in sources],
        "statements": statements(rulebook, [first.ruleset], found),
        "examples": first.examples,
        "versions": versions(rulebook, first),
        "history": rule_history(docket, rulebook, first.ruleset, rule_id, found),
        "records": search(docket, Filters(), [rule.id for rule in found], 10, None),
        "source_text": source_text(rulebook, first),
        "verbs": _verbs(),
    }


def _verbs() -> Mapping[str, str]:
    from byreport.verbs import VERBS

    return {name: verb.meaning for name, verb in VERBS.items()}


def _conclusion_text(rule: Rule, number: int) -> tuple[str, str]:
    """A conclusion as (verb, settings)."""
    data = conclusion_data(rule.then[number])
    settings = [f"{name}: {shown(value)}" for name, value in data["settings"].items() if value is not None]
    return data["verb"], "; ".join(settings)


def source_text(rulebook: Rulebook, rule: Rule) -> str:
    """The rule as its file writes it: from its line to the next rule's."""
    lines = rulebook.files.get(rule.file, b"").decode("utf-8", "replace").splitlines()
    start = max(rule.line - 1, 0)
    if start >= len(lines):
        return ""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and not _ends_entry(lines[end], indent):
        end += 1
    return "\n".join(line[indent:] if not line[:indent].strip() else line for line in lines[start:end]).rstrip()


def _ends_entry(line: str, indent: int) -> bool:
    """Whether a line of a YAML list begins the next entry, or leaves the list."""
    stripped = line.strip()
    if not stripped:
        return False
    depth = len(line) - len(line.lstrip())
    return depth < indent or (depth == indent and (stripped.startswith(("- ", "#"))))


def versions(rulebook: Rulebook, rule: Rule) -> list[Rule]:
    """The rules of the ruleset that say of the same facts the same kind of thing for other dates of service.

    Two versions of a policy are two rules; the rule itself is among them. Empty when there is no other.
    """

    def kind(other: Rule) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(test.fact for test in tests(other.when)), frozenset(c.verb for c in other.then)

    near = {other.id: other for other in rulebook.ruleset(rule.ruleset) if kind(other) == kind(rule)}
    linked = [other for other in near.values() if _same_policy(other, rule)]
    dated = {other.table or other.id: other for other in linked}
    spans = {(other.effective_from, other.effective_to) for other in dated.values()}
    return sorted(dated.values(), key=lambda other: (other.effective_from or "", other.id)) if len(spans) > 1 else []


def _same_policy(one: Rule, other: Rule) -> bool:
    """Whether two rules speak for one policy: they cite one statement, or one overrides the other, or dates differ."""
    named = one.id in other.overrides or other.id in one.overrides
    return bool(_cited(one) & _cited(other)) or named or _stem(one.id) == _stem(other.id)


def _cited(rule: Rule) -> set[tuple[str, str]]:
    return {(source.document, source.statement) for source in rule.sources}


def _stem(rule_id: str) -> str:
    """A rule's id without what tells its versions apart: a year or date, before, until, since."""
    return re.sub(r"[.-](?:before|until|since|from|to)?-?[0-9]{4}.*$", "", rule_id)


@dataclass(frozen=True)
class _Edition:
    """One rulebook of the log: since when it decided, and what it makes of a rule: same, other or absent."""

    hash: str
    first_used: str
    state: str


EDITIONS = 12
"""Rulebooks of the log that the history of a rule looks at, the latest ones."""


def rule_history(docket: Docket, live: Rulebook, ruleset: str, rule_id: str, found: Sequence[Rule]) -> list[_Edition]:
    """How the latest rulebooks that decided have the rule, latest first, compared with the live one."""
    now = _essence(found)
    kept = [one for one in docket.log.rulebooks() if one.first_used is not None][-EDITIONS:]
    editions = []
    for one in reversed(kept):
        then = now if one.hash == live.hash else _essence(_rules_then(docket, one.hash, ruleset, rule_id))
        state = "same" if then == now else "other" if then else "absent"
        editions.append(_Edition(one.hash, one.first_used or "", state))
    return editions


def _essence(rules: Sequence[Rule]) -> tuple[Any, ...]:
    """What a rule says, without where it stands in its file."""
    return tuple(
        (rule.id, rule.title, condition_text(rule.condition), tuple(map(str, rule.then)), tuple(_sources(rule.sources)))
        for rule in rules
    )


def _sources(sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    return ((source.document, source.statement) for source in sources)


@lru_cache(maxsize=256)
def _rules_then(docket: Docket, content_hash: str, ruleset: str, rule_id: str) -> tuple[Rule, ...]:
    try:
        rulebook = Rulebook.from_archive(docket.log.rulebook(content_hash))
    except LogError:
        return ()
    return tuple(rule for rule in rulebook.ruleset(ruleset) if rule_id in (rule.id, rule.table))


# --- the workbench ---------------------------------------------------------------------------------------------------


def _workbench_routes(pages: Blueprint, docket: Docket) -> None:
    def page(file: str, text: str, claim: str, found: trial.Trial | None = None) -> str:
        files = [name for name in docket.desk.rulebook.files if name.startswith("rules/")]
        return render_template(
            "workbench.html", files=files, file=file, text=text, claim=claim, trial=found, limit=trial.MAX_TEXT
        )

    @pages.get("/workbench")
    def workbench() -> str:
        files = docket.desk.rulebook.files
        file, decision_id = request.args.get("file", ""), request.args.get("decision")
        if file and not (file.startswith("rules/") and file in files):
            raise Problem(404, "not-found", "no rule file has this name")
        claim = json.loads(_record(docket, decision_id).claim) if decision_id else trial.example_claim(file)
        text = files[file].decode("utf-8", "replace") if file else ""
        return page(file, text, trial.claim_text(claim))

    @pages.post("/workbench/try")
    def tried() -> str:
        sent = {name: request.form.get(name, "").replace("\r\n", "\n") for name in ("file", "text", "claim")}
        found = trial.try_edit(docket, **sent)
        if request.headers.get("X-Part") == "trial":
            return render_template("_trial.html", trial=found)
        return page(sent["file"], sent["text"], sent["claim"], found)
