"""What a change of the policies does to what was counted (docs/limits.md, Defined results)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.limits.scopes import Charge, Denial, Lease, Limit, Scope
from gateway.ports import LimitStore
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

LATE = 1_796_079_000.0  # 2026-11-30T22:50Z: still November in UTC, ten minutes to December in Berlin


@pytest.fixture
def clock() -> trial.TurnedClock:
    return trial.TurnedClock(LATE)


@pytest.fixture(params=("memory", "redis"))
async def store(
    request: pytest.FixtureRequest, background: Background, clock: trial.TurnedClock
) -> AsyncIterator[LimitStore]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    server: Any = request.getfixturevalue("redis")
    made = RedisStore(server.url, clock=clock, background=background, call_seconds=2.0, micros=clock.micros)
    yield made
    await made.close()


async def spend(store: LimitStore, name: str, where: Scope, nano_usd: int) -> None:
    lease = await store.admit(claim(name, where, nano_usd=nano_usd))
    assert isinstance(lease, Lease)
    await store.settle(lease, Charge(1, nano_usd))


async def left(store: LimitStore, where: Scope) -> list[int]:
    return [one.remaining for one in await store.standing("acme", [where])]


async def test_a_budget_below_what_is_used_refuses_until_its_period_ends(
    store: LimitStore, clock: trial.TurnedClock
) -> None:
    await spend(store, "r1", scope("key:a", limit("upm", 50_000)), 47_000)
    lowered = scope("key:a", limit("upm", 30_000))
    denial = await store.admit(claim("r2", lowered))
    assert isinstance(denial, Denial)
    assert (denial.current, denial.never, denial.retry_after) == (47_000, False, 4200.0)
    assert await left(store, lowered) == [-17_000]
    clock.at += 4200
    assert isinstance(await store.admit(claim("r3", lowered)), Lease)


async def test_a_rate_below_what_is_used_drains_first(store: LimitStore, clock: trial.TurnedClock) -> None:
    for number in range(60):
        assert isinstance(await store.admit(claim(f"r{number}", scope("key:a", limit("rpm", 60)))), Lease)
    lowered = scope("key:a", limit("rpm", 30))
    denial = await store.admit(claim("s", lowered))
    assert isinstance(denial, Denial)
    assert denial.retry_after == 31.0  # 31 of the 60 must have drained, as fast as they were admitted
    clock.at += 31
    assert isinstance(await store.admit(claim("t", lowered)), Lease)
    denial = await store.admit(claim("u", lowered))
    assert isinstance(denial, Denial)
    assert denial.retry_after == 2.0  # 30 a minute from now on


async def test_a_rate_that_is_lowered_finds_an_idle_key_empty(store: LimitStore, clock: trial.TurnedClock) -> None:
    for number in range(6):
        assert isinstance(await store.admit(claim(f"r{number}", scope("key:a", limit("rpm", 60)))), Lease)
    clock.at += 10
    lowered = scope("key:a", limit("rpm", 3))
    assert await left(store, lowered) == [3]
    for number in range(3):
        assert isinstance(await store.admit(claim(f"s{number}", lowered)), Lease)
    assert isinstance(await store.admit(claim("t", lowered)), Denial)


async def test_a_rate_that_was_nothing_and_is_raised_drains(store: LimitStore, clock: trial.TurnedClock) -> None:
    nothing = scope("key:a", replace(limit("rpm", 0), burst=2))
    for number in range(2):
        assert isinstance(await store.admit(claim(f"r{number}", nothing)), Lease)
    raised = scope("key:a", replace(limit("rpm", 60), burst=2))
    clock.at += 1
    assert isinstance(await store.admit(claim("s", raised)), Lease)


async def test_a_change_of_time_zone_keeps_what_was_spent(store: LimitStore, clock: trial.TurnedClock) -> None:
    def inside(zone: str) -> Scope:
        return scope("tenant:a", limit("upm", 10_000), limit("upd", 8_000), zone=zone)

    await spend(store, "r1", inside("UTC"), 3_000)
    assert await left(store, inside("Europe/Berlin")) == [7_000, 5_000]
    clock.at += 1200  # December in Berlin, November in New York
    assert await left(store, inside("Europe/Berlin")) == [10_000, 8_000]
    await spend(store, "r2", inside("Europe/Berlin"), 1_000)
    assert await left(store, inside("America/New_York")) == [9_000, 7_000]
    await spend(store, "r3", inside("America/New_York"), 2_000)
    assert await left(store, inside("Europe/Berlin")) == [7_000, 5_000]


async def test_a_budget_that_is_added_counts_from_then_on(store: LimitStore) -> None:
    await spend(store, "r1", scope("key:a", limit("rpm", 60)), 5_000)
    assert await left(store, scope("key:a", limit("rpm", 60), limit("upm", 9_000))) == [59, 9_000]


@pytest.mark.parametrize("nothing", ("rpm", "tpm", "open", "rpd", "tpd", "upm", "usd"))
async def test_a_limit_of_nothing_never_fits(store: LimitStore, nothing: str) -> None:
    denial = await store.admit(claim("r1", scope("key:a", limit("rpm", 60), limit(nothing, 0))))
    assert isinstance(denial, Denial)
    assert denial.never
    assert denial.limit.amount == 0


@pytest.mark.parametrize(
    ("tokens", "bound", "fits"),
    (
        (10**9, limit("tpm", 40_000), False),
        (10**18, limit("tpd", 10**15), False),
        (10**9, limit("tpd", 10**10), True),
        (-5, limit("tpd", 10), True),
    ),
)
async def test_absurd_sizes_are_defined(store: LimitStore, tokens: int, bound: Limit, *, fits: bool) -> None:
    verdict = await store.admit(claim("r1", scope("key:a", bound), tokens=tokens))
    assert isinstance(verdict, Lease) is fits
    if isinstance(verdict, Lease):
        await store.settle(verdict, Charge(-7, -7))
        assert await left(store, scope("key:a", bound)) == [bound.amount]
    else:
        assert verdict.never
