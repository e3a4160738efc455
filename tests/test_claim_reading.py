"""A claim line without fault is read the short way; it must be what strict JSON and the schema read, always."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byreport import claim, strictjson
from byreport.claim import ClaimError
from byreport.vocabulary import vocabulary
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


def of_text(raw: bytes, quick: bool) -> Any:
    """What a JSON text is read as, or refused with."""
    try:
        if quick:
            line, data = claim.read_text(raw)
        else:
            data = strictjson.loads(raw)
            line = claim.read_fully(data)
    except (ClaimError, strictjson.JsonError) as error:
        return str(error)
    return line.payer, list(line.facts.items()), data


def assert_alike(raw: bytes) -> None:
    """The text is read alike both ways; keys and members, where there are any, are those of its facts."""
    assert of_text(raw, True) == of_text(raw, False), raw
    try:
        line, _ = claim.read_text(raw)
    except (ClaimError, strictjson.JsonError):
        return
    if line.keys is not None and line.members is not None:
        words = vocabulary().facts
        assert list(line.keys.items()) == [(name, words[name].key(shown)) for name, shown in line.facts.items()]
        assert json.loads("{" + ",".join(line.members) + "}") == json.loads(json.dumps(line.facts))


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


@pytest.mark.parametrize(
    "odd",
    [
        '{"a":1}',
        '{"a":{"b":["c"]}}',
        "[]",
        "1",
        '"x"',
        "",
        "{",
        '{"a":1,"a":2}',
        '{"a":NaN}',
        '{"a":1e999}',
        '{"a":0.5}',
        '{"a":"\\u0000"}',
        '{"a":"\\ud800"}',
        '{"a":"\\u00e9"}',
        '{"a":' * 30 + "1" + "}" * 30,
        '{"a":[{"b":1}]}',
        "{" + ",".join(f'"n{n}":1' for n in range(600)) + "}",
        '{"a":' + "9" * 5000 + "}",
        '\ufeff{"a":1}',
        '{"a":"\u2028"}',
        '{"a":{"b":{"c":{"d":[["e"]]}}}}',
        '{"a":1} x',
        ' {"a": "é"} \n',
    ],
)
def test_odd_json_is_read_as_strictly_as_elsewhere(odd: str) -> None:
    line = '{"payer":"medicaid/TX","date_of_service":"2026-02-02","setting":"office","line":{"code":"J3490"%s}%s}'
    for text in (
        odd,
        line % ("", f',"drug":{odd}'),
        line % (f',"units":{odd}', ""),
        line % (f',"modifiers":[{odd}]', ""),
        line % ("", "") + odd,
        odd + line % ("", ""),
    ):
        assert_alike(text.encode())


def text_of(value: Any, random: Random, escapes: bool) -> str:
    """JSON, now and then with a name twice, a space, or what Python's parser alone takes; with escapes or without."""
    if random.random() < 0.02:
        odd = ["NaN", "-Infinity", "1.0", "1e2", "-0", "[[]]", '"a:b"', '"{:}"']
        return random.choice([*odd, '"\\u0041"', '"\\""', '"{\\"a\\":1}"'] if escapes else odd)
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}:{text_of(inner, random, escapes)}" for name, inner in value.items()]
        if members and random.random() < 0.05:
            members.insert(random.randrange(len(members)), random.choice(members))
        return "{" + random.choice([",", ", "]).join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(text_of(inner, random, escapes) for inner in value) + "]"
    if isinstance(value, str) and not escapes:
        value = value.replace("\\", "").replace('"', "")
    return json.dumps(value, ensure_ascii=escapes)


@pytest.mark.parametrize("escapes", [False, True])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_texts_are_read_as_strict_json_is(escapes: bool, random: Random) -> None:
    assert_alike(text_of(random_claim(random), random, escapes).encode())


def test_a_name_that_stands_twice_is_refused_wherever_it_is() -> None:
    line = '{"payer":"medicaid/TX","date_of_service":"2026-02-02","setting":"office","line":{"code":"J3490"}}'
    assert claim.read_text(line.encode())[0].payer == "medicaid/TX"
    for name, again in (
        ('"payer"', '"payer":"medicaid/TX",'),
        ('"code"', '"code":"J3590",'),
        ('"code"', '"code":null,'),
        ('"line"', '"line":{"code":"J3490"},'),
        ('"setting"', '"setting":NaN,'),
    ):
        with pytest.raises(strictjson.JsonError):
            claim.read_text(line.replace(name, again + name).encode())
