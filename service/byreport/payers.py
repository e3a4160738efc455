"""What is on file for each payer: its rules and documents, and which questions published policy answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from byreport.coverage import cited
from byreport.policy import Document, Policy
from byreport.precedence import says_something
from byreport.rule import Rule, Source
from byreport.rulebook import Rulebook

PARTS = {
    "code": ("use_code",),
    "documentation": ("require_document", "require_field"),
    "prior_authorization": ("prior_authorization",),
    "pricing": ("price",),
    "units": ("require_units",),
    "deadlines": ("deadline",),
    "coverage": ("not_billable",),
}
"""The questions put to a payer's policy, and the verbs that answer each."""


@dataclass(frozen=True)
class PayerLine:
    """One payer of the list. Counts are of the payer's own files; `newest` and `oldest` are dates of its documents."""

    path: str
    name: str
    program: str
    rules: int
    documents: int
    statements: int
    newest: str | None
    oldest: str | None


@dataclass(frozen=True)
class RuleLine:
    """A rule or a table of the chain. `rows` counts a table's rows; None for a rule by itself."""

    id: str
    title: str
    ruleset: str
    rows: int | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class StatementLine:
    """A published statement with the rules that carry it out, or why none does."""

    id: str
    topic: str
    statement: str
    where: str | None
    confidence: str
    rules: tuple[str, ...]
    no_rule: str | None


@dataclass(frozen=True)
class DocumentLine:
    """A document of the payer with its statements."""

    id: str
    title: str
    publisher: str
    url: str | None
    published: str | None
    kind: str
    authority: str
    statements: tuple[StatementLine, ...]


@dataclass(frozen=True)
class Answer:
    """The rules that answer one question, and how old and how near to the payer their documents are."""

    rules: tuple[str, ...]
    rulesets: tuple[str, ...]
    newest: str | None
    oldest: str | None
    authority: tuple[str, ...]


@dataclass(frozen=True)
class Payer:
    """Everything on file for one payer. `answers` holds the questions answered, `unanswered` the others."""

    path: str
    name: str
    program: str
    chain: tuple[str, ...]
    rules: tuple[RuleLine, ...]
    documents: tuple[DocumentLine, ...]
    gaps: tuple[str, ...]
    answers: Mapping[str, Answer]
    unanswered: tuple[str, ...]


def payers(rulebook: Rulebook) -> list[PayerLine]:
    """Every payer that a claim may name, in order of path."""
    return [_line(rulebook, path) for path in rulebook.payers()]


def payer(rulebook: Rulebook, path: str, on: date | None = None) -> Payer:
    """What is on file for one payer; rules that ended before `on` (today) answer nothing.

    Raises UnknownPayer, and RulebookError when a file of the payer's chain is faulty.
    """
    found = rulebook.payer(path)
    policy = rulebook.policy(path)
    day = (on or date.today()).isoformat()
    living = [rule for rule in found.rules if rule.effective_to is None or rule.effective_to >= day]
    answers = {part: _answer(_answering(living, verbs)) for part, verbs in PARTS.items()}
    return Payer(
        path=path,
        name=found.name,
        program=path.split("/")[0],
        chain=found.chain,
        rules=tuple(_rule_lines(found.rules)),
        documents=tuple(_documents(policy, cited(rulebook))) if policy else (),
        gaps=policy.gaps if policy else (),
        answers={part: answer for part, answer in answers.items() if answer.rules},
        unanswered=tuple(part for part, answer in answers.items() if not answer.rules),
    )


def _line(rulebook: Rulebook, path: str) -> PayerLine:
    policy = rulebook.policy(path)
    documents = list(policy.documents.values()) if policy else []
    newest, oldest = _span(document.published for document in documents)
    return PayerLine(
        path=path,
        name=policy.name if policy else path,
        program=path.split("/")[0],
        rules=len({rule.table or rule.id for rule in rulebook.ruleset(path)}),
        documents=len(documents),
        statements=sum(len(document.statements) for document in documents),
        newest=newest,
        oldest=oldest,
    )


def _span(dates: Iterable[str | None]) -> tuple[str | None, str | None]:
    known = sorted(day for day in dates if day)
    return (known[-1], known[0]) if known else (None, None)


def _rule_lines(rules: Iterable[Rule]) -> Iterator[RuleLine]:
    tables: dict[str, list[Rule]] = {}
    for rule in rules:
        tables.setdefault(rule.table or rule.id, []).append(rule)
    for name, members in tables.items():
        first = members[0]
        title = (
            first.title if len({rule.title for rule in members}) == 1 else f"{first.title} (one of {len(members)} rows)"
        )
        sources = tuple(dict.fromkeys(source for rule in members for source in rule.sources))
        yield RuleLine(name, title, first.ruleset, len(members) if first.table else None, sources)


def _documents(policy: Policy, by_statement: Mapping[tuple[str, str], list[str]]) -> Iterator[DocumentLine]:
    for document in policy.documents.values():
        yield DocumentLine(
            document.id,
            document.title,
            document.publisher,
            document.url,
            document.published,
            document.kind,
            document.authority,
            tuple(_statements(document, by_statement)),
        )


def _statements(document: Document, by_statement: Mapping[tuple[str, str], list[str]]) -> Iterator[StatementLine]:
    for statement in document.statements.values():
        rules = by_statement.get((document.id, statement.id), ())
        why = ": ".join(statement.no_rule) if statement.no_rule else None
        yield StatementLine(
            statement.id,
            statement.topic,
            statement.text,
            statement.where,
            statement.confidence,
            tuple(dict.fromkeys(rules)),
            why,
        )


def _answering(rules: Iterable[Rule], verbs: tuple[str, ...]) -> Iterator[Rule]:
    """The rules with one of the verbs; one that only says where to ask answers nothing."""
    for rule in rules:
        for conclusion in rule.then:
            if conclusion.verb in verbs and says_something(conclusion):
                yield rule
                break


def _answer(rules: Iterable[Rule]) -> Answer:
    found = list(rules)
    sources = [source for rule in found for source in rule.sources]
    newest, oldest = _span(source.published for source in sources)
    return Answer(
        rules=tuple(dict.fromkeys(rule.table or rule.id for rule in found)),
        rulesets=tuple(dict.fromkeys(rule.ruleset for rule in found)),
        newest=newest,
        oldest=oldest,
        authority=tuple(sorted({source.authority for source in sources})),
    )
