"""Which addresses lead to this machine and nowhere else."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

LOCALHOST = "localhost"


class AddressRefused(ValueError):
    """The address is not a loopback address."""


def loopback(host: str) -> str:
    """The loopback address that `host` names. Raises AddressRefused for any other address."""
    if host == LOCALHOST:
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise AddressRefused(
            f"{host!r} is not a loopback address. byreport has no access control yet: whoever reaches the port can "
            "read every decision. Use 127.0.0.1, ::1 or localhost."
        )
    return str(address)


@lru_cache(maxsize=256)
def is_own(host: str) -> bool:
    """Whether a Host header, with or without a port, names this machine by a loopback address."""
    try:
        loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
    return True
