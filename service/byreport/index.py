"""The naive evaluator's verdict, worked out for all rules of a payer at once with bit masks.

Each alternative (conjunction) of each rule is one bit. A fact whose value belongs to some *class* (the set of
tests that hold of it) rules out some alternatives and leaves others open when it is unknown; the rest is two
ORs per fact. `chain.chain` says what the result has to be, and tests compare the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache

from byreport.chain import Concluded, Verdict, concluded_by, concluded_facts
from byreport.dnf import Literal, conjunctions
from byreport.evaluate import holds
from byreport.rule import Rule, Test
from byreport.rulebook import PayerRules
from byreport.vocabulary import Key

CACHED_VALUES = 4_096


class _Layer:
    """The alternatives of one stratum."""

    def __init__(self, rules: list[Rule]) -> None:
        self.owners: list[Rule] = []
        self.by_fact: dict[str, dict[frozenset[Literal], int]] = defaultdict(dict)
        self.concluded: list[tuple[Test, int]] = []
        bit = 1
        for rule in rules:
            for literals in conjunctions(rule.condition):
                grouped: dict[str, set[Literal]] = defaultdict(set)
                for literal in literals:
                    if literal[0].fact in concluded_facts():
                        self.concluded.append((literal[0], bit))
                    else:
                        grouped[literal[0].fact].add(literal)
                for fact, own in grouped.items():
                    key = frozenset(own)
                    self.by_fact[fact][key] = self.by_fact[fact].get(key, 0) | bit
                self.owners.append(rule)
                bit <<= 1
        self.all = bit - 1
        self.caches: list[tuple[str, dict[Key | None, tuple[int, int]]]] = [(fact, {}) for fact in sorted(self.by_fact)]

    def state(self, fact: str, key: Key | None) -> tuple[int, int]:
        """The alternatives that this value rules out, and those that it leaves open."""
        out = open_ = 0
        for literals, mask in self.by_fact[fact].items():
            values = [holds(test, key) for test, _ in literals]
            if any(
                value is not None and value is not wanted for value, (_, wanted) in zip(values, literals, strict=True)
            ):
                out |= mask
            elif None in values:
                open_ |= mask
        return out, open_

    def truths(self, keys: Mapping[str, Key], concluded: Concluded) -> tuple[int, int]:
        """The alternatives that hold, and those that are open."""
        out = open_ = 0
        for fact, cache in self.caches:
            key = keys.get(fact)
            state = cache.get(key)
            if state is None:
                state = self.state(fact, key)
                if len(cache) < CACHED_VALUES:
                    cache[key] = state
            out |= state[0]
            open_ |= state[1]
        for test, bit in self.concluded:
            value = concluded.holds(test)
            if value is False:
                out |= bit
            elif value is None:
                open_ |= bit
        return self.all & ~out & ~open_, open_ & ~out

    def rules(self, mask: int) -> dict[str, Rule]:
        """The rules of the alternatives in a mask, by id."""
        found = {}
        while mask:
            lowest = mask & -mask
            rule = self.owners[lowest.bit_length() - 1]
            found[rule.id] = rule
            mask ^= lowest
        return found


class Index:
    """A payer's rules as masks, stratum by stratum."""

    def __init__(self, payer: PayerRules) -> None:
        self.payer = payer
        self.layers = [_Layer(layer) for layer in payer.strata[0]]
        self.none: dict[str, bool | None] = dict.fromkeys((rule.id for rule in payer.rules), False)

    def verdict(self, keys: Mapping[str, Key]) -> Verdict:
        """The truth of every rule, as `chain` has it."""
        truths = dict(self.none)
        fired: list[Rule] = []
        undecided: list[Rule] = []
        concluded = Concluded({}, {})
        for layer in self.layers:
            true, open_ = layer.truths(keys, concluded)
            holding = layer.rules(true)
            waiting = {name: rule for name, rule in layer.rules(open_).items() if name not in holding}
            truths.update(dict.fromkeys(waiting))
            truths.update(dict.fromkeys(holding, True))
            fired.extend(holding.values())
            undecided.extend(waiting.values())
            concluded = concluded_by(self.payer, fired, undecided, keys)
        return Verdict(truths, concluded)


@lru_cache(maxsize=2_000)
def index(payer: PayerRules) -> Index:
    """The index of a payer's rules, made once."""
    return Index(payer)
