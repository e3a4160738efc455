"""What a batch adds up: lines and charges by outcome, authorization, denial and payer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from byreport.compact import Brief

GROUPS = ("outcome", "prior_authorization", "denial", "payer")


class Tally:
    """Counts that can be added to one another; charges in cents."""

    def __init__(self, stored: Mapping[str, Any] | None = None) -> None:
        held = stored or {}
        self.decided: int = held.get("decided", 0)
        self.rejected: int = held.get("rejected", 0)
        self.uncharged: int = held.get("uncharged", 0)
        self.charge: int = held.get("charge", 0)
        self.faults = Counter[str](held.get("faults", {}))
        self.lines = {group: Counter[str](held.get("lines", {}).get(group, {})) for group in GROUPS}
        self.charges = {group: Counter[str](held.get("charges", {}).get(group, {})) for group in GROUPS}

    def add_decisions(self, decided: Iterable[tuple[str, Brief, str | None]]) -> None:
        """Count decided lines: payer, decision, and charge in dollars."""
        kinds: dict[tuple[str, tuple[str, str, tuple[str, ...]]], list[int]] = {}
        for payer, brief, charge in decided:
            kind = payer, brief.counted
            counts = kinds.get(kind)
            if counts is None:
                counts = kinds[kind] = [0, 0]
            counts[0] += 1
            if charge:
                counts[1] += int(charge.replace(".", "")) if charge[-3:-2] == "." else _cents(charge)
            else:
                self.uncharged += 1
        for (payer, (outcome, authorization, denials)), (lines, cents) in kinds.items():
            self.decided += lines
            self.charge += cents
            self._add("outcome", outcome, lines, cents)
            self._add("prior_authorization", authorization, lines, cents)
            self._add("payer", payer, lines, cents)
            for denial in dict.fromkeys(denials):
                self._add("denial", denial, lines, cents)

    def _add(self, group: str, name: str, lines: int, cents: int) -> None:
        self.lines[group][name] += lines
        self.charges[group][name] += cents

    def add_reject(self, fields: Iterable[str]) -> None:
        """Count a line that could not be decided, and the fields at fault."""
        self.rejected += 1
        self.faults.update(list(fields))

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.decided += other.decided
        self.rejected += other.rejected
        self.uncharged += other.uncharged
        self.charge += other.charge
        self.faults.update(other.faults)
        for group in GROUPS:
            self.lines[group].update(other.lines[group])
            self.charges[group].update(other.charges[group])

    def stored(self) -> dict[str, Any]:
        """The tally as JSON from which it can be made again."""
        return {
            "decided": self.decided,
            "rejected": self.rejected,
            "uncharged": self.uncharged,
            "charge": self.charge,
            "faults": dict(self.faults),
            "lines": {group: dict(counted) for group, counted in self.lines.items()},
            "charges": {group: dict(counted) for group, counted in self.charges.items()},
        }

    def summary(self) -> dict[str, Any]:
        """The tally for readers: charges in dollars, the most frequent first."""
        groups = {
            group: {
                name: {"lines": lines, "charge": dollars(self.charges[group][name])}
                for name, lines in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
            }
            for group, counted in self.lines.items()
        }
        return {
            "lines": self.decided + self.rejected,
            "decided": self.decided,
            "rejected": self.rejected,
            "charge": dollars(self.charge),
            "lines_without_charge": self.uncharged,
            **groups,
            "rejected_for": dict(sorted(self.faults.items(), key=lambda item: (-item[1], item[0]))),
        }


def _cents(charge: str) -> int:
    return int((Decimal(charge) * 100).to_integral_value())


def dollars(cents: int) -> str:
    """Cents as dollars, with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"
