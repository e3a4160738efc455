"""Payers by name or path, as people type them."""

from __future__ import annotations

from functools import lru_cache

from byreport.findings import nearest
from byreport.rulebook import Rulebook, UnknownPayer
from byreport.web.overview import STATES


def payer_path(rulebook: Rulebook, text: str) -> str:
    """The path of a payer given by its path or name; the text itself where it names none."""
    names = payer_names(rulebook)
    if text in names:
        return text
    wanted = " ".join(text.casefold().split())
    exact = [path for path, name in names.items() if wanted in (name.casefold(), path.casefold())]
    found = exact or [path for path, name in names.items() if wanted and name.casefold().startswith(wanted)]
    return found[0] if len(found) == 1 else text


def no_payer(rulebook: Rulebook, error: UnknownPayer) -> str:
    """What to say of a payer that is not known, with those of a name like it."""
    named = payer_names(rulebook)
    by_name = {f"{name} ({path})" for path, name in named.items()}
    near = nearest(error.path, by_name, 3) or error.near
    return "no payer of that name or path is on file" + (f"; near it: {'; '.join(near)}" if near else "")


@lru_cache(maxsize=2)
def payer_names(rulebook: Rulebook) -> dict[str, str]:
    """Every payer that a claim line may name, by path; `medicare/XX` is the contractor of a state."""
    named = {
        path: (policy.name if policy else path) for path in rulebook.payers() for policy in [rulebook.policy(path)]
    }
    contractors = {
        f"medicare/{code}": f"Original Medicare in {state} (its contractor)" for code, state in STATES.items()
    }
    return {**named, **contractors}
