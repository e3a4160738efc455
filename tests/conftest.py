"""Shared fixtures: the bundled rulebook and reference data are read once for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference.load()


@pytest.fixture(scope="session")
def rulebook() -> Rulebook:
    return Rulebook.open()


@pytest.fixture(scope="session")
def desk(rulebook: Rulebook, reference: Reference) -> Desk:
    return Desk(rulebook, reference)
