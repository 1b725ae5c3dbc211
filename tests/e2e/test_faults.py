"""Whatever breaks: a clear error or a clean end, a settled budget, exactly one record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, keys

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
BUDGET = "budget = { tokens_per_day = 1_000_000 }\nlimits = { concurrent_requests = 50 }"


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    policies = {"keys.toml": keys(BUDGET), "models.toml": MODELS}
    timeouts = "[providers.up.timeouts]\nconnect = 1.0\nfirst_byte = 1.0\ngap = 1.0\ntotal = 5.0\n"
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(folder, config(upstream.url, extra=timeouts), policies) as running:
        yield running


async def left(running: Gateway) -> dict[str, int]:
    """What the key has left, once everything that ran is settled."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.url}/gateway/v1/key", headers=HEADERS) as answer,
    ):
        return {limit["limit"]: limit["remaining"] for limit in (await answer.json())["limits"]}


async def settled(running: Gateway, request_id: str, before: dict[str, int]) -> dict[str, Any]:
    """The one record of a request; what it was charged is what is missing, and its slot is free again."""
    record = await asyncio.to_thread(running.record_of, request_id)
    for _ in range(100):
        after = await left(running)
        if after["concurrent_requests"] == before["concurrent_requests"]:
            break
        await asyncio.sleep(0.02)
    assert after["concurrent_requests"] == 50
    assert before["tokens_per_day"] - after["tokens_per_day"] == record.get("gateway.charged.tokens", 0)
    return record


async def post(running: Gateway, body: bytes) -> tuple[int, dict[str, str], bytes, BaseException | None]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{running.url}/v1/chat/completions", data=body, headers=HEADERS) as answer,
    ):
        parts = []
        broken: BaseException | None = None
        try:
            async for chunk in answer.content.iter_any():
                parts.append(chunk)
        except aiohttp.ClientError as error:
            broken = error
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, b"".join(parts), broken


@pytest.mark.parametrize(
    ("model", "stream", "status", "code"),
    [
        ("up/echo/status-503", False, 503, None),
        ("up/echo/status-503", True, 503, None),
        ("up/echo/stall", False, 504, "provider_timeout"),
        ("up/echo/stall", True, 504, "provider_timeout"),
        ("up/echo/rubbish", False, 502, None),
        ("up/echo/rubbish", True, 502, None),
        ("up/echo/break", False, 502, "provider_broken"),
    ],
)
async def test_an_upstream_that_fails_before_it_answers(
    budgeted: Gateway, model: str, stream: bool, status: int, code: str | None
) -> None:
    before = await left(budgeted)
    got, headers, body, broken = await post(budgeted, chat("hello", model=model, stream=stream))
    assert broken is None
    assert got == status, body
    assert b'"error"' in body
    if code is not None:
        assert f'"code":"{code}"'.encode() in body
    record = await settled(budgeted, headers["x-request-id"], before)
    assert record["http.response.status_code"] == status
    assert record["gateway.ending"] in ("failed", "provider_error")


async def test_an_upstream_that_breaks_in_mid_stream(budgeted: Gateway) -> None:
    before = await left(budgeted)
    got, headers, body, _ = await post(budgeted, chat("some words " * 30, model="up/echo/break", stream=True))
    assert got == 200
    assert b"[DONE]" not in body
    assert b'"error"' in body
    record = await settled(budgeted, headers["x-request-id"], before)
    assert record["gateway.ending"] == "truncated"
    assert record["gateway.usage.basis"] == "counted"
    assert record["gateway.charged.tokens"] > 0


async def test_a_broken_stream_raises_in_the_sdk(budgeted: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{budgeted.url}/v1", api_key=KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="up/echo/break", messages=[{"role": "user", "content": "some words " * 30}], stream=True
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_no_usage_is_counted_by_us(budgeted: Gateway) -> None:
    for stream in (False, True):
        before = await left(budgeted)
        got, headers, _, _ = await post(budgeted, chat("hello", model="up/echo/no-usage", stream=stream))
        assert got == 200
        record = await settled(budgeted, headers["x-request-id"], before)
        assert record["gateway.usage.basis"] == "counted"
        assert record["gateway.charged.tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves(budgeted: Gateway, upstream: Upstream, stream: bool) -> None:
    before = await left(budgeted)
    known = {record["gateway.request_id"] for record in budgeted.records()}
    async with aiohttp.ClientSession() as session:
        request = session.post(
            f"{budgeted.url}/v1/chat/completions",
            data=chat("some words " * 200, model="up/echo/slow", stream=stream),
            headers=HEADERS,
        )
        if stream:
            async with request as answer:
                await answer.content.readany()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await request
    for _ in range(250):
        gone = [one for one in budgeted.records() if one["gateway.request_id"] not in known]
        gone = [one for one in gone if one["gateway.ending"] == "client_gone"]
        if gone:
            break
        await asyncio.sleep(0.02)
    assert len(gone) == 1
    record = await settled(budgeted, gone[0]["gateway.request_id"], before)
    assert record["http.response.status_code"] == 499
    assert record["gateway.charged.tokens"] > 0, "a provider worked on it"


async def test_an_upstream_that_refuses_connections(tmp_path: Path) -> None:
    policies = {"keys.toml": keys(BUDGET), "models.toml": MODELS}
    with gateway(tmp_path, config("http://127.0.0.1:9"), policies) as running:
        before = await left(running)
        got, headers, body, _ = await post(running, chat("hello"))
        assert got == 502
        assert b"provider_unreachable" in body
        record = await settled(running, headers["x-request-id"], before)
        assert record["gateway.usage.basis"] == "nothing"


async def test_sigterm_lets_a_stream_end(tmp_path: Path, upstream: Upstream) -> None:
    policies = {"keys.toml": keys(BUDGET), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url), policies) as running:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{running.url}/v1/chat/completions",
                data=chat("some words " * 10, model="up/echo/slow", stream=True),
                headers=HEADERS,
            ) as answer,
        ):
            await answer.content.readany()
            stopping = asyncio.create_task(asyncio.to_thread(running.stop))
            rest = await answer.content.read()
        assert b"[DONE]" in rest
        assert await stopping == 0
        assert [one["gateway.ending"] for one in running.records(1)] == ["answered"]
