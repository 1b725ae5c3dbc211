"""One connection to Redis that many callers share: their commands leave in one write per turn of the event loop.

redis-py makes the connection (addresses, TLS, AUTH, SELECT); then this takes over its socket, because redis-py's own
path costs 80 to 190 µs of CPU a call. Commands come encoded, replies are matched in the order in which they were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis

from gateway.errors import StoreFailure
from gateway.telemetry.tasks import Background

WAITING = 20_000  # calls that may wait for a reply; more mean that the store no longer keeps up
SILENCE = 1.0  # seconds without the oldest reply after which a connection is given up
PAUSE = 0.25  # seconds between two attempts to connect
GRACE = 0.002  # seconds for replies that came while our own loop was busy, before a call counts as late

_WRAPPED = re.compile(r"ERR Error running script .*?: -([A-Z]+) ")

Connect = Callable[[], Awaitable[asyncio.WriteTransport]]


class Lost(StoreFailure):
    """The connection broke before the reply came: the command may or may not have run."""


class ReplyError(StoreFailure):
    """Redis answered with an error; `code` is its first word. Redis before 7 wraps the error of a command inside of a
    script: `ERR Error running script (call to f_…): @user_script:12: @user_script: 12: -READONLY You can't write …`."""

    def __init__(self, text: str) -> None:
        wrapped = _WRAPPED.match(text)
        self.code = wrapped[1] if wrapped is not None else text.partition(" ")[0]
        super().__init__(text[:200])


class Link(asyncio.Protocol):
    """One connection. Its futures raise StoreFailure when a reply is late, an error, or lost."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._graced = False
        self._transport: asyncio.WriteTransport | None = None
        self.lost = False

    def over(self, transport: asyncio.WriteTransport) -> None:
        """Speak over this transport from now on."""
        self._transport = transport
        transport.set_protocol(self)

    def send(self, encoded: bytes) -> asyncio.Future[Any]:
        """Queue a command; the reply comes by the future. Raises StoreFailure where it cannot even be queued."""
        if self.lost:
            raise Lost("no connection")
        if len(self._waiting) >= WAITING:
            raise StoreFailure("too many calls wait for the store")
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(encoded)
        self._waiting.append((self._loop.time() + self._seconds, future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._late)
        return future

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self.lost and self._transport is not None:
            self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                _, future = self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(ReplyError(str(reply)))
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):  # what came is not an answer to anything we asked
            self.drop()

    def _late(self) -> None:
        """Fail what is late. Replies that wait in the socket, since our own loop was late, get one more chance."""
        self._timer = None
        now = self._loop.time()
        if not self._waiting:
            self._graced = False
            return
        oldest = self._waiting[0][0]
        if oldest > now:
            self._graced = False
            self._timer = self._loop.call_at(oldest, self._late)
            return
        if not self._graced:
            self._graced = True
            self._timer = self._loop.call_later(GRACE, self._late)
            return
        upcoming = now + self._seconds
        for deadline, future in self._waiting:
            if deadline > now:
                upcoming = deadline
                break
            if not future.done():
                future.set_exception(StoreFailure(f"no reply within {self._seconds * 1000:.0f} ms"))
        if now - oldest > SILENCE:
            self.drop()
            return
        self._timer = self._loop.call_at(upcoming, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def drop(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if not future.done():
                future.set_exception(Lost("the connection broke"))


class Pipe:
    """Keeps one Link open, and opens the next when it is lost. `seconds` bounds each call, connecting included;
    `connect` itself may take longer, and goes on in the background."""

    def __init__(self, connect: Connect, seconds: float, background: Background) -> None:
        self._connect = connect
        self._seconds = seconds
        self._background = background
        self._link: Link | None = None
        self._opening: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._failure = "no connection"
        self.opened = 0  # links so far: who remembers something of a connection compares it

    async def call(self, encoded: bytes) -> Any:
        """Send one command, return its reply. Raises StoreFailure."""
        return await (self.send(encoded) or (await self._open()).send(encoded))

    def send(self, encoded: bytes) -> asyncio.Future[Any] | None:
        """Send a command over the link of this moment; None where there is none. Raises StoreFailure."""
        link = self._link
        return None if link is None or link.lost else link.send(encoded)

    async def link(self) -> Link:
        """The link of this moment, to send several commands over. Raises StoreFailure."""
        link = self._link
        return await self._open() if link is None or link.lost else link

    def drop(self) -> None:
        """Give the connection up: the other end is not what it was."""
        if self._link is not None:
            self._link.drop()

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreFailure):
                await self._opening
        self.drop()
        self._not_before = float("inf")

    async def _open(self) -> Link:
        loop = asyncio.get_running_loop()
        if self._opening is None:
            if loop.time() < self._not_before:
                raise StoreFailure(self._failure)
            self._not_before = loop.time() + PAUSE
            self._opening = self._background.spawn("redis connect", self._dial())
        done, _ = await asyncio.wait({self._opening}, timeout=self._seconds)
        if not done:
            raise StoreFailure(f"no connection within {self._seconds * 1000:.0f} ms")
        link = self._link
        if link is None or link.lost:
            raise StoreFailure(self._failure)
        return link

    async def _dial(self) -> None:
        try:
            transport = await self._connect()
            link = Link(self._seconds)
            link.over(transport)
            self._link = link
            self.opened += 1
        except StoreFailure as failure:
            self._failure = failure.detail
        finally:
            self._opening = None
