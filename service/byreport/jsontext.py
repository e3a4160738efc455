"""JSON texts as the log keeps them and answers have them: compact, and put together from parts written before."""

from __future__ import annotations

import json
from collections.abc import Sequence

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Compact, in the order given, not escaped beyond need. Made once: `json.dumps` makes an encoder for each value."""


def interleaved(texts: Sequence[str], values: Sequence[str]) -> str:
    """The texts with the values between them, one less. Raises ValueError when their numbers do not fit."""
    parts = [""] * (2 * len(texts) - 1)
    parts[::2] = texts
    parts[1::2] = values
    return "".join(parts)


def decision_text(decision_id: str, decided_at: str, rulebook: str, payer: str, body: str) -> str:
    """The text of a decision: its id, time, rulebook and payer, then the members of the body, a JSON object."""
    head = dumps({"decision_id": decision_id, "decided_at": decided_at, "rulebook": rulebook, "payer": payer})
    return f"{head[:-1]},{body[1:]}"
