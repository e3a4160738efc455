"""Which of several conclusions counts: the nearer payer's, or the rule that overrides within its ruleset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from byreport.rule import Conclusion, Rule
from byreport.vocabulary import Key

_PARTS = {
    "use_code": "code",
    "prior_authorization": "prior_authorization",
    "price": "pricing",
    "require_units": "units",
    "deadline": "deadline",
}


@dataclass(frozen=True)
class Claim:
    """One rule's value for one part of the decision."""

    part: str
    value: Any
    rule: Rule
    conclusion: Conclusion


@dataclass
class Resolution:
    """What counts for each part: the live claims, who was overridden by whom, and conflicts inside a ruleset."""

    live: dict[str, list[Claim]] = field(default_factory=dict)
    overridden: list[tuple[str, str, str]] = field(default_factory=list)
    """(rule, by, part)"""
    conflicts: list[tuple[str, list[Claim]]] = field(default_factory=list)


def part_of(conclusion: Conclusion) -> str | None:
    """The single-valued part that a conclusion speaks of, or None; each kind of deadline is a part of its own."""
    part = _PARTS.get(conclusion.verb)
    return f"deadline.{conclusion.settings['what']}" if part == "deadline" else part


def says_something(conclusion: Conclusion) -> bool:
    """Whether a conclusion answers anything: one that only says where to ask does not."""
    return conclusion.verb != "prior_authorization" or conclusion.settings["status"] != "unknown"


def value_of(conclusion: Conclusion, keys: Mapping[str, Key]) -> Any:
    """What two conclusions on one part have to agree on; None for one that says nothing (yet)."""
    settings = conclusion.settings
    if conclusion.verb == "use_code":
        return tuple(codes_named(conclusion, keys)) or None
    if conclusion.verb == "prior_authorization":
        return settings["status"] if says_something(conclusion) else None
    if conclusion.verb == "price":
        return settings["basis"], settings.get("percent")
    if conclusion.verb == "require_units":
        return settings["units"]
    unit = next(name for name in ("days", "months", "years") if name in settings)
    return unit, settings[unit], settings.get("from", "date_of_service")


def resolve(
    fired: Iterable[Rule],
    depth: Mapping[str, int],
    keys: Mapping[str, Key],
    parts: frozenset[str] | None = None,
) -> Resolution:
    """Resolve the single-valued parts over the fired rules; the result does not depend on their order."""
    claims: dict[str, list[Claim]] = {}
    for rule in sorted(fired, key=lambda rule: (-depth.get(rule.ruleset, 0), rule.id)):
        for conclusion in rule.then:
            part = part_of(conclusion)
            if part is not None and (parts is None or part in parts):
                claims.setdefault(part, []).append(Claim(part, value_of(conclusion, keys), rule, conclusion))
    result = Resolution()
    for part in sorted(claims):
        _resolve_part(part, claims[part], result)
    return result


def _resolve_part(part: str, claims: list[Claim], result: Resolution) -> None:
    speaking = {claim.rule.id: claim for claim in claims}
    beaten: dict[str, str] = {}
    for claim in claims:
        for target in claim.rule.overrides:
            for other in claims:
                if (
                    other.rule.ruleset == claim.rule.ruleset
                    and target in (other.rule.id, other.rule.table)
                    and other.rule.id != claim.rule.id
                ):
                    beaten.setdefault(other.rule.id, claim.rule.id)
    standing = [claim for claim in claims if claim.rule.id not in beaten]
    valued = [claim for claim in standing if claim.value is not None]
    if valued:
        nearest = valued[0].rule.ruleset
        winners = [claim for claim in valued if claim.rule.ruleset == nearest]
        for claim in valued:
            if claim.rule.ruleset != nearest and claim.value != winners[0].value:
                beaten.setdefault(claim.rule.id, winners[0].rule.id)
        if len({repr(claim.value) for claim in winners}) > 1:
            result.conflicts.append((part, winners))
    result.live[part] = [claim for claim in claims if claim.rule.id not in beaten]
    result.overridden.extend((rule, by, part) for rule, by in sorted(beaten.items()) if rule in speaking)


def resolved_facts(resolution: Resolution, keys: Mapping[str, Key]) -> dict[str, frozenset[Any] | bool]:
    """The concluded facts that stand on resolved parts."""
    facts: dict[str, frozenset[Any] | bool] = {}
    if any(claim.value == "required" for claim in resolution.live.get("prior_authorization", ())):
        facts["requires.prior_authorization"] = True
    codes = codes_of(resolution.live.get("code", ()), keys)
    if codes:
        facts["recommends.code"] = frozenset(codes)
        facts["recommends.another_code"] = keys.get("line.code") not in codes
    return facts


def codes_of(claims: Iterable[Claim], keys: Mapping[str, Key]) -> list[str]:
    """The codes that live claims on the code name, in order."""
    return sorted({code for claim in claims for code in codes_named(claim.conclusion, keys)})


def codes_named(conclusion: Conclusion, keys: Mapping[str, Key]) -> list[str]:
    """The codes that a `use_code` names; a `from` fact may hold several, or none."""
    settings = conclusion.settings
    if "code" in settings:
        return [settings["code"]]
    held = keys.get(settings["from"])
    if isinstance(held, frozenset):
        return sorted(held)
    return [str(held)] if held else []
