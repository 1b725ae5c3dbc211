"""Answers that can be read in one way only, and are all there: a short way past the parser. Pure.

As `server/heads.py` is for requests: no parser for HTTP, but a short list of what is plain. A whole answer with a
length, in one piece, on a connection that is kept. What is not on the list goes to httptools' parser with every byte;
tests/providers/test_plain_answer.py holds what is plain here to what that parser makes of the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from gateway.fields import CONTROLS, MOST_HEADERS, Again, Fields, Lines

LARGEST_HEAD = 16 << 10  # bytes
_BODILESS = frozenset((204, 304))
# Names that come with nearly every answer, in the ways in which they are written.
_USUAL = (
    "content-type", "content-length", "transfer-encoding", "connection", "date", "server", "x-request-id", "request-id",
    "cache-control", "openai-processing-ms", "openai-version", "openai-organization", "openai-project", "vary", "via",
    "strict-transport-security", "x-content-type-options", "alt-svc", "cf-cache-status",
)  # fmt: skip
_CHANGING = ("content-length", "date", "x-request-id", "request-id", "openai-processing-ms")


def answer_lines() -> Lines:
    """What reads the lines of answers' heads."""
    return Lines(_USUAL, _CHANGING)


class PlainAnswer(NamedTuple):
    """`headers` with lower-case names; the body begins at `start` and goes to the end."""

    status: int
    headers: Fields
    start: int


class WholeAnswer:
    """An answer that was all there: the port `Upstream`. What is made of its headers alone holds for those that come
    with the same ones."""

    __slots__ = ("_left", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self._left = status, headers, body

    def rest_now(self) -> bytes:
        """The body, once."""
        body, self._left = self._left, b""
        return body

    async def chunk(self) -> bytes:
        """The same in one piece."""
        return self.rest_now()

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """`chunk` has all of it."""
        return False

    def close(self) -> None:
        """Its connection is on to something else."""


class PlainAnswers:
    """Those that come over one connection."""

    __slots__ = ("_again", "_length")
    lines: ClassVar[Lines] = answer_lines()  # of heads that came before, over all connections

    def __init__(self) -> None:
        self._again: Again[tuple[int, Fields]] | None = None
        self._length = 0  # of the last body, which the headers name

    def read(self, data: bytes) -> WholeAnswer | None:
        """An answer that is whole and plain, None where it is not."""
        if (again := self._again) is not None:
            if start := again.whole(data):
                status, headers = again.head
                if (length := len(data) - start) != self._length:
                    headers = headers.but("content-length", str(length))
                    again.head, self._length = (status, headers), length
                return WholeAnswer(status, headers, data[start:])
            if again.length(data) is not None:
                return None  # in pieces
        if (plain := plain_answer(data, self.lines)) is None:
            return None
        status, headers, start = plain
        self._again, self._length = Again(data[:start], (status, headers)), len(data) - start
        return WholeAnswer(status, headers, data[start:])


def plain_answer(data: bytes, seen: Lines) -> PlainAnswer | None:
    """An answer that is whole and plain, None where it is not. `seen` remembers lines."""
    end = data.find(b"\r\n\r\n", 0, LARGEST_HEAD)
    if end < 0 or not data.startswith(b"HTTP/1.1 "):
        return None
    head = data[:end]
    lines = head.count(b"\r\n")
    if lines > MOST_HEADERS or len(head) - len(head.translate(None, CONTROLS)) != 2 * lines:
        return None  # a line end that is none, or another control character
    first, *fields = head.decode("latin-1").split("\r\n")
    code = first[9:12]
    if not (code.isascii() and code.isdigit()) or first[12:13] not in ("", " ") or not 200 <= int(code) < 600:
        return None
    headers = Fields()
    try:
        for field in fields:
            name, value = seen[field]
            if name in headers:
                return None
            headers[name] = value
    except KeyError:
        return None
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > 12 or len(data) != end + 4 + int(length):
        return None
    if "transfer-encoding" in headers or "upgrade" in headers or int(code) in _BODILESS:
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return PlainAnswer(int(code), headers, end + 4)
