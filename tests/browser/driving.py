"""What the tests in a browser and the script that takes the pictures share."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byreport.docket import Docket

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (1280, 360)

SEED = {
    "payer": "medicare/mac/novitas-jl",
    "date_of_service": "2020-10-15",
    "claim_form": "professional",
    "setting": "office",
    "line": {"code": "J3490", "units": "1", "charge": "1850.00", "modifiers": ["JZ"]},
    "drug": {"name": "eptinezumab-jjmr", "dose": "100 mg", "route": "intravenous"},
    "documentation": ["drug_name", "dose"],
}


@dataclass
class Service:
    """The service under test: its address, its docket, and the id of a decision on the seed line."""

    address: str
    docket: Docket
    decision: str


@dataclass
class Seen:
    """A browser page, with the addresses of all requests it made and what its console complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def chromium() -> str | None:
    """The path of a Chromium, or None."""
    named = os.environ.get("BYREPORT_CHROMIUM")
    return named or next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


def screens_directory() -> Path:
    return Path(__file__).resolve().parents[2] / "docs" / "screens"
