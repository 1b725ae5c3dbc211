"""A listening socket that several processes accept from."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from aiohttp import web

from gateway.server import listeners
from gateway.server.listeners import Bound, SharedSite, bind, serve


async def answer(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


def clients(bound: Bound, count: int) -> list[socket.socket]:
    return [socket.create_connection(bound.socket.getsockname()) for _ in range(count)]


async def said(client: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    found = await reader.read()
    writer.close()
    return found


async def test_one_connection_a_turn_is_taken_and_the_rest_left_to_others() -> None:
    bound = bind("server", "127.0.0.1", 0)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = SharedSite(runner, bound)
    mine = clients(bound, 4)
    site._accept()
    others = [bound.socket.accept()[0] for _ in range(3)]
    with pytest.raises(BlockingIOError):
        bound.socket.accept()
    site._accept()  # nothing waits: another was faster
    await asyncio.gather(*site._accepting)
    assert b"hello" in await said(mine[0])
    for one in (*mine[1:], *others):
        one.close()
    await runner.cleanup()
    bound.socket.close()


async def test_who_stops_leaves_the_socket_open_for_the_others() -> None:
    bound = bind("server", "127.0.0.1", 0)
    other = bound.socket.dup()
    runner = await serve(web.ServerRunner(web.Server(answer)), bound, shared=True)
    assert b"hello" in await said(clients(bound, 1)[0])
    await runner.cleanup()
    (late,) = clients(bound, 1)
    other.setblocking(True)
    other.settimeout(5)
    taken, _ = other.accept()
    for one in (late, taken, other, bound.socket):
        one.close()


class Full:
    """A socket that has no descriptor left for a while."""

    def __init__(self, real: socket.socket) -> None:
        self.real, self.fails = real, 1

    def accept(self) -> Any:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self.real.accept()

    def fileno(self) -> int:
        return self.real.fileno()


async def test_without_a_free_descriptor_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "BREATHER", 0.05)
    bound = bind("server", "127.0.0.1", 0)
    full: Any = Full(bound.socket)
    runner = await serve(web.ServerRunner(web.Server(answer)), Bound(full, bound.url), shared=True)
    assert b"hello" in await said(clients(bound, 1)[0])
    assert full.fails == 0
    await runner.cleanup()
    bound.socket.close()


def test_what_is_accepted_is_kept_alive() -> None:
    bound = bind("server", "127.0.0.1", 0)
    (mine,) = clients(bound, 1)
    accepted, _ = bound.socket.accept()
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    for one in (accepted, mine, bound.socket):
        one.close()
