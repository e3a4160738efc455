"""The rule model: conditions over facts, and what follows from them.

Nothing here knows files or engines. A condition is a tree of tests; its truth is three-valued, because a
fact that the claim does not give is unknown, not false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from byreport.vocabulary import Key

OPERATORS = (
    "equals",
    "one_of",
    "at_least",
    "below",
    "before",
    "on_or_after",
    "matches",
    "present",
    "missing",
    "unknown",
)


@dataclass(frozen=True)
class Test:
    """One test of one fact. `value` is a key (a tuple of keys for one_of); `shown` is how the rule file writes it."""

    __test__ = False  # not a test class of pytest

    fact: str
    operator: str
    value: Any = None
    shown: str = ""

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True)
class All:
    """Every one of `items` holds; the empty conjunction is true."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one of `items` holds; the empty disjunction is false."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """`item` is known not to hold."""

    item: Condition


Condition = Union[Test, All, AnyOf, Not]  # noqa: UP007 - a runtime alias that Python 3.10 accepts before the classes


@dataclass(frozen=True)
class Conclusion:
    """What a rule says: a verb of the closed set with its settings, e.g. ("deny", {"group": "CO", "carc": "197"})."""

    verb: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        text = ", ".join(f"{k}={v}" for k, v in self.settings.items() if v is not None)
        return f"{self.verb}({text})"


@dataclass(frozen=True)
class Source:
    """The statement of a published document on which a rule stands, with what an auditor needs to find it."""

    document: str
    statement: str
    title: str = ""
    publisher: str = ""
    where: str | None = None
    url: str | None = None
    published: str | None = None
    authority: str = "primary"
    kind: str = ""
    confidence: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The source as a decision and the API show it."""
        return {
            "document": self.document,
            "statement": self.statement,
            "title": self.title,
            "publisher": self.publisher,
            "where": self.where,
            "url": self.url,
            "published": self.published,
            "authority": self.authority,
            "confidence": self.confidence,
        }


@dataclass(frozen=True)
class Example:
    """A worked example: these facts, and whether the rule fires on them."""

    given: Mapping[str, Any]
    fires: bool
    row: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Rule:
    """One compiled rule. A table row is a rule of its own whose id is `table:row`."""

    id: str
    title: str
    ruleset: str
    when: Condition
    then: tuple[Conclusion, ...]
    sources: tuple[Source, ...]
    effective_from: str | None = None
    effective_to: str | None = None
    overrides: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    table: str | None = None
    row: str | None = None
    file: str = ""
    line: int = 0
    condition: Condition = field(init=False, compare=False)

    def __post_init__(self) -> None:
        dated = [
            Test("date_of_service", operator, value, f"date_of_service {word} {value}")
            for operator, value, word in (
                ("on_or_after", self.effective_from, "on or after"),
                ("up_to", self.effective_to, "up to"),
            )
            if value is not None
        ]
        object.__setattr__(self, "condition", All((*dated, self.when)) if dated else self.when)

    def facts(self) -> frozenset[str]:
        """The names of the facts that the rule tests, the date of service of its effective dates included."""
        return frozenset(test.fact for test in tests(self.condition))


def tests(condition: Condition) -> Iterator[Test]:
    """Every test in the tree, left to right."""
    if isinstance(condition, Test):
        yield condition
    elif isinstance(condition, Not):
        yield from tests(condition.item)
    else:
        for item in condition.items:
            yield from tests(item)


def conjuncts(condition: Condition) -> Iterator[Condition]:
    """The conditions that all have to hold: the items of nested conjunctions, or the condition itself."""
    if isinstance(condition, All):
        for item in condition.items:
            yield from conjuncts(item)
    else:
        yield condition


def asserts(conclusion: Conclusion) -> tuple[str, Key] | None:
    """The concluded fact and key that a conclusion asserts for later rules, or None.

    `use_code` and `prior_authorization` are not among them: they assert only once the nearer payer has
    overridden the farther (see `precedence`).
    """
    settings = conclusion.settings
    if conclusion.verb == "conclude":
        return settings["fact"], settings["key"]
    if conclusion.verb == "require_document":
        return "requires.document", settings["item"]
    if conclusion.verb == "require_field":
        return "requires.field", settings["field"]
    if conclusion.verb == "require_modifier":
        return "requires.modifier", settings["modifier"]
    if conclusion.verb == "not_billable":
        return "excluded", True
    return None
