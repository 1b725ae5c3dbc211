"""The port `ObjectDirectory`, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreFailure
from gateway.limits.redis import RedisStore
from gateway.objects.memory import DAY, MemoryObjects
from gateway.objects.redis import RedisObjects
from gateway.ports import ObjectDirectory
from gateway.telemetry.tasks import Background
from tests.redis_server import RedisServer


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture(params=["memory", "redis"])
async def directory(request: pytest.FixtureRequest, background: Background) -> AsyncIterator[ObjectDirectory]:
    if request.param == "memory":
        yield MemoryObjects(Turned())
        return
    server: RedisServer = request.getfixturevalue("redis")
    store = RedisStore(server.url, clock=Turned(), background=background, call_seconds=1.0)
    yield RedisObjects(store.command, background, Turned())
    await store.close()


async def test_an_object_is_the_first_tenants(directory: ObjectDirectory) -> None:
    assert await directory.owners("up", ["file-1"]) == [None]
    directory.remember("up", "file-1", "acme", 1)
    directory.remember("up", "file-1", "globex", 1)
    assert await directory.owners("up", ["file-1", "file-2", "file-1"]) == ["acme", None, "acme"]
    assert await directory.owners("other", ["file-1"]) == [None]


def test_memory_forgets_after_an_objects_life_and_when_there_are_too_many() -> None:
    clock = Turned()
    objects = MemoryObjects(clock, 3)
    objects.remember("up", "short", "acme", 1)
    objects.remember("up", "long", "acme", 9)
    clock.at += DAY
    assert (objects.owner("up", "short"), objects.owner("up", "long")) == (None, "acme")
    for at in range(3):
        objects.remember("up", str(at), "acme", 1)
    assert objects.owner("up", "long") is None
    assert objects.owner("up", "2") == "acme"


async def test_other_processes_learn_of_it_and_no_id_is_stored(redis: RedisServer, background: Background) -> None:
    store = RedisStore(redis.url, clock=Turned(), background=background, call_seconds=1.0)
    one = RedisObjects(store.command, background, Turned())
    other = RedisObjects(store.command, background, Turned())
    one.remember("up", "file-secret", "acme", 2)
    for _ in range(200):
        if (await other.owners("up", ["file-secret"])) == ["acme"]:
            break
        await asyncio.sleep(0.01)
    assert await other.owners("up", ["file-secret"]) == ["acme"]
    keys = re.findall(r"q:o:[0-9a-f]{40}", redis.call("KEYS", "*").decode())
    assert len(keys) == 1, "below q:, which is all that the gateway's user may touch"
    assert 2 * DAY - 60 < int(redis.call("TTL", keys[0])[1:]) <= 2 * DAY
    await store.close()


async def test_a_store_that_is_away_is_no_answer(own_redis: RedisServer, background: Background) -> None:
    store = RedisStore(own_redis.url, clock=Turned(), background=background, call_seconds=0.2)
    objects = RedisObjects(store.command, background, Turned())
    own_redis.stop()
    with pytest.raises(StoreFailure):
        await objects.owners("up", ["file-1"])
    await store.close()
