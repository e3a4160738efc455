"""The pages on payers and rules: the map, a payer, a rule with its history."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from flask import Blueprint, render_template

from byreport import payers, render
from byreport.argument import condition_text, shown
from byreport.docket import Docket
from byreport.findings import RulebookError
from byreport.log import Filters, LogError
from byreport.rule import All, AnyOf, Condition, Not, Rule, Source, Test, tests
from byreport.rulebook import Rulebook
from byreport.ruledata import conclusion_data
from byreport.verbs import VERBS
from byreport.web import overview
from byreport.web.naming import payer_names
from byreport.web.problems import Problem

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


def add(pages: Blueprint, docket: Docket) -> None:
    """Add the pages to the blueprint."""

    @pages.get("/payers")
    def payer_list() -> str:
        found = known_payers(docket.desk.rulebook, date.today())
        by_path = {one.path: one for one in found}
        tiles = [(state, column, row, by_path.get(f"medicaid/{state}")) for state, column, row in overview.TILES]
        states = {f"medicaid/{state}" for state in overview.STATES}
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
        "records": docket.log.search(Filters(), 10, None, [rule.id for rule in found]),
        "source_text": source_text(rulebook, first),
        "verbs": {name: verb.meaning for name, verb in VERBS.items()},
    }


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
