"""A claim line without fault is read the short way; it must be what the marshmallow schema reads, always."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import claim
from byreport.claim import ClaimError
from random_claims import random_claim

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def outcome(read: Any, data: Any) -> Any:
    try:
        line = read(data)
    except ClaimError as error:
        return error.problems
    return line.payer, line.facts


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False), odd=JSON, spoil=st.booleans())
def test_both_ways_of_reading_agree(random: Random, odd: Any, spoil: bool) -> None:
    data: Any = random_claim(random)
    if spoil:
        place = random.choice([data, *(value for value in data.values() if isinstance(value, dict))])
        key = random.choice([*place, "payer", "patient_name", "line", "documentation"])
        place[key] = odd
    assert outcome(claim.read, data) == outcome(claim.read_fully, data)


@pytest.mark.parametrize("value", [True, 1, "1", 1.0, None, "", [], ["1"], "NaN", "1e3", -1, "٣"])
@pytest.mark.parametrize("field", ["units", "charge", "code", "modifiers", "description"])
def test_values_that_python_takes_for_equal_are_kept_apart(field: str, value: Any) -> None:
    base = {"payer": "medicaid/TX", "date_of_service": "2026-02-02", "setting": "office"}
    for _ in range(2):  # the second time from the values read before
        for other in (1, True, "1", value):
            data = {**base, "line": {"code": "J3490", field: other}}
            assert outcome(claim.read, data) == outcome(claim.read_fully, data)
