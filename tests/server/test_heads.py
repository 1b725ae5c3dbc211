"""The grammar of the hot connection against aiohttp's parser: what is plain is read alike, the rest is left to it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.arrival import lower_case
from gateway.server.heads import plain_head, request_lines

PLAIN = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2"


def reference(data: bytes) -> tuple[str, str, dict[str, str], int] | None:
    """What aiohttp makes of one whole head; None where it refuses."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(
            BaseProtocol(loop), loop, 2**16, max_line_size=16384, max_field_size=16384, max_headers=100,
            auto_decompress=False,
        )  # fmt: skip
        try:
            messages, _, _ = parser.feed_data(data + b"\r\n\r\n")
        except HttpProcessingError:
            return None
        if len(messages) != 1:
            return None
        message = messages[0][0]
        assert not message.should_close
        assert not message.upgrade
        assert not message.chunked
        headers = lower_case(message.raw_headers)
        return message.method, message.path, headers, int(headers.get("content-length", "0"))
    finally:
        loop.close()


SEEN = request_lines()  # as all connections of a process share them


def agree(data: bytes) -> bool:
    """Whether the head is plain; if so, aiohttp reads it in the same way."""
    head = plain_head(data, SEEN)
    if head is None:
        return False
    target = head.path + ("?" + head.raw_query if "?" in data.decode("latin-1").split("\r\n")[0] else "")
    assert (head.method, target, head.headers, head.length) == reference(data)
    return True


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        b"GET /v1/models?limit=1 HTTP/1.1\r\nhost: x",
        PLAIN + b"\r\nAuthorization: Bearer a.b-c_d",
        PLAIN + b"\r\nX-Odd-Name!: caf\xc3\xa9 \xff",
        PLAIN + b"\r\nx-empty:",
        PLAIN + b"\r\nx-spaces: \t a b \t",
        PLAIN + b"\r\nConnection: Keep-Alive",
        PLAIN + b"\r\nx-colons: a:b: c",
    ],
)
def test_what_is_plain_is_read_as_aiohttp_reads_it(data: bytes) -> None:
    assert agree(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST",
        b"POST /v1 HTTP/1.1",
        b"POST /v1 HTTP/1.0\r\nhost: x\r\ncontent-length: 2",
        b"POST  /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"POST /v1 HTTP/1.1\r\nhost\r\ncontent-length: 2",
        b"POST /v1 HTTP/1.1 \r\nhost: x\r\ncontent-length: 2",
        b"POST http://x/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"POST * HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"POST /v1#a HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"POST /v1\xc3\xa9 HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"PUT /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        b"HEAD /v1 HTTP/1.1\r\nhost: x",
        b"POST /v1 HTTP/1.1\r\ncontent-length: 2",
        b"POST /v1 HTTP/1.1\r\nhost: x",
        b"GET /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2",
        PLAIN + b"\r\ncontent-length: 2",
        PLAIN + b"\r\nhost: y",
        PLAIN + b"\r\nx-a: 1\r\nX-A: 2",
        PLAIN + b"\r\nTransfer-Encoding: chunked",
        PLAIN + b"\r\ntransfer-encoding : chunked",
        PLAIN + b"\r\nExpect: 100-continue",
        PLAIN + b"\r\nConnection: close",
        PLAIN + b"\r\nConnection: keep-alive, upgrade",
        PLAIN + b"\r\nUpgrade: h2c",
        PLAIN + b"\r\nx-a : 1",
        PLAIN + b"\r\n x-a: 1",
        PLAIN + b"\r\nx-a: 1\r\n folded",
        PLAIN + b"\r\nx-a: 1\nx-b: 2",
        PLAIN + b"\r\nx-a: 1\rx-b: 2",
        PLAIN + b"\r\nx-a: 1\r\r\n",
        PLAIN + b"\r\nx-a: \x00",
        PLAIN + b"\r\nx-a: \x7f",
        PLAIN + b"\r\nno colon",
        PLAIN + b"\r\n: no name",
        b"\r\n" + PLAIN,
        *[
            b"POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: " + length
            for length in (b"", b"-1", b"+1", b"1 1", b"0x1", b"1,1", b"\xd9\xa1", b"1e3", b"9" * 13)
        ],
        PLAIN + b"".join(b"\r\nx-%d: 1" % number for number in range(100)),
    ],
)
def test_what_is_not_plain_is_left_alone(data: bytes) -> None:
    assert plain_head(data, request_lines()) is None


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\x00", b"\xff", b"chunked", b"Transfer-Encoding: ", b"a", b"2",
     b"Content-Length: ", b"x-name: ", b"Connection: ", b"close", b"keep-alive", b"Host: ", b"/", b"?", b"#", b"%0d%0a",
     b"HTTP/1.1", b"POST ", b"GET ", b"\x0b", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8"]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), PIECES), max_size=4))
def test_no_edit_of_a_plain_head_is_read_in_two_ways(edits: list[tuple[int, int, bytes]]) -> None:
    data = PLAIN
    for at, cut, piece in edits:
        data = data[:at] + piece + data[at + cut :]
    if b"\r\n\r\n" not in data and not data.endswith((b"\r\n", b"\r")):
        agree(data)


@given(st.lists(PIECES, max_size=12))
def test_no_tail_of_a_plain_head_is_read_in_two_ways(pieces: list[bytes]) -> None:
    data = PLAIN + b"\r\n" + b"".join(pieces)
    if b"\r\n\r\n" not in data and not data.endswith((b"\r\n", b"\r")):
        agree(data)
