"""How many spans a body may hold: counted in one go, the same as each mark by itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.limits.spans import SHORTEST_NUMBER, Marks, marks_of, most_spans
from gateway.policy.compiled import RedactionProfile

MARKS = some.builds(Marks, some.booleans(), some.booleans(), some.booleans(), some.booleans())
BODIES = some.one_of(
    some.text(alphabet='ab:. @"1', max_size=60), some.text(alphabet="ab:.@\\u04é7", max_size=60), some.text(max_size=60)
).map(str.encode)  # fmt: skip


def one_by_one(marks: Marks, body: bytes) -> int:
    digits = sum(body.count(b"%d" % digit) for digit in range(10))
    written = digits or b"\\" in body or not body.isascii()
    spans = body.count(b"@") + body.count(b"\\u0040") if marks.at else 0
    spans += digits // SHORTEST_NUMBER if marks.numbers else 0
    if marks.addresses:
        spans += (body.count(b".") // 3 if written else 0) + body.count(b":") // 2
    return max(spans, len(re.findall(rb"[^\W\d_]{2,}", body))) if marks.words else spans


@given(MARKS, BODIES)
def test_they_are_counted_as_one_by_one(marks: Marks, body: bytes) -> None:
    assert most_spans(marks, body) == one_by_one(marks, body)


@pytest.mark.parametrize(
    ("body", "spans"),
    [
        (b"ada@example.com, bob@example.com", 2),
        (b"ada\\u0040example.com", 1),
        (b"call 030 1234567", 1),
        (b"from 10.0.0.1 to 10.0.0.2", 2),
        ("from \u0661\u0660.0.0.\u0661".encode(), 1),
        (b"from fe80::1 to ::2", 2),
        (b"an honest day. a night.", 0),
    ],
)
def test_what_a_body_holds_is_within(body: bytes, spans: int) -> None:
    every = Marks(at=True, numbers=True, addresses=True, words=False)
    assert most_spans(every, body) >= spans
    assert most_spans(Marks(at=False, numbers=False, addresses=False, words=False), body) == 0


def test_a_profile_says_once_by_what_its_spans_are_bounded() -> None:
    assert RedactionProfile("p", ("EMAIL_ADDRESS", "US_SSN")).marks == Marks(True, True, False, False)
    assert RedactionProfile("p", ("IP_ADDRESS", "PERSON")).marks == Marks(False, False, True, True)
    assert RedactionProfile("p", (), deny=(("NAME", "ada"),)).marks == Marks(False, False, False, True)
    for unchanged in (
        RedactionProfile("p", ("EMAIL_ADDRESS",), "detect"), RedactionProfile("p", ("EMAIL_ADDRESS",), shadow=True),
        RedactionProfile("p", ("EMAIL_ADDRESS",), input=False),
    ):  # fmt: skip
        assert unchanged.marks is None
    assert marks_of(frozenset(), more=False) is None
