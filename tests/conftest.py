"""Shared fixtures: the bundled rulebook and reference data are read once for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent))

from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook

# The suite draws the same cases each time, so that a red run is red again; `make fuzz` draws new ones.
settings.register_profile("byreport", derandomize=True)
settings.load_profile("byreport")


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference.load()


@pytest.fixture(scope="session")
def rulebook() -> Rulebook:
    return Rulebook.open()


@pytest.fixture(scope="session")
def desk(rulebook: Rulebook, reference: Reference) -> Desk:
    return Desk(rulebook, reference)
