"""One connection to Redis that many callers share: their commands leave in one write per turn of the event loop.

redis-py makes the connection (addresses, TLS, AUTH, SELECT); then this takes over its socket, because redis-py's own
path costs 80 to 190 µs of CPU a call. Commands come encoded, replies are matched in the order in which they were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NoReturn

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
        self.of_the_call = self.code in ("ERR", "WRONGTYPE")  # what this command found does not suit it
        super().__init__(text[:200])


class Replies:
    """Takes the replies to several commands in place of a future for each. What Redis answered with an error is a
    ReplyError among them; whatever else goes wrong is the failure of all."""

    __slots__ = ("_count", "_replies", "whole")

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.whole: asyncio.Future[list[Any]] = loop.create_future()
        self._replies: list[Any] = []
        self._count = count

    def done(self) -> bool:
        return self.whole.done()

    def set_result(self, reply: Any) -> None:
        self._replies.append(reply)
        if len(self._replies) == self._count:
            self.whole.set_result(self._replies)

    def set_exception(self, error: StoreFailure) -> None:
        if isinstance(error, ReplyError):
            self.set_result(error)
        else:
            self.whole.set_exception(error)


Waiting = asyncio.Future[Any] | Replies


class Flight:
    """Commands that left in one write: when their replies are due, and how many commands had been written with them.
    `late`: how often they were found late; the first time they get one more chance."""

    __slots__ = ("deadline", "late", "written")

    def __init__(self, written: int, deadline: float) -> None:
        self.written, self.deadline = written, deadline
        self.late = 0


class Link(asyncio.Protocol):
    """One connection. Its futures raise StoreFailure when a reply is late, an error, or lost.

    Late is what the other end is, never what our own loop is: the time of a call begins when it is written, not when
    it is queued, by a clock that does not stand still within a turn of the loop; and before it is given up, the loop
    reads once more what may have come while it was busy.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._future, self._call_soon = self._loop.create_future, self._loop.call_soon
        self._seconds = seconds
        self._reader = hiredis.Reader()
        self._asked: deque[Waiting] = deque()  # who waits for the reply to a command that was written, in their order
        self._written = 0  # commands so far
        self._flights: deque[Flight] = deque()  # of those who wait
        self._out: list[bytes] = []
        self._next: list[Waiting] = []  # who waits for what is in `_out`
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.lost = False

    def over(self, transport: asyncio.WriteTransport) -> None:
        """Speak over this transport from now on."""
        self._transport = transport
        transport.set_protocol(self)

    def send(self, encoded: bytes) -> asyncio.Future[Any]:
        """Queue a command; the reply comes by the future. Raises StoreFailure where it cannot even be queued."""
        out = self._out
        if self.lost or len(self._asked) + len(out) >= WAITING:
            self._refuse()
        if not out:
            self._call_soon(self._flush)
        out.append(encoded)
        future: asyncio.Future[Any] = self._future()
        self._next.append(future)
        return future

    def send_all(self, encoded: Sequence[bytes]) -> asyncio.Future[list[Any]]:
        """Queue several; a reply or a ReplyError of each comes by the one future. Raises StoreFailure, as above."""
        if self.lost or len(self._asked) + len(self._out) >= WAITING:
            self._refuse()
        if not self._out:
            self._call_soon(self._flush)
        replies = Replies(self._loop, len(encoded))
        self._out += encoded
        self._next += [replies] * len(encoded)
        return replies.whole

    def _refuse(self) -> NoReturn:
        if self.lost:
            raise Lost("no connection")
        raise StoreFailure("too many calls wait for the store")

    def _flush(self) -> None:
        if self.lost or self._transport is None:
            return
        out, self._out = self._out, []
        self._asked += self._next
        self._next = []
        self._written += len(out)
        self._flights.append(Flight(self._written, monotonic() + self._seconds))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._late)
        self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        next_one, gets = self._asked.popleft, self._reader.gets
        try:
            self._reader.feed(data)
            while (reply := gets()) is not False:
                one = next_one()
                if one.done():
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    one.set_exception(ReplyError(str(reply)))
                else:
                    one.set_result(reply)
        except (hiredis.ProtocolError, IndexError):  # what came is not an answer to anything we asked
            self.drop()
        flights, answered = self._flights, self._written - len(self._asked)
        while flights and flights[0].written <= answered:
            flights.popleft()

    def _late(self) -> None:
        """Fail what is late and has had its second chance."""
        self._timer = None
        if not self._flights:
            return
        now, wait = monotonic(), self._seconds
        silent = self._flights[0].late > 1 and now - self._flights[0].deadline > SILENCE
        for flight in self._flights:
            if flight.deadline > now:
                wait = min(wait, flight.deadline - now)
                break
            flight.late += 1
            if flight.late == 1:
                wait = GRACE
            elif flight.late == 2:
                answered = self._written - len(self._asked)
                late = islice(self._asked, flight.written - answered)
                _fail(late, StoreFailure(f"no reply within {self._seconds * 1000:.0f} ms"))
        if silent:
            self.drop()
        else:
            self._timer = self._loop.call_later(wait, self._late)

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
        waiting = [*self._asked, *self._next]
        self._flights.clear()
        self._asked.clear()
        self._next, self._out = [], []
        _fail(waiting, Lost("the connection broke"))


def _fail(waiting: Iterable[Waiting], failure: StoreFailure) -> None:
    for one in waiting:
        if not one.done():
            one.set_exception(failure)


class Pipe:
    """Keeps one Link open, and opens the next when it is lost. `seconds` bounds each call, connecting included;
    `connect` itself may take longer, and goes on in the background."""

    def __init__(self, connect: Connect, seconds: float, background: Background) -> None:
        self._connect = connect
        self._seconds = seconds
        self._background = background
        self.newest: Link | None = None  # it may be lost
        self._opening: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._failure = "no connection"
        self.opened = 0  # links so far: who remembers something of a connection compares it

    async def call(self, encoded: bytes) -> Any:
        """Send one command, return its reply. Raises StoreFailure."""
        return await (self.send(encoded) or (await self._open()).send(encoded))

    def send(self, encoded: bytes) -> asyncio.Future[Any] | None:
        """Send a command over the link of this moment; None where there is none. Raises StoreFailure."""
        link = self.newest
        return None if link is None or link.lost else link.send(encoded)

    async def call_all(self, encoded: Sequence[bytes]) -> list[Any]:
        """Send several commands in one write; a reply or a ReplyError of each. Raises StoreFailure."""
        return await (await self.link()).send_all(encoded)

    async def link(self) -> Link:
        """The link of this moment, to send several commands over. Raises StoreFailure."""
        link = self.newest
        return await self._open() if link is None or link.lost else link

    def drop(self) -> None:
        """Give the connection up: the other end is not what it was."""
        if self.newest is not None:
            self.newest.drop()

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
        link = self.newest
        if link is None or link.lost:
            raise StoreFailure(self._failure)
        return link

    async def _dial(self) -> None:
        try:
            transport = await self._connect()
            link = Link(self._seconds)
            link.over(transport)
            self.newest = link
            self.opened += 1
        except StoreFailure as failure:
            self._failure = failure.detail
        finally:
            self._opening = None
