"""What Redis is asked with is kept for requests that are alike, and served only while all that it depends on holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from gateway.limits import redis as module
from gateway.limits.ledger import GivenUp
from gateway.limits.redis import OPEN, REGISTER, RedisStore
from gateway.limits.redis_pipe import PAUSE
from gateway.limits.scopes import Charge, Claim, Denial, Lease, Unit, Window
from gateway.limits.usage import row_name
from gateway.limits.windows import MICRO
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope
from tests.limits.test_faults import _again
from tests.redis_parts import client, line

LATE = 1_796_079_000.0  # 2026-11-30T22:50Z: ten minutes before December in Berlin, seventy in UTC
BERLIN = "Europe/Berlin"
SCOPES = (scope("key:a", limit("tpd", 1000), zone=BERLIN), scope("tenant:a", limit("usd", 10**9), limit("rpm", 50)))


def wanted(request: str, row: str = "k", zone: str = BERLIN, tenant: str = "acme") -> Claim:
    name = row_name(row, None, (), "m")
    return structs.replace(claim(request, *SCOPES, tenant=tenant), scopes=SCOPES, row=name, time_zone=zone)


@pytest.fixture
def clock() -> trial.TurnedClock:
    return trial.TurnedClock(LATE)


@pytest.fixture
async def store(redis: Any, background: Background, clock: trial.TurnedClock) -> AsyncIterator[RedisStore]:
    made = at(redis.url, background, clock)
    yield made
    await made.close()


def at(url: str, background: Background, clock: trial.TurnedClock) -> RedisStore:
    return RedisStore(url, clock=clock, background=background, call_seconds=2.0, micros=clock.micros)


async def lease_of(store: RedisStore, wants: Claim) -> Lease:
    verdict = await store.admit(wants)
    assert isinstance(verdict, Lease)
    return verdict


async def warmed(store: RedisStore) -> None:
    """What such requests are asked for by is kept from now on."""
    for number in range(2):
        await store.settle(await lease_of(store, wanted(f"w{number}")), Charge(0, 0, requests=0))


def looks(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are asked for anew from now on, with nothing of them known."""
    seen: list[str] = []
    anew = store._admit_anew

    async def counted(wants: Claim, *more: Any) -> Any:
        seen.append(wants.request_id)
        return await anew(wants, *more)

    monkeypatch.setattr(store, "_admit_anew", counted)
    return seen


def indexed(server: Any) -> bool:
    with client(server) as admin:
        found: Any = admin.zscore(OPEN, "acme")
    return found is not None


async def test_requests_that_are_alike_are_asked_for_with_what_is_kept(
    store: RedisStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looks(store, monkeypatch)
    leases = [await lease_of(store, wanted(f"r{number}")) for number in range(5)]
    assert seen == ["r0", "r1"], "the second time is when it is known that there is one"
    assert [lease.remaining[0].remaining for lease in leases] == [990, 980, 970, 960, 950]
    assert len({lease.epoch for lease in leases}) == 1


async def test_another_row_zone_tenant_tuple_or_length_of_id_is_another_kind(
    store: RedisStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await warmed(store)
    seen = looks(store, monkeypatch)
    others = [
        wanted("r2", row="other"), wanted("r3", zone="UTC"), wanted("r4", tenant="globex"),
        wanted("r-é-5"), structs.replace(wanted("r6"), scopes=(scope("key:a", limit("tpd", 60)),)),
    ]  # fmt: skip
    for one in others:
        await store.settle(await lease_of(store, one), Charge(7, 1))
        assert trial.RedisView(client(redis), one.tenant).leases() == (0, 0)
    assert seen == [one.request_id for one in others]
    rows = {tenant: await store.usage(tenant, 20261101) for tenant in ("acme", "globex")}
    assert sorted((row.key, row.day.isoformat(), row.requests) for row in rows["acme"]) == [
        ("k", "2026-11-30", 3), ("other", "2026-11-30", 1)
    ]  # fmt: skip
    assert [(row.key, row.requests) for row in rows["globex"]] == [("k", 1)]


async def test_limits_that_were_edited_hold_at_once(store: RedisStore) -> None:
    await warmed(store)
    await lease_of(store, wanted("r1"))
    smaller = (scope("key:a", limit("tpd", 15), zone=BERLIN), SCOPES[1])
    verdict = await store.admit(structs.replace(wanted("r2"), scopes=smaller))
    assert isinstance(verdict, Denial)
    assert (verdict.limit.amount, verdict.current) == (15, 10)


async def test_at_midnight_a_request_counts_in_the_day_that_begins(
    store: RedisStore, redis: Any, clock: trial.TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.at = LATE + 595  # five seconds before, in Berlin
    await warmed(store)
    seen = looks(store, monkeypatch)
    before = [await lease_of(store, wanted("r1")), await lease_of(store, wanted("r2"))]
    clock.at += 6
    after = await lease_of(store, wanted("r3"))
    assert seen == ["r3"]
    assert after.remaining[0].remaining == 990
    for lease in (*before, after):
        await store.settle(lease, Charge(7, 1))
    assert sorted((row.day.isoformat(), row.tokens) for row in await store.usage("acme", 20261101)) == [
        ("2026-11-30", 14), ("2026-12-01", 7)
    ]  # fmt: skip
    view = trial.RedisView(client(redis), "acme")
    assert view.calendar("key:a", Window.DAY, Unit.TOKENS) == (20261201, 7, 0)


async def test_at_midnight_a_row_is_of_the_day_that_begins_whatever_the_limits(
    store: RedisStore, clock: trial.TurnedClock
) -> None:
    bucket = (scope("key:r", limit("rpm", 50)),)
    clock.at = LATE + 595
    for number in range(6):
        if number == 5:
            clock.at += 6
        wants = structs.replace(wanted(f"r{number}"), scopes=bucket)
        await store.settle(await lease_of(store, wants), Charge(7, 1))
    assert sorted((row.day.isoformat(), row.requests) for row in await store.usage("acme", 20261101)) == [
        ("2026-11-30", 5), ("2026-12-01", 1)
    ]  # fmt: skip


async def test_what_is_no_admission_is_heard(store: RedisStore, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await warmed(store)
    seen = looks(store, monkeypatch)
    first, again = await lease_of(store, wanted("r1")), await lease_of(store, wanted("r1"))
    assert (first.remaining, first.epoch) == (again.remaining, again.epoch)
    refused = await store.admit(structs.replace(wanted("r2"), tokens=995))
    assert isinstance(refused, Denial)
    assert (refused.limit.name, refused.current, refused.wanted) == ("tokens_per_day", 10, 995)
    await store.settle(Lease(wanted("r3"), ()), Charge(0, 0, requests=0))
    with pytest.raises(GivenUp):
        await store.admit(wanted("r3"))
    assert seen == []
    assert trial.RedisView(client(redis), "acme").leases() == (1, 1)


async def test_a_tenant_is_told_of_again_while_it_admits(
    store: RedisStore, redis: Any, clock: trial.TurnedClock
) -> None:
    await warmed(store)
    redis.call("DEL", OPEN.decode())
    await lease_of(store, wanted("r2"))
    assert not indexed(redis)
    clock.at += REGISTER / MICRO
    await lease_of(store, wanted("r3"))
    assert indexed(redis)


async def test_over_another_connection_a_tenant_is_told_of_before_it_has_a_lease(
    own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    store = at(own_redis.url, background, clock)
    await warmed(store)
    first = await lease_of(store, wanted("r1"))
    own_redis.stop()
    own_redis.start()  # it comes back empty
    await _again(store.ping)
    second = await lease_of(store, wanted("r2"))
    assert indexed(own_redis)
    assert first.epoch != second.epoch
    await store.close()


async def test_an_answer_to_the_usual_request_that_is_lost_counts_once(
    own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    with line(own_redis.port) as between:
        store = at(f"redis://127.0.0.1:{between.port}/0", background, clock)
        await warmed(store)
        await lease_of(store, wanted("r1"))
        await asyncio.sleep(PAUSE)
        between.asked, between.swallow = b"", 1
        lease = await lease_of(store, wanted("r2"))
        assert lease.remaining[0].remaining == 980
        assert indexed(own_redis)
        await store.close()


async def test_scopes_that_never_come_again_are_not_kept(store: RedisStore) -> None:
    for number in range(5):
        users = (*SCOPES, scope(f"user:{number}", limit("rpm", 5)))
        await lease_of(store, structs.replace(wanted(f"r{number}"), scopes=users))
    assert not store._usual


async def test_what_is_kept_has_a_largest_size(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USUAL", 10)
    for number in range(35):
        await lease_of(store, wanted(f"r{number:02}", row=f"k{number}"))
        assert len(store._usual) <= 10
