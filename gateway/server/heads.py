"""Heads of requests that can be read in one way only: the grammar of the hot connection (`hot.py`). Pure.

Not a parser for HTTP: a short list of what is plain. What is not on it (continuation lines, repeated fields, chunked
bodies, `Expect`, upgrades, other versions, a head in pieces) is not refused here but left to aiohttp's parser, which
knows them all. tests/server/test_heads.py holds what is plain here to what that parser makes of the same bytes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.fields import CONTROLS, MOST_HEADERS, Fields, Lines

LARGEST_HEAD = 16 << 10  # bytes; aiohttp takes one line of that size at most
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
# Those of them that differ each time, or are secret.
_CHANGING = (
    "authorization", "x-api-key", "api-key", "content-length", "connection", "idempotency-key", "x-request-id",
    "traceparent", "x-gateway-user", "x-gateway-session", "x-gateway-conversation", "x-gateway-tags",
)  # fmt: skip
# Fields that change how a message is framed, or what the connection is.
_LEFT_TO_AIOHTTP = (
    "transfer-encoding", "expect", "upgrade", "te", "trailer", "proxy-connection", "http2-settings",
)  # fmt: skip


def request_lines() -> Lines:
    """What reads the lines of requests' heads."""
    return Lines(_USUAL, _CHANGING, _LEFT_TO_AIOHTTP)


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
    if lines > MOST_HEADERS or len(data) - len(data.translate(None, CONTROLS)) != 2 * lines:
        return None  # a line end that is none, or another control character
    first, *fields = data.decode("utf-8", "surrogateescape").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if method not in ("POST", "GET") or version != "HTTP/1.1" or _TARGET.fullmatch(target) is None:
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
    if "host" not in headers or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    path, _, query = target.partition("?")
    if length is None:
        return PlainHead(method, path, query, headers, 0) if method == "GET" else None
    if method != "POST" or not (length.isascii() and length.isdigit()) or len(length) > 12:
        return None
    return PlainHead(method, path, query, headers, int(length))
