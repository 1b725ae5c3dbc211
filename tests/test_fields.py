"""A head that comes again is taken for the same only where its bytes are, the length apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fields import Again, Fields, fields_of, lines_of, made_of
from gateway.server.heads import plain_head, request_lines

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\nAuthorization: Bearer k\r\n\r\n"


def known(length: bytes = b"12") -> Again[str]:
    return Again(HEAD % length, "the head")


def test_the_same_head_with_another_length_is_known() -> None:
    data = HEAD % b"7" + b"1234567"
    assert known().length(data) == (len(data) - 7, 7)


@given(st.integers(1, 99_999_999), st.binary(max_size=40))
def test_the_length_is_what_stands_there(length: int, body: bytes) -> None:
    head = HEAD % str(length).encode()
    assert known().length(head + body) == (len(head), length)


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(-20, 20))
def test_a_whole_message_is_told_from_one_with_more_or_less(first: int, length: int, beside: int) -> None:
    """Whatever length, of how many digits, came before."""
    again = known()
    again.whole(HEAD % b"%d" % first + bytes(first))
    head, there = HEAD % b"%d" % length, max(0, length + beside)
    whole = there == length and length > 0
    assert again.whole(head + bytes(there)) == (len(head) if whole else 0)
    assert again.whole(HEAD % b"5" + b"hello") == len(HEAD % b"5")


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_what_is_whole_is_what_the_length_says(value: bytes, body: bytes) -> None:
    data = HEAD % value + body
    again = known()
    if again.whole(data):
        plain = plain_head((HEAD % value)[:-4], request_lines())
        assert plain is not None
        assert (again.whole(data), plain.length) == (len(data) - len(body), len(body))


@pytest.mark.parametrize("first", [1, 12, 123, 1234, 12345, 123456, 1234567])
@pytest.mark.parametrize("value", [0, *range(-7, 0)])
def test_a_length_of_nothing_or_less_is_left_to_whoever_reads_heads(first: int, value: int) -> None:
    """As many bytes less than the last head had as its length says are not there."""
    again = Again(HEAD % b"%d" % first, "the head")
    assert again.whole(HEAD % b"%d" % value) == 0


@given(st.binary(max_size=12))
def test_what_is_no_length_is_left_to_whoever_reads_heads(value: bytes) -> None:
    found = known().length(HEAD % value)
    plain = plain_head((HEAD % value)[:-4], request_lines())
    if found is not None:
        assert plain is not None
        assert found[1] == plain.length > 0


@given(st.integers(0, len(HEAD % b"12") - 1), st.integers(0, 255))
def test_any_other_byte_makes_another_head(at: int, byte: int) -> None:
    data = bytearray(HEAD % b"12")
    if data[at] == byte or (chr(data[at]).isdigit() and chr(byte).isdigit()):
        return
    data[at] = byte
    assert known().length(bytes(data)) is None
    assert known().whole(bytes(data) + bytes(12)) == 0


@given(st.integers(0, len(HEAD % b"12") - 1))
def test_a_part_of_a_head_is_not_known(end: int) -> None:
    assert known().length((HEAD % b"12")[:end]) is None
    assert known().whole((HEAD % b"12")[:end]) == 0


def test_a_head_without_a_length_is_never_known() -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    assert Again(head, "the head").length(head) is None
    assert Again(head, "the head").whole(head) == 0


def test_a_head_may_hold_what_formats_do() -> None:
    head = b"POST /a%d%%b HTTP/1.1\r\nhost: %s\r\ncontent-length: 4\r\nx: %(x)b\r\n\r\n"
    assert Again(head, "the head").whole(head + b"body") == len(head)
    assert Again(head, "the head").whole(head + b"bod") == 0
    assert Again(head, "the head").whole(head.replace(b"%%", b"%") + b"body") == 0


def test_a_length_in_another_field_is_not_the_length() -> None:
    head = b"POST / HTTP/1.1\r\nx-content-length: 5\r\ncontent-length: 3\r\n\r\n"
    assert Again(head, "the head").length(head.replace(b": 3", b": 4")) == (len(head), 4)
    assert Again(head, "the head").length(head.replace(b": 5", b": 6")) is None


def test_what_is_made_of_fields_is_made_once_and_of_others_each_time() -> None:
    calls: list[str] = []

    def make(headers: object) -> str:
        calls.append("made")
        return str(headers)

    fields = Fields()
    fields["host"] = "x"
    assert made_of(fields, make) == made_of(fields, make) == "{'host': 'x'}"
    assert calls == ["made"]
    made_of({"host": "x"}, make)
    made_of({"host": "x"}, make)
    assert calls == ["made"] * 3


NAMES, VALUES = st.from_regex(r"[a-z0-9-]+", fullmatch=True), st.text(st.characters(exclude_characters="\r\n"))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_lines_are_their_fields(fields: list[tuple[str, str]]) -> None:
    assert fields_of(lines_of(fields)) == tuple(fields)


@given(VALUES, st.sampled_from(["\r", "\n", "\r\n"]), VALUES, st.booleans())
def test_a_line_break_makes_no_line(before: str, line_break: str, after: str, named: bool) -> None:
    text = before + line_break + after
    with pytest.raises(ValueError, match="line break"):
        lines_of([("x-a", "1"), (text, "2") if named else ("x-b", text)])
