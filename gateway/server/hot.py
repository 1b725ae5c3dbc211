"""A connection from an application, in fewer steps than a general server takes: the ports `Arrival` and `Reply`.

aiohttp's server and its response are half of a proxy's client side. This connection serves requests whose heads are
plain (`heads.py`) and whose bodies have a length; at the first one that is not, or that comes in pieces, it hands the
connection with every byte of that request to aiohttp, for good. So nothing unusual is ever parsed here, and aiohttp's
connection, which serves everything, is the reference that this one is tested against (tests/server/test_reply.py,
tests/server/test_hot.py, and the end-to-end tests with `fast_paths` off).
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import cast

from gateway.errors import ClientGone, ClientTooSlow
from gateway.fields import Again
from gateway.patience import Patience
from gateway.ports import Head
from gateway.server.heads import LARGEST_HEAD, PlainHead, plain_head
from gateway.server.reply import NAME
from gateway.server.shared import Limits

AHEAD = 64 << 10  # bytes that a client may send of requests that must wait for their turn
_FIRST: Mapping[int, str] = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n" for one in http.HTTPStatus}
_BODILESS = (204, 304)
_SIZES = [b"%x\r\n" % size for size in range(1024)]  # of pieces: to format one takes longer than to find it

# Serves a connection's exchanges, one after the other, until it is over. One task for all of them: to make one for
# each, and to tell asyncio of it, costs more than most of what it does.
Serve = Callable[["HotConnection"], asyncio.Task[None]]


class HotConnection(asyncio.Protocol):
    """One connection; its exchanges come one after the other. `plain` makes the connection that takes over."""

    __slots__ = (
        "_ahead", "_arrived", "_drained", "_exchange", "_known", "_left", "_limits", "_loop", "_plain", "_serve",
        "_served", "_task", "_turn", "closing", "patience", "peer", "transport",
    )  # fmt: skip

    def __init__(self, serve: Serve, plain: Callable[[], asyncio.Protocol], patience: Patience, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._plain = plain
        self._limits = limits
        self.patience = patience
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.closing = False
        self._task: asyncio.Task[None] | None = None
        self._exchange: HotExchange | None = None
        self._arrived: HotExchange | None = None  # the same, until it is served
        self._served = True  # whether it has ended
        self._turn: asyncio.Future[None] | None = None  # what is waited for before there is another
        self._left = 0  # bytes of the body that are still to come
        self._ahead = b""
        self._known: Again[PlainHead] | None = None
        self._drained: asyncio.Future[None] | None = None

    # what asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on a head must come in time."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._limits.connections.add(self)
        self.patience.begin(self, self._limits.header, self.close)

    def data_received(self, data: bytes) -> None:
        """The next request, the rest of a body, or what comes too early."""
        exchange = self._exchange
        if exchange is None:
            self._begin(data)
        elif self._left:
            piece, self._ahead = data[: self._left], data[self._left :]
            self._left -= len(piece)
            exchange.more(piece, complete=not self._left)  # last: it may be the turn of what is ahead
        else:
            self._ahead += data
            if len(self._ahead) > AHEAD and self.transport is not None:
                self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client says no more; as with aiohttp, the connection ends with that."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """A client that has gone ends its exchange at once."""
        self.transport = None
        self._limits.connections.discard(self)
        self.patience.end(self)
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # what the exchange and the edge say

    def close(self) -> None:
        """Close when what is written has been sent, for which a client has its time."""
        if self.transport is not None:
            self.transport.close()
            self.patience.taking(self, self._limits.write, self.transport, self.abort)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def drain(self) -> None:
        """Serve no further request."""
        self.closing = True
        if self._exchange is None:
            self.close()

    def drained(self) -> asyncio.Future[None] | None:
        """What to wait for before more is written; None: nothing."""
        return self._drained

    def next(self) -> HotExchange | None:
        """The next exchange, if it has arrived."""
        exchange, self._arrived = self._arrived, None
        return exchange

    @property
    def over(self) -> bool:
        """Whether there will be no further exchange here."""
        return self._arrived is None and (self.transport is None or self.transport.is_closing())

    def turn(self) -> asyncio.Future[None]:
        """What to wait for before there is another, or none any more."""
        self._turn = turn = self._loop.create_future()
        return turn

    def ended(self, exchange: HotExchange) -> None:
        """The exchange was served."""
        self._served = True
        if self.transport is None or self.transport.is_closing():
            return
        if not exchange.whole:
            self.abort()
        elif self.closing:
            self.close()
        elif not self._left:
            self._next()
        else:  # what is still to come of its body is nobody's any more
            self.patience.begin(self, self._limits.silence, self.abort)

    def _next(self) -> None:
        self._exchange = None
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            assert self.transport is not None  # noqa: S101  # INVARIANT: the callers have looked
            self.transport.resume_reading()
            self._begin(ahead)
        else:
            self.patience.begin(self, self._limits.keepalive, self.close)

    def _begin(self, data: bytes) -> None:
        known = self._known
        found = known.length(data) if known is not None else None
        if known is not None and found is not None:
            head, (start, length) = known.head, found
            head.headers["content-length"] = str(length)  # nobody reads those of the exchange before any more
        else:
            end = data.find(b"\r\n\r\n", 0, LARGEST_HEAD)
            fresh = plain_head(data[:end], self._limits.lines) if end > 0 else None
            if fresh is None:
                self._hand_over(data)
                return
            head, start, length = fresh, end + 4, fresh.length
            self._known = Again(data[:start], fresh) if length else None
        if length > self._limits.largest:
            self._hand_over(data)
            return
        self.patience.end(self)
        stop = start + length
        self._exchange = exchange = HotExchange(self, head, self._limits)
        if len(data) == stop:  # as they mostly come
            exchange.arrived(data[start:])
        else:
            body = data[start:stop]
            self._left = stop - start - len(body)
            self._ahead = data[stop:]
            exchange.more(body, complete=not self._left)
        self._arrived, self._served = exchange, False
        self._go_on()

    def _go_on(self) -> None:
        if self._task is None:
            self._task = self._serve(self)
        elif (turn := self._turn) is not None and not turn.done():
            turn.set_result(None)

    def _hand_over(self, data: bytes) -> None:
        """From here on the connection is aiohttp's."""
        transport, self.transport = self.transport, None
        assert transport is not None  # noqa: S101  # INVARIANT: data comes over an open connection
        self._limits.connections.discard(self)
        self.patience.end(self)
        if self._task is not None:
            self._go_on()
        successor = self._plain()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)

    def rest_has_come(self) -> None:
        """The last of a body whose exchange ended without it."""
        if self._served and self.transport is not None and not self.transport.is_closing():
            self._next()


class HotExchange:
    """One request and the way back to its client."""

    __slots__ = (
        "_chunked", "_connection", "_ended", "_limits", "_parts", "_waiter", "begun", "complete", "headers", "method",
        "path", "peer", "raw_query", "received", "request_id",
    )  # fmt: skip

    def __init__(self, connection: HotConnection, head: PlainHead, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self.request_id = ""
        self.received = connection.patience.now()
        self.headers: Mapping[str, str]
        self.method, self.path, self.raw_query, self.headers, _ = head
        self.peer = connection.peer
        self._parts: list[bytes] = []
        self.complete = False
        self._waiter: asyncio.Future[None] | None = None
        self._chunked = self._ended = self.begun = False

    # the port Arrival

    def arrived(self, body: bytes) -> None:
        """The whole body has come with its head."""
        self._parts.append(body)
        self.complete = True

    def body_now(self, limit: int) -> bytes | None:
        """The whole body, if it is there already and not longer than `limit` bytes."""
        if self.complete and len(self._parts) == 1 and len(self._parts[0]) <= limit:
            return self._parts[0]
        return None

    async def body(self, limit: int) -> bytes | None:
        """The whole body; None when it is longer than `limit` bytes. Raises ClientTooSlow, ClientGone."""
        while not self.complete:
            await self._wait()
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return body if len(body) <= limit else None

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ClientTooSlow, ClientGone."""
        while True:
            parts, self._parts = self._parts, []
            for part in parts:
                if part:
                    yield part
            if self.complete and not self._parts:
                return
            if not self._parts:
                await self._wait()

    def more(self, piece: bytes, *, complete: bool) -> None:
        """A piece of the body has come."""
        if not self._ended:
            self._parts.append(piece)
        self.complete = complete
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if complete and self._ended:
            self._connection.rest_has_come()

    async def _wait(self) -> None:
        connection = self._connection
        if connection.transport is None:
            raise ClientGone("the connection is closed")
        self._waiter = asyncio.get_running_loop().create_future()
        connection.patience.begin(self, self._limits.silence, self._too_slow)
        try:
            await self._waiter
        finally:
            self._waiter = None
            connection.patience.end(self)

    def _too_slow(self) -> None:
        self._connection.closing = True  # what may still come of the body would be taken for a request
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ClientTooSlow(f"silent for {self._limits.silence:g} s in the body"))

    # the port Reply

    @property
    def whole(self) -> bool:
        """Whether the answer has come to its orderly end."""
        return self._ended

    async def send(self, head: Head, body: bytes) -> None:
        """A whole answer. Raises ClientGone."""
        length = "" if head.status in _BODILESS else f"content-length: {len(body)}\r\n"
        data = self._head(head, length)
        self.begun = self._ended = True
        transport = (connection := self._connection).transport
        if transport is None or transport.is_closing():
            raise ClientGone("the connection is closed")
        transport.writelines((data, body)) if length else transport.write(data)
        if connection.drained() is not None:
            await self._until_drained()

    async def begin(self, head: Head, first: bytes = b"") -> None:
        """The head of an answer whose body follows in pieces, the first perhaps with it. Raises ClientGone."""
        if head.status in _BODILESS:  # of which a client could take a length for that of a body that comes
            head = Head(head.status, tuple([one for one in head.headers if one[0] != "content-length"]))
        known = any(name == "content-length" for name, _ in head.headers)
        self._chunked = not known and head.status not in _BODILESS
        data = self._head(head, "transfer-encoding: chunked\r\n" if self._chunked else "")
        self.begun = True
        if (wait := self._write(data + self._framed(first) if first else data)) is not None:
            await wait

    async def write(self, data: bytes) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""
        if (wait := self._write(self._framed(data))) is not None:
            await wait

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def put(self) -> Callable[[bytes], bool]:
        """What writes without waiting."""
        connection, chunked, sizes = self._connection, self._chunked, _SIZES

        def write(data: bytes) -> bool:
            transport, size = connection.transport, len(data)
            if transport is None or transport.is_closing():
                raise ClientGone("the connection is closed")
            if chunked:
                data = (sizes[size] if size < 1024 else b"%x\r\n" % size) + data + b"\r\n"
            transport.write(data)
            return connection._drained is None  # noqa: SLF001  # as `drained()` says

        return write

    async def room(self) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""
        await self._until_drained()

    async def end(self) -> None:
        """The orderly end. Raises ClientGone."""
        self._ended = True
        if self._chunked and (wait := self._write(b"0\r\n\r\n")) is not None:
            await wait

    def abort(self) -> None:
        """Break the connection."""
        self._connection.abort()

    def _head(self, head: Head, framing: str) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in head.headers])
        if fields.count("\n") != len(head.headers) or fields.count("\r") != len(head.headers):
            raise ValueError("a line break in a header")
        close = "connection: close\r\n" if self._connection.closing else ""
        first = _FIRST.get(head.status) or f"HTTP/1.1 {head.status} Status\r\n"
        text = f"{first}server: {NAME}\r\n{framing}{close}{fields}\r\n"
        return text.encode("utf-8", "surrogateescape")

    def _write(self, data: bytes) -> Awaitable[None] | None:
        """Write now; what to wait for before more may be written. Raises ClientGone."""
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the connection is closed")
        transport.write(data)
        return None if self._connection.drained() is None else self._until_drained()

    async def _until_drained(self) -> None:
        connection = self._connection
        connection.patience.taking(self, self._limits.write, connection.transport, self.abort)
        try:
            while (drained := connection.drained()) is not None:
                await drained
        finally:
            connection.patience.end(self)
        if connection.transport is None:
            raise ClientGone("the connection is closed")
