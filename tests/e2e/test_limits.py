"""Limits as an application meets them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, keys

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@pytest.fixture(params=["memory", "redis"])
def limited(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[Gateway]:
    store = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    policies = {"keys.toml": keys("limits = { requests_per_minute = 60 }"), "models.toml": MODELS}
    settings = config(upstream.url, store=store).replace("[store]\n", "[store]\ncall_seconds = 10\n")  # see at_the_line
    with gateway(tmp_path, settings, policies) as running:
        yield running


async def test_61_at_once_on_60_a_minute(limited: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> tuple[int, dict[str, str], dict[str, dict[str, str]]]:
            async with session.post(f"{limited.url}/v1/chat/completions", data=chat("hi"), headers=HEADERS) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.json()

        answers = await asyncio.gather(*(one() for _ in range(61)))
    refused = [answer for answer in answers if answer[0] != 200]
    assert [answer[0] for answer in refused] == [429]
    _, headers, body = refused[0]
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert body["error"]["type"] == "requests"
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "60" in body["error"]["message"]
    assert 1 <= int(headers["retry-after"]) <= 2
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    for status, passed, _ in answers:
        if status == 200:
            assert passed["x-ratelimit-limit-requests"] == "60"
    assert len(upstream.seen()) == before + 60
    records = limited.records(61)
    assert len(records) == 61
    assert sum(record["gateway.ending"] == "refused" for record in records) == 1


def test_the_sdk_raises_rate_limit_error(tmp_path: Path, upstream: Upstream) -> None:
    policies = {"keys.toml": keys("limits = { requests_per_minute = 1 }"), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url), policies) as running, ExitStack() as stack:
        client = stack.enter_context(openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0))
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}])
        before = len(upstream.seen())
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert "x-should-retry" not in caught.value.response.headers
        assert len(upstream.seen()) == before


def test_a_budget_that_is_spent_is_no_matter_of_waiting(tmp_path: Path, upstream: Upstream) -> None:
    policies = {"keys.toml": keys("budget = { tokens_per_day = 300 }"), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url), policies) as running, ExitStack() as stack:
        client = stack.enter_context(openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=2))

        def ask(tokens: int) -> None:
            client.chat.completions.create(
                model="plain", messages=[{"role": "user", "content": "word " * 20}], max_tokens=tokens
            )

        with pytest.raises(openai.BadRequestError) as never:
            ask(400)
        assert never.value.code == "request_exceeds_limit"
        before = len(upstream.seen())
        with pytest.raises(openai.RateLimitError) as spent:
            for _ in range(20):
                ask(30)
        assert spent.value.code == "insufficient_quota"
        assert spent.value.type == "insufficient_quota"
        assert spent.value.response.headers["x-should-retry"] == "false"
        passed = len(upstream.seen()) - before
        assert 1 <= passed < 20
        charged = sum(record.get("gateway.charged.tokens", 0) for record in running.records(passed + 2))
        assert charged <= 300
        own = running.url + "/gateway/v1/key"
        raw = client._client.get(own, headers=HEADERS)
        assert raw.status_code == 200
        left = {limit["limit"]: limit["remaining"] for limit in raw.json()["limits"]}
        assert left == {"tokens_per_day": 300 - charged}
