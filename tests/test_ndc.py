"""NDCs are written one way, and what could be read two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byreport import ndc


def exactly(count: int) -> st.SearchStrategy[str]:
    return st.text(alphabet="0123456789", min_size=count, max_size=count)


@pytest.mark.parametrize(
    ("written", "eleven"),
    [
        ("67386-0130-51", "67386013051"),  # 5-4-2
        ("67386-130-51", "67386013051"),  # 5-3-2: the product is short
        ("0002-1433-80", "00002143380"),  # 4-4-2: the labeler is short
        ("50242-0040-1", "50242004001"),  # 5-4-1: the package is short
        ("67386013051", "67386013051"),
        ("  67386-0130-51\n", "67386013051"),
        ("67386–0130–51", "67386013051"),  # dashes as word processors write them
    ],
)
def test_every_published_layout_becomes_eleven_digits(written: str, eleven: str) -> None:
    assert ndc.normalise(written) == eleven


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("6738613051", "short segment cannot be told"),
        ("673860130511", "has 12 digits"),
        ("", "is empty"),
        ("6738-013-51", "laid out 4-3-2"),
        ("67386-0130-051", "laid out 5-4-3"),
        ("67386-013051", "laid out 5-6"),
        ("N467386013051", "without it"),
        ("67386-O130-51", "something other than digits"),
        ("٦٧٣٨٦٠١٣٠٥١", "something other than digits"),  # digits, but not those of an NDC
        ("67386_0130_51", "something other than digits"),
    ],
)
def test_anything_else_is_refused_and_the_message_says_why(written: str, says: str) -> None:
    with pytest.raises(ndc.NdcError, match=says):
        ndc.normalise(written)


@given(exactly(11))
def test_eleven_digits_survive_hyphens_and_back(eleven: str) -> None:
    assert ndc.normalise(eleven) == eleven
    assert ndc.normalise(ndc.hyphenated(eleven)) == eleven
    assert ndc.hyphenated(eleven).replace("-", "") == eleven
    assert eleven.startswith(ndc.product(eleven))


@given(
    st.sampled_from([(4, 4, 2), (5, 3, 2), (5, 4, 1), (5, 4, 2)]).flatmap(
        lambda layout: st.tuples(*(exactly(count) for count in layout))
    )
)
def test_each_segment_keeps_its_value(segments: tuple[str, str, str]) -> None:
    labeler, product, package = ndc.hyphenated(ndc.normalise("-".join(segments))).split("-")
    assert (int(labeler), int(product), int(package)) == tuple(int(segment) for segment in segments)
    assert (len(labeler), len(product), len(package)) == (5, 4, 2)


@given(exactly(10))
def test_ten_bare_digits_are_never_guessed(ten: str) -> None:
    with pytest.raises(ndc.NdcError, match="ten digits"):
        ndc.normalise(ten)


@given(st.text(max_size=30))
def test_any_text_gives_eleven_digits_or_an_ndc_error(text: str) -> None:
    try:
        eleven = ndc.normalise(text)
    except ndc.NdcError:
        return
    assert len(eleven) == 11
    assert eleven.isascii()
    assert eleven.isdigit()


@pytest.mark.parametrize("wrong", ["67386-0130-51", "6738613051", ""])
def test_what_is_not_normalised_is_neither_hyphenated_nor_cut(wrong: str) -> None:
    with pytest.raises(ndc.NdcError):
        ndc.hyphenated(wrong)
    with pytest.raises(ndc.NdcError):
        ndc.product(wrong)
