"""Reading what is asked: the short ways say what the long way says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints import Endpoint
from gateway.errors import Reason, Refusal
from gateway.fields import Fields
from gateway.reading import Ask, read, read_now

ENDPOINTS = (
    Endpoint("chat", "chat", "POST", "/chat/completions"),
    Endpoint("messages", "messages", "POST", "/messages"),
    Endpoint("files", "opaque", "POST", "/files"),
)
CHAT, _, OPAQUE = ENDPOINTS
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 5, -1, 1.5, "", "x", [], {}, {"user_id": "u", "include_usage": True}]
)
BODIES = st.dictionaries(
    st.sampled_from([
        "model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "user", "metadata",
        "previous_response_id", "temperature",
    ]),
    VALUES,
    max_size=4,
)  # fmt: skip


class Came:
    """A request whose body has come."""

    request_id, received, method, path, raw_query, peer = "r", 0.0, "POST", "/v1/chat/completions", "", ""

    def __init__(self, headers: Mapping[str, str], body: bytes) -> None:
        self.headers = headers
        self._body = body

    def body_now(self, limit: int) -> bytes | None:
        return self._body if len(self._body) <= limit else None

    async def body(self, limit: int) -> bytes | None:
        return self.body_now(limit)

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._body


def fields(**more: str) -> Fields:
    made = Fields()
    made.update({"content-type": "application/json", "content-length": "5"} | more)
    return made


def long_way(headers: Mapping[str, str], endpoint: Endpoint, body: bytes, limit: int = 1000) -> Ask | Refusal:
    return asyncio.run(read(Came(headers, body), endpoint, limit))


@given(BODIES, st.sampled_from(ENDPOINTS))
def test_a_head_that_came_before_is_read_as_one_that_did_not(tree: dict[str, Any], endpoint: Endpoint) -> None:
    body, headers = json.dumps(tree).encode(), fields()
    assert read_now(Came(headers, body), endpoint, 1000) is None
    first = long_way(headers, endpoint, body)
    again = read_now(Came(headers, body), endpoint, 1000)
    assert first == long_way(dict(headers), endpoint, body)
    assert again == (first if endpoint.visible else None)


@given(BODIES, st.sampled_from(ENDPOINTS))
def test_a_body_with_little_to_read_means_what_it_means_with_more(tree: dict[str, Any], endpoint: Endpoint) -> None:
    """`n` that is null says nothing, but it is looked at, and then so is everything."""
    tree.pop("n", None)
    plain, other = json.dumps(tree).encode(), json.dumps({**tree, "n": None}).encode()
    short, long = long_way(fields(), endpoint, plain), long_way(fields(), endpoint, other)
    if isinstance(short, Ask) and isinstance(long, Ask):
        assert set(long.fields) - set(short.fields) == {"n"}
        long = msgspec.structs.replace(long, body=short.body, fields=short.fields)
    assert short == long


def test_what_a_head_says_is_kept_for_its_endpoint_alone() -> None:
    headers, body = fields(**{"x-gateway-user": "ada"}), b'{"model":"m"}'
    asked = long_way(headers, CHAT, body)
    assert isinstance(asked, Ask)
    assert asked.user == "ada"
    assert read_now(Came(headers, body), CHAT, 1000) == asked
    assert read_now(Came(headers, body), OPAQUE, 1000) is None
    assert long_way(headers, OPAQUE, b"") == Ask(OPAQUE, None, user="ada")
    assert read_now(Came(headers, body), CHAT, 1000) is None


def test_a_head_that_is_refused_is_refused_again() -> None:
    headers, body = fields(**{"content-encoding": "gzip"}), b'{"model":"m"}'
    for _ in range(2):
        refusal = long_way(headers, CHAT, body)
        assert isinstance(refusal, Refusal)
        assert refusal.reason == Reason.UNSUPPORTED_ENCODING
        assert read_now(Came(headers, body), CHAT, 1000) is None


@pytest.mark.parametrize(("body", "reason"), [(b"", Reason.BAD_REQUEST), (b"{}" + b" " * 1000, Reason.BODY_TOO_LARGE)])
def test_a_body_that_is_empty_or_too_large_is_refused_behind_a_head_that_came_before(body: bytes, reason: str) -> None:
    headers = fields()
    long_way(headers, CHAT, b'{"model":"m"}')
    assert read_now(Came(headers, body), CHAT, 1000) is None
    refusal = long_way(headers, CHAT, body)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


def test_a_service_tier_that_is_named_twice_is_refused() -> None:
    body = b'{"model":"m","service_tier":"priority","service_tier":"auto"}'  # priced by one, served by the other
    found = asyncio.run(read(Came({"content-length": "1"}, body), CHAT, 1000))
    assert isinstance(found, Refusal)
    assert "'service_tier' occurs twice" in found.message
