"""Which unknown facts could change a decision, and what each would decide.

A fact matters iff there is some completion of the facts in which answering it makes a rule fire that would
not fire otherwise, or the reverse. Every undecided rule is reduced to what its unknown facts leave open; for
each alternative of what is left, values that satisfy it are tried with and without the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from byreport.standing import Standing, State
from byreport.vocabulary import Fact, Key, Vocabulary

PARTS = {
    "not_billable": "coverage",
    "use_code": "code",
    "prior_authorization": "prior_authorization",
    "require_document": "documentation",
    "require_field": "edits",
    "require_modifier": "edits",
    "require_units": "edits",
    "deny": "denials",
    "price": "pricing",
    "deadline": "deadlines",
    "caution": "cautions",
}
"""The part of the decision that each verb speaks of; `conclude` speaks of none itself."""

WEIGHT = {
    "coverage": 64,
    "code": 32,
    "prior_authorization": 32,
    "denials": 12,
    "edits": 8,
    "documentation": 8,
    "pricing": 3,
    "deadlines": 2,
    "cautions": 1,
    "explanation": 0,
}
MATTERS = frozenset({"coverage", "code", "prior_authorization", "denials", "edits", "documentation"})
"""Parts that hold a line up while they are open; a price, a deadline or a caution does not."""

EXPLANATION = "explanation"


@dataclass(frozen=True)
class Question:
    """An unknown fact, and the parts of the decision that its answer could change.

    The greater its `weight`, the more decisive the answer is, and the earlier it is asked.
    """

    fact: str
    would_decide: tuple[str, ...]
    weight: int


_BITS = {part: 1 << number for number, part in enumerate(WEIGHT)}
_CAUTIONS = _BITS["cautions"]
"""A set of parts is the sum of their bits here: a decision adds up dozens of them."""


@lru_cache(maxsize=8_192)
def _question(fact: str, bits: int) -> Question:
    parts = [part for part in WEIGHT if bits & _BITS[part]]
    shown = [part for part in parts if part != EXPLANATION] or parts
    ordered = tuple(sorted(shown, key=lambda part: (-WEIGHT[part], part)))
    return Question(fact, ordered, sum(WEIGHT[part] for part in ordered))


def bits_of(parts: Iterable[str]) -> int:
    """The sum of the bits of different parts."""
    return sum(_BITS[part] for part in set(parts))


def asked_by(state: State) -> tuple[tuple[str, int], ...]:
    """The unknown facts that an undecided rule waits for, each with the bits of the parts it could change."""
    found: tuple[tuple[str, int], ...] | None = state.remembered.get("asked_by")
    if found is None:
        bits = bits_of(PARTS[c.verb] for c in state.rule.then if c.verb in PARTS) or _BITS[EXPLANATION]
        asked = dict.fromkeys(state.turns, bits)
        # A rule may be undecided and yet never fire, when what it waits for contradicts itself.
        for held in state.codes_held if state.turns or state.fires else ():
            asked[held] = asked.get(held, 0) | _BITS["code"]
        found = state.remembered["asked_by"] = tuple(asked.items())
    return found


def questions(
    standing: Standing,
    keys: Mapping[str, Key],
    direct: Mapping[str, Iterable[str]],
    vocab: Vocabulary,
) -> list[Question]:
    """The questions of a decision, the most decisive first.

    `direct` maps unknown facts that the decision itself compares (a field some rule requires) to the parts they
    decide. A computed fact is asked through the claim facts it comes from. A drug that is not named is always asked
    for: its name could show that a fact disagrees with reference data.
    """
    found = {fact: bits_of(parts) for fact, parts in direct.items()}
    for state in standing.states:
        for fact, bits in asked_by(state):
            found[fact] = found.get(fact, 0) | bits
    if "drug.name" not in keys:
        found["drug.name"] = found.get("drug.name", 0) | _CAUTIONS
    asked: dict[str, int] = {}
    for name, bits in found.items():
        for source in _askable(vocab.facts[name], keys, vocab):
            asked[source] = asked.get(source, 0) | bits
    return sorted([_question(name, bits) for name, bits in asked.items()], key=_order)


def _order(question: Question) -> tuple[int, str]:
    return -question.weight, question.fact


def _askable(fact: Fact, keys: Mapping[str, Key], vocab: Vocabulary) -> list[str]:
    """The unknown claim facts from which this fact could become known, itself among them if a claim may give it."""
    found = [fact.name] if fact.origin == "claim" and fact.name not in keys else []
    for source in fact.sources:
        if source not in keys and (source != "line.ndc.code" or "drug.name" not in keys):
            found += _askable(vocab.facts[source], keys, vocab)
    return found
