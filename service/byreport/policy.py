"""Policy documents: what each payer published, and under each document the statements rules stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from byreport import yamlfile
from byreport.rule import Source

AUTHORITIES = ("primary", "secondary")
CONFIDENCES = ("high", "medium", "low")
TOPICS = (
    "code_selection",
    "documentation",
    "claim_format",
    "prior_authorization",
    "coverage",
    "pricing",
    "units",
    "modifier",
    "compounded",
    "timely_filing",
    "appeal",
)
KINDS = (
    "statute",
    "regulation",
    "provider manual",
    "coverage article",
    "bulletin",
    "fee schedule",
    "reimbursement policy",
    "form",
    "summary",
    "code list",
    "preferred drug list",
)
NO_RULE = {
    "background": "tells how policy is made or explained; nothing on a claim line follows from it",
    "proposed": "was proposed and is not in force",
    "pharmacy_benefit": "is about pharmacy claims only, which are no NOC drug lines",
    "superseded": "a later statement replaces it",
    "contradicted": "another source says otherwise, and is the better one",
    "not_testable": "can't be told from a claim line or a question about it",
    "other_services": "is about services or supplies other than drugs",
    "payer_process": "tells what the payer or plan does inside, not what goes on the line",
    "duplicate": "says what another statement of the payer, carried out by a rule, says already",
}

_FILE_KEYS = {"payer", "name", "documents", "gaps", "note"}
_DOCUMENT_KEYS = {"id", "title", "publisher", "url", "published", "kind", "authority", "statements", "note"}
_STATEMENT_KEYS = {
    "id",
    "topic",
    "statement",
    "where",
    "confidence",
    "effective_from",
    "effective_to",
    "no_rule",
    "note",
}


@dataclass(frozen=True)
class Statement:
    """One statement of a document, in our own words. `no_rule` is (reason, note) where no rule carries it out."""

    id: str
    topic: str
    text: str
    where: str | None = None
    confidence: str = "medium"
    effective_from: str | None = None
    effective_to: str | None = None
    no_rule: tuple[str, str] | None = None
    line: int = 0


@dataclass(frozen=True)
class Document:
    """A published document. `published` is an ISO date or None when unknown."""

    id: str
    title: str
    publisher: str
    url: str | None
    published: str | None
    kind: str
    authority: str
    statements: Mapping[str, Statement]
    line: int = 0


@dataclass(frozen=True)
class Policy:
    """What one payer published: documents, statements, and what was looked for and not found (`gaps`)."""

    payer: str
    name: str
    documents: Mapping[str, Document]
    gaps: tuple[str, ...] = ()
    file: str = ""

    def source(self, document_id: str, statement_id: str) -> Source | None:
        """The source that a rule cites, or None when it dangles."""
        document = self.documents.get(document_id)
        statement = document.statements.get(statement_id) if document else None
        if document is None or statement is None:
            return None
        return Source(
            document=document.id,
            statement=statement.id,
            title=document.title,
            publisher=document.publisher,
            where=statement.where,
            url=document.url,
            published=document.published,
            authority=document.authority,
            kind=document.kind,
            confidence=statement.confidence,
        )

    def statements(self) -> list[tuple[Document, Statement]]:
        """Every statement with its document."""
        return [(d, s) for d in self.documents.values() for s in d.statements.values()]


def build(file: yamlfile.Document) -> tuple[Policy | None, yamlfile.Document]:
    """The policy of a parsed file; faults are findings of the returned document."""
    if not isinstance(file.data, dict) or not isinstance(file.data.get("payer"), str):
        if not file.findings:
            file.add((), "policy", "a policy document file names its payer", expected="payer: medicaid/TX")
        return None, file
    _keys(file, (), file.data, _FILE_KEYS, ("payer", "name"))
    documents: dict[str, Document] = {}
    seen: set[str] = set()
    for index, entry in enumerate(_list(file, ("documents",), file.data.get("documents"))):
        document = _document(file, ("documents", index), entry, seen)
        if document is None:
            continue
        if document.id in documents:
            file.add(("documents", index, "id"), "duplicate-id", f"the document {document.id!r} stands twice")
        documents[document.id] = document
    gaps = tuple(" ".join(str(gap).split()) for gap in _list(file, ("gaps",), file.data.get("gaps")))
    return Policy(
        file.data["payer"], str(file.data.get("name") or file.data["payer"]), documents, gaps, file.file
    ), file


def merged(first: Policy, second: Policy) -> Policy:
    """Two files of one payer as one policy."""
    return replace(first, documents={**first.documents, **second.documents}, gaps=first.gaps + second.gaps)


def _document(file: yamlfile.Document, path: yamlfile.ValuePath, entry: Any, seen: set[str]) -> Document | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        file.add(path, "policy", "a document has an id, a title, a publisher, a kind and an authority")
        return None
    _keys(file, path, entry, _DOCUMENT_KEYS, ("id", "title", "publisher", "kind", "authority"))
    _one_of(file, path, entry, "authority", AUTHORITIES)
    _one_of(file, path, entry, "kind", KINDS)
    statements: dict[str, Statement] = {}
    for index, item in enumerate(_list(file, (*path, "statements"), entry.get("statements"))):
        statement = _statement(file, (*path, "statements", index), item)
        if statement is None:
            continue
        if statement.id in seen:
            file.add(
                (*path, "statements", index, "id"),
                "duplicate-id",
                f"the statement {statement.id!r} stands twice",
            )
        seen.add(statement.id)
        statements[statement.id] = statement
    return Document(
        entry["id"],
        str(entry.get("title") or ""),
        str(entry.get("publisher") or ""),
        entry.get("url"),
        entry.get("published"),
        str(entry.get("kind") or ""),
        str(entry.get("authority") or "primary"),
        statements,
        file.place(path)[0],
    )


def _statement(file: yamlfile.Document, path: yamlfile.ValuePath, entry: Any) -> Statement | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        file.add(path, "policy", "a statement has an id, a topic, the statement and a confidence")
        return None
    _keys(file, path, entry, _STATEMENT_KEYS, ("id", "topic", "statement", "confidence"))
    _one_of(file, path, entry, "topic", TOPICS)
    _one_of(file, path, entry, "confidence", CONFIDENCES)
    return Statement(
        entry["id"],
        str(entry.get("topic") or ""),
        " ".join(str(entry.get("statement") or "").split()),
        entry.get("where"),
        str(entry.get("confidence") or "medium"),
        entry.get("effective_from"),
        entry.get("effective_to"),
        _no_rule(file, path, entry),
        file.place(path)[0],
    )


def _no_rule(file: yamlfile.Document, path: yamlfile.ValuePath, entry: Mapping[str, Any]) -> tuple[str, str] | None:
    value = entry.get("no_rule")
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("why") not in NO_RULE:
        file.add(
            (*path, "no_rule"),
            "no-rule",
            "`no_rule` says why no rule carries the statement out",
            expected="{why: " + " | ".join(NO_RULE) + ", note: ...}",
        )
        return None
    return value["why"], str(value.get("note") or NO_RULE[value["why"]])


def _list(file: yamlfile.Document, path: yamlfile.ValuePath, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        file.add(path, "policy", f"{path[-1]} has to be a list")
        return []
    return value


def _keys(
    file: yamlfile.Document,
    path: yamlfile.ValuePath,
    entry: Mapping[str, Any],
    allowed: set[str],
    required: tuple[str, ...],
) -> None:
    for key in entry:
        if key not in allowed:
            file.add((*path, key, ""), "unknown-key", f"unknown key {key!r}", expected=", ".join(sorted(allowed)))
    for key in required:
        if entry.get(key) in (None, ""):
            file.add(path, "missing-key", f"{key} is missing", expected=key)


def _one_of(
    file: yamlfile.Document,
    path: yamlfile.ValuePath,
    entry: Mapping[str, Any],
    key: str,
    allowed: tuple[str, ...],
) -> None:
    if key in entry and entry[key] not in allowed:
        file.add((*path, key), "value", f"{entry[key]!r} is no {key}", expected="one of " + ", ".join(allowed))
