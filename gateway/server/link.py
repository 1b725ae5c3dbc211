"""The link between the process that owns the ports and one of the processes that serve: frames over a socket pair.

Down go orders, up go reports. Who reads an end of file knows that the other process is no more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from gateway.server.health import Finding
from gateway.telemetry.totals import Snapshot

BEAT = 0.5  # seconds between two reports; what kill -9 may cost the metrics
LARGEST = 64 << 20  # bytes of a frame
_HEAD = 4  # bytes of a frame's length

T = TypeVar("T")
Why = Literal["beat", "asked", "reloaded", "last"]


class Order(msgspec.Struct):
    """From the supervisor. `begin` comes first and brings what all workers share; `lead`: serve the admin listener;
    `report`: say how it stands now."""

    do: Literal["begin", "lead", "report"]
    master: bytes = b""


class Report(msgspec.Struct):
    """From a worker. `reloaded`: an admin had the policies read again, which the others should too."""

    why: Why
    started: bool
    checks: dict[str, Finding]  # by name
    metrics: Snapshot


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker is given: the listening sockets by name, their addresses, and its end of the link."""

    sockets: dict[str, int]
    urls: dict[str, str]
    link: int
    lock: int
    supervisor: int  # its process id


@dataclass(frozen=True, slots=True)
class Seat:
    """What makes a gateway a worker: its end of the link, and the secret that all workers share."""

    link: Link
    master: bytes
    lock: int  # a file that all workers have, for turns at the output


def frame(message: object) -> bytes:
    """A message as it goes over the link."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_HEAD, "big") + body


async def receive(reader: asyncio.StreamReader, kind: type[T]) -> T | None:
    """The next message; None when the other end is gone."""
    try:
        size = int.from_bytes(await reader.readexactly(_HEAD), "big")
        return msgspec.msgpack.decode(await reader.readexactly(size), type=kind) if size <= LARGEST else None
    except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError):
        return None


class Link:
    """A worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def begin(self) -> Order | None:
        """The first order; waits for it. None: the supervisor is gone."""
        self._socket.setblocking(True)
        size = int.from_bytes(self._exactly(_HEAD), "big")
        body = self._exactly(size)
        return msgspec.msgpack.decode(body, type=Order) if body else None

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                return b""
            parts += part
        return parts

    async def open(self) -> None:
        """From now on in this event loop."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket)

    async def beat(self, report: Callable[[], Awaitable[Report]]) -> None:
        """Report all the time, so that the supervisor sees that this event loop turns."""
        while True:
            await self.say(await report())
            await asyncio.sleep(BEAT)

    async def follow(
        self, report: Callable[[], Awaitable[Report]], lead: Callable[[], Awaitable[None]], gone: Callable[[], None]
    ) -> None:
        """Do as told; `gone` is called when nobody tells any more."""
        assert self._reader is not None  # noqa: S101  # INVARIANT: opened
        while (order := await receive(self._reader, Order)) is not None:
            if order.do == "lead":
                await lead()
            await self.say(await report())
        gone()

    async def say(self, report: Report) -> None:
        """Send a report, as far as the supervisor takes it."""
        if self._writer is None:
            return
        try:
            self._writer.write(frame(report))
            await self._writer.drain()
        except ConnectionError:
            return  # the next read says so as well

    async def close(self) -> None:
        """Send what is left."""
        if self._writer is not None:
            self._writer.close()
            try:
                await self._writer.wait_closed()
            except ConnectionError:
                return
