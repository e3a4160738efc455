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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import Any

import durable_rules_engine as durable

from byreport.dnf import Literal, conjunctions
from byreport.evaluate import holds
from byreport.facts import of_payer
from byreport.lens import CACHED_VALUES, ByValue, bounds, codes_from
from byreport.precedence import part_of, resolve, resolved_facts
from byreport.rule import All, AnyOf, Condition, Not, Rule, Test, asserts
from byreport.rulebook import PayerRules
from byreport.strata import RESOLVED
from byreport.vocabulary import Key, Vocabulary, vocabulary

MAX_CONJUNCTIONS = 400
"""Per handle; the engine loops for ever at 512 different tests below one node."""

_LIMITS = ("302", "303")
_RESOLVED_FACTS = frozenset(fact for facts in RESOLVED.values() for fact in facts)
_RESOLVED_PARTS = frozenset({"code", "prior_authorization"})
_SELECTIVE = {"line.ndc.code": 0, "drug.name": 1, "line.code": 3, "drug.specific_code": 4}
"""Facts whose equality most often tells rules apart are tested first; the smaller the earlier."""


@dataclass(frozen=True)
class _Conjunction:
    """One engine rule to be: its properties (each an equality), and the rules that fire with it."""

    stage: int
    properties: tuple[tuple[str, str], ...]
    """(property, JSON of the constant), most selective first."""
    rules: tuple[int, ...]


class _Writer:
    """Names the property of every literal, and writes a fact's value as the properties that tests on it need."""

    def __init__(self, vocab: Vocabulary) -> None:
        self.vocab = vocab
        self.native: dict[str, str] = {}
        self.constants: dict[str, dict[Any, None]] = {}
        """For each native property's fact the values that some conjunction asks for; others are not written."""
        self.flags: dict[str, dict[Literal, str]] = {}
        self.derived: dict[tuple[str, Any], str] = {}
        self.count = 0

    def property(self, literal: Literal) -> tuple[str, str]:
        """The property and JSON constant whose equality means that the literal holds."""
        test, wanted = literal
        fact = self.vocab.facts[test.fact]
        if fact.origin == "concluded":
            return self.derived.setdefault((test.fact, test.value), self.name("d")), "true"
        if wanted and test.operator == "equals" and not fact.many:
            self.constants.setdefault(test.fact, {})[test.value] = None
            return self.native.setdefault(test.fact, self.name("p")), _json(_plain(test.value))
        return self.flags.setdefault(test.fact, {}).setdefault(literal, self.name("f")), "true"

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def facts(self, used: frozenset[str]) -> list[str]:
        """The facts that have one of the used properties."""
        found = {fact for fact, name in self.native.items() if name in used}
        found.update(fact for fact, flags in self.flags.items() if used & set(flags.values()))
        return sorted(found)

    def bounds(self, fact: str) -> list[Any] | None:
        """The values that tell apart what the fact's properties are; None where each value is one of its own."""
        asked = [test for test, _ in self.flags.get(fact, ())]
        asked += [Test(fact, "equals", value) for value in self.constants.get(fact, ())]
        return bounds(self.vocab.facts[fact], asked)

    def fragment(self, fact: str, key: Key | None, used: frozenset[str]) -> str:
        """The used properties of one fact with this key, as JSON members with a leading comma."""
        members = []
        native = self.native.get(fact)
        if native in used and key in self.constants[fact]:
            members.append(f',"{native}":{_json(_plain(key))}')
        for (test, wanted), flag in self.flags.get(fact, {}).items():
            if flag in used and holds(test, key) is wanted:
                members.append(f',"{flag}":true')
        return "".join(members)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(key: Any) -> str | bool:
    """A scalar key as the engine sees it: text or boolean, so that one property never mixes types."""
    return key if isinstance(key, bool) else str(key)


class _Handle:
    """One engine handle with its kept state: conjunctions of one stage."""

    def __init__(self, members: list[_Conjunction], writer: _Writer) -> None:
        self.members = members
        self.writer = writer
        self.stage = members[0].stage
        self.used = frozenset(name for member in members for name, _ in member.properties)
        self.facts = writer.facts(self.used)
        self.fragments = [
            ByValue(partial(writer.fragment, fact, used=self.used), writer.bounds(fact)) for fact in self.facts
        ]
        self.head = f'{{"sid":"s","id":"0","stage":{self.stage}'
        self.handle = durable.create_ruleset("byreport", _json(self.definition()))
        self.close = weakref.finalize(self, _free, self.handle)
        self.dirty = False
        self.prime()

    def definition(self) -> dict[str, Any]:
        body: dict[str, Any] = {"__prime": {"all": [{"m": {"__prime": 1}}]}}
        for index, member in enumerate(self.members):
            tests: list[dict[str, Any]] = [{"stage": self.stage}]
            tests.extend({name: json.loads(value)} for name, value in member.properties)
            body[f"r{index}"] = {"all": [{"m": {"$and": tests}}]}
        return body

    def prime(self) -> None:
        """Make the state and run one action in it: only then can it be deleted safely."""
        _, state = durable.assert_fact(self.handle, '{"sid":"s","id":"p","__prime":1}')
        durable.start_action_for_state(self.handle, state)
        durable.complete_and_start_action(self.handle, state)
        durable.retract_fact(self.handle, '{"sid":"s","id":"p"}')

    def fire(self, keys: Mapping[str, Key], flags: Iterable[str]) -> list[int]:
        """Assert the facts, drain, retract; the indexes of the members that fired. Raises durable.error.

        Whatever interrupts it, the next call starts from an empty state.
        """
        if self.dirty:
            self.reset()
        parts = [self.head, *map(getitem, self.fragments, map(keys.get, self.facts))]
        parts.extend([f',"{flag}":true' for flag in flags])
        parts.append("}")
        handle = self.handle
        self.dirty = True
        code, state = durable.assert_fact(handle, "".join(parts))
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


class Engine:
    """The rules of one payer, compiled. Safe to share between threads; `fire` takes turns."""

    def __init__(self, payer: PayerRules, vocab: Vocabulary | None = None) -> None:
        self.payer = payer
        self.splits = 0
        self._closed = False
        self._lock = threading.Lock()
        self._writer = _Writer(vocab or vocabulary())
        layers, circular = payer.strata
        if circular:
            raise ValueError(f"rules depend on each other in a circle: {', '.join(circular)}")
        self._rules: list[Rule] = [rule for layer in layers for rule in layer]
        # What follows from the payer's path is settled when its rules are compiled.
        shown = of_payer(payer.payer)
        settled = {name: self._writer.vocab.facts[name].key(value) for name, value in shown.items()}
        members = _compile(layers, self._writer, settled)
        derived = self._writer.derived
        self._asserts = [[derived[pair] for c in rule.then if (pair := asserts(c)) in derived] for rule in self._rules]
        self._resolved = {pair: flag for pair, flag in derived.items() if pair[0] in _RESOLVED_FACTS}
        self._speaks = [any(part_of(c) in _RESOLVED_PARTS for c in rule.then) for rule in self._rules]
        self._deciding = ("line.code", *sorted({fact for rule in self._rules for fact in codes_from(rule)}))
        self._known_flags: dict[Any, frozenset[str]] = {}
        self._stages = [
            [_Handle(pack, self._writer) for pack in _packs(members, stage)]
            for stage in sorted({member.stage for member in members})
        ]

    def close(self) -> None:
        """Free the engine's memory now; otherwise it is freed with the object."""
        with self._lock:
            self._closed = True
            for handle in [handle for stage in self._stages for handle in stage]:
                handle.close()

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
            for handle in stage:
                known = sorted(flags & handle.used) if flags else ()
                # Above the lowest stage every conjunction tests something concluded.
                if number and not known:
                    continue
                try:
                    for member in handle.fire(keys, known):
                        fresh.update(handle.members[member].rules)
                except durable.error as error:
                    self._split(stage, handle, error)
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

    def _split(self, stage: list[_Handle], handle: _Handle, error: Exception) -> None:
        """Where the engine's own limit was hit, two handles take the place of one; any other error is raised again."""
        if len(handle.members) < 2 or not any(code in str(error) for code in _LIMITS):
            raise error
        half = len(handle.members) // 2
        position = stage.index(handle)
        stage[position : position + 1] = [
            _Handle(handle.members[:half], self._writer),
            _Handle(handle.members[half:], self._writer),
        ]
        handle.reset()
        handle.close()
        self.splits += 1


def _is(held: frozenset[Any] | bool | None, value: Any) -> bool:
    return value in held if isinstance(held, frozenset) else held is value


def _compile(layers: list[list[Rule]], writer: _Writer, settled: Mapping[str, Key]) -> list[_Conjunction]:
    """One conjunction for each alternative of each rule; equal ones of a stage are shared.

    An alternative that tests nothing concluded runs in the lowest stage, whatever the stratum of its rule.
    """
    gathered: dict[tuple[int, frozenset[Literal]], list[int]] = {}
    number = 0
    for stage, layer in enumerate(layers):
        for rule in layer:
            for alternative in conjunctions(_expanded(rule.condition, writer.vocab)):
                literals = frozenset(literal for literal in alternative if literal[0].fact not in settled)
                if any(holds(test, settled[test.fact]) is not wanted for test, wanted in alternative - literals):
                    continue
                waits = any(writer.vocab.facts[test.fact].origin == "concluded" for test, _ in literals)
                gathered.setdefault((stage if waits else 0, literals), []).append(number)
            number += 1
    members = []
    for (stage, literals), rules in gathered.items():
        ordered = sorted(literals, key=lambda literal: (*_selectivity(literal), str(literal)))
        properties = tuple(dict.fromkeys(writer.property(literal) for literal in ordered))
        members.append(_Conjunction(stage, properties, tuple(dict.fromkeys(rules))))
    return members


def _packs(members: list[_Conjunction], stage: int) -> Iterator[list[_Conjunction]]:
    """The conjunctions of a stage in portions that a handle can hold; those that begin alike stay together."""
    own = sorted((member for member in members if member.stage == stage), key=lambda member: member.properties)
    for start in range(0, len(own), MAX_CONJUNCTIONS):
        yield own[start : start + MAX_CONJUNCTIONS]


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
