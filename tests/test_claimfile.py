"""Claim lines out of files and pipes: the three layouts, faults and where they are, pieces of any size."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byreport import claimfile
from byreport.claimfile import Entry, Fault, Pause


class Pieces(io.BytesIO):
    """A stream that gives at most `size` bytes at a time, as a slow pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(self.size)


def values(data: bytes | str, size: int = 1 << 16) -> list[Entry | Fault]:
    raw = data.encode() if isinstance(data, str) else data
    return [each for each in claimfile.read(Pieces(raw, size)) if not isinstance(each, Pause)]


def read_back(data: bytes | str, size: int = 1 << 16) -> list[Any]:
    entries = values(data, size)
    assert all(isinstance(entry, Entry) for entry in entries), entries
    return [entry.data for entry in entries if isinstance(entry, Entry)]


def lines_of(data: bytes | str) -> list[int]:
    return [each.line for each in values(data)]


def test_one_object_on_one_line_and_on_many() -> None:
    assert read_back('{"a": 1}') == [{"a": 1}]
    assert values('\n\n{\n "a": [1,\n 2]\n}\n') == [Entry(3, {"a": [1, 2]})]


def test_objects_over_several_lines_one_after_the_other() -> None:
    assert values('{\n"a": 1\n}\n\n{\n"b": 2}\n') == [Entry(1, {"a": 1}), Entry(5, {"b": 2})]


def test_json_lines_give_their_line_and_skip_blank_ones() -> None:
    assert values('{"a": 1}\n\n  \r\n{"b": 2}') == [Entry(1, {"a": 1}), Entry(4, {"b": 2})]


def test_an_array_gives_each_element_with_its_line() -> None:
    assert values('[{"a": 1},\n\n {"b": 2}]\n') == [Entry(1, {"a": 1}), Entry(3, {"b": 2})]
    assert values("[]") == []
    assert values(" ") == []


def test_a_byte_order_mark_is_no_fault() -> None:
    assert read_back(b'\xef\xbb\xbf{"a": 1}\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("bad", ["garbage", '{"a":', '{"a": NaN}', '{"a": 1, "a": 2}', '"\\ud800"', '{"a": 1} x'])
def test_a_bad_line_costs_that_line_only(bad: str) -> None:
    first, second, third = values(f'{{"a": 1}}\n{bad}\n{{"b": 2}}\n')
    assert (first, third) == (Entry(1, {"a": 1}), Entry(3, {"b": 2}))
    assert isinstance(second, Fault)
    assert second.line == 2


@pytest.mark.parametrize("bad", ["garbage", '{"a":', "NaN"])
def test_a_bad_first_line_costs_that_line_only(bad: str) -> None:
    first, second = values(f'{bad}\n{{"b": 2}}\n')
    assert isinstance(first, Fault)
    assert first.line == 1
    assert second == Entry(2, {"b": 2})


def test_a_line_that_is_not_utf_8_costs_that_line_only() -> None:
    first, second = values(b'{"a": "\xff"}\n{"b": 2}\n')
    assert isinstance(first, Fault)
    assert "UTF-8" in first.text
    assert second == Entry(2, {"b": 2})


def test_a_line_that_is_too_long_is_refused_and_not_kept() -> None:
    long = b'{"a": "' + b"x" * (claimfile.MAX_CLAIM + 10) + b'"}'
    first, second = values(long + b'\n{"b": 2}\n')
    assert isinstance(first, Fault)
    assert "longer than" in first.text
    assert second == Entry(2, {"b": 2})


def test_a_fault_in_an_element_costs_that_element_only() -> None:
    first, second, third = values('[{"a": 1},\n{"b":\n oops},\n{"c": 3}]')
    assert (first, third) == (Entry(1, {"a": 1}), Entry(4, {"c": 3}))
    assert isinstance(second, Fault)
    assert second.line == 3


@pytest.mark.parametrize("text", ['[{"a": 1}', '[{"a": 1}]]', '[{"a": 1}] {"b": 2}', '[{"a": 1}}]', '{\n"a": [1\n}\n'])
def test_brackets_that_do_not_close_are_a_fault(text: str) -> None:
    assert isinstance(values(text)[-1], Fault)


def test_brackets_in_strings_count_for_nothing() -> None:
    tricky = [{"a": "]}[{,"}, {"b": '\\"]'}, {"c": "\\"}, {"d": '"'}]
    assert read_back(json.dumps(tricky)) == tricky


def test_deep_nesting_is_a_fault_and_no_crash() -> None:
    first, second = values('{"a": ' + "[" * 200_000 + "]" * 200_000 + '}\n{"b": 2}\n')
    assert isinstance(first, Fault)
    assert second == Entry(2, {"b": 2})


def test_it_pauses_before_it_waits() -> None:
    """Whoever asks line by line over a pipe gets each answer before sending the next line."""
    sent = iter([b'{"a": 1}\n', b'{"b": 2}\n', b""])

    class Pipe:
        def read1(self, size: int = -1, /) -> bytes:
            return next(sent)

    seen: list[Any] = []

    def follow() -> Iterator[Any]:
        yield from claimfile.read(Pipe())

    for each in follow():
        seen.append(each.data if isinstance(each, Entry) else "pause")
    assert seen == ["pause", {"a": 1}, "pause", {"b": 2}, "pause"]


_TEXTS = st.text(st.sampled_from('"\\{}[],:\n é😀\u2028a'), max_size=8)
_VALUES = st.recursive(
    _TEXTS | st.integers(-9, 9) | st.none() | st.booleans(), lambda x: st.lists(x, max_size=3), max_leaves=6
)
_CLAIMS = st.lists(st.dictionaries(_TEXTS, _VALUES, max_size=3), max_size=6)


@settings(max_examples=150, deadline=None)
@given(_CLAIMS, st.integers(1, 40), st.booleans(), st.sampled_from([None, 2]))
def test_every_layout_gives_the_same_values_in_pieces_of_any_size(
    claims: list[dict[str, Any]], size: int, escape: bool, indent: int | None
) -> None:
    as_array = json.dumps(claims, ensure_ascii=escape, indent=indent)
    assert read_back(as_array, size) == claims
    one_after_the_other = "\n".join(json.dumps(claim, ensure_ascii=escape, indent=indent) for claim in claims)
    if indent is None or all(claims):
        assert read_back(one_after_the_other, size) == claims
