"""Where the bundled rules, policy documents and schemas stand: inside the wheel, or in the checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def bundled(name: str) -> Path:
    """The bundled directory `name` ("rules", "policy_docs" or "schemas").

    Raises FileNotFoundError when the installation lacks it.
    """
    for parent in (_PACKAGE, _CHECKOUT):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"the bundled directory {name!r} is missing; reinstall byreport")


def in_checkout() -> bool:
    """Whether the bundled directories are those of a checkout, where they may be edited, and not those of a wheel."""
    return bundled("rules").parent == _CHECKOUT
