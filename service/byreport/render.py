"""A decision in words, for people: what to do first, then what it rests on.

Everything here is made from the decision as it is stored; nothing is decided and nothing is looked up but the
wording of facts. Texts are at most 100 columns wide (addresses are never broken) and mean the same without color.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from byreport.payers import DocumentLine, Payer
from byreport.rule import All, AnyOf, Condition, Not, Rule, Test
from byreport.vocabulary import Vocabulary, vocabulary

WIDTH = 100

OUTCOMES = {
    "not_billable": "Not billable: published policy excludes this line",
    "review": "Have a person decide: rules of one payer disagree",
    "fix": "Fix before sending",
    "needs_information": "Not ready: something that matters is not known",
    "ready": "Ready to send",
}
AUTHORIZATION = {
    "required": "Get authorization before the drug is given, and put its number on the claim.",
    "conditional": "Find out whether this case needs authorization.",
    "unknown": "Ask whether authorization is needed.",
    "on_file": "Authorization: its number is on the claim.",
    "not_required": "Authorization: published policy says that none is needed.",
}
DECIDES = {
    "code": "which code to bill",
    "prior_authorization": "whether authorization is needed",
    "coverage": "whether the line is covered",
    "documentation": "what to attach",
    "edits": "what to change on the line",
    "denials": "whether the line would be denied",
    "pricing": "how it is priced",
    "units": "how many units to bill",
    "deadlines": "by when to act",
    "cautions": "what to watch",
}
CAUTIONS = {
    "conflict": "Disagreement",
    "no_policy_on_file": "No policy on file",
    "policy": "The payer says",
    "old_source": "Old source",
    "secondary_source": "Second-hand source",
}
ORIGINS = {"claim": "given by the claim", "reference": "from reference data", "computed": "worked out"}
_ABOUT_SOURCES = {
    "old_source": "undated or published over three years before the service; check for a newer one",
    "secondary_source": "somebody else's account of the policy",
}
_OUTCOME_STYLES = {"ready": "bold green", "fix": "bold yellow", "needs_information": "bold yellow"}


@dataclass(frozen=True)
class Line:
    """One line of output and the style it has on a terminal ("" for none)."""

    text: str
    style: str = ""


def decision_lines(
    decision: Mapping[str, Any], subject: str | None = None, why: bool = True, vocab: Vocabulary | None = None
) -> list[Line]:
    """A decision as lines. `subject` is a headline for the line decided; without `why` the rules are left out."""
    words = vocab or vocabulary()
    parts: list[list[Line]] = [
        _head(decision, subject),
        _section("What to do", _numbered(_steps(decision, words))),
        _section("Already in order", _bullets(_in_order(decision))),
        _section("Would be denied otherwise", _bullets(_denials(decision, words))),
        _section("Price", _price(decision)),
        _section("Deadlines", _bullets(_deadlines(decision))),
        _section("Questions, the most decisive first", _questions(decision)),
    ]
    documents = _documents(decision)
    numbers = {key: number for number, key in enumerate(documents, 1)}
    if why:
        parts.append(_section("Why", _reasons(decision, numbers)))
        parts.append(_section("Given way to a nearer rule", _bullets(_overridden(decision))))
    parts.append(_section("Sources", _documents_lines(documents.values())))
    parts.append(_section("Watch", _cautions(decision, numbers)))
    parts.append(_foot(decision))
    return [line for number, part in enumerate(p for p in parts if p) for line in ([Line("")] if number else []) + part]


def text_of(lines: Iterable[Line]) -> str:
    """The lines as plain text, each ended by a line end."""
    return "".join(line.text + "\n" for line in lines)


def show(lines: Iterable[Line], console: Console) -> None:
    """Print lines on a terminal, with color."""
    console.print(Text("\n").join(Text(line.text, line.style) for line in lines), soft_wrap=True)


def clean(value: Any) -> str:
    """A value as text that can't steer a terminal: control and format characters are shown by their number."""
    return "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in " ".join(str(value).split()))


# --- the parts ---------------------------------------------------------------------------------------------------


def _head(decision: Mapping[str, Any], subject: str | None) -> list[Line]:
    outcome = decision["outcome"]
    lines = [Line(text, "bold") for text in _wrapped(subject, "")] if subject else []
    return [*lines, Line(OUTCOMES.get(outcome, outcome), _OUTCOME_STYLES.get(outcome, "bold red"))]


def _steps(decision: Mapping[str, Any], words: Vocabulary) -> Iterator[str]:
    for exclusion in decision.get("exclusions", ()):
        yield f"Do not bill this line to this payer: {exclusion['reason']}"
    for caution in decision["cautions"]:
        if decision["outcome"] == "review" and caution["kind"] == "conflict" and caution["rules"]:
            yield f"Settle by hand: {caution['text']}"
    for edit in _merged(decision["edits"]):
        yield _edit(edit, words)
    for document in decision["documentation"]:
        if document["status"] == "missing":
            yield _with_place(f"Attach or write down: {document['label']}", document)
    authorization = decision["prior_authorization"]
    if authorization["status"] in ("required", "conditional", "unknown"):
        yield f"{AUTHORIZATION[authorization['status']]} {authorization['how']}"


def _merged(edits: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The edits with the code first, and without "filled in" where another edit says with what."""
    said = {edit["field"] for edit in edits if edit["expected"] != "filled in"}
    kept = [edit for edit in edits if edit["expected"] != "filled in" or edit["field"] not in said or edit.get("note")]
    return iter(sorted(kept, key=lambda edit: edit["field"] != "line.code"))


def _edit(edit: Mapping[str, Any], words: Vocabulary) -> str:
    field, found, expected = edit["field"], edit["found"], edit["expected"]
    fact = words.facts.get(field)
    name = fact.meaning if fact else field
    if field == "line.code":
        text = f"Change the code from {found} to {expected}"
    elif field == "line.modifiers":
        text = f"Add modifier {expected}" + ("" if found is not None else " unless the line has it (not given)")
    elif expected == "filled in":
        text = f"Fill in: {name}" + (" (empty on the claim)" if found is not None else "")
    elif found in (None, ""):
        text = f"Fill in: {name}: {_valued(expected, fact.values if fact else None)}"
    else:
        text = f"Change from {found} to {_valued(expected, fact.values if fact else None)}: {name}"
    return _with_place(text, edit)


def _valued(expected: str, labels: Mapping[str, str] | None) -> str:
    """Values of a choice with their labels: institutional (UB-04 or 837I)."""
    if not labels:
        return expected
    return " or ".join(f"{value} ({labels[value]})" if value in labels else value for value in expected.split(" or "))


def _with_place(text: str, part: Mapping[str, Any]) -> str:
    place = f" [{part['where']}]" if part.get("where") else ""
    note = f". {part['note']}" if part.get("note") else ""
    return f"{text}{place}{note}"


def _in_order(decision: Mapping[str, Any]) -> Iterator[str]:
    code = decision["code"]
    if code["recommended"] is not None and code["recommended"] == code["billed"]:
        yield f"Code {code['billed']}" + (f". {code['note']}" if code.get("note") else "")
    status = decision["prior_authorization"]["status"]
    if status in ("on_file", "not_required"):
        how = decision["prior_authorization"]["how"] if decision["prior_authorization"]["rules"] else ""
        yield f"{AUTHORIZATION[status]} {how}".strip()
    present = [document["label"] for document in decision["documentation"] if document["status"] == "present"]
    if present:
        yield "With the line: " + "; ".join(present)


def _denials(decision: Mapping[str, Any], words: Vocabulary) -> Iterator[str]:
    for denial in decision["denials"]:
        remark = f" with remark {denial['rarc']}" if denial.get("rarc") else ""
        bearer = words.lists["denial_group"].get(denial["group"], "")
        yield f"{denial['group']} {denial['carc']}{remark}, unless {denial['unless']}. {bearer}."


def _price(decision: Mapping[str, Any]) -> list[Line]:
    pricing = decision["pricing"]
    if pricing["basis"] is None:
        return []
    percent = f"{pricing['percent']} percent of: " if pricing["percent"] else ""
    estimate = f". Estimate: ${pricing['estimate']}" if pricing["estimate"] else ""
    note = f". {pricing['note']}" if pricing.get("note") else ""
    return _paragraph(f"{percent}{pricing['label']}{estimate}{note}", "  ")


def _deadlines(decision: Mapping[str, Any]) -> Iterator[str]:
    for deadline in decision["deadlines"]:
        day = f", by {deadline['date']}" if deadline["date"] else ""
        note = f". {deadline['note']}" if deadline.get("note") else ""
        yield f"{deadline['text'][:1].upper()}{deadline['text'][1:]}{day}{note}"


def _questions(decision: Mapping[str, Any]) -> list[Line]:
    lines = []
    for number, question in enumerate(decision["questions"], 1):
        decides = ", ".join(DECIDES.get(part, part) for part in question["would_decide"])
        lines += _paragraph(question["ask"], f"  {number}. ")
        lines += [line for name in question.get("candidates", ()) for line in _paragraph(name, "     - ")]
        lines += [Line(line.text, "dim") for line in _paragraph(f"decides {decides}; {question['fact']}", "     ")]
    return lines


def _reasons(decision: Mapping[str, Any], numbers: Mapping[_Key, int]) -> list[Line]:
    lines: list[Line] = []
    for firing in decision["fired"]:
        lines += [Line(line.text, "bold") for line in _paragraph(firing["title"], "  ")]
        lines += [Line(line.text, "dim") for line in _paragraph(f"rule {firing['rule']}", "    ")]
        for reason in firing["because"]:
            lines += _paragraph(_reason(reason), "    because ")
        said = [f"[{numbers[_key(source)]}]" + _where(source) for source in _sources_of(firing)]
        lines += _paragraph("; ".join(dict.fromkeys(said)), "    source  ")
    return lines


def _reason(reason: Mapping[str, Any]) -> str:
    text, origin = reason["test"], reason["from"]
    if origin == "concluded":
        return f"{text} (concluded by {', '.join(reason['by'])})" if reason["by"] else f"{text} (no rule concludes it)"
    if origin == "unknown":
        return f"{text.removesuffix(' unknown')} is not known" if text.endswith(" unknown") else f"{text} (not known)"
    shown = _value(reason["is"])
    said = "" if text.endswith((f" is {shown}", f" has {shown}")) else f"; it is {shown}"
    return f"{text}{said} ({ORIGINS.get(origin, origin)})"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "empty"
    return str(value) if value != "" else "empty"


# --- sources -----------------------------------------------------------------------------------------------------

_Key = tuple[str, str, str | None]


def _key(source: Mapping[str, Any]) -> _Key:
    return source["title"], source["publisher"], source["url"]


def _sources_of(firing: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [firing["source"], *firing.get("also", ())]


def _documents(decision: Mapping[str, Any]) -> dict[_Key, Mapping[str, Any]]:
    """Every document that a rule which fired cites, once, in the order of the firings."""
    found: dict[_Key, Mapping[str, Any]] = {}
    for firing in decision["fired"]:
        for source in _sources_of(firing):
            found.setdefault(_key(source), source)
    return found


def _documents_lines(documents: Iterable[Mapping[str, Any]]) -> list[Line]:
    return [line for number, source in enumerate(documents, 1) for line in _document(source, f"  [{number}] ")]


def _document(source: Mapping[str, Any], lead: str) -> list[Line]:
    published = f"published {source['published']}" if source["published"] else "undated"
    second_hand = ", second-hand" if source["authority"] == "secondary" else ""
    lines = _paragraph(f"{source['title']} ({source['publisher']}), {published}{second_hand}", lead)
    return [*lines, Line(" " * len(lead) + clean(source["url"]), "dim")] if source["url"] else lines


def _where(source: Mapping[str, Any]) -> str:
    return f" {source['where']}" if source["where"] else ""


def _overridden(decision: Mapping[str, Any]) -> Iterator[str]:
    for entry in decision["overridden"]:
        part = DECIDES.get(entry["part"], entry["part"].replace("_", " "))
        yield f"{entry['rule']} gave way to {entry['by']} on {part}"


def _cautions(decision: Mapping[str, Any], documents: Mapping[_Key, int]) -> list[Line]:
    """The cautions; those on the age or hand of a source name it by its number in the list of sources."""
    lines: list[Line] = []
    numbered: dict[str, list[str]] = {}
    for caution in decision["cautions"]:
        kind, text = caution["kind"], caution["text"]
        number = next((n for (title, by, _), n in documents.items() if text.startswith(f"{title} ({by}) ")), None)
        if kind in _ABOUT_SOURCES and number is not None:
            numbered.setdefault(kind, []).append(f"[{number}]")
        else:
            lines += _paragraph(f"{CAUTIONS.get(kind, kind)}: {text}", "  - ")
    for kind, numbers in numbered.items():
        said = " ".join(sorted(set(numbers), key=lambda number: int(number[1:-1])))
        lines += _paragraph(f"{CAUTIONS[kind]}, {_ABOUT_SOURCES[kind]}: {said}", "  - ")
    return lines


def _foot(decision: Mapping[str, Any]) -> list[Line]:
    lines = _paragraph(decision["notice"], "")
    stamp = f"Decision {decision['decision_id']}, {decision['decided_at']}, payer {decision['payer']}"
    return [
        Line(line.text, "dim") for line in (*lines, *_paragraph(stamp, ""), Line(f"rulebook {decision['rulebook']}"))
    ]


# --- the facts, a payer ------------------------------------------------------------------------------------------


def facts_lines(stored: Mapping[str, Any]) -> list[Line]:
    """The facts that a decision stands on, as the log stores them, with where each came from."""
    facts = [
        f"{name} is {_value(entry['is'])} ({ORIGINS.get(entry['from'], entry['from'])})"
        for name, entry in stored["facts"].items()
    ]
    return [Line(""), *_section("Facts", _bullets(facts))]


def payer_lines(payer: Payer) -> list[Line]:
    """What is on file for one payer: which questions its policy answers first, then documents and rules."""
    title = [Line(line.text, "bold") for line in _paragraph(f"{payer.name} ({payer.path})", "")]
    head = [*title, *_paragraph("chain: " + " > ".join(payer.chain), "")]
    answers = [
        f"{DECIDES.get(part, part)}: rules of {', '.join(answer.rulesets)} ({len(answer.rules)});"
        f" sources {_ages(answer.oldest, answer.newest)}, {' and '.join(answer.authority)}"
        for part, answer in payer.answers.items()
    ]
    documents = [line for document in payer.documents for line in _payer_document(document)]
    rules = [
        f"{rule.id}: {rule.title}" + (f" (table, {rule.rows} rows)" if rule.rows is not None else "")
        for rule in payer.rules
        if rule.ruleset == payer.path
    ]
    inherited = len(payer.rules) - len(rules)
    sections = [
        head,
        _section("Published policy answers", _bullets(answers)),
        _section("Nothing on file says", _bullets(DECIDES.get(part, part) for part in payer.unanswered)),
        _section("Looked for and not found", _bullets(payer.gaps)),
        _section("Documents", documents),
        _section(f"Rules of {payer.path} ({inherited} more come from the rest of the chain)", _bullets(rules)),
    ]
    return [line for part in sections if part for line in [*part, Line("")]][:-1]


def _ages(oldest: str | None, newest: str | None) -> str:
    if newest is None:
        return "undated"
    return f"of {newest}" if oldest == newest else f"of {oldest} to {newest}"


def _payer_document(document: DocumentLine) -> list[Line]:
    published = f"published {document.published}" if document.published else "undated"
    text = f"{document.title} ({document.publisher}), {document.kind}, {published}, {document.authority}"
    lines = _paragraph(text, "  - ")
    lines += [Line("    " + clean(document.url), "dim")] if document.url else []
    for statement in document.statements:
        by = ", ".join(statement.rules) or f"no rule, {statement.no_rule or 'open'}"
        lines += [
            Line(line.text, "dim") for line in _paragraph(f"{statement.id}: {statement.statement} ({by})", "      ")
        ]
    return lines


# --- one rule ----------------------------------------------------------------------------------------------------


def rule_lines(rules: Sequence[Rule], statements: Mapping[tuple[str, str], str]) -> list[Line]:
    """A rule, or the rows of a table, with conditions, conclusions, sources and examples.

    `statements` maps (document, statement) to the statement's text.
    """
    first = rules[0]
    name = first.table or first.id
    lines = [Line(name, "bold"), *_paragraph(f"in ruleset {first.ruleset}, {first.file}:{first.line}", "  ")]
    for rule in rules:
        lines += [Line(""), *(Line(line.text, "bold") for line in _paragraph(rule.title, "  "))]
        if rule.row is not None:
            lines += _paragraph(f"row {rule.row}", "    ")
        lines += _paragraph(_effective(rule), "    ")
        lines += [Line("    when"), *_condition(rule.when, "      ")]
        lines.append(Line("    then"))
        for conclusion in rule.then:
            lines += _paragraph(str(conclusion), "      ")
        if rule.overrides:
            lines += _paragraph("overrides " + ", ".join(rule.overrides), "    ")
    sources = dict.fromkeys(source for rule in rules for source in rule.sources)
    lines += [Line(""), Line("  sources")]
    for source in sources:
        lines += _paragraph(statements.get((source.document, source.statement), source.statement), "    says    ")
        lines += _document(vars(source), "    source  ")
        if source.where:
            lines += _paragraph(source.where, "    where   ")
    lines += [Line(""), Line("  examples")]
    for example in first.examples:
        given = ", ".join(f"{fact} = {_value(value)}" for fact, value in example.given.items())
        lines += _paragraph(f"{'fires' if example.fires else 'does not fire'}: {given}", "    ")
    return lines


def _effective(rule: Rule) -> str:
    start, end = rule.effective_from, rule.effective_to
    if start is None and end is None:
        return "for every date of service"
    return "for dates of service" + (f" from {start}" if start else "") + (f" up to {end}" if end else "")


def _condition(condition: Condition, indent: str) -> list[Line]:
    if isinstance(condition, Test):
        return _paragraph(condition.shown, indent)
    if isinstance(condition, Not):
        return [Line(indent + "not"), *_condition(condition.item, indent + "  ")]
    if isinstance(condition, All) and not condition.items:
        return [Line(indent + "always")]
    word = "any of" if isinstance(condition, AnyOf) else "all of"
    lines = [line for item in condition.items for line in _condition(item, indent + "  ")]
    return [Line(indent + word), *lines]


# --- laying out --------------------------------------------------------------------------------------------------


def _section(title: str, lines: list[Line]) -> list[Line]:
    return [Line(title, "bold cyan"), *lines] if lines else []


def _numbered(texts: Iterable[str]) -> list[Line]:
    return [line for number, text in enumerate(texts, 1) for line in _paragraph(text, f"  {number}. ")]


def _bullets(texts: Iterable[str]) -> list[Line]:
    return [line for text in texts for line in _paragraph(text, "  - ")]


def _paragraph(text: str, first: str) -> list[Line]:
    return [Line(line) for line in _wrapped(text, first)]


def _wrapped(text: str, first: str) -> list[str]:
    """`text` wrapped under a lead; the lines after the first are indented to where the text began."""
    indent = " " * len(first)
    return textwrap.wrap(
        clean(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
