"""What is plain is read as httptools reads it, and what is not plain is left to it."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fields import Fields
from gateway.providers.plain_answer import PlainAnswers, answer_lines, plain_answer

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n"
BODY = b'{"a":1}'
SEEN = answer_lines()


class Reader:
    """What httptools makes of an answer."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.twice = self.over = self.kept = False
        self.body = b""
        self.parser: Any = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self.twice |= key in self.headers
        self.headers[key] = value.decode("latin-1").strip(" \t")

    def on_headers_complete(self) -> None:
        self.kept = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.over = True


def agree(data: bytes) -> bool:
    """Whether the answer is plain; if so, httptools reads the same in it."""
    plain = plain_answer(data, SEEN)
    if plain is None:
        return False
    reference = Reader(data)
    assert reference.over
    assert not reference.twice
    assert reference.kept
    assert (plain.status, plain.headers, data[plain.start :]) == (
        reference.parser.get_status_code(), reference.headers, reference.body,
    )  # fmt: skip
    return True


@pytest.mark.parametrize(
    "data",
    [
        PLAIN + BODY,
        PLAIN.replace(b"200 OK", b"429 Too Many Requests") + BODY,
        PLAIN.replace(b"200 OK", b"200 ") + BODY,
        PLAIN.replace(b"200 OK", b"200") + BODY,
        PLAIN.replace(b": 7", b": 0"),
        PLAIN.replace(b"content-type", b"Content-Type") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\nx-odd!: \xff \r\n\r\n") + BODY,
    ],
)
def test_what_is_plain_is_read_as_httptools_reads_it(data: bytes) -> None:
    assert agree(data)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN + BODY[:-1],  # not all there
        PLAIN + BODY + b"H",  # more than all
        PLAIN[:-2] + BODY,
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY,
        PLAIN.replace(b"200 OK", b"100 Continue") + BODY,
        PLAIN.replace(b"200 OK", b"204 No Content") + BODY,
        PLAIN.replace(b"200 OK", b"304 Not Modified") + BODY,
        PLAIN.replace(b"200 OK", b"2000 OK") + BODY,
        PLAIN.replace(b"200 OK", b"20 OK") + BODY,
        PLAIN.replace(b": 7", b": +7") + BODY,
        PLAIN.replace(b": 7", b": 7, 7") + BODY,
        PLAIN.replace(b"content-length: 7", b"content-length: 7\r\ncontent-length: 7") + BODY,
        PLAIN.replace(b"content-length: 7", b"transfer-encoding: chunked") + b"7\r\n" + BODY + b"\r\n0\r\n\r\n",
        PLAIN.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nupgrade: x\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nname : x\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nserver\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nx: a\nb\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\n\r\n", b"\r\nx: \x00\r\n\r\n") + BODY,
        PLAIN.replace(b"\r\ncontent-length: 7", b"") + BODY,
        b"",
    ],
)
def test_what_is_not_plain_is_left_to_it(data: bytes) -> None:
    assert plain_answer(data, SEEN) is None


@given(st.data())
def test_no_change_of_a_byte_makes_them_disagree(data: st.DataObject) -> None:
    answer = bytearray(PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\nx-b: c\r\n\r\n") + BODY)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(answer) - 1))
        piece = data.draw(
            st.sampled_from([b"\r", b"\n", b"\r\n", b":", b" ", b"\t", b"", b"7", b"0", b"a", b"\x00", b","])
        )
        answer[at : at + data.draw(st.integers(0, 2))] = piece
    agree(bytes(answer))


class Sized:
    """Answers of a connection whose heads differ in their length, mostly."""

    def __init__(self) -> None:
        self.answers = PlainAnswers()

    def agree(self, data: bytes) -> bool:
        """Whether the answer is plain; if so, it is read as one that comes over a connection of its own."""
        found, alone = self.answers.read(data), PlainAnswers().read(data)
        if found is None or alone is None:
            assert found is alone
            return False
        assert (found.status, found.headers, found.rest_now()) == (alone.status, alone.headers, alone.rest_now())
        assert agree(data)
        return True


@pytest.mark.parametrize("size", [0, 1, 8, 9, 10, 11, 97, 98, 99, 100, 101, 994, 999, 1000, 1003, 9999, 10_000, 99_998])
def test_a_head_that_comes_again_may_have_another_length(size: int) -> None:
    sized = Sized()
    head = PLAIN.replace(b": 7", b": %d")
    for one in (3, size, size, 3, size + 1, size):
        assert sized.agree(head % one + b"x" * one)
    for told in (size + 1, max(size - 1, 0) if size else 2, size + 10, size * 10 + 1):
        assert not sized.agree(head % told + b"x" * size)


def test_the_same_head_has_what_was_made_of_it_and_its_own_length() -> None:
    answers = PlainAnswers()
    first, again, other = (answers.read(PLAIN.replace(b": 7", b": %d" % n) + b"x" * n) for n in (7, 7, 12))
    assert first is not None
    assert again is not None
    assert other is not None
    assert again.headers is first.headers
    assert isinstance(first.headers, Fields)
    assert isinstance(other.headers, Fields)
    assert other.headers.made is first.headers.made
    assert (first.headers["content-length"], other.headers["content-length"]) == ("7", "12")


_HEADS = [
    PLAIN, PLAIN.replace(b"200 OK", b"429 No"), PLAIN.replace(b"\r\n\r\n", b"\r\nx-b: c\r\n\r\n"),
    PLAIN.replace(b"\r\n\r\n", b"\r\ncontent-length: 7\r\n\r\n"), PLAIN.replace(b": 7", b": 07"),
    PLAIN.replace(b"content-length: 7", b"x: 7"), PLAIN.replace(b"content-length: 7\r\n", b"Content-Length:7\r\n"),
    PLAIN.replace(b"content-type", b"x: content-length: 7\r\ncontent-type"),
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(_HEADS), st.integers(0, 120), st.integers(-1, 1)), max_size=6))
def test_what_came_before_changes_nothing(came: list[tuple[bytes, int, int]]) -> None:
    sized = Sized()
    for head, size, off in came:
        sized.agree(head.replace(b"7", b"%d" % (size + off)) + b"x" * size)
