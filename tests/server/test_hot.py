"""The hot connection at its edges: bodies in pieces, requests ahead of their turn, handing over, clients that go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ClientGone, ClientTooSlow
from gateway.patience import Patience
from gateway.ports import Head
from gateway.server.hot import AHEAD, HotConnection
from gateway.server.hot_exchange import HotExchange
from gateway.server.shared import Limits

Script = Callable[[HotExchange], Awaitable[None]]
HEAD = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Wire(asyncio.Transport):
    """What the connection does to its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.out = b""
        self.closed = self.paused = False
        self.left = 0  # bytes that the client has not taken
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.out += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.left

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Successor(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data


class Stage:
    """One connection with its wire, its clock and what its exchanges were."""

    def __init__(self, script: Script) -> None:
        self.clock, self.wire, self.successor = Clock(), Wire(), Successor()
        self.patience = Patience(self.clock)
        self.exchanges: list[HotExchange] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.failures: list[BaseException] = []
        self.limits = Limits(header=10.0, silence=30.0, write=30.0, keepalive=75.0, body=1 << 20)
        self._script = script
        self.connection = HotConnection(self._serve, lambda: self.successor, self.patience, self.limits)
        self.connection.connection_made(self.wire)

    def _serve(self, connection: HotConnection) -> asyncio.Task[None]:
        async def run() -> None:
            while True:
                if (exchange := connection.arrived) is None:
                    if (turn := connection.turn()) is None:
                        return
                    await turn
                    continue
                connection.arrived = None
                self.exchanges.append(exchange)
                try:
                    await self._script(exchange)
                except BaseException as error:
                    self.failures.append(error)
                    raise
                finally:
                    connection.ended(exchange)

        task = asyncio.get_running_loop().create_task(run())
        self.tasks.append(task)
        return task

    async def take(self, *pieces: bytes) -> bytes:
        """Feed it, let everything run that can, and give what was written since."""
        before = len(self.wire.out)
        for piece in pieces:
            self.connection.data_received(piece)
            await self.rest()
        return self.wire.out[before:]

    async def rest(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def wait(self, seconds: float) -> None:
        self.clock.time += seconds
        self.patience.tick()


async def echo(exchange: HotExchange) -> None:
    body = await exchange.body(1 << 20)
    assert body is not None
    await exchange.send(Head(200), exchange.path.encode() + b"|" + body)


@asynccontextmanager
async def stage(script: Script = echo) -> AsyncIterator[Stage]:
    made = Stage(script)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


REQUEST = HEAD % 5 + b"hello"


@pytest.mark.parametrize("cut", range(len(HEAD % 5), len(REQUEST)))
async def test_a_body_in_two_pieces_is_one(cut: int) -> None:
    async with stage() as on:
        assert await on.take(REQUEST[:cut]) == b""
        assert (await on.take(REQUEST[cut:])).endswith(b"\r\n\r\n/v1/x|hello")


async def test_a_body_byte_by_byte_and_a_stream_of_it() -> None:
    async def stream(exchange: HotExchange) -> None:
        await exchange.send(Head(200), b"".join([piece async for piece in exchange.stream()]))

    for script in (echo, stream):
        async with stage(script) as on:
            await on.take(HEAD % 5, *[b"hello"[at : at + 1] for at in range(5)])
            assert on.wire.out.endswith(b"hello")


async def test_heads_that_come_again_and_those_that_do_not_are_read_alike() -> None:
    """Requests of one connection, each by what came before it, in every order of a few heads and lengths."""
    read: list[tuple[str, dict[str, str], bytes]] = []

    async def note(exchange: HotExchange) -> None:
        body = await exchange.body(1 << 20)
        assert body is not None
        read.append((exchange.path, dict(exchange.headers), body))
        await exchange.send(Head(200), b"")

    heads = [
        (path, key, length)
        for path in ("/v1/x", "/v1/xy")
        for key in ("k1", "k2")
        for length in (1, 3, 12)
    ]  # fmt: skip
    async with stage(note) as on:
        for first in heads:
            for second in heads:
                for path, key, length in (first, second):
                    data = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nx-api-key: {key}\r\n\r\n"
                    await on.take(data.encode() + b"b" * length)
                    headers = {"host": "x", "content-length": str(length), "x-api-key": key}
                    assert read[-1] == (path, headers, b"b" * length)
    assert len(on.tasks) == 1


async def test_a_part_of_a_known_head_is_handed_over_like_that_of_any_other() -> None:
    async with stage() as on:
        await on.take(REQUEST)
        await on.take(REQUEST[:20])
        assert on.successor.data == REQUEST[:20]
        assert on.tasks[0].done()


async def test_requests_ahead_of_their_turn_are_answered_in_order() -> None:
    async with stage() as on:
        got = await on.take(HEAD % 1 + b"a" + HEAD % 1 + b"b" + HEAD % 1 + b"c")
        assert [part[:1] for part in got.split(b"|")[1:]] == [b"a", b"b", b"c"]
        got = await on.take(HEAD % 3 + b"ab", b"c" + HEAD % 1 + b"d")
        assert [part[:1] for part in got.split(b"|")[1:]] == [b"a", b"d"]


async def test_who_sends_far_ahead_is_paused_and_resumed() -> None:
    gate = asyncio.Event()

    async def slow(exchange: HotExchange) -> None:
        await gate.wait()
        await echo(exchange)

    async with stage(slow) as on:
        await on.take(REQUEST)
        await on.take(HEAD % AHEAD + b"x" * AHEAD)
        assert on.wire.paused
        gate.set()
        await on.rest()
        assert not on.wire.paused
        assert len(on.exchanges) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost:",
        HEAD % ((1 << 20) + 1) + b"x",
        b"\x16\x03\x01 not HTTP",
    ],
)
async def test_what_is_not_plain_goes_to_the_successor_with_every_byte(data: bytes) -> None:
    async with stage() as on:
        await on.take(REQUEST, data)
        assert on.successor.data == data
        assert on.successor.transport is on.wire
        assert on.wire.protocol is on.successor
        assert len(on.exchanges) == 1
        assert len(on.patience) == 0  # the successor waits for its head by itself
        assert not on.limits.connections


async def test_an_unusual_request_behind_a_plain_one_waits_for_it() -> None:
    async with stage() as on:
        odd = b"PUT /v1/x HTTP/1.1\r\nhost: x\r\n\r\n"
        assert (await on.take(REQUEST + odd)).endswith(b"|hello")
        assert on.successor.data == odd


async def test_a_client_that_goes_ends_its_exchange_at_once() -> None:
    async def endless(exchange: HotExchange) -> None:
        await asyncio.Event().wait()

    async with stage(endless) as on:
        await on.take(REQUEST)
        on.connection.connection_lost(None)
        await on.rest()
        assert [type(one) for one in on.failures] == [asyncio.CancelledError]
        assert len(on.patience) == 0


async def test_writing_to_nobody_says_so() -> None:
    async with stage() as on:
        await on.take(HEAD % 5)
        on.wire.close()
        await on.take(b"hello")
        assert [type(one) for one in on.failures] == [ClientGone]


async def test_a_silent_body_is_too_slow_and_its_connection_ends() -> None:
    async with stage() as on:
        await on.take(HEAD % 5, b"he")
        on.wait(29)
        await on.take(b"l")
        on.wait(29)
        assert on.failures == []
        on.wait(2)
        await on.rest()
        assert [type(one) for one in on.failures] == [ClientTooSlow]
        assert on.wire.closed


async def test_an_answer_before_the_body_keeps_the_connection_in_step() -> None:
    async def early(exchange: HotExchange) -> None:
        await exchange.send(Head(401), b"no")

    async with stage(early) as on:
        assert (await on.take(HEAD % 5 + b"he")).endswith(b"no")
        assert await on.take(b"llo") == b""
        assert (await on.take(REQUEST)).startswith(b"HTTP/1.1 401")
        assert len(on.exchanges) == 2
        assert (await on.take(HEAD % 5)).endswith(b"no")
        on.wait(31)  # the rest never comes
        assert on.wire.closed


async def test_what_comes_with_the_end_of_a_body_that_nobody_wants_has_its_turn() -> None:
    async def early(exchange: HotExchange) -> None:
        await exchange.send(Head(401), exchange.path.encode())

    async with stage(early) as on:
        assert (await on.take(HEAD % 5 + b"he")).endswith(b"/v1/x")
        assert (await on.take(b"llo" + REQUEST.replace(b"/v1/x", b"/v1/y"))).endswith(b"/v1/y")
        assert (await on.take(REQUEST.replace(b"/v1/x", b"/v1/z"))).endswith(b"/v1/z")
        assert [exchange.path for exchange in on.exchanges] == ["/v1/x", "/v1/y", "/v1/z"]


async def test_a_close_does_not_wait_for_ever_for_a_client_that_takes_nothing() -> None:
    class Full(Wire):
        aborted = False

        def abort(self) -> None:
            self.aborted = self.closed = True

    async with stage() as on:
        on.connection.transport = wire = Full()
        await on.take(REQUEST)
        on.wait(76)  # idle: closed, when what is written has been sent
        assert wire.closed
        assert not wire.aborted
        on.wait(31)
        assert wire.aborted
        on.connection.connection_lost(None)
        assert len(on.patience) == 0


async def test_idle_connections_end() -> None:
    async with stage() as on:
        on.wait(11)  # no head
        assert on.wire.closed
    async with stage() as on:
        await on.take(REQUEST)
        on.wait(74)
        assert not on.wire.closed
        on.wait(2)
        assert on.wire.closed


async def test_a_client_is_idle_from_the_end_of_its_last_answer_on() -> None:
    """Whether the head is a new one or one that came before, and however the time between two looks falls."""
    async with stage() as on:
        for pause in (0, 50, 74, 1, 70):
            on.wait(pause)
            await on.take(REQUEST)
        on.wait(74)
        assert not on.wire.closed
        on.wait(2)
        assert on.wire.closed


async def test_who_waits_for_an_answer_is_not_idle() -> None:
    gate = asyncio.Event()

    async def slow(exchange: HotExchange) -> None:
        await gate.wait()
        await echo(exchange)

    async with stage(slow) as on:
        for _ in range(2):
            gate.clear()
            await on.take(REQUEST)
            assert on.connection.running is on.tasks[0]
            on.wait(76)
            on.wait(76)
            assert not on.wire.closed
            gate.set()
            await on.rest()
            assert on.connection.running is None
            on.wait(74)
            assert not on.wire.closed
        on.wait(76)
        assert on.wire.closed


async def test_a_rest_of_a_body_that_came_late_leaves_an_idle_client() -> None:
    async def early(exchange: HotExchange) -> None:
        await exchange.send(Head(401), b"no")

    async with stage(early) as on:
        await on.take(HEAD % 5 + b"he")
        assert on.connection.running is None
        on.wait(29)
        await on.take(b"llo")
        on.wait(74)
        assert not on.wire.closed
        on.wait(2)
        assert on.wire.closed


async def test_draining_closes_idle_connections_and_says_close_on_busy_ones() -> None:
    async with stage() as on:
        on.connection.drain()
        assert on.wire.closed
    async with stage() as on:
        await on.take(HEAD % 5)
        on.connection.drain()
        assert not on.wire.closed
        assert b"connection: close\r\n" in await on.take(b"hello")
        assert on.wire.closed


async def test_an_exchange_without_an_end_breaks_the_connection() -> None:
    async def half(exchange: HotExchange) -> None:
        await exchange.begin(Head(200))
        await exchange.write(b"a")

    async with stage(half) as on:
        assert not (await on.take(REQUEST)).endswith(b"0\r\n\r\n")
        assert on.wire.closed


async def test_a_full_buffer_is_waited_for() -> None:
    done: list[str] = []

    async def two(exchange: HotExchange) -> None:
        await exchange.begin(Head(200))
        done.append("begun")
        await exchange.end()
        done.append("ended")

    async with stage(two) as on:
        on.connection.pause_writing()
        await on.take(REQUEST)
        assert done == []
        on.connection.resume_writing()
        await on.rest()
        assert done == ["begun", "ended"]


async def test_what_is_put_is_written_at_once_in_the_frames_of_write() -> None:
    async def both(exchange: HotExchange) -> None:
        await exchange.begin(Head(200))
        put = exchange.put()
        await exchange.write(b"hello")
        written = on.wire.out.partition(b"\r\n\r\n")[2]
        assert put(b"hello")
        assert on.wire.out.partition(b"\r\n\r\n")[2] == written * 2
        await exchange.end()

    async with stage(both) as on:
        await on.take(REQUEST)
        assert on.failures == []


async def test_what_is_put_keeps_to_a_known_length() -> None:
    async def one(exchange: HotExchange) -> None:
        await exchange.begin(Head(200, (("content-length", "5"),)))
        assert exchange.put()(b"hello")
        await exchange.end()

    async with stage(one) as on:
        assert (await on.take(REQUEST)).endswith(b"\r\n\r\nhello")


async def test_a_client_that_takes_no_more_is_said_so_and_there_is_room_again() -> None:
    done: list[bool] = []

    async def full(exchange: HotExchange) -> None:
        await exchange.begin(Head(200))
        on.connection.pause_writing()
        done.append(exchange.put()(b"hello"))
        await exchange.room()
        done.append(exchange.put()(b"again"))

    async with stage(full) as on:
        await on.take(REQUEST)
        assert done == [False]
        on.connection.resume_writing()
        await on.rest()
        assert done == [False, True]


async def test_nothing_can_be_put_to_nobody() -> None:
    async def gone(exchange: HotExchange) -> None:
        await exchange.begin(Head(200))
        put = exchange.put()
        on.wire.abort()
        with pytest.raises(ClientGone):
            put(b"hello")
        with pytest.raises(ClientGone):
            await exchange.write(b"hello")

    async with stage(gone) as on:
        await on.take(REQUEST)
        assert on.failures == []
        assert b"hello" not in on.wire.out
