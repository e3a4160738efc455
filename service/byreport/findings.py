"""What is wrong with a file, said so that an analyst can act on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rapidfuzz import fuzz, process


@dataclass(frozen=True, order=True)
class Finding:
    """One fault in a rule file or policy document.

    `line` and `column` count from 1; 0 means the file as a whole. `kind` is a stable slug for machines.
    """

    file: str
    line: int
    column: int
    kind: str
    message: str
    found: str | None = None
    expected: str | None = None
    nearest: str | None = None
    severity: str = "error"
    witness: Any = field(default=None, compare=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.severity}: {self.message}"
        if self.found is not None:
            text += f"\n    found:    {self.found}"
        if self.expected is not None:
            text += f"\n    expected: {self.expected}"
        if self.nearest is not None:
            text += f"\n    did you mean: {self.nearest}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready data, without what it does not say."""
        return {k: v for k, v in asdict(self).items() if v is not None}


class RulebookError(Exception):
    """A tree of rule files that can't be used; `findings` holds every fault at once."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = sorted(findings)
        super().__init__(f"{len(self.findings)} fault(s): " + "; ".join(str(f) for f in self.findings[:3]))


_LONGEST_NAME = 120
"""Nothing of ours has a longer name; comparing much longer texts takes long."""


def nearest(name: str, names: Iterable[str], limit: int = 1) -> list[str]:
    """The names most like `name`, best first; none when nothing is near."""
    hits = process.extract(name[:_LONGEST_NAME], list(names), scorer=fuzz.WRatio, limit=limit, score_cutoff=70)
    return [str(hit[0]) for hit in hits]
