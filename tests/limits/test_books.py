"""Slices, exceptions, warnings and usage rows: what a store does beside admitting and settling, both stores alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.limits.exceptions import Exemption
from gateway.limits.ledger import UNCOUNTED
from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.limits.scopes import Charge, Claim, Denial, Lease, Limit, Scope, Window
from gateway.limits.usage import report, row_name
from gateway.limits.windows import FOREVER, period
from gateway.ports import LimitStore
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

MICRO = 1_000_000
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


async def admitted(store: LimitStore, wanted: Claim) -> Lease:
    lease = await store.admit(wanted)
    assert isinstance(lease, Lease), lease
    return lease


async def left(store: LimitStore, *where: Scope) -> list[int]:
    return [one.remaining for one in await store.standing("acme", where)]


def cutting(short: str, amount: int, **more: Any) -> Limit:
    return replace(limit(short, amount, **more), at_limit="cut")


def sliced(name: str, *where: Scope, first: int, tokens: int = 1000, nano_usd: int = 0, first_usd: int = 0) -> Claim:
    wanted = claim(name, *where, tokens=tokens, nano_usd=nano_usd)
    return structs.replace(wanted, first_tokens=first, first_nano_usd=first_usd)


# Slices


async def test_a_sliced_budget_holds_the_first_slice_and_a_rate_the_whole(store: LimitStore) -> None:
    where = (scope("key:a", cutting("tpd", 500), limit("tpm", 5000)), scope("team:a", limit("tpd", 2000)))
    lease = await admitted(store, sliced("r1", *where, first=100))
    assert [one.remaining for one in lease.remaining] == [400, 4000, 1000]
    assert await store.grow(lease, 300, 0) is None
    assert await left(store, *where) == [200, 4000, 1000]
    assert await store.grow(lease, 300, 0) is None
    assert await store.grow(lease, 250, 0) is None
    assert await left(store, *where) == [200, 4000, 1000], "asked again, nothing more is taken"
    assert await store.grow(lease, 500, 0) is None, "to the very line"
    assert await left(store, *where) == [0, 4000, 1000]
    denial = await store.grow(lease, 501, 0)
    assert isinstance(denial, Denial)
    assert (denial.scope.id, denial.limit.name, denial.limit.amount) == ("key:a", "tokens_per_day", 500)
    assert (denial.current, denial.wanted, denial.reserved) == (500, 1, 500)
    assert await left(store, *where) == [0, 4000, 1000]
    await store.settle(lease, Charge(430, 0))
    assert (await left(store, *where))[0::2] == [70, 1570]


async def test_slices_of_two_answers_share_what_there_is(store: LimitStore) -> None:
    where = scope("key:a", cutting("tpd", 1000))
    first, second = [await admitted(store, sliced(name, where, first=300)) for name in ("r1", "r2")]
    assert await store.grow(first, 600, 0) is None
    denial = await store.grow(second, 500, 0)
    assert isinstance(denial, Denial)
    assert (denial.current, denial.wanted) == (900, 200)
    assert await store.grow(second, 400, 0) is None
    await store.settle(first, Charge(350, 0))
    assert await store.grow(second, 650, 0) is None, "what the first did not use is there for the second"
    assert isinstance(await store.grow(second, 651, 0), Denial)


async def test_all_sliced_limits_grow_or_none_does(store: LimitStore) -> None:
    where = (scope("key:a", cutting("tpd", 9999), cutting("upm", 700)), scope("team:a", cutting("tpd", 550)))
    lease = await admitted(store, sliced("r1", *where, first=100, nano_usd=5000, first_usd=200))
    before = await left(store, *where)
    assert isinstance(await store.grow(lease, 560, 600), Denial)
    assert isinstance(await store.grow(lease, 500, 701), Denial)
    assert await left(store, *where) == before
    assert await store.grow(lease, 550, 700) is None
    assert await left(store, *where) == [9449, 0, 0]


async def test_an_expired_lease_is_charged_the_slices_it_held(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", cutting("tpd", 1000))
    lease = await admitted(store, sliced("r1", where, first=100))
    clock.at += 50
    assert await store.grow(lease, 300, 0) is None
    clock.at += 50
    assert await store.sweep() == 0, "growing renews"
    clock.at += 61
    assert await store.sweep() == 1
    assert await left(store, where) == [700]
    assert await store.grow(lease, 900, 0) is None
    assert await left(store, where) == [700], "what has expired holds nothing any more"
    await store.settle(lease, Charge(420, 0))
    assert await left(store, where) == [580]


async def test_an_answer_that_outlives_its_period_is_held_to_the_old_one(
    store: LimitStore, clock: trial.TurnedClock
) -> None:
    where = scope("key:a", cutting("tpd", 1000), zone="Europe/Berlin")
    await store.settle(await admitted(store, sliced("r0", where, first=100)), Charge(200, 0))
    lease = await admitted(store, sliced("r1", where, first=100))
    clock.at += 700  # the day has ended in Berlin
    await admitted(store, sliced("r2", where, first=1))  # and somebody has begun the next
    assert await store.grow(lease, 700, 0) is None
    assert await left(store, where) == [999], "the new day is not charged for it"
    assert await store.grow(lease, 800, 0) is None
    assert isinstance(await store.grow(lease, 801, 0), Denial)


# Exceptions


def exemption(
    kind: Literal["raise", "reset", "lift"], where: Scope, amount: int, until: float, by: str = "ops"
) -> Exemption:
    return Exemption(kind, where.id, where.limits[0].name, amount, int(until * MICRO), by, 0, "a launch")


async def test_a_raised_budget_holds_until_its_time(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("tpd", 100), zone="UTC")
    await store.settle(await admitted(store, claim("r1", where, tokens=90)), Charge(90, 0))
    assert isinstance(await store.admit(claim("r2", where, tokens=20)), Denial)
    await store.exempt("acme", where, exemption("raise", where, 150, clock.at + 600))
    (one,) = await store.standing("acme", [where])
    assert (one.remaining, one.limit.amount, one.limit.written) == (60, 150, 100)
    assert one.limit.until == int((clock.at + 600) * MICRO)
    lease = await admitted(store, claim("r2", where, tokens=20))
    assert lease.remaining[0].limit.written == 100
    await store.settle(lease, Charge(20, 0))
    refused = await store.admit(claim("r3", where, tokens=41))
    assert isinstance(refused, Denial)
    assert (refused.limit.amount, refused.limit.written, refused.current) == (150, 100, 110)
    assert [item.limit for item in await store.exemptions("acme")] == ["tokens_per_day"]
    clock.at += 600
    assert await left(store, where) == [-10], "at that very moment it is over"
    assert isinstance(await store.admit(claim("r4", where, tokens=1)), Denial)
    assert await store.exemptions("acme") == []


async def test_a_raised_rate_lets_more_through_at_once(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("rpm", 2))
    await store.exempt("acme", where, exemption("raise", where, 5, clock.at + 60))
    verdicts = [await store.admit(claim(f"r{at}", where)) for at in range(6)]
    assert [isinstance(one, Lease) for one in verdicts] == [True] * 5 + [False]
    clock.at += 59
    assert (await store.standing("acme", [where]))[0].limit.amount == 5
    clock.at += 1
    assert (await store.standing("acme", [where]))[0].limit.amount == 2


async def test_an_exception_never_lowers_and_can_be_taken_back(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("open", 3))
    await store.exempt("acme", where, exemption("raise", where, 1, clock.at + 60))
    assert await left(store, where) == [3]
    await store.exempt("acme", where, exemption("raise", where, 7, clock.at + 60))
    assert await left(store, where) == [7]
    await store.exempt("acme", where, exemption("lift", where, 0, 0))
    assert await left(store, where) == [3]
    assert await store.exemptions("acme") == []


async def test_a_reset_forgives_what_was_used_and_keeps_the_ledger(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("upd", 100))
    await store.settle(await admitted(store, claim("r1", where, nano_usd=95)), Charge(1, 95))
    end = period(Window.DAY, "UTC", clock.micros()).end / MICRO
    done = await store.exempt("acme", where, exemption("reset", where, 0, end))
    assert done.amount == 95
    assert await left(store, where) == [100]
    (listed,) = await store.exemptions("acme")
    assert (listed.kind, listed.amount, listed.by, listed.reason) == ("reset", 95, "ops", "a launch")
    await store.settle(await admitted(store, claim("r2", where, nano_usd=60)), Charge(1, 60))
    assert (await store.exempt("acme", where, exemption("reset", where, 0, end))).amount == 155
    assert await left(store, where) == [100]
    clock.at = end
    assert await left(store, where) == [100], "the new day has its own amount, and no more"
    assert (await store.standing("acme", [where]))[0].limit.written == 0


async def test_a_reset_rate_is_full_again(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("rpm", 2))
    for at in range(2):
        await admitted(store, claim(f"r{at}", where))
    assert isinstance(await store.admit(claim("r3", where)), Denial)
    await store.exempt("acme", where, exemption("reset", where, 0, 0))
    assert await left(store, where) == [2]
    assert await store.exemptions("acme") == []


async def test_an_exception_that_comes_before_the_first_request_waits_for_it(
    store: LimitStore, clock: trial.TurnedClock
) -> None:
    where = scope("key:a", limit("usd", 100))
    await store.exempt("acme", where, exemption("raise", where, 500, clock.at + 86_400 * 30))
    assert (await store.exempt("acme", where, exemption("reset", where, 0, FOREVER / MICRO))).amount == 0
    clock.at += 86_400 * 29
    lease = await admitted(store, claim("r1", where, nano_usd=400))
    assert lease.remaining[0].limit.amount == 500


async def test_a_raised_budget_lets_a_running_answer_go_on(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", cutting("tpd", 200))
    lease = await admitted(store, sliced("r1", where, first=200))
    assert isinstance(await store.grow(lease, 250, 0), Denial)
    await store.exempt("acme", where, exemption("raise", where, 250, clock.at + 60))
    assert await store.grow(lease, 250, 0) is None
    denial = await store.grow(lease, 251, 0)
    assert isinstance(denial, Denial)
    assert (denial.limit.amount, denial.limit.written) == (250, 200)


# Warnings


async def test_each_share_is_told_once_a_period(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", replace(limit("tpd", 100), warn_at=(0.5, 0.8, 0.9)), limit("tpm", 9999))
    told: list[list[tuple[float, int]]] = []
    for at, tokens in enumerate((49, 1, 5, 36, 2)):
        lease = await admitted(store, claim(f"r{at}", where, tokens=tokens))
        crossed = await store.settle(lease, Charge(tokens, 0))
        told.append([(one.share, one.used) for one in crossed])
        assert await store.settle(lease, Charge(tokens, 0)) == ()
        assert {(one.scope, one.limit.name) for one in crossed} <= {("key:a", "tokens_per_day")}
    assert told == [[], [(0.5, 50)], [], [(0.8, 91), (0.9, 91)], []]
    clock.at += 86_400
    lease = await admitted(store, claim("next", where, tokens=60))
    assert [one.share for one in await store.settle(lease, Charge(60, 0))] == [0.5], "the new day warns anew"


async def test_a_late_correction_and_a_refund_warn_of_nothing_twice(
    store: LimitStore, clock: trial.TurnedClock
) -> None:
    where = scope("key:a", replace(limit("tpd", 100), warn_at=(0.5,)))
    lease = await admitted(store, claim("r1", where, tokens=60))
    clock.at += 61
    await store.sweep()
    assert [one.share for one in await store.settle(lease, Charge(55, 0))] == [0.5]
    again = await admitted(store, claim("r2", where, tokens=10))
    assert await store.settle(again, Charge(10, 0)) == ()


# What is only watched


async def test_a_shadow_limit_says_when_it_would_have_refused(store: LimitStore) -> None:
    where = scope(
        "key:a", limit("rpm", 1, shadow=True), limit("tpd", 15, shadow=True), limit("open", 1, shadow=True),
        limit("rpd", 9),
    )  # fmt: skip
    over = []
    for at in range(3):
        lease = await admitted(store, claim(f"r{at}", where, tokens=10))
        over.append([one.limit.name for one in lease.remaining if one.over])
    both = ["requests_per_minute", "concurrent_requests", "tokens_per_day"]
    assert [sorted(names) for names in over] == [[], sorted(both), sorted(both)]
    assert (await left(store, where))[1] == -15


# Usage rows


async def rows(store: LimitStore, since: int = 20261101) -> list[tuple[date, str, int, int, int]]:
    found = await store.usage("acme", since)
    return sorted((row.day, row.key, row.requests, row.tokens, row.nano_usd) for row in found)


def rowed(name: str, *where: Scope, key: str = "k_a", zone: str = "UTC", tokens: int = 10, nano: int = 1000) -> Claim:
    wanted = claim(name, *where, tokens=tokens, nano_usd=nano)
    return structs.replace(wanted, row=row_name(key, "t", (("cost", "1"),), "gpt"), time_zone=zone)


async def test_what_is_settled_stands_in_the_rows_of_its_day(store: LimitStore, clock: trial.TurnedClock) -> None:
    where = scope("key:a", limit("tpd", 1000))
    lease = await admitted(store, rowed("r1", where))
    assert await rows(store) == [], "what is only reserved is no use yet"
    for _ in range(2):
        await store.settle(lease, Charge(7, 70))
    berlin = await admitted(store, rowed("r2", where, zone="Europe/Berlin"))
    clock.at += 700
    await store.settle(berlin, Charge(3, 30))
    next_day = await admitted(store, rowed("r3", where, zone="Europe/Berlin"))
    await store.settle(next_day, Charge(5, 2**52))
    november, december = date(2026, 11, 30), date(2026, 12, 1)
    assert await rows(store) == [(november, "k_a", 2, 10, 100), (december, "k_a", 1, 5, 2**52)]
    assert await rows(store, 20261201) == [(december, "k_a", 1, 5, 2**52)]


async def test_a_request_that_no_limit_holds_is_counted_once(store: LimitStore) -> None:
    free = Lease(rowed("r1"), (), epoch=UNCOUNTED)
    for _ in range(3):
        await store.settle(free, Charge(7, 70))
    await store.settle(Lease(rowed("r2", key="k_b"), (), epoch=UNCOUNTED), Charge(1, 2))
    day = date(2026, 11, 30)
    assert await rows(store) == [(day, "k_a", 1, 7, 70), (day, "k_b", 1, 1, 2)]


async def test_an_expired_lease_is_in_the_rows_as_reserved_and_corrected_once(
    store: LimitStore, clock: trial.TurnedClock
) -> None:
    where = scope("key:a", limit("tpd", 1000))
    lease = await admitted(store, rowed("r1", where, tokens=40, nano=400))
    clock.at += 61
    await store.sweep()
    day = date(2026, 11, 30)
    assert await rows(store) == [(day, "k_a", 1, 40, 400)]
    for _ in range(2):
        await store.settle(lease, Charge(25, 900))
        assert await rows(store) == [(day, "k_a", 1, 25, 900)]


async def test_what_another_life_of_the_store_admitted_is_in_the_rows(store: LimitStore) -> None:
    where = scope("key:a", limit("tpd", 1000))
    await admitted(store, rowed("r0", where))
    await store.settle(Lease(rowed("r1", where), (), epoch="another"), Charge(5, 6))
    await store.settle(Lease(rowed("r1", where), (), epoch="another"), Charge(5, 6))
    assert await rows(store) == [(date(2026, 11, 30), "k_a", 1, 5, 6)]


async def test_reports_add_rows_up_by_scope(store: LimitStore) -> None:
    for at, (key, team, label) in enumerate(
        [("k_a", "t", "1"), ("k_a", "t", "2"), ("k_b", "t", "1"), ("k_c", None, "2")]
    ):
        wanted = structs.replace(claim(f"r{at}"), row=row_name(key, team, (("cost", label),), "gpt"))
        await store.settle(Lease(wanted, (), epoch=UNCOUNTED), Charge(10 * (at + 1), 10**9))
    found = await store.usage("acme", 20261101)

    def sums(by: str, only: str | None = None) -> list[tuple[str, int, int, float]]:
        return [(line.scope, line.requests, line.tokens, line.usd) for line in report(found, by, only)]

    assert sums("key") == [("key k_a", 2, 30, 2.0), ("key k_b", 1, 30, 1.0), ("key k_c", 1, 40, 1.0)]
    assert sums("team") == [("team t", 3, 60, 3.0)]
    assert sums("team", "other") == []
    assert sums("tenant") == [("tenant acme", 4, 100, 4.0)]
    assert sums("label") == [("label cost=1", 2, 40, 2.0), ("label cost=2", 2, 60, 2.0)]
    assert sums("label", "cost=2") == sums("label")[1:]
    assert sums("label", "cost") == sums("label")
    assert sums("model") == [("model gpt", 4, 100, 4.0)]


# Both stores alike

LIMITS = (
    replace(limit("tpd", 3000), at_limit="cut", warn_at=(0.5, 0.9)), replace(limit("upm", 900_000), at_limit="cut"),
    limit("rpm", 6), limit("open", 4, shadow=True),
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("admit"), st.integers(0, 7), st.integers(1, 2500)),
    st.tuples(st.just("grow"), st.integers(0, 7), st.integers(0, 3500)),
    st.tuples(st.just("settle"), st.integers(0, 7), st.integers(0, 3500)),
    st.tuples(st.sampled_from(["raise", "reset", "lift"]), st.integers(0, 2), st.integers(1, 6000)),
    st.tuples(st.sampled_from(["wait", "wait", "sweep"]), st.integers(0, 0), st.sampled_from([1, 30, 61, 600, 3000])),
)


# No history is as long as a tombstone stands: Redis keeps that by its own clock, which the test cannot turn.
async def told(store: LimitStore, clock: trial.TurnedClock, steps: list[tuple[str, int, int]]) -> list[object]:
    """What a store says in the course of a history, step by step."""
    where = Scope("key:a", LIMITS, "Europe/Berlin")
    leases: dict[int, Lease] = {}
    said: list[object] = []
    for number, (what, which, amount) in enumerate(steps):
        match what:
            case "wait":
                clock.at += amount
            case "sweep":
                said.append(await store.sweep())
            case "admit":
                wanted = sliced(f"r{number}", where, first=min(amount, 100), tokens=amount, nano_usd=amount * 300,
                                first_usd=min(amount, 100) * 300)  # fmt: skip
                wanted = structs.replace(wanted, row=row_name("k", None, (), "m"))
                verdict = await store.admit(wanted)
                if isinstance(verdict, Lease):
                    leases[which] = verdict
                else:
                    said.append((verdict.limit, verdict.current, verdict.wanted, verdict.retry_after, verdict.never))
                said.append(verdict.remaining)
            case "grow" if which in leases:
                refused = await store.grow(leases[which], amount, amount * 300)
                said.append(refused and (refused.limit, refused.current, refused.wanted, refused.reserved))
            case "settle" if which in leases:
                said.append(await store.settle(leases[which], Charge(amount, amount * 300)))
            case "raise" | "reset" | "lift":
                one = Scope(where.id, (LIMITS[which],), where.time_zone)
                asked = Exemption(what, where.id, LIMITS[which].name, amount, int((clock.at + amount) * MICRO), "a", 0)
                said.append(await store.exempt("acme", one, asked))
        said.append(await store.standing("acme", [where]))
    said.append(sorted(await store.exemptions("acme"), key=str))
    said.append(sorted(await store.usage("acme", 20261101), key=str))
    return said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25))
def test_memory_and_redis_say_the_same_of_every_history(redis: Any, steps: list[tuple[str, int, int]]) -> None:
    async def both() -> tuple[list[object], list[object]]:
        redis.call("FLUSHALL")
        tasks = Background()
        clocks = trial.TurnedClock(LATE), trial.TurnedClock(LATE)
        there = RedisStore(
            redis.url, clock=clocks[1], background=tasks, call_seconds=5.0, micros=clocks[1].micros
        )  # fmt: skip
        try:
            return await told(MemoryStore(clocks[0]), clocks[0], steps), await told(there, clocks[1], steps)
        finally:
            await there.close()
            await tasks.close()

    memory, other = asyncio.run(both())
    assert memory == other
