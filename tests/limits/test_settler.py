"""Settlements reach the store, whatever it does meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.errors import StoreFailure
from gateway.limits import settler as module
from gateway.limits.ledger import UNCOUNTED
from gateway.limits.memory import MemoryStore
from gateway.limits.rows import Waiting
from gateway.limits.scopes import Account, Charge, Claim, Crossed, Lease
from gateway.limits.settler import Settler
from gateway.limits.usage import row_name
from gateway.telemetry.tasks import Background
from tests.limit_trial import claim, limit, scope

KEY = scope("key:a", limit("usd", 1_000_000), limit("open", 1000))


class RealClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Reluctant(MemoryStore):
    """A store that fails so many times first."""

    refusals = 0
    renewed = 0
    swept = 0

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        if self.refusals > 0:
            self.refusals -= 1
            raise StoreFailure("not now")
        return await super().settle(lease, charge)

    async def renew(self, leases: Sequence[Lease]) -> None:
        self.renewed += len(leases)

    async def sweep(self) -> int:
        self.swept += 1
        return 1


async def opened(store: MemoryStore, settler: Settler, number: int) -> list[Lease]:
    leases = []
    for i in range(number):
        lease = await store.admit(claim(f"r{i}", KEY))
        assert isinstance(lease, Lease)
        settler.opened(lease)
        leases.append(lease)
    return leases


async def until(true: Callable[[], bool]) -> None:
    while not true():  # what is waited for has no event; the test's own time limit ends it
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRST", 0.001), ("RENEW", 0.02), ("SWEEP", 0.01), ("YOUNG", 0.0), ("ADDED_UP", 0.05)):
        monkeypatch.setattr(module, name, value)


async def test_what_is_handed_over_is_settled(background: Background) -> None:
    store = MemoryStore(RealClock())
    settler = Settler(store, background, RealClock())
    for lease in await opened(store, settler, 30):
        settler.settle(lease, Charge(1, 100))
    assert settler.open_leases == 0
    assert settler.depth == 30
    await until(lambda: settler.depth == 0)
    assert (await store.standing("acme", [KEY]))[0].remaining == 1_000_000 - 3000
    assert settler.counts.settled == 30
    await settler.close(1.0)


async def test_a_settlement_that_nobody_can_bring_does_not_keep_others_from_it(background: Background) -> None:
    class Odd(MemoryStore):
        sound = False

        async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
            if not self.sound and any(lease.claim.request_id == "r3" for lease, _ in closed):
                raise TypeError("an answer of another kind")
            return await super().settle_all(closed)

    store = Odd(RealClock())
    settler = Settler(store, background, RealClock())
    for lease in await opened(store, settler, 10):
        settler.settle(lease, Charge(1, 100))
    await until(lambda: settler.counts.settled == 9)
    assert settler.depth == 1
    store.sound = True
    await until(lambda: settler.depth == 0)
    assert (settler.counts.settled, settler.counts.lost) == (10, 0)
    assert (await store.standing("acme", [KEY]))[0].remaining == 1_000_000 - 1000
    await settler.close(1.0)


async def test_who_hears_of_warnings_and_breaks_stops_no_settlement(background: Background) -> None:
    def deaf(one: Crossed, claim: Claim) -> None:
        heard.append((claim.request_id, one.limit.name))
        raise OSError("no log")

    heard: list[tuple[str, str]] = []
    warned = scope(
        "key:a", replace(limit("usd", 10_000), warn_at=(0.01,)), replace(limit("open", 2), warn_at=(0.5,))
    )  # fmt: skip
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock(), crossed=deaf)
    for name in ("r0", "r1"):
        lease = await store.admit(claim(name, warned))
        assert isinstance(lease, Lease)
        settler.opened(lease)  # the first passes half of what may be open
        settler.settle(lease, Charge(1, 100))
    store.refusals = 1  # of the first; the answer to the second warns
    await until(lambda: settler.depth == 0 and settler.counts.settled == 2)
    assert heard == [("r0", "concurrent_requests"), ("r1", "usd_total")]
    assert (await store.standing("acme", [warned]))[0].remaining == 10_000 - 200
    await settler.close(1.0)


async def test_a_store_that_fails_is_tried_again(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    store.refusals = 7
    for lease in await opened(store, settler, 3):
        settler.settle(lease, Charge(1, 100))
    await until(lambda: settler.counts.settled == 3)
    assert settler.counts.retried == 7
    assert (await store.standing("acme", [KEY]))[0].remaining == 1_000_000 - 300
    await settler.close(1.0)


async def test_closing_drains_everything(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    store.refusals = 5
    leases = await opened(store, settler, 300)
    for lease in leases:
        settler.settle(lease, Charge(1, 100))
    await settler.close(10.0)
    assert settler.depth == 0
    assert (settler.counts.settled, settler.counts.lost) == (300, 0)
    assert (await store.standing("acme", [KEY]))[0].remaining == 1_000_000 - 30_000


async def test_what_cannot_be_brought_before_the_end_is_counted_as_lost(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    store.refusals = 10**9
    for lease in await opened(store, settler, 4):
        settler.settle(lease, Charge(1, 100))
    await settler.close(0.05)
    assert (settler.counts.settled, settler.counts.lost) == (0, 4)


async def test_open_leases_are_renewed_and_expired_ones_swept(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    leases = await opened(store, settler, 3)
    await until(lambda: store.renewed >= 6 and store.swept >= 3)
    assert settler.counts.swept >= 2
    for lease in leases:
        settler.settle(lease, Charge(1, 1))
    await until(lambda: settler.depth == 0)
    renewed = store.renewed
    await asyncio.sleep(0.06)
    assert store.renewed == renewed
    await settler.close(1.0)


async def test_closing_without_having_begun(background: Background) -> None:
    await Settler(MemoryStore(RealClock()), background, RealClock()).close(1.0)


def free(row: str = "a", tenant: str = "acme") -> Account:
    """Of a key without limits."""
    return Account(tenant, row_name(row, None, (), "m"), "UTC")


async def used(store: MemoryStore) -> list[tuple[str, int, int, int]]:
    return sorted((row.key, row.requests, row.tokens, row.nano_usd) for row in await store.usage("acme", 0))


async def test_usage_that_no_limit_waits_for_is_told_together(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    for number in range(100):
        settler.add_up(free("ab"[number % 2]), f"r{number}", Charge(1, 10))
    assert settler.depth == 2
    await until(lambda: settler.depth == 0)
    assert await used(store) == [("a", 50, 50, 500), ("b", 50, 50, 500)]
    assert settler.counts.settled == 2
    assert len(store.ledger("acme").tombs) == 2, "what is kept to count once is kept for each that was told"
    settler.add_up(free(), "r101", Charge(1, 10))
    await until(lambda: settler.depth == 0)
    assert await used(store) == [("a", 51, 51, 510), ("b", 50, 50, 500)]
    await settler.close(1.0)


async def test_usage_that_is_added_up_survives_a_store_that_fails_and_the_end(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    store.refusals = 3
    for number in range(10):
        settler.add_up(free(), f"r{number}", Charge(1, 10))
    await settler.close(10.0)
    assert await used(store) == [("a", 10, 10, 100)]
    assert (settler.depth, settler.counts.lost) == (0, 0)


async def test_usage_that_comes_while_we_close_is_told_at_once(background: Background) -> None:
    store = Reluctant(RealClock())
    settler = Settler(store, background, RealClock())
    settler.add_up(free(), "r1", Charge(1, 10))
    store.refusals = 2
    closing = asyncio.ensure_future(settler.close(10.0))
    await asyncio.sleep(0)
    settler.add_up(free(), "r2", Charge(1, 10))
    await closing
    assert await used(store) == [("a", 2, 2, 20)]
    assert (settler.depth, settler.counts.lost) == (0, 0)


@given(some.lists(some.tuples(some.sampled_from("ab"), some.sampled_from(("acme", "other")), some.integers(0, 9))))
def test_nothing_is_lost_in_adding_up(exchanges: list[tuple[str, str, int]]) -> None:
    waiting = Waiting()
    for number, (row, tenant, tokens) in enumerate(exchanges):
        alone = len(waiting) == 0
        assert waiting.add(free(row, tenant), f"r{number}", Charge(tokens, 2 * tokens)) == alone
    rows = waiting.taken()
    assert len(waiting) == 0
    assert len({(lease.claim.tenant, lease.claim.row) for lease, _ in rows}) == len(rows)
    assert all(lease.epoch == UNCOUNTED for lease, _ in rows)
    assert len({lease.claim.request_id for lease, _ in rows}) == len(rows)
    for lease, charge in rows:
        asked = lease.claim.row, lease.claim.tenant
        mine = [one for one in exchanges if (row_name(one[0], None, (), "m"), one[1]) == asked]
        tokens = sum(one[2] for one in mine)
        assert charge == Charge(tokens, 2 * tokens, requests=len(mine))
