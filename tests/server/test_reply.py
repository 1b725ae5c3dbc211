"""Both ways back to a client, over a real socket: what holds for the plain one holds for the hot one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.errors import ClientGone
from gateway.patience import Patience
from gateway.ports import Head
from gateway.server.hot import HotConnection
from gateway.server.hot_exchange import HotExchange
from gateway.server.reply import HttpReply
from gateway.server.shared import Limits

Script = Callable[[Any], Awaitable[None]]
KINDS = pytest.mark.parametrize("kind", [HttpReply, HotExchange])
JSON = (("content-type", "application/json"), ("x-request-id", "req_1"))


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@asynccontextmanager
async def answering(kind: type[Any], script: Script, *, closing: bool = False, patience: Patience | None = None):  # type: ignore[no-untyped-def]  # an async generator of a port number
    patience = patience if patience is not None else Patience(Clock())  # one without waits is false

    async def handle(request: web.BaseRequest) -> Any:
        await request.read()
        reply = kind(request, patience, 30.0, closing=closing)
        await script(reply)
        return reply.response or web.Response(status=500)

    server = web.Server(handle, handler_cancellation=True, access_log=None)
    if kind is HotExchange:
        async with hot(script, closing=closing, patience=patience) as port:
            yield port
        return
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def hot(script: Script, *, closing: bool, patience: Patience):  # type: ignore[no-untyped-def]  # an async generator of a port number
    loop, tasks = asyncio.get_running_loop(), set()
    limits = Limits(header=10.0, silence=30.0, write=30.0, keepalive=75.0, body=1 << 20)

    def serve(one: HotConnection) -> asyncio.Task[None]:
        async def answer() -> None:
            while True:
                if (request := one.arrived) is None:
                    if (turn := one.turn()) is None:
                        return
                    await turn
                    continue
                one.arrived = None
                try:
                    await request.body(1 << 20)
                    await script(request)
                except ClientGone:
                    pass
                finally:
                    one.ended(request)

        task = loop.create_task(answer())
        tasks.add(task)
        return task

    def connection() -> HotConnection:
        made = HotConnection(serve, lambda: pytest.fail("handed over"), patience, limits)
        made.closing = closing
        return made

    server = await loop.create_server(connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in tuple(limits.connections):
            one.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


async def exchange(port: int, *requests: bytes, until: int | None = None) -> bytes:
    """Send requests on one connection, read until it is closed or `until` bytes came or it is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    for request in requests:
        writer.write(request)
        try:
            async with asyncio.timeout(0.3):
                while chunk := await reader.read(65536):
                    got += chunk
        except TimeoutError:
            pass
        except ConnectionError:
            got += b"<reset>"
    writer.close()
    return got


GET = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


@KINDS
async def test_a_whole_answer_and_the_connection_goes_on(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        await reply.send(Head(200, JSON), b'{"a":1}')

    async with answering(kind, script) as port:
        got = (await exchange(port, GET, GET)).decode()
    assert got.count("HTTP/1.1 200 OK\r\n") == 2
    assert got.count('\r\n\r\n{"a":1}') == 2
    assert got.lower().count("content-length: 7\r\n") == 2
    assert got.lower().count("x-request-id: req_1\r\n") == 2
    assert got.lower().count("server: llm-gateway\r\n") == 2
    assert "connection: close" not in got.lower()


@KINDS
async def test_an_answer_in_pieces_is_chunked_and_ends(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        assert not reply.begun
        await reply.begin(Head(200, (("content-type", "text/event-stream"),)))
        assert reply.begun
        await reply.write(b"data: 1\n\n")
        await reply.write(b"data: 2\n\n")
        await reply.end()

    async with answering(kind, script) as port:
        got = await exchange(port, GET, GET)
    assert got.lower().count(b"transfer-encoding: chunked\r\n") == 2
    assert got.count(b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n") == 2


@KINDS
async def test_a_first_piece_may_come_with_the_head(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        await reply.begin(Head(200, (("content-type", "text/event-stream"),)), b"data: 1\n\n")
        await reply.write(b"data: 2\n\n")
        await reply.end()

    async with answering(kind, script) as port:
        got = await exchange(port, GET, GET)
    assert got.count(b"\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n") == 2


@KINDS
async def test_a_known_length_stays_known(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        await reply.begin(Head(200, (("content-type", "audio/mpeg"), ("content-length", "4"))))
        await reply.write(b"ab")
        await reply.write(b"cd")
        await reply.end()

    async with answering(kind, script) as port:
        got = await exchange(port, GET, GET)
    assert got.count(b"\r\n\r\nabcd") == 2
    assert b"chunked" not in got.lower()


@KINDS
async def test_lines_stand_in_a_head_as_fields_do(kind: type[Any]) -> None:
    own, lines = (("retry-after", "1"),), "x-one: 1\r\nx-two: a: b\r\n"

    async def script(reply: Any) -> None:
        await reply.send(Head(429, own, lines), b"{}")

    async def stream(reply: Any) -> None:
        await reply.begin(Head(429, (), lines + "retry-after: 1\r\n"), b"{}")
        await reply.end()

    for one in (script, stream):
        async with answering(kind, one) as port:
            got = (await exchange(port, GET, GET)).lower()
        for line in (b"retry-after: 1\r\n", b"x-one: 1\r\n", b"x-two: a: b\r\n"):
            assert got.count(b"\r\n" + line) == 2
        assert got.count(b"\r\n\r\n") == (2 if one is script else 4)


@KINDS
async def test_abort_in_the_middle_leaves_no_end(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        await reply.begin(Head(200, (("content-type", "text/event-stream"),)))
        await reply.write(b"data: 1\n\n")
        await asyncio.sleep(0.05)
        reply.abort()

    async with answering(kind, script) as port:
        got = await exchange(port, GET)
    assert b"data: 1" in got
    assert b"0\r\n\r\n" not in got


@KINDS
async def test_closing_says_so(kind: type[Any]) -> None:
    async def script(reply: Any) -> None:
        await reply.send(Head(429, JSON), b"{}")

    async with answering(kind, script, closing=True) as port:
        got = await exchange(port, GET, GET)
    assert got.count(b"HTTP/1.1 429") == 1
    assert b"connection: close\r\n" in got.lower()


@KINDS
@pytest.mark.parametrize("status", [204, 304])
async def test_what_is_sent_without_a_body_has_none(kind: type[Any], status: int) -> None:
    async def script(reply: Any) -> None:
        await reply.send(Head(status, (), "x-request-id: req_1\r\n"), b"what a client would take for an answer")

    async with answering(kind, script) as port:
        got = await exchange(port, GET, GET)
    assert got.count(f"HTTP/1.1 {status}".encode()) == 2
    assert b"what" not in got
    assert b"content-length" not in got.lower()
    assert got.endswith(b"\r\n\r\n")


@KINDS
@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(kind: type[Any], status: int) -> None:
    async def script(reply: Any) -> None:
        await reply.begin(Head(status, (("x-request-id", "req_1"), ("content-length", "5"))))
        await reply.end()

    async with answering(kind, script) as port:
        got = await exchange(port, GET, GET)
    assert got.count(f"HTTP/1.1 {status}".encode()) == 2
    assert b"chunked" not in got.lower()
    assert b"content-length" not in got.lower()
    assert got.endswith(b"\r\n\r\n")


@KINDS
async def test_a_line_break_in_a_header_never_leaves(kind: type[Any]) -> None:
    raised: list[BaseException] = []

    async def script(reply: Any) -> None:
        for value in ("a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1"):
            try:
                await reply.send(Head(200, (("x-name", value),)), b"{}")
            except ValueError as error:
                raised.append(error)
        reply.abort()

    async with answering(kind, script) as port:
        got = await exchange(port, GET)
    assert b"x-evil" not in got
    assert len(raised) == 3


@KINDS
async def test_a_client_that_takes_nothing_loses_its_connection(kind: type[Any]) -> None:
    clock = Clock()
    patience = Patience(clock)
    ended: list[BaseException] = []

    async def script(reply: Any) -> None:
        await reply.begin(Head(200, (("content-type", "text/event-stream"),)))
        try:
            while True:
                await reply.write(b"x" * 65536)
        except (ClientGone, asyncio.CancelledError) as error:
            ended.append(error)
            raise

    async with answering(kind, script, patience=patience) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        for _ in range(100):
            await asyncio.sleep(0.02)
            if len(patience):
                break
        await asyncio.sleep(0.2)
        assert not ended
        for _ in range(20):  # the first looks may find that the kernel's buffers have taken something
            if not ended:
                clock.time += 7.5
                patience.tick()
                await asyncio.sleep(0.02)
        last = clock.time if ended else 0.0
        writer.close()
    assert 30.0 <= last <= 90.0
    assert len(patience) == 0


@KINDS
async def test_a_client_that_takes_little_but_steadily_keeps_its_connection(kind: type[Any]) -> None:
    """Behind large buffers of the kernel nothing is asked for until a third of them is free."""
    clock = Clock()
    patience = Patience(clock)
    size, done = 24 << 20, asyncio.Event()

    async def script(reply: Any) -> None:
        await reply.send(Head(200, JSON), b"x" * size)
        done.set()

    async with answering(kind, script, patience=patience) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(GET)
        got = 0
        while not len(patience):
            await asyncio.sleep(0.01)
        while not done.is_set() and not reader.at_eof():
            for _ in range(4):
                got += len(await reader.read(1 << 16))
            await asyncio.sleep(0.002)
            clock.time += 7.0  # a quarter of a megabyte every seven seconds
            patience.tick()
        assert done.is_set(), f"cut after {got >> 10} KiB"
        assert clock.time > 60, "it took longer than a client may take nothing"
        writer.close()


def test_patience_ends_once_and_can_be_taken_back() -> None:
    clock = Clock()
    patience = Patience(clock)
    acted: list[str] = []
    patience.begin("a", 10, lambda: acted.append("a"))
    patience.begin("b", 10, lambda: acted.append("b"))
    patience.begin("c", 20, lambda: acted.append("c"))
    patience.end("b")
    clock.time = 9.9
    patience.tick()
    assert acted == []
    clock.time = 10.0
    patience.tick()
    patience.tick()
    assert acted == ["a"]
    clock.time = 30.0
    patience.tick()
    assert acted == ["a", "c"]
    assert len(patience) == 0
