"""The forward-chaining engine: durable-rules on the subset of it that is exact. Nothing else imports it.

What the subset is and why (each point is a reproducible fault of durable-rules 2.0.28 outside it):

- One engine rule is one conjunction over one fact object, guarded by an equality on `stage` that only our
  facts have. Disjunctions become several engine rules; joins, `$not`, arithmetic and patterns are not used.
- Every test is an equality: on a scalar fact, or on a boolean flag. Lists, `one_of`, patterns, ranges,
  presence and negations are turned into flags when the fact is written, so the engine's coercions,
  its string ordering and its absence tests never come into play.
- Facts are asserted once per stratum with what lower strata concluded, and retracted right after.
- One engine state is kept for ever per handle and primed when the handle is made; after any error it is
  deleted, which resets it.
- At most 64 branches may be open at once for one fact (error 303) and 252 properties set (302). Both are loud
  and lose nothing but the one assertion: the handle that hits one is split in two and the facts are fired again.
- Rules with the same conjunction share one engine rule (at 256 equal chains the engine miscounts), and a handle
  holds few enough for its loop at 512 different tests below one node never to be met.
"""

from __future__ import annotations

import contextlib
import json
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial, reduce
from operator import or_
from typing import Any

import durable_rules_engine as durable

from byreport.dnf import Literal, conjunctions, true_bits
from byreport.evaluate import holds
from byreport.facts import of_payer
from byreport.jsontext import dumps
from byreport.lens import CACHED_VALUES, Bits, ByValue, bounds, codes_from
from byreport.precedence import part_of, resolve, resolved_facts
from byreport.rule import All, AnyOf, Condition, Not, Rule, Test, asserts
from byreport.rulebook import PayerRules
from byreport.strata import RESOLVED
from byreport.vocabulary import Key, Vocabulary

MAX_CONJUNCTIONS = 400
"""Per handle; the engine loops for ever at 512 different tests below one node."""

_LIMITS = ("302", "303")
_RESOLVED_FACTS = frozenset(fact for facts in RESOLVED.values() for fact in facts)
_RESOLVED_PARTS = frozenset({"code", "prior_authorization"})
_SELECTIVE = {"line.ndc.code": 0, "drug.name": 1, "line.code": 3, "drug.specific_code": 4}
"""Facts whose equality most often tells rules apart are tested first; the smaller the earlier."""


_Property = tuple[str, str]
"""The name of a property and the JSON of the constant that it is to equal."""
_Conjunction = tuple[Literal, ...]
"""One engine rule to be: its literals, each an equality of one property; most selective first."""


class Handles:
    """The engine handles in use. Payers whose rules above the lowest stratum are the same (those that all of them
    inherit) share a handle: it takes 23 KB a conjunction.

    Names the property of every literal; the same literal has the same property in every handle.
    """

    def __init__(self, vocab: Vocabulary) -> None:
        self.vocab = vocab
        self._lock = threading.Lock()
        self._names: dict[Any, str] = {}
        self._made: weakref.WeakValueDictionary[tuple[int, tuple[_Conjunction, ...]], _Handle] = (
            weakref.WeakValueDictionary()
        )

    def of(self, stage: int, members: tuple[_Conjunction, ...]) -> _Handle:
        """The handle of these conjunctions of a stage; made when nobody has it."""
        with self._lock:
            handle = self._made.get((stage, members))
            if handle is None:
                handle = self._made[stage, members] = _Handle(stage, members, self)
            return handle

    def property(self, literal: Literal) -> _Property:
        """The property and JSON constant whose equality means that the literal holds."""
        test = literal[0]
        if self.vocab.facts[test.fact].origin == "concluded":
            return self.concluded(test.fact, test.value), "true"
        if self.is_native(literal):
            return self._name("p", test.fact), dumps(_plain(test.value))
        return self._name("f", literal), "true"

    def is_native(self, literal: Literal) -> bool:
        """Whether the engine compares the fact's own value; all else are flags."""
        test, wanted = literal
        return wanted and test.operator == "equals" and not self.vocab.facts[test.fact].many

    def concluded(self, fact: str, value: Any) -> str:
        """The flag of one value of a concluded fact."""
        return self._name("d", (fact, value))

    def _name(self, prefix: str, what: Any) -> str:
        return self._names.setdefault((prefix, what), f"{prefix}{len(self._names)}")


def _plain(key: Any) -> str | bool:
    """A scalar key as the engine sees it: text or boolean, so that one property never mixes types."""
    return key if isinstance(key, bool) else str(key)


def _each(bits: int) -> Iterator[int]:
    """The bits of a number, the lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest
        bits ^= lowest


class _Handle:
    """One engine handle with its kept state: conjunctions of one stage."""

    def __init__(self, stage: int, members: tuple[_Conjunction, ...], handles: Handles) -> None:
        self.members = members
        self.stage = stage
        self.lock = threading.Lock()
        self.properties = [tuple(dict.fromkeys(map(handles.property, member))) for member in members]
        self._bits = {each: 1 << n for n, each in enumerate(dict.fromkeys(p for own in self.properties for p in own))}
        self._members = ["", *(f',"{name}":{value}' for name, value in self._bits)]
        asked: dict[str, dict[int, Literal]] = defaultdict(dict)
        for literal in (literal for member in members for literal in member):
            asked[literal[0].fact][self._bits[handles.property(literal)]] = literal
        facts = handles.vocab.facts
        self.concluded = {
            handles.property(literal)[0]: bit
            for fact in asked
            if facts[fact].origin == "concluded"
            for bit, literal in asked[fact].items()
        }
        given = {fact: found for fact, found in asked.items() if facts[fact].origin != "concluded"}
        literals = {fact: [(literal, bit) for bit, literal in found.items()] for fact, found in given.items()}
        self._holding = Bits(
            {fact: partial(true_bits, found) for fact, found in literals.items()},
            {fact: true_bits(found, None) for fact, found in literals.items()},
            {fact: bounds(facts[fact], (test for (test, _), _ in found)) for fact, found in literals.items()},
        )
        """Which properties the facts make hold."""
        self._needs: dict[int, int] = defaultdict(int)
        """For each property that some conjunction tests first, all that the conjunctions behind it test."""
        for own in self.properties:
            if own:
                self._needs[self._bits[own[0]]] |= reduce(or_, (self._bits[each] for each in own))
        self._gates = reduce(or_, self._needs, 0)
        self._always = not all(self.properties)
        self._behind = ByValue(self._behind_all, None)
        self._texts = ByValue(self._text, None)
        self.handle = durable.create_ruleset("byreport", dumps(self.definition()))
        # The engine's memory is freed with the object.
        weakref.finalize(self, _free, self.handle)
        self.dirty = False
        self.prime()

    def definition(self) -> dict[str, Any]:
        body: dict[str, Any] = {"__prime": {"all": [{"m": {"__prime": 1}}]}}
        for index, properties in enumerate(self.properties):
            tests: list[dict[str, Any]] = [{"stage": self.stage}]
            tests.extend({name: json.loads(value)} for name, value in properties)
            body[f"r{index}"] = {"all": [{"m": {"$and": tests}}]}
        return body

    def prime(self) -> None:
        """Make the state and run one action in it: only then can it be deleted safely."""
        _, state = durable.assert_fact(self.handle, '{"sid":"s","id":"p","__prime":1}')
        durable.start_action_for_state(self.handle, state)
        durable.complete_and_start_action(self.handle, state)
        durable.retract_fact(self.handle, '{"sid":"s","id":"p"}')

    def _behind_all(self, gates: int) -> int:
        """What the conjunctions behind these first properties test."""
        return reduce(or_, map(self._needs.__getitem__, _each(gates)), 0)

    def _text(self, written: int) -> str:
        """The fact that has these properties, as the engine takes it."""
        members = [self._members[bit.bit_length()] for bit in _each(written)]
        return f'{{"sid":"s","id":"0","stage":{self.stage}{"".join(members)}}}'

    def fire(self, keys: Mapping[str, Key], flags: Iterable[str]) -> list[int]:
        """Assert the facts, drain, retract; the indexes of the members that fired. Raises durable.error.

        `flags` are those of `concluded` that hold. Whatever interrupts it, the next call starts from an empty state.
        """
        holding = self._holding(keys)
        for flag in flags:
            holding |= self.concluded[flag]
        # Of a conjunction whose first test fails nothing else is written: the fewer properties, the faster.
        behind = self._behind[holding & self._gates]
        if not behind and not self._always:
            return []
        with self.lock:
            return self._fire(self._texts[holding & behind])

    def _fire(self, fact: str) -> list[int]:
        if self.dirty:
            self.reset()
        handle = self.handle
        self.dirty = True
        code, state = durable.assert_fact(handle, fact)
        fired: list[int] = []
        if code != 1:
            if code == 2:
                raise RuntimeError("the engine still holds a fact that was retracted")
            first = durable.start_action_for_state(handle, state)
            message = first and first[1]
            while message:
                fired.append(int(message[3 : message.index('"', 3)]))
                message = durable.complete_and_start_action(handle, state)
        durable.retract_fact(handle, '{"sid":"s","id":"0"}')
        self.dirty = False
        return fired

    def reset(self) -> None:
        """Back to an empty state, after an error."""
        with contextlib.suppress(durable.error):
            durable.delete_state(self.handle, "s")
        self.prime()
        self.dirty = False


def _free(handle: int) -> None:
    """Free the engine's memory: the state first, or it leaks."""
    with contextlib.suppress(durable.error):
        durable.delete_state(handle, "s")
    durable.delete_ruleset(handle)


_Filed = list[tuple[_Handle, list[list[int]]]]
"""The handles of a stage, each with the indexes of the rules that fire with each of its members."""


class Engine:
    """The rules of one payer, compiled. Safe to share between threads; `fire` takes turns."""

    def __init__(self, payer: PayerRules, handles: Handles) -> None:
        self.payer = payer
        self.splits = 0
        self._closed = False
        self._lock = threading.Lock()
        self._handles = handles
        layers, circular = payer.strata
        if circular:
            raise ValueError(f"rules depend on each other in a circle: {', '.join(circular)}")
        self._rules: list[Rule] = [rule for layer in layers for rule in layer]
        stages = _compile(payer, handles.vocab)
        read = {
            (test.fact, test.value): handles.concluded(test.fact, test.value)
            for members in stages.values()
            for member in members
            for test, _ in member
            if handles.vocab.facts[test.fact].origin == "concluded"
        }
        self._asserts = [[read[pair] for c in rule.then if (pair := asserts(c)) in read] for rule in self._rules]
        self._resolved = {pair: flag for pair, flag in read.items() if pair[0] in _RESOLVED_FACTS}
        self._speaks = [any(part_of(c) in _RESOLVED_PARTS for c in rule.then) for rule in self._rules]
        self._deciding = ("line.code", *sorted({fact for rule in self._rules for fact in codes_from(rule)}))
        self._known_flags: dict[Any, frozenset[str]] = {}
        self._stages = [self._filed(stage, members) for stage, members in sorted(stages.items())]

    def _filed(self, stage: int, members: dict[_Conjunction, list[int]]) -> _Filed:
        """Handles for the conjunctions of a stage; those that begin alike stay together."""
        ordered = sorted(members, key=lambda member: [self._handles.property(literal) for literal in member])
        packs = [ordered[at : at + MAX_CONJUNCTIONS] for at in range(0, len(ordered), MAX_CONJUNCTIONS)]
        return [(self._handles.of(stage, tuple(pack)), [members[each] for each in pack]) for pack in packs]

    def close(self) -> None:
        """Let go of the engine's memory now; what other payers share stays."""
        with self._lock:
            self._closed = True
            self._stages.clear()

    def fire(self, keys: Mapping[str, Key]) -> list[Rule]:
        """The rules that fire on the facts (name to key; unknown facts absent), in no particular order."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            while (fired := self._fire(keys)) is None:
                pass
            return [self._rules[index] for index in fired]

    def _fire(self, keys: Mapping[str, Key]) -> set[int] | None:
        """The indexes of the rules that fire; None when a handle had to be split and all is to be done again."""
        fired: set[int] = set()
        flags: set[str] = set()
        for number, stage in enumerate(self._stages):
            if number:
                flags = self._concluded(fired, keys)
            fresh: set[int] = set()
            for handle, rules in stage:
                known = handle.concluded.keys() & flags if flags else ()
                # Above the lowest stage every conjunction tests something concluded.
                if number and not known:
                    continue
                try:
                    for member in handle.fire(keys, known):
                        fresh.update(rules[member])
                except durable.error as error:
                    self._split(stage, handle, rules, error)
                    return None
            fired |= fresh
        return fired

    def _concluded(self, fired: set[int], keys: Mapping[str, Key]) -> set[str]:
        flags = {flag for index in fired for flag in self._asserts[index]}
        if self._resolved:
            speaking = [index for index in fired if self._speaks[index]]
            if speaking:
                flags |= self._resolve(frozenset(speaking), keys)
        return flags

    def _resolve(self, speaking: frozenset[int], keys: Mapping[str, Key]) -> frozenset[str]:
        """The flags of the facts that stand on a resolved part, by the rules that speak of one."""
        known = (speaking, *[keys.get(fact) for fact in self._deciding])
        flags = self._known_flags.get(known)
        if flags is None:
            resolution = resolve([self._rules[index] for index in speaking], self.payer.depth, keys, _RESOLVED_PARTS)
            facts = resolved_facts(resolution, keys)
            flags = frozenset(flag for (fact, value), flag in self._resolved.items() if _is(facts.get(fact), value))
            if len(self._known_flags) < CACHED_VALUES:
                self._known_flags[known] = flags
        return flags

    def _split(self, stage: _Filed, handle: _Handle, rules: list[list[int]], error: Exception) -> None:
        """Where the engine's own limit was hit, two handles take the place of one; any other error is raised again."""
        if len(handle.members) < 2 or not any(code in str(error) for code in _LIMITS):
            raise error
        half = len(handle.members) // 2
        position = stage.index((handle, rules))
        stage[position : position + 1] = [
            (self._handles.of(handle.stage, handle.members[:half]), rules[:half]),
            (self._handles.of(handle.stage, handle.members[half:]), rules[half:]),
        ]
        self.splits += 1


def _is(held: frozenset[Any] | bool | None, value: Any) -> bool:
    return value in held if isinstance(held, frozenset) else held is value


def _compile(payer: PayerRules, vocab: Vocabulary) -> dict[int, dict[_Conjunction, list[int]]]:
    """For each stage one conjunction for each alternative of each rule, with the indexes of the rules that have it.

    An alternative that tests nothing concluded runs in the lowest stage, whatever the stratum of its rule. What follows
    from the payer's path is settled here.
    """
    settled = {name: vocab.facts[name].key(value) for name, value in of_payer(payer.payer).items()}
    stages: dict[int, dict[_Conjunction, list[int]]] = defaultdict(dict)
    number = 0
    for stage, layer in enumerate(payer.strata[0]):
        for rule in layer:
            for alternative in conjunctions(_expanded(rule.condition, vocab)):
                literals = frozenset(literal for literal in alternative if literal[0].fact not in settled)
                if any(holds(test, settled[test.fact]) is not wanted for test, wanted in alternative - literals):
                    continue
                waits = any(vocab.facts[test.fact].origin == "concluded" for test, _ in literals)
                ordered = sorted(literals, key=lambda literal: (*_selectivity(literal), str(literal)))
                rules = stages[stage if waits else 0].setdefault(tuple(ordered), [])
                if number not in rules:
                    rules.append(number)
            number += 1
    return stages


def _selectivity(literal: Literal) -> tuple[int, int]:
    test, wanted = literal
    if wanted and test.operator in ("equals", "one_of"):
        return 0, _SELECTIVE.get(test.fact, 9)
    return 1, 0


def _expanded(condition: Condition, vocab: Vocabulary) -> Condition:
    """`one_of` on a concluded fact as alternatives, so that each tests one concluded value."""
    if isinstance(condition, Test):
        if condition.operator == "one_of" and vocab.facts[condition.fact].origin == "concluded":
            return AnyOf(tuple(Test(condition.fact, "equals", value, condition.shown) for value in condition.value))
        return condition
    if isinstance(condition, Not):
        return Not(_expanded(condition.item, vocab))
    items = tuple(_expanded(item, vocab) for item in condition.items)
    return AnyOf(items) if isinstance(condition, AnyOf) else All(items)
