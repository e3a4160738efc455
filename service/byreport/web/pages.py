"""The pages for people: check a line, read a decision, search the log, look at payers and rules, try an edit.

Every page is made on the server and works without script. Views find what is asked for, call the core, and render.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request, url_for

from byreport import facts as facts_
from byreport import render
from byreport.argument import Argument, Requirement, argument, graph, requirements, shown
from byreport.claim import ClaimError
from byreport.docket import Docket
from byreport.facts import Facts
from byreport.log import LogError, Record
from byreport.rulebook import Rulebook, UnknownPayer
from byreport.web import drawing, forms, log_pages, policy_pages, problems, trial
from byreport.web.naming import no_payer, payer_names, payer_path
from byreport.web.policy_pages import statements, warm
from byreport.web.problems import Problem

ASKED = 6
"""Questions put at a time."""

_DECISION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
    log_pages.add(pages, docket)
    policy_pages.add(pages, docket)
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
            return _check_page(docket, given, faults={"payer": no_payer(rulebook, error)}), 400
        text = docket.record([decided], [claim])[0]
        answered = set(given)
        passed = [name for name in request.form.getlist("asked") if name not in answered]
        decision_id = json.loads(text)["decision_id"]
        return redirect(url_for("pages.check", decision=decision_id, passed=passed) + "#decision", 303)


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
        stored = facts_.stored(json.loads(record.facts), record.payer)
        context = _said(decision, docket.desk.rulebook.vocabulary) | {"stored": stored["facts"]}
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
    decision, stored = json.loads(record.decision), facts_.stored(json.loads(record.facts), record.payer)
    try:
        rulebook = rulebooks.of(record.rulebook)
        payer = rulebook.payer(record.payer)
    except (LogError, LookupError):  # what the record itself says can still be read
        return _Read(record, decision, stored, None, {}, record.payer)
    facts: Facts = facts_.of_stored(stored, rulebook.vocabulary)
    reference = docket.desk.reference
    same = reference if reference.fingerprint == record.reference else None
    made = argument(decision, facts, payer, rulebook.vocabulary, same)
    cited = [payer.by_id[firing["rule"]] for firing in decision["fired"] if firing["rule"] in payer.by_id]
    return _Read(record, decision, stored, made, statements(rulebook, payer.chain, cited), payer.name)


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
