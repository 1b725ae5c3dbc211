"""Heads of requests that can be read in one way only: the grammar of the hot connection (`hot.py`). Pure.

Not a parser for HTTP: a short list of what is plain. What is not on it (continuation lines, repeated fields, chunked
bodies, `Expect`, upgrades, other versions, a head in pieces) is not refused here but left to aiohttp's parser, which
knows them all. tests/server/test_heads.py holds what is plain here to what that parser makes of the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.fields import Fields

LARGEST_HEAD = 16 << 10  # bytes; aiohttp takes one line of that size at most
MOST_HEADERS = 100
_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # line ends among them, a tab not
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[!-\"$-~]*")  # visible ASCII without the mark of a fragment
# Names that come with nearly every request, in the ways in which they are written.
_USUAL = (
    "host", "accept", "accept-encoding", "accept-language", "authorization", "connection", "content-length",
    "content-type", "user-agent", "x-api-key", "api-key", "anthropic-version", "anthropic-beta",
    "openai-beta", "openai-organization", "openai-project",
    "idempotency-key", "x-request-id", "x-gateway-user", "x-gateway-session", "x-gateway-conversation",
    "x-gateway-version", "x-gateway-timeout", "x-gateway-tags", "x-stainless-arch", "x-stainless-async",
    "x-stainless-lang", "x-stainless-os", "x-stainless-package-version", "x-stainless-raw-response",
    "x-stainless-read-timeout", "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version",
    "traceparent",
)  # fmt: skip
_NAMES: Mapping[str, str] = {way: name for name in _USUAL for way in (name, name.title(), name.upper())}
# Fields that clients send the same each time and that are no secret: lines of these are remembered.
_STEADY = frozenset(_USUAL) - {
    "authorization", "x-api-key", "api-key", "content-length", "connection", "idempotency-key", "x-request-id",
    "traceparent", "x-gateway-user", "x-gateway-session", "x-gateway-conversation", "x-gateway-tags",
}  # fmt: skip
KEPT, LONGEST_KEPT = 1000, 200  # lines, and characters of one
# Fields that change how a message is framed, or what the connection is.
_LEFT_TO_AIOHTTP = frozenset(
    ("transfer-encoding", "expect", "upgrade", "te", "trailer", "proxy-connection", "http2-settings")
)


Lines = dict[str, tuple[str, str]]  # a header's line → its name and value


class PlainHead(NamedTuple):
    """`path` and `raw_query` as they came; header names in lower case; `length` in bytes of the body that follows."""

    method: str
    path: str
    raw_query: str
    headers: Fields
    length: int


def plain_head(data: bytes, seen: Lines) -> PlainHead | None:
    """A head without its empty line, None where it is not plain. `seen` remembers lines."""
    lines = data.count(b"\r\n")
    if lines > MOST_HEADERS or len(data) - len(data.translate(None, _CONTROLS)) != 2 * lines:
        return None  # a line end that is none, or another control character
    first, *fields = data.decode("utf-8", "surrogateescape").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if method not in ("POST", "GET") or version != "HTTP/1.1" or _TARGET.fullmatch(target) is None:
        return None
    headers = Fields()
    for field in fields:
        line = seen.get(field) or _line(field, seen)
        if line is None or line[0] in headers:
            return None
        headers[line[0]] = line[1]
    if "host" not in headers or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    path, _, query = target.partition("?")
    if length is None:
        return PlainHead(method, path, query, headers, 0) if method == "GET" else None
    if method != "POST" or not (length.isascii() and length.isdigit()) or len(length) > 12:
        return None
    return PlainHead(method, path, query, headers, int(length))


def _line(field: str, seen: Lines) -> tuple[str, str] | None:
    """Name and value of a header's line, None where it is not plain."""
    written, colon, value = field.partition(":")
    name = _NAMES.get(written)
    if name is None:
        if not colon or _TOKEN.fullmatch(written) is None:
            return None
        name = written.lower()
    if name in _LEFT_TO_AIOHTTP:
        return None
    line = name, value.strip(" \t")
    if name in _STEADY and len(field) <= LONGEST_KEPT:
        if len(seen) >= KEPT:
            seen.clear()
        seen[field] = line
    return line
