"""One exchange of a hot connection (`hot.py`): a request that has come in, and the way back to its client."""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import ClientGone, ClientTooSlow
from gateway.fields import Fields, lines_of
from gateway.ports import Head
from gateway.server.reply import NAME

if TYPE_CHECKING:
    from gateway.server.hot import HotConnection

_BODILESS = (204, 304)
_SERVER = f"server: {NAME}\r\n"
_FIRST: Mapping[int, str] = {
    one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n{_SERVER}" for one in http.HTTPStatus
}  # fmt: skip
# The same, of answers that have a body, as far as its length.
_WHOLE = {status: f"{first}content-length: " for status, first in _FIRST.items() if status not in _BODILESS}
_SIZES = [b"%x\r\n" % size for size in range(1024)]  # of pieces: to format one takes longer than to find it


class HotExchange(msgspec.Struct, eq=False):
    """One request and the way back to its client: the ports `Arrival` and `Reply`. `complete`: all of the body, the
    parts of it, has come; `whole`: the answer has come to its orderly end."""

    _connection: HotConnection
    received: float  # monotonic seconds
    method: str
    path: str
    raw_query: str
    headers: Fields
    peer: str
    _at_once: bytes | None  # the whole body, where it came with its head
    complete: bool = True
    request_id: str = ""
    begun: bool = False
    whole: bool = False
    _chunked: bool = False
    _parts: list[bytes] = msgspec.field(default_factory=list)  # else what has come of it
    _waiter: asyncio.Future[None] | None = None

    # the port Arrival

    def body_now(self, limit: int) -> bytes | None:
        """The whole body, if it came with its head and is not longer than `limit` bytes."""
        body = self._at_once
        return body if body is not None and len(body) <= limit else None

    async def body(self, limit: int) -> bytes | None:
        """The whole body; None when it is longer than `limit` bytes. Raises ClientTooSlow, ClientGone."""
        while not self.complete:
            await self._wait()
        body = self._at_once if self._at_once is not None else b"".join(self._parts)
        return body if len(body) <= limit else None

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ClientTooSlow, ClientGone."""
        if self._at_once is not None:
            self._parts, self._at_once = [self._at_once], None
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
        if not self.whole:
            self._parts.append(piece)
        self.complete = complete
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if complete and self.whole:
            self._connection.rest_has_come()

    async def _wait(self) -> None:
        connection = self._connection
        if connection.transport is None:
            raise ClientGone("the connection is closed")
        self._waiter = connection.loop.create_future()
        connection.patience.begin(self, connection.limits.silence, self._too_slow)
        try:
            await self._waiter
        finally:
            self._waiter = None
            connection.patience.end(self)

    def _too_slow(self) -> None:
        connection = self._connection
        connection.closing = True  # what may still come of the body would be taken for a request
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ClientTooSlow(f"silent for {connection.limits.silence:g} s in the body"))

    # the port Reply

    async def send(self, head: Head, body: bytes) -> None:
        """A whole answer. Raises ClientGone."""
        connection = self._connection
        first = _WHOLE.get(head.status)
        if first is not None and not (head.headers or connection.closing):  # as they mostly are
            data = f"{first}{len(body)}\r\n{head.lines}\r\n".encode("utf-8", "surrogateescape")
        elif head.status in _BODILESS:
            data, body = self._head(head, ""), b""
        else:
            data = self._head(head, f"content-length: {len(body)}\r\n")
        self.begun = self.whole = True
        if (transport := connection.transport) is None or transport.is_closing():
            raise ClientGone("the connection is closed")
        transport.writelines((data, body))
        if connection.drained is not None:
            await self._until_drained()

    async def begin(self, head: Head, first: bytes = b"") -> None:
        """The head of an answer whose body follows in pieces, the first perhaps with it. Raises ClientGone."""
        if head.status in _BODILESS:  # of which a client could take a length for that of a body that comes
            kept = tuple([one for one in head.headers if one[0] != "content-length"])
            head = Head(head.status, kept, head.lines)
        elif not head.headers or all(name != "content-length" for name, _ in head.headers):
            self._chunked = True
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
            return connection.drained is None

        return write

    async def room(self) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""
        await self._until_drained()

    async def end(self) -> None:
        """The orderly end. Raises ClientGone."""
        self.whole = True
        if self._chunked and (wait := self._write(b"0\r\n\r\n")) is not None:
            await wait

    def abort(self) -> None:
        """Break the connection."""
        self._connection.abort()

    def _head(self, head: Head, framing: str) -> bytes:
        lines = lines_of(head.headers) + head.lines if head.headers else head.lines
        first = _FIRST.get(head.status) or f"HTTP/1.1 {head.status} Status\r\n{_SERVER}"
        close = "connection: close\r\n" if self._connection.closing else ""
        return f"{first}{framing}{close}{lines}\r\n".encode("utf-8", "surrogateescape")

    def _write(self, data: bytes) -> Awaitable[None] | None:
        """Write now; what to wait for before more may be written. Raises ClientGone."""
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the connection is closed")
        transport.write(data)
        return None if self._connection.drained is None else self._until_drained()

    async def _until_drained(self) -> None:
        connection = self._connection
        connection.patience.taking(self, connection.limits.write, connection.transport, self.abort)
        try:
            while (drained := connection.drained) is not None:
                await drained
        finally:
            connection.patience.end(self)
        if connection.transport is None:
            raise ClientGone("the connection is closed")
