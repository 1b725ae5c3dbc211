"""What outlives an exchange: sealed, a tenant's own, bound to its name, and gone after its time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal, StoreFailure
from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.ports import Keeper
from gateway.redaction.conversations import Conversations
from gateway.redaction.redact import Redaction
from gateway.redaction.safe import SafeRequest
from gateway.redaction.sealed import Seal
from gateway.telemetry.tasks import Background
from tests.redaction.redacting import EMAILS, Emails, Now, permit_of
from tests.redis_server import RedisServer

SEAL = Seal(b"m" * 32, os.urandom)
MAP = {"<EMAIL_ADDRESS_12345678>": "ada@example.com"}


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8"))))
def test_what_is_sealed_opens_again_and_shows_nothing(mapping: dict[str, str]) -> None:
    name = SEAL.name("acme", "resp_1")
    sealed = SEAL.sealed("acme", name, mapping)
    assert SEAL.opened("acme", name, sealed) == mapping
    assert sealed != SEAL.sealed("acme", name, mapping), "a nonce is never used twice"
    for value in mapping.values():
        assert len(value) < 6 or value.encode() not in sealed


def test_it_opens_for_nobody_else() -> None:
    name = SEAL.name("acme", "resp_1")
    sealed = SEAL.sealed("acme", name, MAP)
    assert SEAL.opened("other", name, sealed) is None
    assert SEAL.opened("acme", SEAL.name("acme", "resp_2"), sealed) is None
    assert Seal(b"n" * 32, os.urandom).opened("acme", name, sealed) is None
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert SEAL.opened("acme", name, changed) is None
        assert SEAL.opened("acme", name, sealed[:at]) is None
    assert len({SEAL.name(tenant, "resp_1") for tenant in ("acme", "other")}) == 2
    assert "resp" not in name


class Turning:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds


async def test_memory_forgets_in_time_and_when_there_is_too_much() -> None:
    clock = Turning()
    store = MemoryStore(clock)
    await store.keep("acme", "a", b"1", 60)
    assert await store.kept("acme", "a") == b"1"
    assert await store.kept("other", "a") is None
    clock.seconds = 61
    assert await store.kept("acme", "a") is None
    for number in range(10_001):
        await store.keep("acme", f"n{number}", b"x", 60)
    assert await store.kept("acme", "n0") is None
    assert await store.kept("acme", "n10000") == b"x"


async def test_redis_keeps_it_beside_the_tenants_counters_for_a_time(
    redis: RedisServer, background: Background
) -> None:
    store = RedisStore(redis.url, clock=Now(), background=background)
    await store.keep("acme", "a", b"\x00\xff", 60)
    assert await store.kept("acme", "a") == b"\x00\xff"
    assert await store.kept("other", "a") is None
    assert redis.call("TTL", "q:{acme}:k:a") in (b":60\r\n", b":59\r\n")
    await store.close()


class Away:
    """A store that is away."""

    async def keep(self, tenant: str, name: str, value: bytes, seconds: int) -> None:
        raise StoreFailure("away")

    async def kept(self, tenant: str, name: str) -> bytes | None:
        raise StoreFailure("away")


def gateway(keeper: Keeper) -> Callable[..., Any]:
    """A process: what it makes of a request."""
    redactor = Redaction(Emails(), b"m" * 32, Now(), Conversations(keeper, SEAL))

    async def redacted(body: dict[str, Any], tenant: str = "acme", **profile: Any) -> SafeRequest:
        permit = permit_of("/v1/responses", {"model": "m", **body}, replace(EMAILS, **profile), tenant)
        safe = await redactor.redact(permit)
        assert not isinstance(safe, Refusal)
        return safe

    return redacted


async def told(safe: SafeRequest, response_id: str) -> None:
    assert safe.keep is not None
    await safe.keep.under(response_id)


async def test_a_conversation_goes_on_in_another_process() -> None:
    store = MemoryStore(Now())
    one, two = gateway(store), gateway(store)
    first = await one({"input": "I am ada@example.com"})
    await told(first, "resp_1")
    second = await two({"input": "and I am bob@example.com", "previous_response_id": "resp_1"})
    assert set(second.restore.values()) == {"ada@example.com", "bob@example.com"}
    assert second.coverage is not None
    assert second.coverage.recalled == 1
    await told(second, "resp_2")
    third = await one({"input": "who am I?", "previous_response_id": "resp_2"})
    assert set(third.restore.values()) == {"ada@example.com", "bob@example.com"}
    assert (await one({"input": "who am I?"})).restore == {}, "nothing is restored that was not continued"
    assert (await two({"input": "hm?", "previous_response_id": "resp_1"}, "other")).restore == {}, "another tenant"


async def test_conversations_by_their_own_id() -> None:
    redacted = gateway(MemoryStore(Now()))
    await told(await redacted({"input": "I am ada@example.com", "conversation": {"id": "conv_1"}}), "resp_1")
    safe = await redacted({"input": "who am I?", "conversation": "conv_1"})
    assert list(safe.restore.values()) == ["ada@example.com"]


@pytest.mark.parametrize(
    ("body", "profile"),
    [({"store": False}, {}), ({}, {"remember_days": 0}), ({}, {"shadow": True}), ({}, {"input": False})],
)
async def test_what_need_not_be_kept_is_not(body: dict[str, Any], profile: dict[str, Any]) -> None:
    assert (await gateway(MemoryStore(Now()))({"input": "I am ada@example.com", **body}, **profile)).keep is None


async def test_a_store_that_is_away_is_said_and_nothing_more() -> None:
    safe = await gateway(Away())({"input": "I am ada@example.com", "previous_response_id": "resp_1"})
    assert b"ada@" not in (safe.body or b"")
    assert safe.coverage is not None
    assert safe.coverage.forgotten
    await told(safe, "resp_2")
    assert safe.keep is not None
    assert safe.keep.failed
