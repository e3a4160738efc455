"""Which unknown facts could change a decision, and what each would decide.

A fact matters iff there is some completion of the facts in which answering it makes a rule fire that would
not fire otherwise, or the reverse. Every undecided rule is reduced to what its unknown facts leave open; for
each alternative of what is left, values that satisfy it are tried with and without the fact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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
    """An unknown fact, and the parts of the decision that its answer could change."""

    fact: str
    would_decide: tuple[str, ...]

    @property
    def weight(self) -> int:
        """How decisive the answer is; the greater, the earlier it is asked."""
        return sum(WEIGHT[part] for part in self.would_decide)


def asked_by(state: State) -> tuple[tuple[str, frozenset[str]], ...]:
    """The unknown facts that an undecided rule waits for, each with the parts of the decision it could change."""
    found = state.remembered.get("asked_by")
    if found is None:
        parts = frozenset(PARTS[c.verb] for c in state.rule.then if c.verb in PARTS) or frozenset({EXPLANATION})
        asked: dict[str, frozenset[str]] = dict.fromkeys(state.turns, parts)
        # A rule may be undecided and yet never fire, when what it waits for contradicts itself.
        for held in state.codes_held if state.turns or state.fires else ():
            asked[held] = asked.get(held, frozenset()) | {"code"}
        found = state.remembered["asked_by"] = tuple(asked.items())
    return found


def open_facts(standing: Standing) -> dict[str, set[str]]:
    """The unknown facts that could make some rule fire or not, with the parts those rules speak of."""
    found: dict[str, set[str]] = defaultdict(set)
    for state in standing.states:
        for fact, parts in asked_by(state):
            found[fact] |= parts
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
    found = open_facts(standing)
    for fact, parts in direct.items():
        found[fact].update(parts)
    asked: dict[str, set[str]] = defaultdict(set)
    for name, parts in found.items():
        for source in _askable(vocab.facts[name], keys, vocab):
            asked[source].update(parts)
    if "drug.name" not in keys:
        for source in _askable(vocab.facts["drug.name"], keys, vocab):
            asked[source].add("cautions")
    result = []
    for name, parts in asked.items():
        shown = parts - {EXPLANATION} or parts
        result.append(Question(name, tuple(sorted(shown, key=lambda part: (-WEIGHT[part], part)))))
    return sorted(result, key=lambda question: (-question.weight, question.fact))


def _askable(fact: Fact, keys: Mapping[str, Key], vocab: Vocabulary) -> Iterator[str]:
    """The unknown claim facts from which this fact could become known, itself among them if a claim may give it."""
    if fact.origin == "claim" and fact.name not in keys:
        yield fact.name
    for source in fact.sources:
        if source not in keys and (source != "line.ndc.code" or "drug.name" not in keys):
            yield from _askable(vocab.facts[source], keys, vocab)
