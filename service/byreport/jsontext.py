"""JSON texts as the log keeps them and answers have them: compact, and put together from parts written before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring

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
    return (
        f'{{"decision_id":{encode_basestring(decision_id)},"decided_at":{encode_basestring(decided_at)}'
        f',"rulebook":{encode_basestring(rulebook)},"payer":{encode_basestring(payer)},{body[1:]}'
    )
