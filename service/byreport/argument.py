"""A decision as an argument: what it asks for, its derivation, what nearly fired, what answers would change.

Plain data for the pages and for export. What a stored decision says is taken from it as it stands; rules that did
not fire and answers not given are worked out from its facts under the rulebook of its time, by the naive evaluator.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from byreport.chain import Verdict, chain, truth
from byreport.decision import argue
from byreport.facts import GIVEN, Facts, build
from byreport.reference import Reference
from byreport.rule import AnyOf, Conclusion, Condition, Not, Rule, Test, conjuncts, tests
from byreport.rulebook import PayerRules
from byreport.ruledata import conclusion_data
from byreport.standing import standings
from byreport.vocabulary import Fact, Vocabulary

MAX_TRIED = 400
"""Answers tried for one decision; each is a decision of its own, of about two milliseconds."""


@dataclass(frozen=True)
class Requirement:
    """One thing that the decision asks for or says.

    `kind` is exclusion, conflict, edit, document, authorization, denial, price, deadline or in_order; `text` says what
    to do, `place` where on the claim, `rules` which rules say so.
    """

    kind: str
    text: str
    place: str
    note: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One box of the graph. `kind` is fact, unknown, rule, derived or part; `name` is a fact, rule id or part."""

    id: str
    kind: str
    name: str
    text: str
    column: int


@dataclass(frozen=True)
class Graph:
    """What was derived from what: boxes in columns from left to right, and arrows (id, id) between them."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NearMiss:
    """A rule that did not fire because of one condition alone.

    `failed` is that condition, `found` maps each fact it tests to the value it has. Rows of one table that failed on
    the same facts are one entry: `rows` counts them, `rule` is the table.
    """

    rule: str
    title: str
    ruleset: str
    rows: int
    failed: str
    found: Mapping[str, Any]
    would_conclude: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a question's answer alone would change; `answers` are the values that change the same."""

    answers: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """An unknown fact that could change the decision: the question, the rules that wait for it, and what answers do.

    `answers` is empty for facts with more values than can be tried, and without reference data.
    """

    fact: str
    ask: str
    would_decide: tuple[str, ...]
    waiting: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Argument:
    """The whole argument of one decision."""

    requirements: tuple[Requirement, ...]
    graph: Graph
    near: tuple[NearMiss, ...]
    unknown: tuple[Unknown, ...]


def argument(
    decision: Mapping[str, Any], facts: Facts, payer: PayerRules, vocab: Vocabulary, reference: Reference | None
) -> Argument:
    """The argument of a stored decision, from its facts and the payer's rules of its time.

    An answer may bring other facts from reference data, or take them away; without the `reference` of the decision's
    time no answers are tried.
    """
    verdict = chain(payer, facts.keys)
    return Argument(
        requirements=tuple(requirements(decision, vocab)),
        graph=graph(decision),
        near=tuple(near_misses(payer, facts, verdict)),
        unknown=tuple(unknowns(decision, payer, facts, vocab, reference)),
    )


# --- what it asks for ------------------------------------------------------------------------------------------------

_AUTHORIZATION = {
    "required": "Get prior authorization before the drug is given, and put its number on the claim.",
    "conditional": "Find out whether this case needs prior authorization.",
    "unknown": "Ask whether prior authorization is needed.",
    "on_file": "Prior authorization: its number is on the claim.",
    "not_required": "Prior authorization: published policy says that none is needed.",
}


def requirements(decision: Mapping[str, Any], vocab: Vocabulary) -> Iterator[Requirement]:
    """What the decision asks for, in the order in which to do it, then what it says besides."""
    for part in decision.get("exclusions", ()):
        yield _requirement("exclusion", f"Do not bill this line to this payer: {part['reason']}", part)
    for part in decision["cautions"]:
        if part["kind"] == "conflict":
            yield _requirement("conflict", f"Settle by hand: {part['text']}", part)
    for part in sorted(decision["edits"], key=lambda edit: edit["field"] != "line.code"):
        yield _requirement("edit", edit_text(part, vocab), part)
    for part in decision["documentation"]:
        if part["status"] == "missing":
            yield _requirement("document", f"Attach or write down: {part['label']}", part)
    authorization = decision["prior_authorization"]
    settled = authorization["status"] in ("on_file", "not_required")
    said = Requirement(
        "in_order" if settled else "authorization",
        _AUTHORIZATION[authorization["status"]],
        "" if settled else vocab.where("prior_authorization.number", None),
        authorization["how"] if authorization["rules"] or not settled else "",
        tuple(authorization["rules"]),
    )
    yield said
    yield from _said_besides(decision)


def _said_besides(decision: Mapping[str, Any]) -> Iterator[Requirement]:
    code = decision["code"]
    if code["recommended"] is not None and code["recommended"] == code["billed"]:
        yield _requirement("in_order", f"Code {code['billed']} fits the line", code)
    for part in decision["documentation"]:
        if part["status"] == "present":
            yield _requirement("in_order", f"With the line: {part['label']}", part)
    for part in decision["denials"]:
        remark = f", remark {part['rarc']}" if part["rarc"] else ""
        yield _requirement(
            "denial", f"Denied with {part['group']} {part['carc']}{remark}, unless {part['unless']}", part
        )
    pricing = decision["pricing"]
    if pricing["basis"] is not None:
        percent = f"{pricing['percent']} percent of: " if pricing["percent"] else ""
        estimate = f". Estimate: ${pricing['estimate']}" if pricing["estimate"] else ""
        yield _requirement("price", f"{percent}{pricing['label']}{estimate}", pricing)
    for part in decision["deadlines"]:
        day = f", by {part['date']}" if part["date"] else ""
        yield _requirement("deadline", f"{part['text'][:1].upper()}{part['text'][1:]}{day}", part)


def _requirement(kind: str, text: str, part: Mapping[str, Any]) -> Requirement:
    place = part.get("where") if kind in ("edit", "document") else None
    return Requirement(kind, text, place or "", part.get("note") or "", tuple(part["rules"]))


def edit_text(edit: Mapping[str, Any], vocab: Vocabulary) -> str:
    """One change of the line as an instruction."""
    field, found, expected = edit["field"], edit["found"], edit["expected"]
    fact = vocab.facts.get(field)
    name = fact.meaning if fact else field
    if field == "line.code":
        return f"Change the code from {found} to {expected}"
    if field == "line.modifiers":
        return f"Add modifier {expected}" + ("" if found is not None else " unless the line has it (not given)")
    if expected == "filled in":
        return f"Fill in: {name}" + (" (empty on the claim)" if found is not None else "")
    wanted = labelled(expected, fact)
    return f"Fill in: {name}: {wanted}" if found in (None, "") else f"Change from {found} to {wanted}: {name}"


def labelled(expected: str, fact: Fact | None) -> str:
    """Values of a choice with their labels, other values as they are."""
    labels = (fact.values if fact else None) or {}
    return " or ".join(f"{value} ({labels[value]})" if value in labels else value for value in expected.split(" or "))


# --- what was derived from what ------------------------------------------------------------------------------------

_PARTS = {
    "code": "Code",
    "prior_authorization": "Prior authorization",
    "pricing": "Price",
}


def graph(decision: Mapping[str, Any]) -> Graph:
    """The facts, the rules that fired, what they concluded for other rules, and the parts of the decision."""
    made = _Boxes()
    for firing in decision["fired"]:
        rule = made.box("rule", firing["rule"], firing["title"])
        for reason in firing["because"]:
            if reason["from"] == "concluded":
                derived = made.box("derived", f"{reason['fact']} {json.dumps(reason['is'])}", _derived(reason))
                made.arrow(derived, rule)
                for maker in reason["by"]:
                    made.arrow(made.box("rule", maker, maker), derived)
            else:
                kind = "unknown" if reason["from"] == "unknown" else "fact"
                made.arrow(made.box(kind, reason["fact"], _valued(reason)), rule)
    for name, text, rules in _conclusions(decision):
        part = made.box("part", name, text)
        for rule_id in rules:
            made.arrow(made.box("rule", rule_id, rule_id), part)
    return made.graph()


def _derived(reason: Mapping[str, Any]) -> str:
    return reason["test"] if reason["by"] else f"{reason['test']} (no rule concludes it)"


def _valued(reason: Mapping[str, Any]) -> str:
    return "not known" if reason["from"] == "unknown" else shown(reason["is"])


def shown(value: Any) -> str:
    """A fact's value as text."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != "" else "none"


def _conclusions(decision: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """The parts that rules put into the decision: name, what it says, the rules."""
    code, authorization, pricing = decision["code"], decision["prior_authorization"], decision["pricing"]
    if code["rules"]:
        said = code["recommended"] or " or ".join(code.get("candidates", ())) or "open"
        yield _PARTS["code"], said, code["rules"]
    if authorization["rules"]:
        yield _PARTS["prior_authorization"], authorization["status"].replace("_", " "), authorization["rules"]
    for part in decision.get("exclusions", ()):
        yield "Not billable", part["reason"], part["rules"]
    for part in decision["documentation"]:
        yield f"Document: {part['item'].replace('_', ' ')}", part["status"], part["rules"]
    for part in decision["edits"]:
        if part["field"] != "line.code":
            yield f"Change: {part['field']}", part["expected"], part["rules"]
    for part in decision["denials"]:
        yield f"Denial {part['group']} {part['carc']}", f"unless {part['unless']}", part["rules"]
    if pricing["basis"] is not None:
        percent = f"{pricing['percent']} % of " if pricing["percent"] else ""
        yield _PARTS["pricing"], f"{percent}{pricing['label']}", pricing["rules"]
    for part in decision["deadlines"]:
        yield f"Deadline: {part['what'].replace('_', ' ')}", part["date"] or part["text"], part["rules"]
    for part in decision["cautions"]:
        if part["kind"] == "policy":
            yield "Caution", part["text"], part["rules"]


class _Boxes:
    def __init__(self) -> None:
        self.kinds: dict[str, tuple[str, str, str]] = {}
        self.edges: dict[tuple[str, str], None] = {}

    def box(self, kind: str, name: str, text: str) -> str:
        """The id of a box; a rule named by another rule before its own firing is read takes its title then."""
        key = f"{kind}:{name}" if kind != "part" else f"{kind}:{name}:{text}"
        if key not in self.kinds or self.kinds[key][2] == name:
            self.kinds[key] = (kind, name, text)
        return key

    def arrow(self, start: str, end: str) -> None:
        self.edges[start, end] = None

    def graph(self) -> Graph:
        columns = self._columns()
        nodes = [Node(key, *said, columns[key]) for key, said in self.kinds.items()]
        return Graph(tuple(_untangled(nodes, list(self.edges))), tuple(self.edges))

    def _columns(self) -> dict[str, int]:
        """Facts stand in column 0, everything else to the right of all it follows from, parts in the last column."""
        before: dict[str, list[str]] = defaultdict(list)
        for start, end in self.edges:
            before[end].append(start)
        columns: dict[str, int] = {}

        def place(key: str, seen: frozenset[str]) -> int:
            if key not in columns:
                inputs = [place(other, seen | {key}) for other in before[key] if other not in seen]
                least = 1 if key.startswith("rule:") else 0
                columns[key] = max([least, *(column + 1 for column in inputs)])
            return columns[key]

        for key in self.kinds:
            place(key, frozenset({key}))
        last = max([2, *(columns[key] for key in self.kinds if key.startswith("part:")), *(
            columns[key] + 1 for key in self.kinds if not key.startswith("part:"))])  # fmt: skip
        return {key: last if key.startswith("part:") else column for key, column in columns.items()}


_SWEEPS = 8


def _untangled(nodes: list[Node], edges: list[tuple[str, str]]) -> list[Node]:
    """The boxes with those of a column in an order in which arrows cross little: by the mean place of their partners.

    The barycenter method of Sugiyama, Tagawa and Toda (1981).
    """
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        columns[node.column].append(node)
    partners: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        partners[start].append(end)
        partners[end].append(start)
    for sweep in range(_SWEEPS):
        order = sorted(columns, reverse=sweep % 2 == 1)
        place = {n.id: (i + 0.5) / len(column) for column in columns.values() for i, n in enumerate(column)}
        for number in order:
            means = {}
            for node in columns[number]:
                near = [place[other] for other in partners[node.id]]
                means[node.id] = sum(near) / len(near) if near else place[node.id]
            columns[number].sort(key=lambda node: (means[node.id], node.id))
            place.update({n.id: (i + 0.5) / len(columns[number]) for i, n in enumerate(columns[number])})
    return [node for number in sorted(columns) for node in columns[number]]


# --- what nearly fired -----------------------------------------------------------------------------------------------


def near_misses(payer: PayerRules, facts: Facts, verdict: Verdict) -> list[NearMiss]:
    """The rules that did not fire because exactly one condition failed while every other holds."""
    gathered: dict[tuple[str, frozenset[str]], list[tuple[Rule, Condition]]] = defaultdict(list)
    for rule in payer.rules:
        if verdict.truth[rule.id] is False:
            failed = _only_failure(rule.condition, facts, verdict)
            if failed is not None:
                names = frozenset(test.fact for test in tests(failed))
                gathered[rule.table or rule.id, names].append((rule, failed))
    found = [_near_miss(name, entries, facts) for (name, _), entries in gathered.items()]
    order = {name: number for number, name in enumerate(payer.chain)}
    # A rule for another drug is the least near of all, and one that waits for other rules says little by itself.
    return sorted(
        found,
        key=lambda miss: ("drug.name" in miss.found, not miss.found, -order.get(miss.ruleset, 0), miss.rule),
    )


def _only_failure(condition: Condition, facts: Facts, verdict: Verdict) -> Condition | None:
    """The one conjunct that is false while all others are true, or None."""
    failed = None
    for item in conjuncts(condition):
        value = truth(item, facts.keys, verdict.concluded)
        if value is True:
            continue
        if value is None or failed is not None:
            return None
        failed = item
    return failed


def _near_miss(name: str, entries: Sequence[tuple[Rule, Condition]], facts: Facts) -> NearMiss:
    rule, failed = entries[0]
    concluded = dict.fromkeys(conclusion_text(conclusion) for other, _ in entries for conclusion in other.then)
    several = len(entries) > 1
    texts = dict.fromkeys(condition_text(condition) for _, condition in entries)
    return NearMiss(
        rule=name if several else rule.id,
        title=f"{rule.title} (and {len(entries) - 1} more rows)" if several else rule.title,
        ruleset=rule.ruleset,
        rows=len(entries),
        failed=next(iter(texts)) if len(texts) == 1 else f"{next(iter(texts))} (or the like in another row)",
        found={test.fact: shown(facts.shown[test.fact]) for test in tests(failed) if test.fact in facts.shown},
        would_conclude=tuple(concluded)[:3],
    )


def conclusion_text(conclusion: Conclusion) -> str:
    """A conclusion in one line: the verb, then what it is about; the name of a setting only where there are several."""
    settings = conclusion_data(conclusion)["settings"]
    said = [(name, shown(value)) for name, value in settings.items() if value is not None]
    text = "; ".join(value if len(said) == 1 else f"{name.replace('_', ' ')}: {value}" for name, value in said)
    if conclusion.verb == "conclude":
        text = "; ".join(f"{name} is {value}" for name, value in said)
    return f"{conclusion.verb.replace('_', ' ')}: {text}"


def condition_text(condition: Condition) -> str:
    """A condition in one line."""
    if isinstance(condition, Test):
        return condition.shown
    if isinstance(condition, Not):
        return f"not ({condition_text(condition.item)})"
    if not condition.items:
        return "never" if isinstance(condition, AnyOf) else "always"
    word = " or " if isinstance(condition, AnyOf) else " and "
    return word.join(
        condition_text(item) if isinstance(item, (Test, Not)) else f"({condition_text(item)})"
        for item in condition.items
    )


# --- what is unknown, and what it would change -----------------------------------------------------------------------


def unknowns(
    decision: Mapping[str, Any],
    payer: PayerRules,
    facts: Facts,
    vocab: Vocabulary,
    reference: Reference | None,
) -> Iterator[Unknown]:
    """The decision's questions, each with the rules that wait for it and what each answer alone would change."""
    standing = standings(payer, vocab).of(facts.keys)
    waiting: dict[str, list[str]] = defaultdict(list)
    for rule in payer.rules:
        if rule.id in standing.of and standing.of[rule.id].open:
            for name in sorted({test.fact for test in tests(standing.of[rule.id].left)}):
                for source in (name, *vocab.facts[name].sources):
                    if rule.id not in waiting[source]:
                        waiting[source].append(rule.id)
    tried = 0
    for question in decision["questions"]:
        fact = vocab.facts[question["fact"]]
        values = list(_values(fact))
        tried += len(values)
        answers: Iterable[Answer] = ()
        if reference is not None and tried <= MAX_TRIED:
            answers = _answers(decision, payer, facts, fact, values, vocab, reference)
        yield Unknown(
            fact.name, question["ask"], tuple(question["would_decide"]), tuple(waiting[fact.name]), tuple(answers)
        )


def _values(fact: Fact) -> Iterable[tuple[Any, str]]:
    """The values of a fact that has few, from which nothing else is worked out, with their names."""
    if fact.is_list or fact.aliases:
        return []
    if fact.type == "boolean":
        return [(True, "yes"), (False, "no")]
    return list((fact.values or {}).items()) if fact.type == "choice" else []


def _answers(
    decision: Mapping[str, Any],
    payer: PayerRules,
    facts: Facts,
    fact: Fact,
    values: Iterable[tuple[Any, str]],
    vocab: Vocabulary,
    reference: Reference,
) -> Iterator[Answer]:
    given = {name: value for name, value in facts.shown.items() if facts.origin[name] == GIVEN}
    grouped: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for value, name in values:
        answered = build(payer.payer, {**given, fact.name: value}, reference, vocab)
        grouped[tuple(changes(decision, _decided(payer, answered, vocab)))].append(name)
    for changed, names in grouped.items():
        yield Answer(tuple(names), changed)


def _decided(payer: PayerRules, facts: Facts, vocab: Vocabulary) -> dict[str, Any]:
    """The decision on facts, by the naive evaluator."""
    fired = standings(payer, vocab).of(facts.keys).fired
    body: dict[str, Any] = json.loads(argue(payer, facts, fired, vocab).whole.render(facts))
    return body


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two decisions on one line, but for the questions and the explanation, a line for each."""
    yield from _changed("outcome", before["outcome"], after["outcome"])
    yield from _changed("code", _code(before), _code(after))
    yield from _changed(
        "prior authorization", before["prior_authorization"]["status"], after["prior_authorization"]["status"]
    )
    yield from _changed("price", _price(before), _price(after))
    old, new = dict.fromkeys(_entries(before)), dict.fromkeys(_entries(after))
    yield from (f"adds {entry}" for entry in new if entry not in old)
    yield from (f"drops {entry}" for entry in old if entry not in new)


def _changed(name: str, before: str, after: str) -> Iterator[str]:
    if before != after:
        yield f"{name}: {before.replace('_', ' ')} → {after.replace('_', ' ')}"


def _code(decision: Mapping[str, Any]) -> str:
    code = decision["code"]
    return code["recommended"] or " or ".join(code.get("candidates", ())) or "open"


def _price(decision: Mapping[str, Any]) -> str:
    pricing = decision["pricing"]
    if pricing["basis"] is None:
        return "nothing on file"
    return f"{pricing['percent']} % of {pricing['basis']}" if pricing["percent"] else str(pricing["basis"])


def _entries(decision: Mapping[str, Any]) -> Iterator[str]:
    for part in decision.get("exclusions", ()):
        yield f"not billable: {part['reason']}"
    for part in decision["edits"]:
        if part["field"] != "line.code":
            yield f"change of {part['field']}: {part['expected']}"
    for part in decision["documentation"]:
        yield f"document: {part['label']} ({part['status']})"
    for part in decision["denials"]:
        remark = f" {part['rarc']}" if part["rarc"] else ""
        yield f"denial {part['group']} {part['carc']}{remark} unless {part['unless']}"
    for part in decision["deadlines"]:
        yield f"deadline: {part['text']}"
    for part in decision["cautions"]:
        if part["kind"] in ("policy", "conflict"):
            yield f"caution: {part['text']}"
