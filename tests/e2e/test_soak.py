"""Four gateways on one Redis under 64 clients, while gateways die and Redis restarts: afterwards the ledger closes.

`pytest -m long tests/e2e/test_soak.py -s` prints the books.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis as redis_library

from gateway.limits.scopes import Unit, Window
from tests.e2e.harness import Upstream
from tests.e2e.soak import (
    A_MINUTE,
    AT_ONCE,
    POOR_LIMIT,
    Book,
    Fleet,
    Load,
    drive,
    explain,
    named,
    used_by_upstream,
)
from tests.limit_trial import RedisView
from tests.redis_server import RedisServer

ENOUGH, KILLS, RESTARTS = 5_000, 8, 4
FRACTION = 0.1  # of `bounded`, the default
TENANT = "default"
SCOPES = ("key:k_app", "key:k_poor")


def held(server: RedisServer) -> dict[str, tuple[int, int]]:
    """(used, reserved) tokens of the day, by scope."""
    with redis_library.Redis(port=server.port) as client:
        view = RedisView(client, TENANT).at_once()
        return {scope: view.calendar(scope, Window.DAY, Unit.TOKENS)[1:] for scope in SCOPES}


def wait_until_nothing_is_open(server: RedisServer, seconds: float) -> None:
    end = time.monotonic() + seconds
    with redis_library.Redis(port=server.port) as client:
        while RedisView(client, TENANT).leases() != (0, 0):
            assert time.monotonic() < end, "leases stay open"
            time.sleep(0.2)


def ledger_of(upstream: Upstream, first: int) -> dict[str, int]:
    """What the upstream used for each request, by the client's name of it."""
    received = (one["body"] for one in upstream.seen()[first:] if one["method"] == "POST")
    return {named(body): used_by_upstream(body) for body in received}


def records_of(fleet: Fleet) -> dict[str, dict[str, Any]]:
    for one in tuple(fleet.running):
        one.stop()
    found = list(fleet.records())
    records = {record["gateway.request_id"]: record for record in found}
    assert len(records) == len(found), "one record each"
    return records


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_gateways_are_killed_and_the_ledger_closes(tmp_path: Path, upstream: Upstream, own_redis: RedisServer) -> None:
    load, book, first, begun = Load(), Book(own_redis), len(upstream.seen()), time.monotonic()
    poorest = 0
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, own_redis.url, upstream.url, stack, 0.25)
        for _ in range(4):
            fleet.start()

        def strike() -> None:
            nonlocal poorest
            for _ in range(5):
                time.sleep(0.2)
                poorest = max(poorest, sum(held(own_redis)["key:k_poor"]))
            if len(fleet.killed) < KILLS:
                fleet.kill()
                fleet.start()

        asyncio.run(drive(load, fleet, 64, lambda: load.taken >= ENOUGH and len(fleet.killed) >= KILLS, strike))
        loaded = time.monotonic() - begun
        wait_until_nothing_is_open(own_redis, 75)
        used = held(own_redis)
        records = records_of(fleet)
    book.close()

    books = explain(book, records, ledger_of(upstream, first))
    total = sum(each for each, _ in used.values())
    print(
        f"\n{len(fleet.killed)} gateways killed, {load.asked} asked, {dict(load.statuses)}, {loaded:.0f} s of load\n"
        f"requests {dict(books.kinds)}\ntokens {dict(books.tokens)}\nused {total}, "
        f"unexplained {total - books.total()}; the poor key held at most {poorest} of {POOR_LIMIT}"
    )
    assert [reserved for _, reserved in used.values()] == [0, 0]
    assert total == books.total(), "unexplained difference"
    assert sum(books.kinds.values()) >= ENOUGH
    assert books.kinds["killed: as reserved"] > 0, "somebody was killed in the middle of something"
    assert books.kinds["provider"] > ENOUGH / 2
    assert books.kinds["counted"] > 0, "streams that were left, broke off, or named no usage"
    assert books.kinds["abandoned"] > 0, "answers that nobody waited for"
    assert max(poorest, used["key:k_poor"][0]) <= POOR_LIMIT
    uncounted = {name for name, record in records.items() if record.get("gateway.charged.tokens")} - set(book.entries)
    assert uncounted == set(), "nothing that a provider worked on came past the store"
    book.bounds_hold()


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_redis_restarts_empty_and_no_more_is_lost_than_is_said(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    load, lives, first, begun = Load(), [Book(own_redis)], len(upstream.seen()), time.monotonic()
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, own_redis.url, upstream.url, stack, 0.05)
        for _ in range(4):
            fleet.start()

        def strike() -> None:
            time.sleep(4)
            if len(lives) <= RESTARTS:
                own_redis.stop()
                lives[-1].close()
                time.sleep(1)
                # It comes back behind a password that nobody has, so that MONITOR is there before anybody else.
                own_redis.start("--requirepass", "not-yet")
                lives.append(Book(own_redis, "not-yet"))
                with redis_library.Redis(port=own_redis.port, password="not-yet") as admin:
                    admin.config_set("requirepass", "")

        asyncio.run(drive(load, fleet, 64, lambda: load.taken >= ENOUGH and len(lives) > RESTARTS, strike))
        loaded = time.monotonic() - begun
        wait_until_nothing_is_open(own_redis, 75)
        records = records_of(fleet)  # ended kindly: everything is settled by now
        used = held(own_redis)
    lives[-1].close()

    ledger = ledger_of(upstream, first)
    explained = [explain(book, records, ledger) for book in lives]
    total, last = sum(each for each, _ in used.values()), explained[-1].total()
    charged = [name for book in lives for name, entry in book.entries.items() if entry.closed or entry.forced]
    twice = len(charged) - len(set(charged))
    local = [record for record in records.values() if record.get("gateway.store") == "local"]
    print(
        f"\n{RESTARTS} restarts, {load.asked} asked, {dict(load.statuses)}, {loaded:.0f} s of load\n"
        f"by life of the store: {[dict(one.kinds) for one in explained]}\nused {total} in the last life, unexplained "
        f"{total - last}; forgotten with earlier lives {[one.total() for one in explained[:-1]]}; admitted without the "
        f"store {len(local)}; settled in two lives {twice}"
    )
    assert [reserved for _, reserved in used.values()] == [0, 0]
    assert total == last, "unexplained difference"
    assert load.taken >= ENOUGH
    # Each request that was charged is in the books of some life: none is lost, whichever life admitted it.
    assert {name for name, record in records.items() if record.get("gateway.charged.tokens")} <= set(charged)
    # And what was admitted without the store is within what `bounded` allows to all gateways together.
    assert len(local) <= FRACTION * (AT_ONCE + A_MINUTE / 60 * loaded) + 2 * 4
    for book in lives:
        book.bounds_hold()
