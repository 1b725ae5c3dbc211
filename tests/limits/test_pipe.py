"""One connection for many: whose delay is whose, and which reply is whose."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import hiredis
import pytest

from gateway.errors import StoreFailure
from gateway.limits.failure import FAILURES, Guarded
from gateway.limits.memory import MemoryStore
from gateway.limits.redis_code import command
from gateway.limits.redis_pipe import Link, Lost, ReplyError
from gateway.limits.scopes import Claim, Denial, Lease
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

SECONDS = 0.05


class Wire(asyncio.Transport):
    """Takes what is written; replies come from the test."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, bytes]] = []

    def write(self, data: Any) -> None:
        self.written.append((time.monotonic(), bytes(data)))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def abort(self) -> None: ...


def linked() -> tuple[Link, Wire]:
    link, wire = Link(SECONDS), Wire()
    link.over(wire)
    return link, wire


async def test_the_time_of_a_call_begins_when_it_is_written() -> None:
    link, wire = linked()
    reply = link.send(command(b"PING"))
    time.sleep(1.5 * SECONDS)  # noqa: ASYNC251  # our own loop is busy before the command has left
    with pytest.raises(StoreFailure, match="no reply within 50 ms"):
        await reply
    assert time.monotonic() - wire.written[0][0] >= SECONDS
    link.drop()


async def test_replies_that_came_while_our_loop_was_busy_are_heard() -> None:
    link, _ = linked()
    reply = link.send(command(b"PING"))
    await asyncio.sleep(0)
    time.sleep(1.5 * SECONDS)  # noqa: ASYNC251  # our own loop is busy when the reply comes
    link._late()  # the timer is first to be seen
    assert not reply.done()
    link.data_received(b"+PONG\r\n")
    assert await reply == b"PONG"
    link.drop()


async def test_each_reply_finds_who_asked_however_they_come() -> None:
    said = b"+a\r\n-NOSCRIPT unknown\r\n:3\r\n*1\r\n:4\r\n+e\r\n"
    for cut in range(1, len(said)):
        link, wire = linked()
        one = link.send(command(b"A"))
        several = link.send_all([command(b"B"), command(b"C")])
        other = link.send(command(b"D"))
        await asyncio.sleep(0)
        last = link.send(command(b"E"))
        await asyncio.sleep(0)
        assert [data for _, data in wire.written] == [
            b"".join(command(name) for name in (b"A", b"B", b"C", b"D")), command(b"E")
        ]  # fmt: skip
        link.data_received(said[:cut])
        link.data_received(said[cut:])
        refused, three = await several
        assert isinstance(refused, ReplyError)
        assert (await one, refused.code, three, await other, await last) == (b"a", "NOSCRIPT", 3, [4], b"e")
        link.drop()


async def test_a_reply_that_nobody_asked_for_ends_the_connection_and_loses_what_waits() -> None:
    link, _ = linked()
    several = link.send_all([command(b"A"), command(b"B")])
    unsent = link.send(command(b"C"))
    await asyncio.sleep(0)
    link.data_received(b"+a\r\n+b\r\n+c\r\n")
    assert await several == [b"a", b"b"]
    assert await unsent == b"c"
    waits, queued = link.send_all([command(b"D")]), link.send(command(b"E"))
    link.data_received(b"+nothing\r\n")
    assert link.lost
    for one in (waits, queued):
        with pytest.raises(Lost):
            await one


def test_a_reply_that_is_false_is_none() -> None:
    """What `gets` says where there is no whole reply yet is nothing that Redis 2's protocol can say."""
    reader = hiredis.Reader()
    reader.feed(b":0\r\n$-1\r\n")
    assert [reader.gets(), reader.gets(), reader.gets()] == [0, None, False]


class Pausing(MemoryStore):
    """A store that does not answer until it is let go, and then says that it was too late."""

    def __init__(self) -> None:
        super().__init__(trial.TurnedClock())
        self.late = asyncio.Event()

    async def admit(self, claim: Claim) -> Lease | Denial:
        await self.late.wait()
        raise StoreFailure("no reply within 50 ms")


async def test_one_pause_of_many_callers_is_one_failure() -> None:
    store = Pausing()
    guarded = Guarded(store, mode="open", clock=trial.TurnedClock())
    for number in range(FAILURES):
        assert not guarded.away
        store.late.clear()
        calls = [guarded.admit(claim(f"r{number}-{at}", scope("key:a", limit("rpm", 600)))) for at in range(50)]
        waiting = asyncio.gather(*calls)
        await asyncio.sleep(0)
        store.late.set()
        assert all(isinstance(one, Lease) and one.local for one in await waiting)
    assert guarded.away
