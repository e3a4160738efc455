"""The facts a decision stands on: what the claim says, what reference data knows, what arithmetic gives.

Where the claim leaves something out that reference data knows, it is filled in and marked so; where the two
disagree the claim's word is kept for the rules and the disagreement becomes a caution of the decision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from byreport.claim import ClaimLine
from byreport.reference import CodesInForce, DrugMatch, Reference
from byreport.rulebook import UnknownPayer
from byreport.vocabulary import Fact, Key, Vocabulary, fold, vocabulary

_SUFFIX = re.compile(r"[a-z]-[a-z]{4}\b")
"""The four letters that end a biological product's nonproprietary name, as in eptinezumab-jjmr."""

GIVEN, REFERENCE, COMPUTED = "claim", "reference", "computed"


@dataclass(frozen=True)
class Disagreement:
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
    """

    payer: str
    shown: Mapping[str, Any]
    keys: Mapping[str, Key]
    origin: Mapping[str, str]
    disagreements: tuple[Disagreement, ...] = ()
    candidates: tuple[str, ...] = ()
    drug_recognised: bool = False


def as_json(facts: Facts) -> dict[str, Any]:
    """The facts as the log stores them: all that a later replay needs, reference data included."""
    return {
        "payer": facts.payer,
        "facts": {name: {"is": _plain(facts.shown[name]), "from": facts.origin[name]} for name in sorted(facts.shown)},
        "names": sorted(_names(facts)),
        "disagreements": [[d.fact, d.claim, d.reference, d.text] for d in facts.disagreements],
        "candidates": list(facts.candidates),
        "drug_recognised": facts.drug_recognised,
    }


def from_json(stored: Mapping[str, Any], vocab: Vocabulary | None = None) -> Facts:
    """The facts that `as_json` stored."""
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


def _names(facts: Facts) -> frozenset[str]:
    key = facts.keys.get("drug.name")
    return key if isinstance(key, frozenset) else frozenset()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


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


def build(payer: str, given: Mapping[str, Any], reference: Reference, vocab: Vocabulary | None = None) -> Facts:
    """All known facts of a line for a payer path; `given` maps claim facts to shown values."""
    words = vocab or vocabulary()
    shown: dict[str, Any] = dict(given)
    origin = dict.fromkeys(shown, GIVEN)

    def compute(name: str, value: Any) -> None:
        if name not in shown:
            shown[name] = value
            origin[name] = COMPUTED

    parts = payer.split("/")
    for fact, value in of_payer(payer).items():
        compute(fact, value)
    day = _day(shown.get("date_of_service"))
    _line(shown, compute, day, reference)
    match, recognised = _drug(shown, reference)
    disagreements: list[Disagreement] = []
    if match is not None:
        if not shown.get("drug.name"):
            shown["drug.name"] = match.name
            origin["drug.name"] = REFERENCE
        known = _known(
            match,
            day,
            str(shown.get("setting", "")),
            reference,
            parts[0] == "medicare",
        )
        if shown.get("drug.compounded") is True:
            known.pop("drug.specific_code", None)
        disagreements = _merge(shown, origin, known, words)
    if shown.get("drug.compounded") is True and "drug.specific_code" not in shown:
        # No product's code describes a compound of it: a compound has no NDC, so product codes may not be used.
        shown["drug.specific_code"] = ()
        origin["drug.specific_code"] = REFERENCE
    if day is not None:
        _arithmetic(shown, compute, day)
    keys = {name: _key(words.facts[name], value) for name, value in shown.items()}
    name = shown.get("drug.name")
    if match is not None:
        keys["drug.name"] = names_of(match, str(name))
    near = () if recognised or not name else tuple(_label(c.name, c.match) for c in reference.candidates(name))
    return Facts(payer, shown, keys, origin, tuple(disagreements), near, recognised)


_KEYS: dict[Fact, dict[Any, Key]] = {}
_KNOWN_VALUES = 4_096


def _key(fact: Fact, shown: Any) -> Key:
    """The key of a shown value; values seen before are remembered, up to a bound per fact."""
    known = _KEYS.setdefault(fact, {})
    key = known.get(shown)
    if key is None:
        key = fact.key(shown)
        if len(known) < _KNOWN_VALUES:
            known[shown] = key
    return key


def _line(shown: Mapping[str, Any], compute: Any, day: date | None, reference: Reference) -> None:
    code = shown.get("line.code")
    if not code:
        return
    noc = reference.noc(code)
    is_noc = noc is not None and noc.kind != "ingredient_residual"
    compute("line.noc", is_noc)
    if is_noc and noc is not None:
        compute("line.noc_category", noc.category)
    specific = reference.code(code)
    if day is not None and (noc is not None or specific is not None):
        in_force = (noc.in_force(day) if noc is not None else False) or (
            specific.in_force(day) if specific is not None else False
        )
        compute("line.code_in_force", in_force)


def _drug(shown: Mapping[str, Any], reference: Reference) -> tuple[DrugMatch | None, bool]:
    """The drug that the line names: by its name, else by its NDC where all codes of the NDC name one drug."""
    name = shown.get("drug.name")
    if name:
        match = reference.match(name)
        return match, match is not None
    ndc = shown.get("line.ndc.code")
    if not ndc:
        return None, False
    matches = [
        reference.match(reference.codes[link.code].generic)
        for link in reference.by_ndc(ndc)
        if link.code in reference.codes
    ]
    generics = {match.name for match in matches if match is not None}
    found = matches[0] if len(generics) == 1 else None
    return found, found is not None


def names_of(match: DrugMatch, given: str) -> frozenset[str]:
    """Every name that surely means the drug so named: as given, its nonproprietary name, and its brand.

    A nonproprietary name stands for a brand only where it carries a biological product's suffix and one brand
    is known: other ingredients have brands of different makers, and a rule for one is no rule for another.
    """
    names = {fold(given), *(fold(generic) for generic in match.generics)}
    if len(match.brands) == 1 and all(_SUFFIX.search(generic) for generic in match.generics):
        names.add(fold(match.brands[0]))
    return frozenset(names)


def _known(
    match: DrugMatch, day: date | None, setting: str, reference: Reference, medicare: bool
) -> dict[str, tuple[Any, str]]:
    """What reference data knows of a drug: fact to (shown value, why)."""
    known: dict[str, tuple[Any, str]] = {}
    label = _label(match.name, match)
    if match.biologic is not None:
        known["drug.biologic"] = (match.biologic, label)
    if match.antineoplastic is not None:
        known["drug.antineoplastic"] = (match.antineoplastic, label)
    if match.codes and all(code.biosimilar for code in match.codes):
        known["drug.biosimilar"] = (True, label)
    if any(code.code.startswith("J") and code.code != _NASAL_VACCINE for code in match.codes):
        known["drug.vaccine"] = (False, label)
    if match.fda_approval_date is not None:
        known["drug.fda_approval_date"] = (match.fda_approval_date.isoformat(), label)
        if day is not None:
            known["drug.fda_approved"] = (match.fda_approval_date <= day, label)
    if day is not None and setting:
        codes = reference.codes_for(match, day, setting, private_codes=not medicare)
        # C-codes are Medicare's, for its outpatient payment system; whether another payer takes one is not known.
        if medicare or not all(code.temporary for code in codes) or codes.status == "none":
            known.update(_codes(codes, label))
    return known


_NASAL_VACCINE = "J3530"
"""The one J code of a vaccine; J codes are otherwise for drugs that are none."""


def _codes(codes: CodesInForce, label: str) -> dict[str, tuple[Any, str]]:
    if codes.status == "in_force":
        return {"drug.specific_code": (tuple(sorted(code.code for code in codes)), label)}
    if codes.status == "none":
        return {"drug.specific_code": ((), label)}
    return {}


def _merge(
    shown: dict[str, Any], origin: dict[str, str], known: Mapping[str, tuple[Any, str]], words: Vocabulary
) -> list[Disagreement]:
    disagreements = []
    for name, (value, label) in known.items():
        fact = words.facts[name]
        if name not in shown:
            shown[name] = value
            origin[name] = REFERENCE
        elif not _agree(fact.key(shown[name]), fact.key(value)):
            said, knows = _text(shown[name]), _text(value)
            disagreements.append(
                Disagreement(
                    name,
                    said,
                    knows,
                    f"The claim says {name} is {said}; reference data for {label} says {knows}.",
                )
            )
    return disagreements


def _agree(claimed: Key, known: Key) -> bool:
    if isinstance(claimed, frozenset) and isinstance(known, frozenset):
        return claimed == known or (bool(claimed) and claimed <= known)
    return claimed == known


def _arithmetic(shown: Mapping[str, Any], compute: Any, day: date) -> None:
    approved = _day(shown.get("drug.fda_approval_date"))
    if approved is not None:
        months = (day.year - approved.year) * 12 + day.month - approved.month - (day.day < approved.day)
        compute("drug.months_since_approval", months)
    received = _day(shown.get("claim.received_date"))
    if received is not None:
        compute("claim.days_after_service", (received - day).days)


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
