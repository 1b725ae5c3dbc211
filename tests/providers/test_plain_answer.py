"""What is plain is read as httptools reads it, and what is not plain is left to it."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.plain_answer import answer_lines, plain_answer

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
