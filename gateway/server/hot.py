"""A connection from an application, in fewer steps than a general server takes: the ports `Arrival` and `Reply`.

aiohttp's server and its response are half of a proxy's client side. This connection serves requests whose heads are
plain (`heads.py`) and whose bodies have a length; at the first one that is not, or that comes in pieces, it hands the
connection with every byte of that request to aiohttp, for good. So nothing unusual is ever parsed here, and aiohttp's
connection, which serves everything, is the reference that this one is tested against (tests/server/test_reply.py,
tests/server/test_hot.py, and the end-to-end tests with `fast_paths` off).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.fields import Again
from gateway.patience import Patience
from gateway.server.heads import LARGEST_HEAD, PlainHead, plain_head
from gateway.server.hot_exchange import HotExchange
from gateway.server.shared import Limits

AHEAD = 64 << 10  # bytes that a client may send of requests that must wait for their turn

# Serves a connection's exchanges, one after the other, until it is over. One task for all of them: to make one for
# each, and to tell asyncio of it, costs more than most of what it does.
Serve = Callable[["HotConnection"], asyncio.Task[None]]


class HotConnection(asyncio.Protocol):
    """One connection; its exchanges come one after the other. `plain` makes the connection that takes over."""

    __slots__ = (
        "_ahead", "_exchange", "_idle", "_known", "_left", "_length", "_plain", "_serve", "_served", "_task",
        "_turn", "arrived", "closing", "drained", "limits", "loop", "patience", "peer", "transport",
    )  # fmt: skip

    def __init__(self, serve: Serve, plain: Callable[[], asyncio.Protocol], patience: Patience, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self._serve = serve
        self._plain = plain
        self.limits = limits
        self.patience = patience
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.closing = False
        self._task: asyncio.Task[None] | None = None
        self._exchange: HotExchange | None = None
        self.arrived: HotExchange | None = None  # the same, until who serves it takes it
        self._served = False  # whether it has ended, and is there all the same
        self._idle = 0.0  # since when there is none
        self._turn: asyncio.Future[None] | None = None  # what is waited for before there is another
        self._left = 0  # bytes of the body that are still to come
        self._ahead = b""
        self._known: Again[PlainHead] | None = None
        self._length = 0  # that stands among the fields of the known head
        self.drained: asyncio.Future[None] | None = None  # what to wait for before more is written

    # what asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on a head must come in time."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self.limits.connections.add(self)
        self.patience.begin(self, self.limits.header, self.close)

    def data_received(self, data: bytes) -> None:
        """The next request, the rest of a body, or what comes too early."""
        if self._exchange is not None:
            self._more(self._exchange, data)
        elif (known := self._known) is not None and (start := known.whole(data)):  # as requests mostly come
            method, path, raw_query, headers, _ = known.head
            if (length := len(data) - start) != self._length:
                self._length = length
                headers["content-length"] = str(length)  # nobody reads those of the exchange before any more
            self._exchange = self.arrived = HotExchange(
                self, self.patience.now(), method, path, raw_query, headers, self.peer, data[start:]
            )
            if (turn := self._turn) is not None and not turn.done():
                turn.set_result(None)
            else:
                self._go_on()
        else:
            self._begin(data)

    def eof_received(self) -> bool:
        """The client says no more; as with aiohttp, the connection ends with that."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """A client that has gone ends its exchange at once."""
        self.transport = None
        self.limits.connections.discard(self)
        self.patience.end(self)
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self.drained = self.loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        drained, self.drained = self.drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # what the exchange and the edge say

    def close(self) -> None:
        """Close when what is written has been sent, for which a client has its time."""
        if self.transport is not None:
            self.transport.close()
            self.patience.taking(self, self.limits.write, self.transport, self.abort)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def drain(self) -> None:
        """Serve no further request."""
        self.closing = True
        if self._exchange is None:
            self.close()

    def turn(self) -> asyncio.Future[None] | None:
        """What to wait for before another exchange may have `arrived`; None: there will be no further one. Who still
        waits when the connection is lost is cancelled."""
        if self.transport is None:
            return None
        self._turn = turn = self.loop.create_future()
        return turn

    @property
    def running(self) -> asyncio.Task[None] | None:
        """The task of the exchange that is under way here, if one is."""
        return None if self._exchange is None or self._served else self._task

    def ended(self, exchange: HotExchange) -> None:
        """The exchange was served."""
        if exchange.whole and not (self._left or self._ahead or self.closing):  # as it mostly is
            self._exchange = None
            self._idle = self.patience.now()
            return
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
            self.patience.begin(self, self.limits.silence, self.abort)

    def rest_has_come(self) -> None:
        """The last of a body whose exchange ended without it."""
        if self._served and self.transport is not None and not self.transport.is_closing():
            self._next()

    # between two exchanges

    def _next(self) -> None:
        self._exchange, self._served = None, False
        self._wait()
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            assert self.transport is not None  # noqa: S101  # INVARIANT: the callers have looked
            self.transport.resume_reading()
            self._begin(ahead)

    def _wait(self) -> None:
        """Have patience with an idle client from now on: one entry for many exchanges, which is looked at when its time
        has come."""
        self._idle = self.patience.now()
        self.patience.begin(self, self.limits.keepalive, self._look)

    def _look(self) -> None:
        left = self.limits.keepalive
        if self._exchange is None:
            left += self._idle - self.patience.now()
        if left > 0:
            self.patience.begin(self, left, self._look)
        else:
            self.close()

    def _more(self, exchange: HotExchange, data: bytes) -> None:
        if self._left:
            piece, self._ahead = data[: self._left], data[self._left :]
            self._left -= len(piece)
            exchange.more(piece, complete=not self._left)  # last: it may be the turn of what is ahead
        else:
            self._ahead += data
            if len(self._ahead) > AHEAD and self.transport is not None:
                self.transport.pause_reading()

    def _begin(self, data: bytes) -> None:
        """A request that is not whole, or not the only one, or whose head did not come before."""
        known = self._known
        found = known.length(data) if known is not None else None
        if known is not None and found is not None:
            head, (start, length) = known.head, found
            head.headers["content-length"] = str(length)  # nobody reads those of the exchange before any more
        else:
            end = data.find(b"\r\n\r\n", 0, LARGEST_HEAD)
            fresh = plain_head(data[:end], self.limits.lines) if end > 0 else None
            if fresh is None:
                self._hand_over(data)
                return
            head, start, length = fresh, end + 4, fresh.length
            self._known = Again(data[:start], fresh) if length else None
            self._wait()
        self._length = length
        if length > self.limits.largest:
            self._hand_over(data)
            return
        stop = start + length
        body = data[start:stop]
        self._left = length - len(body)
        self._ahead = data[stop:]
        self._exchange = self.arrived = exchange = HotExchange(
            self, self.patience.now(), head.method, head.path, head.raw_query, head.headers, self.peer,
            body if not self._left else None,
        )  # fmt: skip
        if self._left:
            exchange.more(body, complete=False)
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
        self.limits.connections.discard(self)
        self.patience.end(self)
        if self._task is not None:
            self._go_on()
        successor = self._plain()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)
