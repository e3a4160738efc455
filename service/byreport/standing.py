"""What each rule of a payer comes to on a line's facts: it fires, it waits for an answer, or it is out of the question.

Of each rule the *state* is worked out: its truth, what unknown facts leave open of it, which answers would turn it. A
state follows from what the lens sees of the rule's own facts and from the states of the rules whose conclusions it
tests, so that states met before are taken from memory: two lines that differ in one respect share nearly all of them.
`chain.chain` says what the truths have to be, and tests compare the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from operator import or_
from typing import Any

from byreport.case import Case
from byreport.chain import Concluded, concluded_by, concluded_facts, truth
from byreport.dnf import conjunctions
from byreport.essential import essential
from byreport.lens import Lens, codes_from
from byreport.residues import FALSE, RESOLVED_FACTS, TRUE, Below, Pair, made_by, read_by
from byreport.rule import Condition, Not, Rule, Test, tests
from byreport.rulebook import PayerRules
from byreport.strata import RESOLVED
from byreport.vocabulary import Key, Vocabulary

BLOCK = 8
"""Rules looked up together."""


@dataclass(frozen=True, eq=False)
class State:
    """What one rule comes to.

    `left` is what is open of its condition, TRUE or FALSE when nothing is. `turns` are the unknown facts whose answer
    could make it fire or cease to; `codes_held` those that would say which code it names. `concluded` is what its
    tests of conclusions found.
    """

    rule: Rule
    truth: bool | None
    left: Condition
    turns: frozenset[str]
    codes_held: tuple[str, ...]
    concluded: Concluded
    reasons: tuple[tuple[Test, bool], ...]
    """The tests that make it fire, each with whether it is to hold."""
    makes: tuple[Pair, ...] = ()
    """What the rule may conclude."""
    speaks: bool = False
    """Whether it says something of a resolved part, be it only that another rule does not count."""
    remembered: dict[str, Any] = field(default_factory=dict)
    """For what follows from the state alone, by whoever works it out."""

    @property
    def fires(self) -> bool:
        """Whether the rule fires on what is known now."""
        return self.truth is True

    @property
    def open(self) -> bool:
        """Whether an answer could still change whether it fires."""
        return self.left is not TRUE and self.left is not FALSE

    @cached_property
    def unsure(self) -> bool:
        """Whether an answer could still change what it concludes."""
        return self.open or (self.fires and bool(self.codes_held))


_OUT = State(Rule("", "", "", TRUE, (), ()), False, FALSE, frozenset(), (), Concluded({}, {}), ())
"""The state of every rule that is out of the question."""


@dataclass(frozen=True, eq=False)
class _Resolved:
    """The concluded facts that stand on the resolved parts, code and prior authorization."""

    concluded: Concluded


_NOTHING = _Resolved(Concluded({}, {}))


class _Entry:
    """One rule as the payer's standings see it; none of this changes from line to line."""

    def __init__(self, rule: Rule, layer: int, lens: Lens, codes_of: Mapping[str, set[str]]) -> None:
        self.rule = rule
        self.layer = layer
        own = list(tests(rule.condition))
        self.alternatives = lens.alternatives[rule.id]
        self.codes_from = codes_from(rule)
        self.reads = tuple(
            dict.fromkeys(pair for test in own if test.fact in concluded_facts() for pair in read_by(test))
        )
        self.reads_resolved = frozenset(fact for fact, _ in self.reads if fact in RESOLVED_FACTS)
        self.makes = tuple(dict.fromkeys(made_by(rule)))
        self.speaks = any(conclusion.verb in RESOLVED for conclusion in rule.then)
        self.asks_unknown = tuple(dict.fromkeys(test.fact for test in own if test.operator == "unknown"))
        given = {test.fact for test in own if test.fact not in concluded_facts()}
        held = {code for fact in self.reads_resolved for code in codes_of[fact]}
        self.care = self.alternatives | lens.unknown({*given, *self.codes_from, *held})
        self.always = any(
            all(test.fact not in concluded_facts() for test, _ in literals) for literals in conjunctions(rule.condition)
        )
        """Whether it may fire although nothing that it reads was concluded."""
        self.states: dict[Any, State] = {}


class _Block:
    """A few rules that read no conclusions, looked up together: what is remembered lies far apart in memory."""

    def __init__(self, entries: list[_Entry]) -> None:
        self.entries = entries
        self.care = reduce(or_, (entry.care for entry in entries))
        self.states: dict[int, tuple[State, ...]] = {}


def _blocks(entries: list[_Entry]) -> list[_Block]:
    """Rules that ask of the same facts come into one block, so that it has few different states."""
    alike = sorted(entries, key=lambda entry: sorted(entry.rule.facts()))
    return [_Block(alike[start : start + BLOCK]) for start in range(0, len(alike), BLOCK)]


class _Layer:
    """The rules of one stratum that read conclusions."""

    def __init__(self, entries: list[_Entry]) -> None:
        self.entries = entries
        self._always = [entry for entry in entries if entry.always]
        self._readers: dict[Pair, list[_Entry]] = defaultdict(list)
        for entry in entries:
            for pair in entry.reads:
                self._readers[pair].append(entry)

    def waking(self, concluded: Iterable[Pair]) -> list[_Entry]:
        """The rules that can be other than out of the question; conclusions are tested positively only."""
        found = dict.fromkeys(self._always)
        for pair in concluded:
            if pair in self._readers:
                found.update(dict.fromkeys(self._readers[pair]))
        return list(found)


def _grouped(entries: Iterable[_Entry]) -> list[list[_Entry]]:
    by_layer: dict[int, list[_Entry]] = defaultdict(list)
    for entry in entries:
        by_layer[entry.layer].append(entry)
    return [by_layer[layer] for layer in sorted(by_layer)]


class Standing:
    """The rules that are not out of the question on some facts, in the order of strata."""

    def __init__(self, cases: dict[Any, Case], remembered: dict[Any, Any]) -> None:
        self.cases = cases
        """Those of the payer that were met before."""
        self.remembered = remembered
        """For what follows from several states, by whoever works it out."""
        self.states: list[State] = []
        self.makers: dict[Pair, tuple[State, ...]] = {}

    def add(self, state: State) -> None:
        """Take a rule's state in, and what it may conclude."""
        self.states.append(state)
        for pair in state.makes:
            self.makers[pair] = (*self.makers.get(pair, ()), state)

    @cached_property
    def fired(self) -> list[Rule]:
        """The rules that fire."""
        return [state.rule for state in self.states if state.truth is True]

    @cached_property
    def of(self) -> Mapping[str, State]:
        """The states by rule id; rules that are out of the question have none."""
        return {state.rule.id: state for state in self.states}


class Standings:
    """A payer's rules, ready to be worked out."""

    def __init__(self, payer: PayerRules, vocab: Vocabulary) -> None:
        self.payer = payer
        self.lens = Lens(payer, vocab)
        self._learned = 0
        self._vocab = vocab
        codes_of: dict[str, set[str]] = defaultdict(set)
        self._codes_of = codes_of
        for rule in payer.rules:
            for fact, _ in made_by(rule):
                codes_of[fact].update(codes_from(rule))
        self._codes_from = tuple(sorted({fact for rule in payer.rules for fact in codes_from(rule)}))
        entries = [
            _Entry(rule, number, self.lens, codes_of) for number, layer in enumerate(payer.strata[0]) for rule in layer
        ]
        self._layers = [_Layer(layer) for layer in _grouped(entry for entry in entries if entry.reads)]
        self._blocks = _blocks([entry for entry in entries if not entry.reads])
        self._resolutions: dict[Any, _Resolved] = {}
        self._cases: dict[Any, Case] = {}
        self._remembered: dict[Any, Any] = {}

    def forget(self) -> None:
        """Keep no state."""
        for block in self._blocks:
            block.states.clear()
            for entry in block.entries:
                entry.states.clear()
        for layer in self._layers:
            for entry in layer.entries:
                entry.states.clear()
        self._resolutions.clear()
        self._cases.clear()
        self._remembered.clear()
        self._learned = 0

    @property
    def size(self) -> int:
        """How much is remembered: about 2 KB for each."""
        return self._learned + len(self._cases) + len(self._remembered)

    def of(self, keys: Mapping[str, Key], reading: int | None = None) -> Standing:
        """The standing of the rules on the facts (name to key, unknown facts absent); `reading` is the lens's."""
        seen = self.lens.reading(keys) if reading is None else reading
        standing = Standing(self._cases, self._remembered)
        for block in self._blocks:
            found = block.states.get(seen & block.care)
            for state in self._learn_block(block, seen, keys, standing) if found is None else found:
                standing.add(state)
        for layer in self._layers:
            self._add_layer(layer, seen, keys, standing)
        return standing

    def _learn_block(self, block: _Block, seen: int, keys: Mapping[str, Key], standing: Standing) -> tuple[State, ...]:
        states = []
        for entry in block.entries:
            own = seen & entry.care
            state = entry.states.get(own) or self._learn(entry, own, keys, standing, _NOTHING)
            if state is not _OUT:
                states.append(state)
        found = block.states[seen & block.care] = tuple(states)
        self._learned += 1
        return found

    def _add_layer(self, layer: _Layer, seen: int, keys: Mapping[str, Key], standing: Standing) -> None:
        """Add the states of the rules of one stratum that read conclusions of those below."""
        resolved = None
        for entry in layer.waking(standing.makers):
            own = seen & entry.care
            if own & entry.alternatives == entry.alternatives:
                continue
            if entry.reads_resolved and resolved is None:
                resolved = self._resolve(standing, keys)
            key = (own, entry.reads_resolved and resolved, *map(standing.makers.get, entry.reads))
            state = entry.states.get(key) or self._learn(entry, key, keys, standing, resolved or _NOTHING)
            if state is not _OUT:
                standing.add(state)

    def _learn(
        self, entry: _Entry, key: Any, keys: Mapping[str, Key], standing: Standing, resolved: _Resolved
    ) -> State:
        self._learned += 1
        state = entry.states[key] = self._state(entry, keys, standing, resolved.concluded)
        return state

    def _state(self, entry: _Entry, keys: Mapping[str, Key], standing: Standing, resolved: Concluded) -> State:
        rule = entry.rule
        concluded = _seen_by(entry, standing, resolved)
        value = truth(rule.condition, keys, concluded)
        left = TRUE if value else FALSE
        unsure = any(state.unsure for pair in entry.reads for state in standing.makers.get(pair, ()))
        if value is None or unsure or any(fact not in keys for fact in entry.asks_unknown):
            below = _below(entry, keys, standing)
            residue = below.residue(rule.condition)
            # What is left may contradict itself, or hold whatever the answers: then nothing is open.
            if essential(residue, self._vocab):
                left = residue
        if value is False and left is FALSE:
            return _OUT
        turns = self._turns(left, keys, standing) if left is not TRUE and left is not FALSE else frozenset()
        reasons = tuple(_reasons(rule.condition, True, keys, concluded)) if value else ()
        return State(
            rule, value, left, turns, _unknown(entry.codes_from, keys), concluded, reasons, entry.makes, entry.speaks
        )

    def _turns(self, left: Condition, keys: Mapping[str, Key], standing: Standing) -> frozenset[str]:
        facts = essential(left, self._vocab)
        contested = facts & concluded_facts()
        if contested:
            # Which rule wins a contested part is up to the rules that may: what turns them turns this one. A fact that
            # the rule does not test itself comes with the state of a rule below, and so do the rules that decide it.
            for fact in contested:
                makers = standing.makers.get((fact, None), ())
                facts = facts.union(_unknown(self._codes_of[fact], keys), *(state.turns for state in makers))
        return facts - concluded_facts()

    def _resolve(self, standing: Standing, keys: Mapping[str, Key]) -> _Resolved:
        """What the rules so far come to on the resolved parts."""
        speaking = tuple([state for state in standing.states if state.speaks and state.truth is not False])
        key = (speaking, keys.get("line.code"), *[keys.get(fact) for fact in self._codes_from])
        found = self._resolutions.get(key)
        if found is None:
            fired = [state.rule for state in speaking if state.truth]
            undecided = [state.rule for state in speaking if not state.truth]
            found = _Resolved(concluded_by(self.payer, fired, undecided, keys))
            self._resolutions[key] = found
            self._learned += 1
        return found


def _unknown(facts: Iterable[str], keys: Mapping[str, Key]) -> tuple[str, ...]:
    return tuple(fact for fact in facts if fact not in keys)


def _seen_by(entry: _Entry, standing: Standing, resolved: Concluded) -> Concluded:
    """What the rules below conclude, as far as the rule tests it."""
    certain = {pair: ids for pair, ids in resolved.certain.items() if pair[0] in entry.reads_resolved}
    possible = {pair: ids for pair, ids in resolved.possible.items() if pair[0] in entry.reads_resolved}
    for pair in entry.reads:
        if pair[0] not in RESOLVED_FACTS:
            makers = standing.makers.get(pair, ())
            for pairs, value in ((certain, True), (possible, None)):
                ids = tuple(state.rule.id for state in makers if state.truth is value)
                if ids:
                    pairs[pair] = ids
    return Concluded(certain, possible)


def _reasons(
    condition: Condition, wanted: bool, keys: Mapping[str, Key], concluded: Concluded
) -> Iterator[tuple[Test, bool]]:
    """The tests that make the condition hold (or, not wanted, fail to hold)."""
    if isinstance(condition, Test):
        if truth(condition, keys, concluded) is wanted:
            yield condition, wanted
    elif isinstance(condition, Not):
        yield from _reasons(condition.item, not wanted, keys, concluded)
    else:
        for item in condition.items:
            if truth(item, keys, concluded) is wanted:
                yield from _reasons(item, wanted, keys, concluded)


def _below(entry: _Entry, keys: Mapping[str, Key], standing: Standing) -> Below:
    makers = {pair: standing.makers.get(pair, ()) for pair in entry.reads}
    live = {fact: [state for state in makers[fact, None] if state.fires or state.open] for fact in entry.reads_resolved}
    contested = (fact for fact, states in live.items() if len(states) > 1 and any(state.unsure for state in states))
    return Below(
        keys,
        {pair: [(state.rule, state.left) for state in states] for pair, states in makers.items()},
        frozenset(contested),
    )


@lru_cache(maxsize=2_000)
def standings(payer: PayerRules, vocab: Vocabulary) -> Standings:
    """The standings of a payer's rules, made once."""
    return Standings(payer, vocab)
