"""National Drug Codes: one written form, eleven digits, 5-4-2.

The Food and Drug Administration assigns ten-digit NDCs in three layouts (labeler-product-package of 4-4-2,
5-3-2 or 5-4-1 digits). Claims carry eleven digits, 5-4-2, made by padding the short segment with a zero on
its left. Which segment was short can be seen only while the hyphens are there, so ten bare digits have three
readings and are refused rather than guessed.
"""

from __future__ import annotations

import re

_HYPHENATED = re.compile(r"([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})", re.ASCII)
_ELEVEN = re.compile(r"[0-9]{11}", re.ASCII)
_LAYOUTS = frozenset({(4, 4, 2), (5, 3, 2), (5, 4, 1), (5, 4, 2)})
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))


class NdcError(ValueError):
    """The text is no NDC that could be written as eleven digits; the message says why and what to send."""


def normalise(text: str) -> str:
    """The NDC as eleven digits (5-4-2 without hyphens).

    Accepts eleven digits, and hyphenated 4-4-2, 5-3-2, 5-4-1 and 5-4-2; surrounding space is ignored and
    typographic dashes count as hyphens. Raises NdcError for everything else.
    """
    written = text.strip().translate(_DASHES)
    if _ELEVEN.fullmatch(written):
        return written
    parts = _HYPHENATED.fullmatch(written)
    if parts and tuple(len(part) for part in parts.groups()) in _LAYOUTS:
        labeler, product, package = parts.groups()
        return labeler.zfill(5) + product.zfill(4) + package.zfill(2)
    raise NdcError(_complaint(text, written))


def hyphenated(ndc11: str) -> str:
    """Eleven digits written 5-4-2 with hyphens, as payers print them. Raises NdcError unless so."""
    if not _ELEVEN.fullmatch(ndc11):
        raise NdcError(f"{ndc11!r} is not eleven digits; pass what normalise() returned")
    return f"{ndc11[:5]}-{ndc11[5:9]}-{ndc11[9:]}"


def product(ndc11: str) -> str:
    """The labeler and product segments, nine digits: what stays the same over package sizes."""
    if not _ELEVEN.fullmatch(ndc11):
        raise NdcError(f"{ndc11!r} is not eleven digits; pass what normalise() returned")
    return ndc11[:9]


def _complaint(text: str, written: str) -> str:
    if not written:
        return "the NDC is empty; send eleven digits, 5-4-2"
    if re.fullmatch(r"[0-9]{10}", written):
        return (
            f"{text!r} has ten digits and no hyphens, so the short segment cannot be told; "
            "send it with its hyphens (4-4-2, 5-3-2 or 5-4-1) or as eleven digits"
        )
    if re.fullmatch(r"[0-9]+", written):
        return f"{text!r} has {len(written)} digits; an NDC has eleven (5-4-2)"
    if re.fullmatch(r"[0-9]+(-[0-9]+)+", written):
        layout = "-".join(str(len(part)) for part in written.split("-"))
        return f"{text!r} is laid out {layout}; an NDC is 4-4-2, 5-3-2, 5-4-1 or 5-4-2"
    if written[:2].upper() == "N4":
        return f"{text!r} still carries the qualifier N4; send the NDC without it"
    return f"{text!r} holds something other than digits and hyphens; send eleven digits, 5-4-2"
