"""The made-up work lists: the same from the same seed, readable, and as skewed and faulty as they say."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import worklist

from byreport import claim
from byreport.claim import ClaimError
from byreport.facts import payer_path
from byreport.reference import Reference
from byreport.rulebook import Rulebook, UnknownPayer

LINES = 3_000


@pytest.mark.parametrize("site", sorted(worklist.SITES))
def test_a_list_is_the_same_from_the_same_seed(site: str, rulebook: Rulebook, reference: Reference) -> None:
    first, again, other = (
        list(islice(worklist.lines(site, 200, seed, rulebook, reference), 200)) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("site", sorted(worklist.SITES))
def test_a_list_is_what_it_says(site: str, rulebook: Rulebook, reference: Reference) -> None:
    found = list(worklist.lines(site, LINES, 1, rulebook, reference))
    bad = 0
    payers: Counter[str] = Counter()
    names: set[str] = set()
    for data in found:
        try:
            line = claim.read(data)
            payers[rulebook.payer(payer_path(line, reference)).payer] += 1
            names.update(line.facts)
        except (ClaimError, UnknownPayer):
            bad += 1
    assert 0 < bad / LINES < 4 * worklist.SLIPS["bad"]
    days = [data["date_of_service"] for data in found if data["date_of_service"] != "13/45/2024"]
    assert min(days) < "2022-03-01"
    assert max(days) > "2026-05-01"
    assert len(payers) >= {"practice": 8, "hospital": 8, "clearinghouse": 80}[site]
    assert sum(count for _, count in payers.most_common(len(payers) // 5)) > 0.4 * LINES
    assert names <= set(worklist.columns())
