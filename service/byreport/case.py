"""What follows from the rules that fired, whatever else is known of the line: many situations share it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from byreport.lens import codes_from, old_from
from byreport.precedence import Resolution, part_of, resolve
from byreport.rule import Conclusion, Rule, Source
from byreport.rulebook import PayerRules
from byreport.vocabulary import Key

Said = tuple[tuple[Rule, Conclusion], ...]


@dataclass(frozen=True, eq=False)
class Case:
    """The rules that fired, farthest payer first, which of their conclusions count, and how far to trust their sources.

    `doubts` are (the first date of service from which it is one, kind of caution, text, rules that lean on the source);
    a doubt without a date is one always.
    """

    fired: tuple[Rule, ...]
    ids: tuple[str, ...]
    resolution: Resolution
    by_verb: Mapping[str, Said]
    doubts: tuple[tuple[str, str, str, frozenset[str]], ...]

    def said(self, verb: str) -> Said:
        """The conclusions of one verb with their rules."""
        return self.by_verb.get(verb, ())


def case_of(payer: PayerRules, fired: Iterable[Rule], keys: Mapping[str, Key], remembered: dict[Any, Case]) -> Case:
    """The case of the rules that fired; a case met before is taken from `remembered`, one payer's."""
    rules = sorted(fired, key=lambda rule: (payer.depth[rule.ruleset], rule.id))
    held = [keys.get(fact) for rule in rules for fact in codes_from(rule)]
    key = (*[rule.id for rule in rules], *held)
    found = remembered.get(key)
    if found is None:
        found = remembered[key] = _case(payer, tuple(rules), keys)
    return found


def _case(payer: PayerRules, rules: tuple[Rule, ...], keys: Mapping[str, Key]) -> Case:
    by_verb: dict[str, list[tuple[Rule, Conclusion]]] = defaultdict(list)
    for rule in rules:
        for conclusion in rule.then:
            by_verb[conclusion.verb].append((rule, conclusion))
    resolution = resolve(rules, payer.depth, keys)
    return Case(
        rules,
        tuple(rule.id for rule in rules),
        resolution,
        {verb: tuple(said) for verb, said in by_verb.items()},
        tuple(_doubts(rules, resolution)),
    )


def _doubts(rules: Iterable[Rule], resolution: Resolution) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    leaned_on: dict[Source, set[str]] = defaultdict(set)
    for rule in rules:
        if _counts(rule, resolution):
            for source in rule.sources:
                leaned_on[source].add(rule.id)
    for source, names in leaned_on.items():
        for first_day, kind, text in _doubts_of(source):
            yield first_day, kind, text, frozenset(names)


def _counts(rule: Rule, resolution: Resolution) -> bool:
    """Whether anything the rule says is left: one that was overridden in all it says is not leaned on."""
    beaten = {part for name, _, part in resolution.overridden if name == rule.id}
    return not beaten or any(part_of(conclusion) not in beaten for conclusion in rule.then)


def _doubts_of(source: Source) -> Iterator[tuple[str, str, str]]:
    """Why a source is to be read with care: its age on the date of service, and whose account it is."""
    where = f"{source.title} ({source.publisher})"
    if source.published is None:
        yield "", "old_source", f"{where} carries no date; check that it still holds."
    else:
        text = f"was published on {source.published}, over three years before the service; check for a newer one."
        yield old_from(source.published), "old_source", f"{where} {text}"
    if source.authority == "secondary":
        yield "", "secondary_source", f"{where} is somebody else's account of the policy."
