"""Redis for real: many at once, killed, restarted empty, slow, and replies that never come."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_library

from gateway.errors import StoreFailure
from gateway.limits.failure import LOCAL, Guarded
from gateway.limits.ledger import GivenUp
from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.limits.scopes import Charge, Denial, Lease, Unit, Window
from gateway.limits.settler import Settler
from gateway.ports import LimitStore
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

TENANT = "acme"
BUDGET = scope("key:a", limit("usd", 100_000))
RATE = scope("key:r", limit("rpm", 60), limit("tpd", 10_000))


class RealClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def store_on(server: Any, background: Background, **options: Any) -> RedisStore:
    options.setdefault("call_seconds", 2.0)  # these two cores are shared; the tests of slowness set their own
    return RedisStore(server.url, clock=RealClock(), background=background, **options)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, background: Background) -> AsyncIterator[LimitStore]:
    if request.param == "memory":
        yield MemoryStore(RealClock())
        return
    made = store_on(request.getfixturevalue("redis"), background)
    yield made
    await made.close()


def seen(server: Any) -> trial.RedisView:
    return trial.RedisView(redis_library.Redis(port=server.port), TENANT)


async def test_of_500_at_once_exactly_those_that_fit_are_admitted(store: LimitStore) -> None:
    verdicts = await asyncio.gather(*[store.admit(claim(f"r{i}", BUDGET)) for i in range(500)])
    admitted = [verdict for verdict in verdicts if isinstance(verdict, Lease)]
    refused = [verdict for verdict in verdicts if isinstance(verdict, Denial)]
    assert (len(admitted), len(refused)) == (100, 400)
    assert {(denial.limit.name, denial.current, denial.reserved, denial.retry_after) for denial in refused} == {
        ("usd_total", 100_000, 100_000, None)
    }
    await asyncio.gather(*[store.settle(lease, Charge(1, 600)) for lease in admitted])
    (standing,) = await store.standing(TENANT, [BUDGET])
    assert standing.remaining == 40_000
    verdicts = await asyncio.gather(*[store.admit(claim(f"s{i}", BUDGET)) for i in range(500)])
    assert sum(isinstance(verdict, Lease) for verdict in verdicts) == 40


async def test_of_61_at_once_on_60_a_minute_one_is_refused(store: LimitStore) -> None:
    verdicts = await asyncio.gather(*[store.admit(claim(f"r{i}", RATE)) for i in range(61)])
    (denial,) = [verdict for verdict in verdicts if isinstance(verdict, Denial)]
    assert denial.limit.name == "requests_per_minute"
    assert denial.retry_after is not None
    assert 0 < denial.retry_after <= 1
    assert {one.limit.name: one.remaining for one in denial.remaining} == {
        "requests_per_minute": 0, "tokens_per_day": 10_000 - 600,
    }  # fmt: skip


async def test_a_refusal_in_the_last_scope_takes_nothing_from_the_first(store: LimitStore) -> None:
    tight = scope("team:t", limit("open", 1))
    assert isinstance(await store.admit(claim("r1", RATE, tight)), Lease)
    assert isinstance(await store.admit(claim("r2", RATE, tight)), Denial)
    rate, day = await store.standing(TENANT, [RATE])
    assert (rate.remaining, day.remaining) == (59, 9_990)


async def test_scripts_that_redis_forgot_are_sent_again(redis: Any, background: Background) -> None:
    store = store_on(redis, background)
    lease = await store.admit(claim("r1", BUDGET))
    redis.call("SCRIPT", "FLUSH")
    assert isinstance(lease, Lease)
    await store.renew([lease])
    redis.call("SCRIPT", "FLUSH")
    await store.settle(lease, Charge(1, 5))
    redis.call("SCRIPT", "FLUSH")
    assert isinstance(await store.admit(claim("r2", BUDGET)), Lease)
    assert seen(redis).calendar("key:a", Window.TOTAL, Unit.USD) == (0, 5, 1000)
    await store.close()


async def test_a_broken_connection_counts_nothing_twice(redis: Any, background: Background) -> None:
    store = store_on(redis, background)
    for number in range(6):
        calls = [asyncio.ensure_future(store.admit(claim(f"r{number}-{i}", BUDGET))) for i in range(5)]
        await asyncio.sleep(0)  # the commands are on their way
        redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        verdicts = await asyncio.gather(*calls, return_exceptions=True)
        for i, verdict in enumerate(verdicts):
            if isinstance(verdict, StoreFailure):  # broke twice: the journey gives it up, as it does here
                await _again(
                    lambda name=f"r{number}-{i}": store.settle(Lease(claim(name, BUDGET), ()), Charge(0, 0, requests=0))
                )
        view = seen(redis)
        held = sum(isinstance(verdict, Lease) for verdict in verdicts)
        assert view.leases() == (held, held)
        assert view.calendar("key:a", Window.TOTAL, Unit.USD)[2] == 1000 * held
        for verdict in verdicts:
            if isinstance(verdict, Lease):
                await _again(lambda lease=verdict: store.settle(lease, Charge(0, 0)))
    await store.close()


async def _again(call: Any) -> None:
    """Until it works: what the settler does."""
    for _ in range(100):
        try:
            await call()
        except StoreFailure:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("the store never came back")


async def test_a_store_that_came_back_empty_is_told_what_ran(own_redis: Any, background: Background) -> None:
    store = store_on(own_redis, background)
    lease = await store.admit(claim("r1", BUDGET, RATE))
    assert isinstance(lease, Lease)
    own_redis.restart()
    await _again(lambda: store.settle(lease, Charge(7, 700)))
    await store.settle(lease, Charge(7, 700))
    view = seen(own_redis)
    assert view.calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (700, 0)
    assert view.calendar("key:r", Window.DAY, Unit.TOKENS)[1:] == (7, 0)
    assert view.open("key:a") == 0
    with pytest.raises(GivenUp):
        await store.admit(lease.claim)
    second = await store.admit(claim("r2", BUDGET))
    assert isinstance(second, Lease)
    assert second.epoch != ""
    assert await store.sweep() == 0
    assert redis_library.Redis(port=own_redis.port).zscore("q:open", TENANT) is not None
    await store.close()


async def test_each_life_of_the_store_has_a_name_of_its_own(own_redis: Any, background: Background) -> None:
    store = store_on(own_redis, background)
    first = await store.admit(claim("r1", BUDGET))
    own_redis.restart()
    leases: list[Any] = []
    await _again(lambda: _into(leases, store.admit(claim("r2", BUDGET))))
    assert isinstance(first, Lease)
    assert leases[0].epoch != first.epoch, "the same process begins both"
    await store.settle(first, Charge(7, 700))
    assert seen(own_redis).calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (700, 1000)
    await store.close()


async def _into(leases: list[Any], admission: Any) -> None:
    leases.append(await admission)


async def test_a_late_admission_that_was_replaced_by_a_local_one_is_charged_once(
    store: LimitStore,
) -> None:
    """The script ran, its reply came too late, the gateway went on by itself; and its settlement is sent twice."""
    wanted = claim("r1", BUDGET)
    await store.admit(wanted)
    local = Lease(wanted, (), local=True, epoch=LOCAL)
    for _ in range(2):
        await store.settle(local, Charge(7, 700))
    (standing,) = await store.standing(TENANT, [BUDGET])
    assert standing.remaining == 99_300


@pytest.mark.parametrize("how", ("stopped", "paused"))
async def test_a_slow_store_fails_in_time_and_recovers(how: str, own_redis: Any, background: Background) -> None:
    store = store_on(own_redis, background, call_seconds=0.05)
    await _again(store.ping)
    if how == "stopped":
        own_redis.pause()
    else:
        own_redis.call("CLIENT", "PAUSE", "600", "ALL")
    slow = claim("slow", BUDGET)
    with pytest.raises(StoreFailure, match="no reply within 50 ms"):
        await store.admit(slow)
    if how == "stopped":
        own_redis.resume()
    # The store may have run what it was slow to answer. Given up, it holds nothing, whichever came first.
    await _again(lambda: store.settle(Lease(slow, ()), Charge(0, 0, requests=0)))
    await _again(store.ping)
    assert seen(own_redis).calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (0, 0)
    assert seen(own_redis).leases() == (0, 0)
    await store.close()


async def test_a_connection_that_stays_silent_is_given_up(own_redis: Any, background: Background) -> None:
    store = store_on(own_redis, background, call_seconds=0.05)
    await _again(store.ping)
    servers: Any = store._servers
    before = servers.life(0)
    own_redis.pause()
    for _ in range(200):
        with pytest.raises(StoreFailure):
            await store.ping()
        link = servers.pipe.newest
        if link is None or link.lost:
            break
        await asyncio.sleep(0.02)
    own_redis.resume()
    await _again(store.ping)
    assert servers.life(0) > before
    await store.close()


async def test_nothing_secret_is_in_what_a_failure_says(own_redis: Any, background: Background) -> None:
    own_redis.call("CONFIG", "SET", "requirepass", "right-horse")
    wrong = RedisStore(
        own_redis.url, clock=RealClock(), background=background, password=lambda: "canary-wrong", call_seconds=2.0
    )
    with pytest.raises(StoreFailure) as caught:
        await wrong.ping()
    assert "canary" not in repr(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    right = RedisStore(
        own_redis.url, clock=RealClock(), background=background, password=lambda: "right-horse", call_seconds=2.0
    )
    await right.ping()
    await wrong.close()
    await right.close()


async def test_processes_that_share_a_store_are_counted_while_they_live(redis: Any, background: Background) -> None:
    clock = trial.TurnedClock(time.time())
    one, other, third = (store_on(redis, background, micros=clock.micros) for _ in range(3))
    for store in (one, other, third):
        await store.sweep()
    assert (one.processes, other.processes, third.processes) == (1, 2, 3)
    await one.sweep()
    assert one.processes == 3
    await third.close()  # says good-bye
    await one.sweep()
    assert one.processes == 2
    clock.at += 16  # the other has been silent for longer than a live one would be
    await one.sweep()
    assert one.processes == 1
    for store in (one, other):
        await store.close()


KILLED = """
import asyncio, sys
sys.path[:0] = sys.argv[2:]
from tests.limits import test_faults as t
class Server: url = sys.argv[1]
async def main():
    background = t.Background()
    store = t.store_on(Server, background)
    lease = await store.admit(t.claim("killed", t.BUDGET, t.RATE, tokens=50, nano_usd=900))
    print(lease.epoch, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_process_killed_between_admit_and_settle_is_charged_as_reserved(
    redis: Any, background: Background
) -> None:
    here = Path(__file__).parent
    process = subprocess.Popen(  # noqa: ASYNC220  # one short-lived process; nothing else runs on this loop
        [sys.executable, "-c", KILLED, redis.url, str(here.parent.parent)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    epoch = process.stdout.readline().strip()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wanted = claim("killed", BUDGET, RATE, tokens=50, nano_usd=900)
    view, clock = seen(redis), trial.TurnedClock(time.time())
    assert view.calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (0, 900)
    other = store_on(redis, background, micros=clock.micros)
    assert await other.sweep() == 0
    clock.at += 61
    assert await other.sweep() == 1
    assert await other.sweep() == 0
    assert view.calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (900, 0)
    assert view.open("key:a") == 0
    late = Lease(wanted, (), epoch=epoch)
    await other.settle(late, Charge(20, 300))
    await other.settle(late, Charge(20, 300))
    assert view.calendar("key:a", Window.TOTAL, Unit.USD)[1:] == (300, 0)
    assert view.calendar("key:r", Window.DAY, Unit.TOKENS)[1:] == (20, 0)
    await other.close()


async def test_what_was_admitted_while_the_store_was_away_is_charged_when_it_is_back(
    own_redis: Any, background: Background
) -> None:
    store = store_on(own_redis, background, call_seconds=0.2)
    guarded = Guarded(store, mode="bounded", fraction=0.1, seconds=60, clock=RealClock())
    settler = Settler(guarded, background, RealClock())
    await _again(store.ping)
    own_redis.stop()
    admitted = []
    for number in range(40):
        try:
            verdict = await guarded.admit(claim(f"r{number}", RATE))
        except StoreFailure:
            continue
        assert isinstance(verdict, Lease)
        assert verdict.local
        settler.opened(verdict)
        admitted.append(verdict)
    assert len(admitted) == 6  # a tenth of 60
    for lease in admitted:
        settler.settle(lease, Charge(11, 100))
    own_redis.start()
    for _ in range(600):
        if settler.depth == 0:
            break
        await asyncio.sleep(0.05)
    assert settler.depth == 0
    assert settler.counts.settled == 6
    assert seen(own_redis).calendar("key:r", Window.DAY, Unit.TOKENS)[1:] == (66, 0)
    await settler.close(1.0)
    await store.close()
