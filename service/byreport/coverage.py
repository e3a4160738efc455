"""Which published statements the rules carry out, per payer and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from byreport.findings import Finding
from byreport.policy import Document, Policy, Statement
from byreport.rulebook import Rulebook


@dataclass(frozen=True)
class PayerCoverage:
    """How one payer's statements are accounted for."""

    payer: str
    name: str
    documents: int
    statements: int
    carried_out: int
    no_rule: Counter[str] = field(default_factory=Counter)
    open: tuple[str, ...] = ()
    rules: int = 0


def cited(rulebook: Rulebook) -> dict[tuple[str, str], list[str]]:
    """(document, statement) to the ids of the rules that cite it."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in rulebook.rules():
        for source in rule.sources:
            found.setdefault((source.document, source.statement), []).append(rule.id)
    return found


def coverage(rulebook: Rulebook) -> list[PayerCoverage]:
    """The accounting of every payer of the tree, in order of path."""
    by_statement = cited(rulebook)
    return [
        _payer(path, policy, by_statement, len(rulebook.ruleset(path)))
        for path in rulebook.paths()
        if (policy := rulebook.policy(path)) is not None
    ]


def _payer(path: str, policy: Policy, by_statement: dict[tuple[str, str], list[str]], rules: int) -> PayerCoverage:
    counts: Counter[str] = Counter()
    done, open_ = 0, []
    for document, statement in policy.statements():
        if (document.id, statement.id) in by_statement:
            done += 1
        elif statement.no_rule is not None:
            counts[statement.no_rule[0]] += 1
        else:
            open_.append(statement.id)
    return PayerCoverage(
        path, policy.name, len(policy.documents), len(policy.statements()), done, counts, tuple(open_), rules
    )


def unaccounted(rulebook: Rulebook) -> Iterator[Finding]:
    """A finding for every statement that no rule carries out and that is not marked with why."""
    by_statement = cited(rulebook)
    for path in rulebook.paths():
        policy = rulebook.policy(path)
        for document, statement in policy.statements() if policy else []:
            yield from _statement(policy, document, statement, by_statement)


def _statement(
    policy: Policy | None,
    document: Document,
    statement: Statement,
    by_statement: dict[tuple[str, str], list[str]],
) -> Iterator[Finding]:
    rules = by_statement.get((document.id, statement.id))
    file = policy.file if policy else ""
    if rules is None and statement.no_rule is None:
        yield Finding(
            file,
            statement.line,
            9,
            "unaccounted-statement",
            f"no rule carries out the statement {statement.id}",
            expected="a rule that cites it, or `no_rule: {why: …}` under it",
        )
    if rules is not None and statement.no_rule is not None:
        yield Finding(
            file,
            statement.line,
            9,
            "no-rule-but-cited",
            f"the statement {statement.id} is marked as no rule, but {rules[0]} cites it",
            found=", ".join(rules[:3]),
            expected="the mark or the citation removed",
        )
