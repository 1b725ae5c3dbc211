"""What happens while the store is away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.errors import StoreFailure
from gateway.limits.failure import FAILURES, PROBE, Guarded
from gateway.limits.memory import MemoryStore
from gateway.limits.redis_pipe import ReplyError
from gateway.limits.scopes import Charge, Claim, Crossed, Denial, Lease, OnFailure, Remaining, Scope
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

KEY = scope("key:a", limit("rpm", 60), limit("tpm", 10_000), limit("usd", 1_000_000))


class Flaky(MemoryStore):
    """A store that can be away, and counts who asks."""

    away = False
    asked = 0
    settling: StoreFailure | None = None  # what a settlement comes to

    async def admit(self, claim: Claim) -> Lease | Denial:
        self.answer()
        return await super().admit(claim)

    async def sweep(self) -> int:
        self.answer()
        return await super().sweep()

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        self.answer()
        return await super().settle(lease, charge)

    async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        return await super().settle_all(closed) if self.settling is None else [self.settling] * len(closed)

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        self.answer()
        return await super().standing(tenant, scopes)

    def answer(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreFailure("away")


def guarded(mode: OnFailure, processes: int = 1) -> tuple[Guarded, Flaky, trial.TurnedClock]:
    clock = trial.TurnedClock()
    store = Flaky(clock)
    return Guarded(store, mode=mode, fraction=0.1, seconds=60, processes=lambda: processes, clock=clock), store, clock


async def admitted(store: Guarded, number: int, *scopes: Scope, tokens: int = 10) -> list[Lease]:
    leases: list[Lease] = []
    for i in range(number):
        try:
            verdict = await store.admit(claim(f"r{i}-{id(leases)}", *scopes, tokens=tokens))
        except StoreFailure:
            continue
        if isinstance(verdict, Lease):
            leases.append(verdict)
    return leases


@pytest.mark.parametrize(("mode", "processes", "passed"), [
    ("closed", 1, 0), ("open", 1, 100), ("bounded", 1, 6), ("bounded", 3, 2), ("bounded", 100, 1),
])  # fmt: skip
async def test_each_mode_admits_what_it_says(mode: OnFailure, processes: int, passed: int) -> None:
    store, inner, _ = guarded(mode, processes)
    inner.away = True
    leases = await admitted(store, 100, KEY)
    assert len(leases) == passed
    assert all(lease.local for lease in leases)
    assert store.admitted_locally == passed


@pytest.mark.parametrize(("mode", "tenant", "passed"), [
    ("open", "closed", 0), ("open", "bounded", 6), ("bounded", "closed", 0), ("closed", "open", 0),
    ("bounded", "open", 6),
])  # fmt: skip
async def test_a_tenant_may_be_stricter_and_not_laxer(mode: OnFailure, tenant: OnFailure, passed: int) -> None:
    store, inner, _ = guarded(mode)
    inner.away = True
    leases = 0
    for number in range(20):
        try:
            await store.admit(Claim(f"r{number}", "acme", (KEY,), 10, 1000, on_failure=tenant))
        except StoreFailure:
            continue
        leases += 1
    assert leases == passed


async def test_one_request_passes_even_where_the_fraction_is_less_and_none_that_could_never() -> None:
    store, inner, _ = guarded("bounded")
    inner.away = True
    assert len(await admitted(store, 5, scope("key:b", limit("tpm", 1000)), tokens=900)) == 1
    assert len(await admitted(store, 5, scope("key:c", limit("tpm", 1000)), tokens=1001)) == 0


async def test_a_budget_that_was_spent_before_stays_spent() -> None:
    store, inner, _ = guarded("bounded")
    spent = scope("key:s", limit("usd", 1000))
    assert len(await admitted(store, 3, spent)) == 1
    inner.away = True
    assert await admitted(store, 3, spent) == []


async def test_the_allowance_ends_after_so_many_seconds_and_a_flapping_store_brings_no_new_one() -> None:
    store, inner, clock = guarded("bounded")
    inner.away = True
    free = scope("key:f", limit("upd", 10_000_000))
    assert len(await admitted(store, 5, free)) == 5
    clock.at += 30
    inner.away = False
    await store.standing("acme", [free])
    assert not store.away
    inner.away = True
    clock.at += 29
    assert len(await admitted(store, 5, free)) == 5
    clock.at += 2
    assert await admitted(store, 5, free) == []


async def test_going_and_coming_is_told_once_each_also_while_nobody_asks() -> None:
    clock, told = trial.TurnedClock(), list[str]()
    inner = Flaky(clock)
    store = Guarded(
        inner, mode="bounded", fraction=0.1, seconds=60, clock=clock, tell=lambda news, *_: told.append(news)
    )
    await store.admit(claim("before", KEY))
    assert told == []
    inner.away = True
    await admitted(store, 20, KEY)
    assert told == ["away"]
    for passed, left in ((59, 1), (1, 0), (1, 0)):
        clock.at += passed
        with pytest.raises(StoreFailure):
            await store.sweep()
        assert store.allowance == left
    assert told == ["away", "used up"]
    inner.away = False
    clock.at += PROBE
    await store.sweep()
    await store.admit(claim("after", KEY))
    assert told == ["away", "used up", "back"]


async def test_a_lease_that_cannot_be_settled_is_no_outage() -> None:
    store, inner, _ = guarded("closed")
    (lease,) = await admitted(store, 1, KEY)
    for said, away in ((ReplyError("ERR user_script:22: nothing to add to"), False), (StoreFailure("away"), True)):
        inner.settling = said
        for _ in range(2 * FAILURES):
            await store.settle_all([(lease, Charge(1, 1))])
        assert store.away is away


async def test_the_breaker_opens_probes_and_closes() -> None:
    store, inner, clock = guarded("open")
    inner.away = True
    await admitted(store, 10, KEY)
    assert inner.asked == FAILURES
    assert store.away
    clock.at += PROBE
    await admitted(store, 10, KEY)
    assert inner.asked == FAILURES + 1
    inner.away = False
    clock.at += PROBE
    (lease,) = await admitted(store, 1, KEY)
    assert not lease.local
    assert not store.away


async def test_what_was_admitted_here_is_charged_there_once() -> None:
    store, inner, clock = guarded("bounded")
    inner.away = True
    leases = await admitted(store, 20, KEY)
    for lease in leases:
        with pytest.raises(StoreFailure):
            await store.settle(lease, Charge(5, 700))
    inner.away = False
    clock.at += PROBE
    for lease in leases * 2:
        await store.settle(lease, Charge(5, 700))
    *_, budget = await store.standing("acme", [KEY])
    assert budget.remaining == 1_000_000 - 6 * 700


async def test_a_place_that_was_freed_during_the_outage_can_be_taken_again() -> None:
    store, inner, _ = guarded("bounded")
    inner.away = True
    tight = scope("key:t", limit("open", 10))
    (lease,) = await admitted(store, 5, tight)
    with pytest.raises(StoreFailure):
        await store.settle(lease, Charge(1, 1))
    assert len(await admitted(store, 5, tight)) == 1
