"""The normal form reads what was hidden, and knows where it stood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.normal import normal

READ = [
    ("ada%40example.com", "ada@example.com"), ("ada&#64;b", "ada@b"), ("ada&#x40;b", "ada@b"), ("a&commat;b", "a@b"),
    ("a\\u0040b", "a@b"), ("a\\nb", "a\nb"), ("４１", "41"), ("a\u200bb\u00adc", "abc"), ("＋４９", "+49"),
    ("4 1 1 1 1 1 1 1 1", "411111111"), ("+ 4 9 3 0 1 2 3 4 5 6", "+4930123456"),
    ("4_1_1_1_1_1_1_1_1_1", "4111111111"),
    ("D E 8 9 3 7 0 4 0", "DE8937040"), ("a\u00a0b", "a b"), ("㎏", "kg"),
    ("a b c d e f g h i j", "a b c d e f g h i j"), ("1 2 3 4", "1 2 3 4"), ("12 34 56 78 90 12", "12 34 56 78 90 12"),
    ("100%", "100%"), ("%zz &x; \\x", "%zz &x; \\x"), ("naïve “x”", "naïve “x”"), ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "read"), READ)
def test_it_reads_what_was_hidden(text: str, read: str) -> None:
    assert normal(text).text == read


@pytest.mark.parametrize(
    ("text", "found", "stood"),
    [
        ("to ada%40b.com!", "ada@b.com", "ada%40b.com"),
        ("４１１１", "411", "４１１"),
        ("x\u200b12\u200b3 ", "123", "12\u200b3"),
        ("㎏s", "g", "㎏"),
        ("no: 4 1 1 1 1 1 1 1 1 !", "411111111", "4 1 1 1 1 1 1 1 1"),
        ("＋ ４ 1 1 1 1 1 1 1 1", "41111111", "４ 1 1 1 1 1 1 1"),
    ],
)
def test_it_knows_where_it_stood(text: str, found: str, stood: str) -> None:
    shown = normal(text)
    at = shown.text.index(found)
    start, end = shown.back(at, at + len(found))
    assert text[start:end] == stood


@given(st.text(st.characters() | st.sampled_from("%40&#64;\\u_ 1９\u200b＠㎏")))
def test_the_way_back_goes_forwards_and_stays_inside(text: str) -> None:
    shown = normal(text)
    places = [shown.back(at, at + 1) for at in range(len(shown.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)
    if shown.text:
        assert shown.back(0, len(shown.text)) == (places[0][0], places[-1][1])


@given(st.text(st.characters(max_codepoint=127, exclude_characters="%&\\ _")))
def test_plain_text_stands_for_itself(text: str) -> None:
    assert normal(text).text is text
