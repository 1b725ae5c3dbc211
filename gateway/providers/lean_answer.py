"""An answer of a provider that comes in pieces, or late, on httptools' parser. See lean_connection.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.errors import ProviderBroken, ProviderFailure, ProviderTimeout
from gateway.ports import Upstream, UpstreamRequest

LARGEST_HEAD = 64 << 10  # bytes of an answer's head
HIGH_WATER = 256 << 10  # bytes of an answer that wait for the client before the provider is paused
MOST_INTERIM = 8  # 1xx answers before the real one
_FRAMING = frozenset(("content-length", "transfer-encoding"))
# Names that come with nearly every answer, in the ways in which they are written.
_NAMES: Mapping[bytes, str] = {
    way.encode(): name
    for name in ("content-type", "content-length", "transfer-encoding", "connection", "date", "server", "x-request-id",
                 "cache-control", "openai-processing-ms", "openai-version", "openai-organization", "request-id", "vary")
    for way in (name, name.title())
}  # fmt: skip


class StaleConnection(ProviderFailure):
    """A kept connection was closed before anything of an answer came."""


class Carrier(Protocol):
    """The connection that an answer comes over."""

    loop: asyncio.AbstractEventLoop

    def head(self) -> tuple[int, bool]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


class Answer:
    """One answer: the port `Upstream`. httptools calls the `on_…`; `chunk` hands the body over in the pieces in which
    it came. Its connection calls `look` a few times a second, for as long as it is not complete."""

    __slots__ = (
        "_complete", "_connection", "_failure", "_got", "_head_size", "_interim", "_loop", "_parts", "_paused",
        "_raw_headers", "_request", "_reused", "_seen", "_since", "_size", "_until", "_waiter", "begun", "headers",
        "keep", "over", "status", "taker",
    )  # fmt: skip

    def __init__(
        self, connection: Carrier, request: UpstreamRequest, began: float, head: asyncio.Future[Upstream],
        *, reused: bool,
    ) -> None:  # fmt: skip
        """`head` gets it when `status` and `headers` are there, or ProviderTimeout, ProviderBroken, StaleConnection;
        it began at `began`, in monotonic seconds."""
        self._until = began + request.total
        self._connection: Carrier | None = connection
        self._loop = connection.loop  # Python 3.11 asks the kernel who it is before it says which loop runs
        self._request = request
        self._reused = reused
        self._parts: list[bytes] = []
        self.status = self._size = self._got = self._head_size = self._interim = 0
        self.begun = self._complete = self._paused = False
        self.over = self.keep = False  # whether the connection is done with it, and may carry another
        self._failure: ProviderFailure | None = None
        self._waiter: asyncio.Future[Any] | None = head
        self.taker: Callable[[bytes], bool] | None = None  # to whom the body goes as it comes
        self._seen: asyncio.Future[Any] | None = None  # the waiter of the last look, and when it was first seen
        self._since = 0.0
        self._raw_headers: dict[str, str]  # what the parser says; nothing before it begins
        self.headers: Mapping[str, str]

    # what httptools says

    def on_message_begin(self) -> None:
        """A head begins; after the answer there must be none."""
        if self._complete:
            self.keep = False
        else:
            self.headers = self._raw_headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header (or, after the body, a trailer: nobody needs one)."""
        if self.begun:
            return
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            self.fail(ProviderBroken(f"head larger than {LARGEST_HEAD} bytes"))
            return
        self._raw_headers[_NAMES.get(name) or name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is complete; 1xx ones are not the answer."""
        if self._connection is None or self._complete:
            return
        status, self.keep = self._connection.head()
        if status < 200:
            self._interim += 1
            if self._interim > MOST_INTERIM or status == 101:
                self.fail(ProviderBroken("interim answers without end"))
            return
        self.status = status
        self.begun = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(self)

    def on_body(self, data: bytes) -> None:
        """A piece of the body; what comes behind the answer is none."""
        if self._complete:
            return
        self._parts.append(data)
        if self.taker is not None:
            return  # who takes it when the parser has no bytes left
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused and self._connection is not None:
            self._paused = True
            self._connection.pause()
        if (waiter := self._waiter) is not None and not waiter.done():
            waiter.set_result(False)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if not self.begun or self._complete:
            return  # an interim answer, or one that nobody asked for
        self._complete = True
        connection, self._connection = self._connection, None
        self.over = connection is not None  # it looks when its parser, which calls here, has no bytes left
        self._wake()

    # what the connection says

    def received(self, size: int) -> None:
        """So many bytes came."""
        self._got += size
        if not self.begun and self._got > 2 * LARGEST_HEAD:
            self.fail(ProviderBroken(f"head larger than {LARGEST_HEAD} bytes"))

    def lost(self, error: Exception | None) -> None:
        """The connection is closed. A body that ends by that (no length, not chunked) is complete."""
        if self._complete or self._failure is not None:
            return
        if self.begun and error is None and _FRAMING.isdisjoint(self.headers):
            self._complete = True
            self._wake()
            return
        if self._reused and self._got == 0 and not self.begun:  # a head that comes in one piece is not counted
            self.fail(StaleConnection("closed as we wrote"))
        else:
            self.fail(ProviderBroken(type(error).__name__ if error is not None else "closed before the end"))

    def fail(self, failure: ProviderFailure) -> None:
        """It goes no further."""
        if self._failure is None and not self._complete:
            self._failure = failure
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.abort()
            self._wake()

    # what the journey asks

    def rest_now(self) -> bytes | None:
        """All that is still to come, if it has come."""
        if not self._complete or self._failure is not None:
            return None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return data

    async def chunk(self) -> bytes:
        """Next bytes as they came off the wire; b"" at the orderly end. Raises ProviderTimeout, ProviderBroken."""
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.close()
                raise
            finally:
                self._waiter = None
        return self._taken()

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Give bytes to `take` in the very callback in which they come, for as long as it says True. Returns True
        when it said False, False when what is left, if only the end, is to be had by `chunk`. Raises what `take`
        raises."""
        if self._parts and not take(self._taken()):
            return True
        if self._complete or self._failure is not None:
            return False
        self.taker = take
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        try:
            if await waiter:
                return True
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = self.taker = None
        return bool(self._parts) and not take(self._taken())  # what came with the end

    def pour(self) -> None:
        """Give what has just come to the taker, if it still waits. What it raises is for its own task to hear."""
        take, waiter, parts = self.taker, self._waiter, self._parts
        if take is None or waiter is None or waiter.done() or not parts:
            return
        self._seen = None  # something came: patience begins anew
        try:
            more = take(parts.pop() if len(parts) == 1 else self._taken())
        except Exception as error:  # noqa: BLE001  # a bug's too: nothing may end in the parser's hands
            waiter.set_exception(error)
        else:
            if not more:
                waiter.set_result(True)

    def _taken(self) -> bytes:
        """What came and was not taken yet."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused and self._connection is not None:
            self._paused = False
            self._connection.resume()
        return data

    def close(self) -> None:
        """Nobody wants more of it; an answer that is not complete takes its connection with it."""
        self._parts.clear()
        connection, self._connection = self._connection, None
        if connection is not None and not self._complete:
            connection.abort()

    def look(self, now: float) -> None:
        """Whether the provider has taken too long, a few times a second."""
        waiter = self._waiter
        if waiter is None or waiter is not self._seen:
            self._seen, self._since = waiter, now
            if waiter is None or now < self._until:
                return
        seconds, what = (self._request.gap, "nothing more") if self.begun else (self._request.first_byte, "no answer")
        if now >= self._until:
            self.fail(ProviderTimeout(f"not complete in its time of {self._request.total:g} s"))
        elif now - self._since >= seconds:
            self.fail(ProviderTimeout(f"{what} within {seconds:g} s"))

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self.begun or self._failure is None:
            waiter.set_result(False)
        else:
            waiter.set_exception(self._failure)
        self._waiter = None
