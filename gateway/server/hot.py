"""The way back to a client, below aiohttp's documented API: the port `Reply` for HTTP/1.1 clients.

`web.Response` and its writer take half of a proxy's server side. Here a head is one bytes object, and both head and
body go to the transport as they are. What is leaned upon of aiohttp, pinned in pyproject.toml and held by
tests/server/test_reply.py against `HttpReply`, which is the reference:
 - `RequestHandler.finish_response` calls `prepare(request)` and `write_eof()` of what a handler returns, and
   `RequestHandler.start` reads its `keep_alive`;
 - `BaseProtocol._paused` and `_drain_helper()` say whether the client takes more.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.errors import ClientGone
from gateway.patience import Patience
from gateway.ports import Head
from gateway.server.reply import NAME

_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in http.HTTPStatus}
_BODILESS = (204, 304)


class HotReply:
    """As `HttpReply`, in fewer steps. It is itself what the handler returns to aiohttp."""

    __slots__ = ("_chunked", "_closing", "_ended", "_patience", "_request", "_seconds", "_transport", "begun")

    def __init__(self, request: web.BaseRequest, patience: Patience, seconds: float, *, closing: bool) -> None:
        self._request = request
        self._transport: Any = request.transport
        self._patience = patience
        self._seconds = seconds
        self._closing = closing
        self._chunked = self._ended = self.begun = False

    @staticmethod
    def fits(request: web.BaseRequest) -> bool:
        """Whether a request may be answered this way: HTTP/1.1, and an answer that has a body."""
        return request.version == (1, 1) and request.method != "HEAD"

    @property
    def response(self) -> HotReply | None:
        """What aiohttp gets back."""
        return self if self.begun else None

    # what aiohttp asks of a response

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request."""
        return self._ended and not self._closing and self._request.keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""

    # the port

    async def send(self, head: Head, body: bytes) -> None:
        """A whole answer. Raises ClientGone."""
        length = "" if head.status in _BODILESS else f"content-length: {len(body)}\r\n"
        self.begun = self._ended = True
        await self._write(self._head(head, length) + (body if length else b""))

    async def begin(self, head: Head) -> None:
        """The head of an answer whose body follows in pieces. Raises ClientGone."""
        known = any(name == "content-length" for name, _ in head.headers)
        self._chunked = not known and head.status not in _BODILESS
        self.begun = True
        await self._write(self._head(head, "transfer-encoding: chunked\r\n" if self._chunked else ""))

    async def write(self, data: bytes) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""
        await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """The orderly end. Raises ClientGone."""
        self._ended = True
        if self._chunked:
            await self._write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Break the connection."""
        if (transport := self._request.transport) is not None:
            transport.abort()

    def _head(self, head: Head, framing: str) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in head.headers])
        if "\n" in fields.replace("\r\n", "") or fields.count("\r") != len(head.headers):
            raise ValueError("a line break in a header")
        close = "connection: close\r\n" if self._closing or not self._request.keep_alive else ""
        phrase = _PHRASES.get(head.status, "Status")
        text = f"HTTP/1.1 {head.status} {phrase}\r\nserver: {NAME}\r\n{framing}{close}{fields}\r\n"
        return text.encode("utf-8", "surrogateescape")

    async def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the connection is closed")
        transport.write(data)
        protocol = self._request.protocol
        if protocol._paused:  # noqa: SLF001  # see above
            self._patience.begin(self, self._seconds, self.abort)
            try:
                await protocol._drain_helper()  # noqa: SLF001  # see above
            except ConnectionError as error:
                raise ClientGone(type(error).__name__) from None
            finally:
                self._patience.end(self)
