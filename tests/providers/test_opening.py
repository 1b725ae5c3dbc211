"""Connections to a provider that speaks or hangs up before it was asked anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app import SystemClock
from gateway.errors import ConnectFailed, ProviderBroken
from gateway.patience import Patience
from gateway.ports import UpstreamRequest
from gateway.providers.lean_connection import Connection
from gateway.providers.lean_transport import LeanTransport


class Speaks(asyncio.Protocol):
    """Says its words to whoever comes, and waits for their end."""

    words = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.words)


class Mail(Speaks):
    words = b"220 mail.example ESMTP\r\n"


@asynccontextmanager
async def transport_to(kind: type[Speaks]) -> AsyncIterator[tuple[LeanTransport, UpstreamRequest]]:
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
    clock, nobody = SystemClock(), object()
    transport = LeanTransport(clock, Patience(clock), nobody)  # type: ignore[arg-type]  # nothing streams here
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield transport, UpstreamRequest("POST", url, (), b"{}")
    finally:
        server.close()


async def test_who_speaks_first_is_broken_and_not_remembered() -> None:
    async with transport_to(Mail) as (transport, request):
        for _ in range(20):
            with pytest.raises((ConnectFailed, ProviderBroken)):
                await transport.send(request)
        await asyncio.sleep(0.01)
        assert transport.connections == 0


@pytest.mark.parametrize("how", ["lost", "spoken"])
async def test_a_connection_that_ends_as_it_is_made_is_no_connection(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with transport_to(Speaks) as (transport, request):
        loop = asyncio.get_running_loop()
        connect = loop.create_connection

        async def and_end(factory: Any, *args: Any, **more: Any) -> Any:
            made, connection = await connect(factory, *args, **more)
            assert isinstance(connection, Connection)
            if how == "lost":
                made.abort()
                await asyncio.sleep(0.01)
            else:
                connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return made, connection

        monkeypatch.setattr(loop, "create_connection", and_end)
        with pytest.raises(ConnectFailed):
            await transport.send(request)
        await asyncio.sleep(0.01)
        assert transport.connections == 0


class Answers(asyncio.Protocol):
    """Answers each request, and counts who came."""

    came = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        type(self).came += 1

    def data_received(self, _: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    monotonic = now


@pytest.mark.parametrize(("pause", "came"), [(0.0, 1), (30.0, 1), (59.0, 1), (60.0, 2), (3600.0, 2)])
async def test_a_connection_outlives_a_pause_of_a_minute(pause: float, came: int) -> None:
    class Counted(Answers):
        came = 0

    server = await asyncio.get_running_loop().create_server(Counted, "127.0.0.1", 0)
    clock, nobody = Hands(), object()
    transport = LeanTransport(clock, Patience(clock), nobody)  # type: ignore[arg-type]  # nothing streams here
    request = UpstreamRequest("POST", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", (), b"{}")
    try:
        for _ in range(2):
            assert await (await transport.send(request)).chunk() == b"{}"
            clock.at += pause
        assert (Counted.came, transport.connections) == (came, 1)
    finally:
        for place in transport._places.values():
            for connection in tuple(place.open):
                connection.abort()
        server.close()
