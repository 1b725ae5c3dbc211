"""Realtime: a WebSocket through the gateway, with a header and with a browser's way to send a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.harness import KEY, Gateway, config, gateway, keys

MODELS = """
[models.voice]
provider = "up"
model = "gpt-realtime of the provider"
[models."*"]
provider = "up"
[[prices]]
provider = "up"
model = "*"
input = 1
output = 2
"""
OPEN = """endpoints = ["inference", "realtime"]
[keys.app.request]
max = { max_output_tokens = 50 }
deny = ["tools.mcp"]
[keys.app.limits]
concurrent_requests = 2
[keys.app.budget]
usd_total = 100
"""
SIDE = "gw-budget-without-realtime-0123"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory, recorder: str) -> Iterator[Gateway]:
    own = keys(OPEN).replace('models = ["up/*", "plain", "embed", "echo"]', 'models = ["voice", "other"]')
    side = keys("budget = { usd_total = 100 }\n", secret=SIDE, name="side")
    settings = config(recorder).replace("[server]\n", "[server]\ntunnel_seconds = 3\n")
    with gateway(
        tmp_path_factory.mktemp("realtime"), settings, {"keys.toml": own + side, "models.toml": MODELS}
    ) as running:
        yield running


def address(talking: Gateway, query: str = "model=voice") -> str:
    return f"{talking.url}/v1/realtime?{query}"


HEADERS = {"authorization": f"Bearer {KEY}"}


def ended(talking: Gateway, before: int) -> dict[str, Any]:
    """The record of the one session since then."""
    return talking.records(before + 1)[-1]


async def test_a_session_is_one_record_with_what_it_used(talking: Gateway) -> None:
    before = len(talking.records())
    async with aiohttp.ClientSession() as session, session.ws_connect(address(talking), headers=HEADERS) as socket:
        first = await socket.receive_json()
        for _ in range(2):
            await socket.send_json({"type": "response.create"})
            assert (await socket.receive_json())["type"] == "response.done"
    assert first["seen"]["query"] == "model=gpt-realtime%20of%20the%20provider"
    assert first["seen"]["authorization"] == "Bearer upstream-secret-canary"
    record = await asyncio.to_thread(ended, talking, before)
    assert record["http.response.status_code"] == 101
    assert record["gateway.ending"] == "answered"
    assert record["gen_ai.usage.input_tokens"] == 8
    assert record["gen_ai.usage.output_tokens"] == 6
    assert record["gateway.charged.nano_usd"] == 20_000
    assert record["gen_ai.request.model"] == "voice"


async def test_a_browser_sends_its_key_as_a_subprotocol(talking: Gateway) -> None:
    offered = ("realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1")
    async with aiohttp.ClientSession() as session, session.ws_connect(address(talking), protocols=offered) as socket:
        first = await socket.receive_json()
        assert socket.protocol == "realtime"
    assert KEY not in json.dumps(first)
    assert "realtime" in first["seen"]["offered"]
    assert first["seen"]["authorization"] == "Bearer upstream-secret-canary"


async def test_messages_and_the_end_pass_as_they_are(talking: Gateway) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(address(talking), headers=HEADERS) as socket:
        await socket.receive_json()
        await socket.send_bytes(bytes(range(256)) * 1000)
        assert (await socket.receive()).data == bytes(range(256)) * 1000
        text = json.dumps({"type": "x", "text": "\u00fc\u2713", "big": 2**70})
        await socket.send_str(text)
        assert (await socket.receive()).data == text
        await socket.send_json({"type": "bye"})
        end = await socket.receive()
        assert (end.type, end.data, end.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "as you wish")


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "session.update", "session": {"max_output_tokens": 51}}, "max_output_tokens"),
        ({"type": "session.update", "session": {"max_output_tokens": "inf"}}, "max_output_tokens"),
        ({"type": "response.create", "response": {"tools": [{"type": "mcp"}]}}, "tools"),
        ({"type": "session.update", "session": {"model": "dear"}}, "model"),
    ],
)
async def test_rules_hold_for_what_a_client_asks_for_inside(talking: Gateway, event: Any, param: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(address(talking), headers=HEADERS) as socket:
        await socket.receive_json()
        await socket.send_json(event)
        refused = await socket.receive_json()
        assert refused["type"] == "error"
        assert refused["error"]["param"] == param
        await socket.send_json({"type": "hello"})
        assert (await socket.receive_json()) == {"type": "hello"}  # and nothing of the refused event came through


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("model=voice", {}, 401),
        ("model=voice", {"authorization": "Bearer wrong"}, 401),
        ("model=voice", {"authorization": f"Bearer {SIDE}"}, 403),  # no side door
        ("model=dear", HEADERS, 403),
        ("model=voice&model=dear", HEADERS, 400),
        ("model=voice&mod%65l=dear", HEADERS, 400),
        ("model=voice&refuse=429", HEADERS, 429),
        ("model=voice&refuse=401", HEADERS, 502),
    ],
)
async def test_what_is_refused_is_refused_before_it_opens(
    talking: Gateway, query: str, headers: dict[str, str], status: int
) -> None:
    async with aiohttp.ClientSession() as session, session.get(
        address(talking, query),
        headers={**headers, "connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
                 "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="},
    ) as answer:  # fmt: skip
        assert answer.status == status
        assert set((await answer.json())["error"]) == {"message", "type", "param", "code"}


async def test_a_session_has_its_longest_time_and_counts_as_one_of_the_open(talking: Gateway) -> None:
    before = len(talking.records())
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.ws_connect(address(talking)) as one,
        session.ws_connect(address(talking)),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(address(talking))
        assert refused.value.status == 429
        await one.receive_json()
        told = await one.receive_json()
        assert told["error"]["code"] == "session_expired"
        assert (await one.receive()).type is aiohttp.WSMsgType.CLOSE
    for _ in range(200):
        if any(one.get("gateway.flags") == ["duration_cap"] for one in talking.records()[before:]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(talking.records()[before:])


async def test_a_slow_reader_slows_the_provider_and_costs_no_memory(talking: Gateway) -> None:
    """40 MB are on their way; the client reads nothing for a second, and then all."""
    status = Path(f"/proc/{talking.process.pid}/status")

    def resident() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))

    before = resident()
    async with aiohttp.ClientSession() as session, session.ws_connect(address(talking), headers=HEADERS) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "flood"})
        await asyncio.sleep(1)
        grown = resident() - before
        numbers = [(await socket.receive_json())["n"] for _ in range(400)]
    assert numbers == list(range(400))
    assert grown < 20_000, f"{grown} KiB are held for a client that does not read"


async def test_a_client_that_goes_ends_it(talking: Gateway) -> None:
    before = len(talking.records())
    session = aiohttp.ClientSession()
    socket = await session.ws_connect(address(talking), headers=HEADERS)
    await socket.receive_json()
    assert socket._response.connection is not None
    assert socket._response.connection.transport is not None
    socket._response.connection.transport.abort()
    record = await asyncio.to_thread(ended, talking, before)
    assert record["gateway.ending"] in ("answered", "client_gone")
    await session.close()
