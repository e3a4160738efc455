"""The facts a decision stands on: what the claim says, what reference data knows, what arithmetic gives.

Where the claim leaves something out that reference data knows, it is filled in and marked so; where the two
disagree the claim's word is kept for the rules and the disagreement becomes a caution of the decision.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from byreport.claim import ClaimLine, Said, memorable, said
from byreport.jsontext import dumps
from byreport.reference import CodesInForce, DrugMatch, Reference
from byreport.rulebook import UnknownPayer
from byreport.vocabulary import Key, Vocabulary, fold, vocabulary

_SUFFIX = re.compile(r"[a-z]-[a-z]{4}\b")
"""The four letters that end a biological product's nonproprietary name, as in eptinezumab-jjmr."""

ORIGINS = GIVEN, COMPUTED, REFERENCE = "claim", "computed", "reference"
"""Where a fact comes from."""


class Disagreement(NamedTuple):
    """Claim and reference data say different things of one fact."""

    fact: str
    claim: str
    reference: str
    text: str


@dataclass(frozen=True)
class Facts:
    """The known facts of one line.

    `shown` maps names to shown values, `keys` to what tests compare, `origin` to claim, reference or computed.
    `candidates` are near misses of a drug name that reference data does not know, for a person to choose from.
    `members` are the facts by origin as members of a JSON object, in the order of `shown`, where they came by the way.
    """

    payer: str
    shown: Mapping[str, Any]
    keys: Mapping[str, Key]
    origin: Mapping[str, str]
    disagreements: tuple[Disagreement, ...] = ()
    candidates: tuple[str, ...] = ()
    drug_recognised: bool = False
    members: Mapping[str, Sequence[str]] | None = field(default=None, compare=False, repr=False)


def as_text(facts: Facts) -> str:
    """The facts by origin and what else an explanation needs, JSON; but for the payer, all that deciding again needs.

    Nothing that is empty stands in it.
    """
    by_origin = facts.members or _members(facts)
    parts = [f'"{origin}":{{{",".join(members)}}}' for origin, members in by_origin.items() if members]
    names = facts.keys.get("drug.name")
    if isinstance(names, frozenset) and names:
        parts.append(_NAMES.get(names) or _kept(_NAMES, names, f'"names":{dumps(sorted(names))}'))
    if facts.disagreements:
        parts.append(f'"disagreements":{dumps(facts.disagreements)}')
    if facts.candidates:
        parts.append(f'"candidates":{dumps(facts.candidates)}')
    if facts.drug_recognised:
        parts.append('"drug_recognised":true')
    return f"{{{','.join(parts)}}}"


def _members(facts: Facts) -> dict[str, list[str]]:
    """The facts by origin as members of a JSON object."""
    by_origin: dict[str, list[str]] = {}
    for name, value in facts.shown.items():
        by_origin.setdefault(facts.origin[name], []).append(f"{dumps(name)}:{dumps(value)}")
    return by_origin


_NAMES: dict[frozenset[str], str] = {}


def stored(said: Mapping[str, Any], payer: str) -> dict[str, Any]:
    """What `as_text` wrote of a payer's line: `facts` has each fact's value (`is`) and origin (`from`), by name.

    Logs hold older texts, which have this form already. Raises TypeError or AttributeError for other contents.
    """
    if "facts" in said:
        return dict(said)
    found = {name: {"is": value, "from": origin} for origin in ORIGINS for name, value in said.get(origin, {}).items()}
    return {
        "payer": payer,
        "facts": {name: found[name] for name in sorted(found)},
        "names": said.get("names", []),
        "disagreements": said.get("disagreements", []),
        "candidates": said.get("candidates", []),
        "drug_recognised": said.get("drug_recognised", False),
    }


def from_text(text: str, payer: str, vocab: Vocabulary | None = None) -> Facts:
    """The facts that `as_text` wrote of a payer's line. Raises ValueError, and what `stored` and `of_stored` raise."""
    return of_stored(stored(json.loads(text), payer), vocab)


def of_stored(stored: Mapping[str, Any], vocab: Vocabulary | None = None) -> Facts:
    """The facts that were stored. Raises LookupError, TypeError or ValueError for what no line has."""
    words = vocab or vocabulary()
    shown = {name: _tupled(entry["is"]) for name, entry in stored["facts"].items()}
    keys = {name: words.facts[name].key(value) for name, value in shown.items()}
    if stored["names"]:
        keys["drug.name"] = frozenset(stored["names"])
    return Facts(
        stored["payer"],
        shown,
        keys,
        {name: entry["from"] for name, entry in stored["facts"].items()},
        tuple(Disagreement(*entry) for entry in stored["disagreements"]),
        tuple(stored["candidates"]),
        stored["drug_recognised"],
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def payer_path(line: ClaimLine, reference: Reference) -> str:
    """The payer path of a line: `medicare` or `medicare/XX` is the contractor of the state for the setting.

    Raises UnknownPayer when the state is missing or has no contractor on file.
    """
    head, _, rest = line.payer.partition("/")
    if head.lower() != "medicare" or not (rest == "" or (len(rest) == 2 and rest.isalpha())):
        return line.payer
    state = (rest or str(line.facts.get("provider.state") or "")).upper()
    dme = line.facts.get("setting") == "dme"
    path = reference.mac_for_state(state, dme) if state else None
    if path is None:
        raise UnknownPayer(
            line.payer,
            ["medicare/TX (a state's contractor)", "medicare/mac/novitas-jh", "medicare with provider.state"],
        )
    return path


def of_payer(payer: str) -> dict[str, str]:
    """The facts that follow from the payer's path, by name with their shown values."""
    program, *rest = payer.split("/")
    facts = {"payer.path": payer, "payer.program": program}
    if program == "medicaid" and rest and len(rest[0]) == 2:
        facts["payer.state"] = rest[0]
    return facts


def of_line(payer: str, line: ClaimLine, reference: Reference, vocab: Vocabulary | None = None) -> Facts:
    """All known facts of a line that was read, for a payer path."""
    words = vocab or vocabulary()
    if line.keys is None or line.members is None or words is not vocabulary():
        return build(payer, line.facts, reference, words)
    return _complete(payer, dict(line.facts), dict(line.keys), list(line.members), _lookup(reference, words))


def build(payer: str, given: Mapping[str, Any], reference: Reference, vocab: Vocabulary | None = None) -> Facts:
    """All known facts of a line for a payer path; `given` maps claim facts to shown values."""
    lookup = _lookup(reference, vocab or vocabulary())
    entries = lookup.entries(given)
    keys = {name: key for name, _, key, _ in entries}
    return _complete(payer, dict(given), keys, [member for _, _, _, member in entries], lookup)


def _complete(payer: str, shown: dict[str, Any], keys: dict[str, Key], given: list[str], lookup: _Lookup) -> Facts:
    """All known facts of a line, from those given."""
    origin = dict.fromkeys(shown, GIVEN)
    computed: list[str] = []
    filled: list[str] = []
    members: dict[str, list[str]] | None = {GIVEN: given, COMPUTED: computed, REFERENCE: filled}

    def add(entries: Sequence[Said], source: str, to: list[str]) -> None:
        for name, value, key, member in entries:
            if name not in shown:
                shown[name], keys[name], origin[name] = value, key, source
                to.append(member)

    add(lookup.payer(payer), COMPUTED, computed)
    day = _day(shown.get("date_of_service"))
    code = shown.get("line.code")
    if code:
        add(lookup.code(code, day), COMPUTED, computed)
    name = shown.get("drug.name")
    drug = lookup.drug(name, shown.get("line.ndc.code"))
    disagreements: tuple[Disagreement, ...] = ()
    compounded = shown.get("drug.compounded") is True
    if drug.match is not None:
        if "drug.name" in shown and not name:
            # It stands among what was given.
            shown["drug.name"], origin["drug.name"], members = drug.match.name, REFERENCE, None
        add(drug.named, REFERENCE, filled)
        entries = drug.known(day, str(shown.get("setting", "")), payer.split("/", 1)[0] == "medicare")
        if compounded:
            entries = [entry for entry in entries if entry[0] != "drug.specific_code"]
        disagreements = _disagreements(shown, keys, entries, drug.label)
        add(entries, REFERENCE, filled)
        keys["drug.name"] = drug.names
    if compounded:
        # No product's code describes a compound of it: a compound has no NDC, so product codes may not be used.
        add(lookup.no_code, REFERENCE, filled)
    if day is not None:
        add(lookup.entries(_arithmetic(shown, day)), COMPUTED, computed)
    return Facts(payer, shown, keys, origin, disagreements, drug.near, drug.match is not None, members)


_REMEMBERED = 8_192
"""Of whatever is remembered here; when there is more, all of it is forgotten, and the frequent is soon back."""

_T = TypeVar("_T")
_K = TypeVar("_K")


def _kept(memory: dict[_K, _T], key: _K, value: _T) -> _T:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
    return value


@lru_cache(maxsize=8)
def _lookup(reference: Reference, words: Vocabulary) -> _Lookup:
    return _Lookup(reference, words)


class _Lookup:
    """What payers' paths, codes and drugs say, looked up once: a list of claims names the same ones over and over."""

    def __init__(self, reference: Reference, words: Vocabulary) -> None:
        self.reference = reference
        self.words = words
        self._said: dict[str, dict[Any, Said]] = {name: {} for name in words.facts}
        self._payers: dict[str, Sequence[Said]] = {}
        self._codes: dict[tuple[str, date | None], Sequence[Said]] = {}
        self._drugs: dict[tuple[str | None, str | None], _Drug] = {}
        self.no_code = self.entries({"drug.specific_code": ()})

    def entries(self, shown: Mapping[str, Any]) -> Sequence[Said]:
        """What shown values say."""
        return [self._said[name].get(value) or self._read(name, value) for name, value in shown.items()]

    def _read(self, name: str, value: Any) -> Said:
        found = said(name, value, self.words.facts[name].key(value))
        return _kept(self._said[name], value, found) if memorable(value) else found

    def payer(self, payer: str) -> Sequence[Said]:
        """What follows from a payer's path."""
        found = self._payers.get(payer)
        return _kept(self._payers, payer, self.entries(of_payer(payer))) if found is None else found

    def code(self, code: str, day: date | None) -> Sequence[Said]:
        """What is known of a line's code on a day."""
        found = self._codes.get((code, day))
        return (
            _kept(self._codes, (code, day), self.entries(_line(code, day, self.reference))) if found is None else found
        )

    def drug(self, name: str | None, ndc: str | None) -> _Drug:
        """The drug that a line names."""
        named = (name, None if name else ndc)
        found = self._drugs.get(named)
        return _kept(self._drugs, named, _Drug(name, ndc, self)) if found is None else found

    def arithmetic(self, shown: Mapping[str, Any], day: date) -> Sequence[Said]:
        """What the dates of a line come to."""
        return self.entries(_arithmetic(shown, day))


class _Drug:
    """The drug that a line names: by its name, else by its NDC; `match` is None where reference data knows none.

    What is known of it changes on a few days only: between two of them it is worked out once.
    """

    def __init__(self, name: str | None, ndc: str | None, lookup: _Lookup) -> None:
        self._lookup = lookup
        reference = lookup.reference
        self.match = reference.match(name) if name else _of_ndc(ndc, reference)
        self.near: tuple[str, ...] = ()
        if self.match is not None:
            self.label = _label(self.match.name, self.match)
            self.names = names_of(self.match, name or self.match.name)
            self.named = [said("drug.name", self.match.name, self.names)]
            self._turns = _turns(self.match, reference)
            self._known: dict[tuple[int | None, str, bool], Sequence[Said]] = {}
        elif name:
            self.near = tuple(_label(near.name, near.match) for near in reference.candidates(name))

    def known(self, day: date | None, setting: str, medicare: bool) -> Sequence[Said]:
        """What reference data knows of the drug on a day, for a setting and a program."""
        key = None if day is None else bisect_right(self._turns, day), setting, medicare
        found = self._known.get(key)
        if found is None:
            assert self.match is not None
            known = _known(self.match, day, setting, self._lookup.reference, medicare)
            found = _kept(self._known, key, self._lookup.entries(known))
        return found


def _turns(match: DrugMatch, reference: Reference) -> list[date]:
    """The days, in order, on which something else may be known of the drug than on the day before.

    They are all days with which `_known` compares a date of service; of a last day, the day after.
    """
    codes = (*match.codes, *match.same_ingredient)
    first = [reference.since, match.fda_approval_date, *(code.effective_from for code in codes)]
    last = [reference.through, match.uncoded_through]
    last += [day for code in codes for day in (code.effective_to, code.effective_to_latest)]
    turns = {day for day in first if day is not None}
    turns |= {day + timedelta(days=1) for day in last if day is not None and day < date.max}
    return sorted(turns)


def _line(code: str, day: date | None, reference: Reference) -> dict[str, Any]:
    """What is known of a line's code."""
    noc = reference.noc(code)
    is_noc = noc is not None and noc.kind != "ingredient_residual"
    known: dict[str, Any] = {"line.noc": is_noc}
    if is_noc and noc is not None:
        known["line.noc_category"] = noc.category
    specific = reference.code(code)
    if day is not None and (noc is not None or specific is not None):
        known["line.code_in_force"] = (noc.in_force(day) if noc is not None else False) or (
            specific.in_force(day) if specific is not None else False
        )
    return known


def _of_ndc(ndc: str | None, reference: Reference) -> DrugMatch | None:
    """The drug of an NDC, where all its codes name one drug."""
    if not ndc:
        return None
    matches = [
        reference.match(reference.codes[link.code].generic)
        for link in reference.by_ndc(ndc)
        if link.code in reference.codes
    ]
    generics = {match.name for match in matches if match is not None}
    return matches[0] if len(generics) == 1 else None


def names_of(match: DrugMatch, given: str) -> frozenset[str]:
    """Every name that surely means the drug so named: as given, its nonproprietary name, and its brand.

    A nonproprietary name stands for a brand only where it carries a biological product's suffix and one brand
    is known: other ingredients have brands of different makers, and a rule for one is no rule for another.
    """
    names = {fold(given), *(fold(generic) for generic in match.generics)}
    if len(match.brands) == 1 and all(_SUFFIX.search(generic) for generic in match.generics):
        names.add(fold(match.brands[0]))
    return frozenset(names)


def _known(match: DrugMatch, day: date | None, setting: str, reference: Reference, medicare: bool) -> dict[str, Any]:
    """What reference data knows of a drug. `_turns` has to have every day that `day` is compared with here."""
    known: dict[str, Any] = {}
    if match.biologic is not None:
        known["drug.biologic"] = match.biologic
    if match.antineoplastic is not None:
        known["drug.antineoplastic"] = match.antineoplastic
    if match.codes and all(code.biosimilar for code in match.codes):
        known["drug.biosimilar"] = True
    if any(code.code.startswith("J") and code.code != _NASAL_VACCINE for code in match.codes):
        known["drug.vaccine"] = False
    if match.fda_approval_date is not None:
        known["drug.fda_approval_date"] = match.fda_approval_date.isoformat()
        if day is not None:
            known["drug.fda_approved"] = match.fda_approval_date <= day
    if day is not None and setting:
        codes = reference.codes_for(match, day, setting, private_codes=not medicare)
        # C-codes are Medicare's, for its outpatient payment system; whether another payer takes one is not known.
        if medicare or not all(code.temporary for code in codes) or codes.status == "none":
            known.update(_codes(codes))
    return known


_NASAL_VACCINE = "J3530"
"""The one J code of a vaccine; J codes are otherwise for drugs that are none."""


def _codes(codes: CodesInForce) -> dict[str, Any]:
    if codes.status == "in_force":
        return {"drug.specific_code": tuple(sorted(code.code for code in codes))}
    if codes.status == "none":
        return {"drug.specific_code": ()}
    return {}


def _disagreements(
    shown: Mapping[str, Any], keys: Mapping[str, Key], entries: Sequence[Said], label: str
) -> tuple[Disagreement, ...]:
    """Where the claim says something else than reference data knows of the drug."""
    found = []
    for name, value, key, _ in entries:
        if name in shown and not _agree(keys[name], key):
            said, knows = _text(shown[name]), _text(value)
            text = f"The claim says {name} is {said}; reference data for {label} says {knows}."
            found.append(Disagreement(name, said, knows, text))
    return tuple(found)


def _agree(claimed: Key, known: Key) -> bool:
    if isinstance(claimed, frozenset) and isinstance(known, frozenset):
        return claimed == known or (bool(claimed) and claimed <= known)
    return claimed == known


def _arithmetic(shown: Mapping[str, Any], day: date) -> dict[str, Any]:
    found = {}
    approved = _day(shown.get("drug.fda_approval_date"))
    if approved is not None:
        months = (day.year - approved.year) * 12 + day.month - approved.month - (day.day < approved.day)
        found["drug.months_since_approval"] = months
    received = _day(shown.get("claim.received_date"))
    if received is not None:
        found["claim.days_after_service"] = (received - day).days
    return found


def _label(name: str, match: DrugMatch) -> str:
    brands = [brand for brand in match.brands if brand.lower() != name.lower()]
    return f"{name} ({', '.join(brands[:3])})" if brands else name


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)
