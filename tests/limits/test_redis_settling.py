"""Many settlements in one call: what each would have come to by itself, whole or not at all, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.errors import StoreFailure
from gateway.limits.failure import LOCAL
from gateway.limits.ledger import LARGEST, UNCOUNTED
from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.limits.redis_pipe import PAUSE, ReplyError
from gateway.limits.redis_settle import AT_ONCE, FEW, RENEWED_AT_ONCE, Closed, Said
from gateway.limits.scopes import Charge, Claim, Lease, Unit, Window
from gateway.limits.usage import row_name
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope
from tests.limits.test_faults import _again
from tests.redis_parts import client, line

LATE = 1_796_079_000.0  # 2026-11-30T22:50Z: ten minutes before December in Berlin, seventy in UTC
DAY = 20261130
BERLIN = "Europe/Berlin"
TEAM = scope("team:a", replace(limit("tpd", 20_000), warn_at=(0.1, 0.2, 0.5)), limit("upm", 10**12), zone=BERLIN)
SCOPES = (
    (
        scope("key:a", limit("rpm", 90, burst=120), limit("tpm", 9000), limit("open", 40, shadow=True), zone=BERLIN),
        TEAM,
        scope("tenant:a", replace(limit("usd", 10**12), warn_at=(0.00001, 0.1)), limit("tpm", 2000, shadow=True)),
    ),
    (scope("key:b", replace(limit("tpd", 20_000), at_limit="cut", warn_at=(0.05, 0.1)), zone=BERLIN), TEAM),
    (scope("key:c"), scope("key:d", limit("rpd", 500))),
)


def wanted(number: int, which: int, tokens: int, row: str = "k") -> Claim:
    asked = claim(f"r{number}", *SCOPES[which], tokens=tokens, nano_usd=1000 * tokens)
    name = row_name(row, None, (), "m") if row else ""
    return structs.replace(asked, scopes=SCOPES[which], first_tokens=min(tokens, 100), first_nano_usd=0, row=name,
                           time_zone=BERLIN)  # fmt: skip


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


async def opened(store: RedisStore | MemoryStore, count: int, which: int = 0, row: str = "k") -> list[Lease]:
    leases = [await store.admit(wanted(number, which, 50, row)) for number in range(count)]
    assert all(isinstance(lease, Lease) for lease in leases)
    return [lease for lease in leases if isinstance(lease, Lease)]


async def calls_of(server: Any, work: Any) -> int:
    """How many scripts a server ran meanwhile."""

    def count() -> int:
        with client(server) as admin:
            stats: Any = admin.info("commandstats")
            return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

    before = count()
    await work
    return count() - before


def used(server: Any) -> tuple[int, int]:
    """Tokens of the team's day: (used, reserved)."""
    with client(server) as reader:
        return trial.RedisView(reader, "acme").calendar(TEAM.id, Window.DAY, Unit.TOKENS)[1:]


# -- as each would by itself ------------------------------------------------------------------------------------------

KNOWN = st.sampled_from(["lease", "lease", "lease", "lease", "lease", "claim", "elsewhere", "another"])
BATCH = st.lists(
    st.tuples(st.integers(0, 11), st.sampled_from([0, 1, 30, 100, 300, 2000]), st.sampled_from([1, 1, 0]), KNOWN),
    min_size=1, max_size=9,
)  # fmt: skip
ADMIT = st.tuples(st.integers(0, 2), st.sampled_from([1, 99, 700, 1500]), st.sampled_from(["k", "l", ""]))
STEP = st.one_of(
    st.tuples(st.just("admit"), st.lists(ADMIT, min_size=1, max_size=6)),
    st.tuples(st.just("settle"), BATCH), st.tuples(st.just("settle"), BATCH),
    st.tuples(st.just("wait"), st.sampled_from([0.000037, 1.0, 25.0, 61.0, 650.0, 3700.0])),
    st.tuples(st.just("sweep"), st.none()),
)  # fmt: skip


class History:
    """One store in the course of a history, and what it says. `how`: many at once, each by itself, or in memory."""

    def __init__(self, store: Any, clock: trial.TurnedClock, how: str) -> None:
        self.store, self.clock, self.how = store, clock, how
        self.said: list[object] = []
        self.until: dict[str, int] = {}  # of open leases
        self.every: list[Lease] = []

    async def run(self, steps: Sequence[tuple[str, Any]]) -> None:
        for number, (what, more) in enumerate(steps):
            match what:
                case "admit":
                    for at, (which, tokens, row) in enumerate(more):
                        await self.admit(wanted(100 * number + at, which, tokens, row))
                case "settle" if self.every:
                    await self.settle(more)
                case "wait":
                    self.clock.at = (self.clock.micros() + round(more * 1_000_000)) / 1_000_000
                case "sweep":
                    self.said.append(await self.store.sweep())
                    now = self.clock.micros()
                    self.until = {name: until for name, until in self.until.items() if until > now}
            for scopes in SCOPES:
                self.said.append(tuple(await self.store.standing("acme", scopes)))
        rows = await self.store.usage("acme", DAY - 1)  # memory keeps one of nothing, too
        self.said.append(sorted([row for row in rows if row.requests or row.tokens or row.nano_usd], key=str))

    async def admit(self, asked: Claim) -> None:
        verdict = await self.store.admit(asked)
        self.said.append(tuple(verdict.remaining))
        if isinstance(verdict, Lease):
            self.until[asked.request_id] = self.clock.micros() + 60_000_000
            self.every.append(verdict)

    async def settle(self, batch: Sequence[tuple[int, int, int, str]]) -> None:
        closed: list[Closed] = []
        together: list[int] = []
        alone: list[int] = []
        leases = [self.every[which % len(self.every)] for which, *_ in batch]
        by_lease = {
            lease.claim.request_id for lease, (*_, known) in zip(leases, batch, strict=True) if known == "lease"
        }
        for lease, (_, tokens, requests, known) in zip(leases, batch, strict=True):
            name = lease.claim.request_id
            still = self.until.pop(name, None) is not None
            if known != "lease" and (not still or name in by_lease):
                # A request is given up once. What that leaves behind, Redis keeps by its own clock.
                self.until |= {name: 2**60} if still else {}
                continue
            (together if still and known == "lease" else alone).append(len(closed))
            if known == "claim":
                lease = Lease(lease.claim, ())  # noqa: PLW2901  # by what else is known of it
            elif known != "lease":
                epoch = LOCAL if known == "elsewhere" else "another life"
                lease = Lease(lease.claim, (), local=epoch == LOCAL, epoch=epoch)  # noqa: PLW2901  # as above
            closed.append((lease, Charge(tokens, 999 * tokens, requests)))
        if self.how == "together":
            self.said.append([tuple(one) for one in all_well(await self.store.settle_all(closed))])
            return
        found: list[object] = [None] * len(closed)
        for place in together + alone:  # those that come alone come behind the others
            if self.how == "memory":
                found[place] = tuple(await self.store.settle(*closed[place]))
            else:
                found[place] = tuple(all_well(await self.store._settling._settle_each([closed[place]]))[0])
        self.said.append(found)


def all_well(said: Sequence[Said]) -> list[Sequence[Any]]:
    assert not any(isinstance(one, StoreFailure) for one in said), said
    return [one for one in said if not isinstance(one, StoreFailure)]


def everything(server: Any) -> tuple[str, dict[str, int]]:
    """All that a server holds but the names of lives, and for how long it will."""
    with client(server) as admin:
        admin.delete("q:{acme}:e", "q:alive")
        kept: Any = {key.decode(): admin.ttl(key) for key in admin.scan_iter()}
        return trial.RedisView(admin, "acme").dump(), kept


async def told(server: Any, steps: Sequence[tuple[str, Any]], how: str) -> tuple[list[object], Any]:
    clock = trial.TurnedClock(LATE)
    if how == "memory":
        one = History(MemoryStore(clock), clock, how)
        await one.run(steps)
        return one.said, None
    server.call("FLUSHALL")
    tasks = Background()
    store = at(server.url, tasks, clock)
    one = History(store, clock, how)
    try:
        await one.run(steps)
    finally:
        await store.close()
        await tasks.close()
    return one.said, everything(server)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=3, max_size=20))
def test_many_at_once_come_to_what_each_comes_to_by_itself_and_in_memory(
    redis: Any, steps: list[tuple[str, Any]]
) -> None:
    async def three() -> list[tuple[list[object], Any]]:
        return [await told(redis, steps, how) for how in ("memory", "alone", "together")]

    (memory, _), (alone, held), (together, holds) = asyncio.run(three())
    assert together == alone
    assert together == memory
    assert holds[0] == held[0], "to the last field"
    assert holds[1].keys() == held[1].keys()
    assert all(abs(left - held[1][key]) <= 10 for key, left in holds[1].items()), "for as long"


# -- whole, or not at all ---------------------------------------------------------------------------------------------


async def test_of_a_batch_with_one_that_cannot_be_settled_all_others_are(store: RedisStore, redis: Any) -> None:
    """A record that nobody can read: that one fails as it would by itself, and is not forgotten."""
    leases = await opened(store, 9)
    with client(redis) as admin:
        sound: Any = admin.hget("q:{acme}:lh", "r4")
        admin.hset("q:{acme}:lh", "r4", msgspec.msgpack.encode([["q:{acme}:s:key:a", [["d", "t", 1]]]]))
    said = await store.settle_all([(lease, Charge(10, 100)) for lease in leases])
    assert [isinstance(one, ReplyError) for one in said] == [number == 4 for number in range(9)]
    assert used(redis) == (80, 50)
    for unreadable in (b"\xc1", b"\x93", b"1"):
        with client(redis) as admin:
            admin.hset("q:{acme}:lh", "r4", unreadable)
        assert isinstance((await store.settle_all([(leases[4], Charge(10, 100))]))[0], ReplyError)
    with client(redis) as admin:
        assert admin.hget("q:{acme}:lh", "r4") == b"1"
        admin.hset("q:{acme}:lh", "r4", sound)
    for _ in range(2):
        again = await store.settle_all([(lease, Charge(10, 100)) for lease in leases])
        assert all_well(again) == [()] * 9
        assert used(redis) == (90, 0)


@pytest.mark.parametrize("unreadable", (b"\xc1", b"\x01", msgspec.msgpack.encode([["q:{acme}:s:key:a", [["d", "t"]]]])))
async def test_a_lease_that_nobody_can_read_keeps_no_others_from_expiring(
    unreadable: bytes, store: RedisStore, redis: Any, clock: trial.TurnedClock
) -> None:
    await opened(store, 5)
    with client(redis) as admin:
        sound: Any = admin.hget("q:{acme}:lh", "r0")
        admin.hset("q:{acme}:lh", "r0", unreadable)
    clock.at += 61
    assert await store.sweep() == 4
    assert await store.sweep() == 0
    with client(redis) as admin:
        admin.hset("q:{acme}:lh", "r0", sound)
    clock.at += 61
    assert await store.sweep() == 1
    assert used(redis) == (250, 0)


async def test_an_index_that_is_none_any_more_costs_no_settlement(store: RedisStore, redis: Any) -> None:
    leases = await opened(store, 3)
    closed = [(lease, Charge(10, 100)) for lease in leases]
    with client(redis) as admin:
        admin.rename("q:{acme}:lz", "q:{acme}:aside")
        admin.set("q:{acme}:lz", "a text")
    assert [isinstance(one, ReplyError) for one in await store.settle_all(closed)] == [True] * 3
    assert [isinstance(one, ReplyError) for one in await store._settling._settle_each(closed)] == [True] * 3
    assert used(redis) == (0, 150)
    with client(redis) as admin:
        assert admin.hlen("q:{acme}:lh") == 3
        admin.rename("q:{acme}:aside", "q:{acme}:lz")
    all_well(await store.settle_all(closed))
    assert used(redis) == (30, 0)


async def test_a_server_that_is_full_settles_all_the_same(
    own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    store = at(own_redis.url, background, clock)
    leases = await opened(store, 6)
    closed = [(lease, Charge(10, 100)) for lease in leases]
    await store.settle(*closed[0])
    own_redis.call("CONFIG", "SET", "maxmemory", "1")
    all_well(await store.settle_all(closed[:4]))
    all_well(await store._settling._settle_each(closed[4:]))
    own_redis.call("CONFIG", "SET", "maxmemory", "0")
    assert used(own_redis) == (60, 0)
    await store.close()


@pytest.mark.parametrize("how", ("together", "alone"))
async def test_a_scope_that_was_forgotten_has_no_fewer_than_no_open_leases(
    how: str, store: RedisStore, redis: Any
) -> None:
    """A server that is full may evict it; an overshoot ends with the leases that it knew."""
    few = (scope("key:few", limit("open", 2), limit("tpm", 9000)),)
    asked = [structs.replace(claim(f"r{at}", *few, tokens=50), scopes=few) for at in range(6)]
    leases = [lease for one in asked[:2] if isinstance(lease := await store.admit(one), Lease)]
    with client(redis) as admin:
        admin.delete("q:{acme}:s:key:few")
        closed = [(lease, Charge(90, 0)) for lease in leases]
        all_well(await (store.settle_all(closed) if how == "together" else store._settling._settle_each(closed)))
        assert admin.hget("q:{acme}:s:key:few", "f") == b"0"
        left: Any = admin.ttl("q:{acme}:s:key:few")
    assert left > 0
    assert [isinstance(await store.admit(one), Lease) for one in asked[2:]] == [True, True, False, False]


async def test_what_another_life_admitted_is_kept_as_long_as_if_this_one_had(store: RedisStore, redis: Any) -> None:
    whole = scope("key:whole", limit("usd", 10**12))
    for at, asked in enumerate((scope("key:d", limit("rpd", 500)), whole)):
        await store.settle(Lease(claim(f"r{at}", asked), (), epoch="another life"), Charge(7, 1))
    with client(redis) as admin:
        kept: Any = admin.ttl("q:{acme}:s:key:d")
        assert kept > 86_400 * 300
        assert admin.ttl("q:{acme}:s:key:whole") == -1, "what is spent in all is never forgotten"


@pytest.mark.parametrize("how", ("together", "alone"))
async def test_rows_and_days_that_are_over_are_kept_for_400_days(
    how: str, store: RedisStore, redis: Any, clock: trial.TurnedClock
) -> None:
    leases = await opened(store, 3)
    clock.at += 650  # December in Berlin
    await opened_later(store)
    closed = [(lease, Charge(10, 100)) for lease in leases]
    all_well(await (store.settle_all(closed) if how == "together" else store._settling._settle_each(closed)))
    _, kept = everything(redis)
    for key in (f"q:{{acme}}:u:{DAY}", f"q:{{acme}}:s:team:a:d{DAY}"):
        assert 399 * 86_400 < kept[key] <= 400 * 86_400, key


@pytest.mark.parametrize("there", (b"many", b"1.5", b"9223372036854775000"))
async def test_a_row_that_cannot_be_added_to_is_nobody_elses_harm(there: bytes, store: RedisStore, redis: Any) -> None:
    leases = await opened(store, 4) + [
        lease for number in range(4, 8) if isinstance(lease := await store.admit(wanted(number, 1, 50, "l")), Lease)
    ]
    row = row_name("l", None, (), "m")
    with client(redis) as admin:
        admin.hset(f"q:{{acme}}:u:{DAY}", f"t{row}", there)
    said = await store.settle_all([(lease, Charge(1000, 100)) for lease in leases])
    assert [isinstance(one, ReplyError) for one in said] == [False] * 4 + [True] * 4
    assert used(redis) == (4000, 200), "of those nothing"
    with client(redis) as admin:
        admin.hdel(f"q:{{acme}}:u:{DAY}", f"t{row}")
    found = {one.key: (one.requests, one.tokens) for one in await store.usage("acme", DAY)}
    assert found["k"] == (4, 4000)
    all_well(await store.settle_all([(lease, Charge(1000, 100)) for lease in leases]))
    assert used(redis) == (8000, 0)


async def test_what_is_charged_to_an_elapsed_day_that_is_no_counter_any_more(
    store: RedisStore, redis: Any, clock: trial.TurnedClock
) -> None:
    leases = await opened(store, 3, row="")
    clock.at += 650  # December in Berlin
    await opened_later(store)
    with client(redis) as admin:
        admin.set(f"q:{{acme}}:s:team:a:d{DAY}", "a text")
    said = await store.settle_all([(lease, Charge(10, 100)) for lease in leases])
    assert all(isinstance(one, ReplyError) for one in said), "each by itself, and in vain"


async def opened_later(store: RedisStore) -> None:
    assert isinstance(await store.admit(wanted(99, 0, 50)), Lease)


async def test_amounts_beyond_what_can_be_counted_exactly_are_added_one_by_one(store: RedisStore, redis: Any) -> None:
    leases = await opened(store, 3)
    all_well(await store.settle_all([(lease, Charge(1, LARGEST - 1)) for lease in leases]))
    (row,) = await store.usage("acme", DAY)
    assert (row.requests, row.tokens, row.nano_usd) == (3, 3, 3 * (LARGEST - 1))


async def test_the_same_lease_twice_in_a_batch_is_charged_once(store: RedisStore, redis: Any) -> None:
    (lease,) = await opened(store, 1)
    all_well(await store.settle_all([(lease, Charge(7, 1)), (lease, Charge(9, 1))]))
    assert used(redis) == (7, 0)


async def test_what_another_life_admitted_is_charged_once_however_it_is_known(store: RedisStore, redis: Any) -> None:
    """The same request is open in this one: it was admitted here while its first admission was on its way."""
    closed = [(Lease(lease.claim, (), epoch="another life"), Charge(7, 1)) for lease in await opened(store, 2)]
    for _ in range(2):
        all_well(await store.settle_all(closed))
        assert used(redis) == (14, 0)


async def test_each_share_is_told_to_the_settlement_that_passed_it(store: RedisStore) -> None:
    leases = await opened(store, 4)
    said = all_well(await store.settle_all([(lease, Charge(2100, 0)) for lease in leases]))
    assert [[one.share for one in passed if one.scope == "team:a"] for passed in said] == [[0.1], [0.2], [], []]
    assert all_well(await store.settle_all([(lease, Charge(2100, 0)) for lease in leases])) == [()] * 4


# -- how many, and how often ------------------------------------------------------------------------------------------


async def test_a_batch_is_one_call_for_each_tenant_and_so_many_at_most(store: RedisStore, redis: Any) -> None:
    plenty = scope("key:p", limit("usd", 10**12))
    leases = [
        lease
        for tenant in ("acme", "other")
        for number in range(AT_ONCE + 2)
        if isinstance(lease := await store.admit(claim(f"r{number}", plenty, tenant=tenant)), Lease)
    ]
    free = Lease(structs.replace(wanted(900, 2, 5), scopes=()), (), epoch=UNCOUNTED)
    closed = [(lease, Charge(1, 10)) for lease in (*leases, free)]
    await store.settle_all([(leases[0], Charge(1, 10)), (free, Charge(1, 10))])  # scripts are known from here on
    assert await calls_of(redis, store.settle_all(closed[1:])) == 2 + 2 + 1
    assert await calls_of(redis, store.settle_all(closed[:5])) == 1 + 5, "those that were settled come alone"
    for tenant in ("acme", "other"):
        (left,) = await store.standing(tenant, [plenty])
        assert left.remaining == 10**12 - 10 * (AT_ONCE + 2)


@pytest.mark.parametrize(("limits", "each"), ((1, AT_ONCE), (12, 25), (71, 4), (80, FEW)))
async def test_of_settlements_with_many_limits_fewer_go_in_one_call(
    limits: int, each: int, store: RedisStore, redis: Any
) -> None:
    """Redis does nothing else meanwhile."""
    scopes = tuple(scope(f"key:{at}", limit("upd", 10**12)) for at in range(limits))
    leases = [await store.admit(claim(f"r{number}", *scopes)) for number in range(2 * each + 1)]
    closed = [(lease, Charge(1, 10)) for lease in leases if isinstance(lease, Lease)]
    await store.settle_all(closed[:1])
    assert await calls_of(redis, store.settle_all(closed[1:])) == 2
    (left,) = await store.standing("acme", scopes[-1:])
    assert left.remaining == 10**12 - 10 * len(closed)


async def test_leases_are_renewed_together_and_those_that_ended_are_not(
    store: RedisStore, redis: Any, clock: trial.TurnedClock
) -> None:
    leases = [
        lease
        for tenant in ("acme", "other")
        for number in range(RENEWED_AT_ONCE + 2)
        if isinstance(lease := await store.admit(claim(f"r{number}", TEAM, tokens=1, tenant=tenant)), Lease)
    ]
    await store.settle(leases[0], Charge(1, 1))
    await store.renew(leases[:1])
    assert await calls_of(redis, store.renew(leases)) == 4
    with client(redis) as admin:
        assert admin.zcard("q:{acme}:lz") == admin.hlen("q:{acme}:lh") == RENEWED_AT_ONCE + 1
    clock.at += 59
    await store.renew(leases[::2])
    clock.at -= 30
    await store.renew(leases)  # a clock that steps back takes nothing from anybody
    clock.at += 40
    assert await store.sweep() == 0
    clock.at += 21
    assert await store.sweep() == RENEWED_AT_ONCE + 2
    clock.at += 61
    assert await store.sweep() == RENEWED_AT_ONCE + 1
    assert await store.sweep() == 0


# -- what can happen to a server --------------------------------------------------------------------------------------


async def test_scripts_that_redis_forgot_are_sent_again(store: RedisStore, redis: Any) -> None:
    leases = await opened(store, 5)
    given_up = Lease(wanted(5, 0, 50), ())
    redis.call("SCRIPT", "FLUSH")
    assert all_well(await store.settle_all([(lease, Charge(10, 1)) for lease in leases])) == [()] * 5
    redis.call("SCRIPT", "FLUSH")
    await store.settle_all([(given_up, Charge(0, 0, 0)), *[(lease, Charge(10, 1)) for lease in leases]])
    assert used(redis) == (50, 0)


async def test_a_store_that_came_back_empty_is_told_all_of_a_batch_once(
    own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    store = at(own_redis.url, background, clock)
    before = await opened(store, 6)
    own_redis.stop()
    closed = [(lease, Charge(10, 100)) for lease in before]
    assert all(isinstance(one, StoreFailure) for one in await store.settle_all(closed))
    own_redis.start()
    await _again(store.ping)
    later = await store.admit(wanted(50, 0, 50))
    assert isinstance(later, Lease)
    closed.append((later, Charge(10, 100)))
    for _ in range(2):
        all_well(await store.settle_all(closed))
        assert used(own_redis) == (70, 0)
    await store.close()


@pytest.mark.parametrize("lost", (1, 2))
async def test_an_answer_that_is_lost_after_a_batch_was_settled_counts_once(
    lost: int, own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    with line(own_redis.port) as between:
        store = at(f"redis://127.0.0.1:{between.port}/0", background, clock)
        warm, *leases = await opened(store, 7)
        await store.settle(warm, Charge(0, 0, 0))
        await asyncio.sleep(PAUSE)
        between.asked, between.swallow = b"", lost
        closed = [(lease, Charge(10, 100)) for lease in leases]
        said = await store.settle_all(closed)
        assert all(isinstance(one, StoreFailure) for one in said) == (lost == 2)
        assert used(own_redis) == (60, 0), "it ran, and ran once"
        await _again(store.ping)
        all_well(await store.settle_all(closed))
        assert used(own_redis) == (60, 0)
        await store.close()


async def test_a_server_that_refuses_writes_changes_nothing_of_a_batch(
    own_redis: Any, background: Background, clock: trial.TurnedClock
) -> None:
    store = at(own_redis.url, background, clock)
    closed = [(lease, Charge(10, 100)) for lease in await opened(store, 6)]
    own_redis.call("REPLICAOF", "127.0.0.1", "1")
    said = await store.settle_all(closed)
    assert {one.code for one in said if isinstance(one, ReplyError)} == {"READONLY"}
    assert len(said) == 6
    own_redis.call("REPLICAOF", "NO", "ONE")
    assert used(own_redis) == (0, 300)
    await _again(store.ping)
    all_well(await store.settle_all(closed))
    own_redis.call("CONFIG", "SET", "maxmemory", "1")
    assert used(own_redis) == (60, 0)
    await store.close()
