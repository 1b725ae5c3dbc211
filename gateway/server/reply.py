"""The way back to a client, over aiohttp's public API: the port `Reply`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web
from multidict import CIMultiDict

from gateway.errors import ClientGone
from gateway.patience import Patience
from gateway.ports import Head, Socket
from gateway.websocket import HEARTBEAT, LARGEST, AiohttpSocket

T = TypeVar("T")
NAME = "llm-gateway"  # instead of the library's and the interpreter's version


class HttpReply:
    """`send` a whole answer; or `begin`, `write`, then `end` or `abort`. A client that takes nothing for `seconds`
    loses its connection. `closing` asks the client not to use the connection again."""

    __slots__ = ("_closing", "_patience", "_request", "_seconds", "begun", "response")

    def __init__(self, request: web.BaseRequest, patience: Patience, seconds: float, *, closing: bool) -> None:
        self._request = request
        self._patience = patience
        self._seconds = seconds
        self._closing = closing
        self.begun = False
        self.response: web.StreamResponse | None = None

    async def send(self, head: Head, body: bytes) -> None:
        """A whole answer. Raises ClientGone."""
        response = web.Response(status=head.status, headers=_headers(head), body=body)
        await self._begin(response)
        await self._patiently(response.write_eof())

    async def begin(self, head: Head, first: bytes = b"") -> None:
        """The head of an answer whose body follows in pieces, the first perhaps with it. Raises ClientGone."""
        await self._begin(web.StreamResponse(status=head.status, headers=_headers(head)))
        if first:
            await self.write(first)

    async def _begin(self, response: web.StreamResponse) -> None:
        if self._closing:
            response.force_close()
        self.begun, self.response = True, response
        await self._patiently(response.prepare(self._request))

    async def accept(self, protocol: str | None, headers: tuple[tuple[str, str], ...]) -> Socket:
        """The connection as a WebSocket. Raises ClientGone."""
        socket = web.WebSocketResponse(
            protocols=(protocol,) if protocol else (), heartbeat=HEARTBEAT, max_msg_size=LARGEST, autoclose=False,
            compress=False,
        )  # fmt: skip
        socket.headers.update(_headers(Head(101, headers)))
        self.begun, self.response = True, socket
        await self._patiently(socket.prepare(self._request))
        return AiohttpSocket(socket, protocol)

    async def write(self, data: bytes) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""
        assert self.response is not None  # noqa: S101  # INVARIANT: `begin` comes first
        await self._patiently(self.response.write(data))

    def put(self) -> None:
        """The library's writer is a coroutine."""

    async def room(self) -> None:
        """`write` has waited for it."""

    async def end(self) -> None:
        """The orderly end. Raises ClientGone."""
        assert self.response is not None  # noqa: S101  # INVARIANT: `begin` comes first
        await self._patiently(self.response.write_eof())

    def abort(self) -> None:
        """Break the connection: no final chunk, so that the client cannot take a truncated answer for a whole one."""
        if (transport := self._request.transport) is not None:
            transport.abort()

    async def _patiently(self, work: Awaitable[T]) -> T:
        self._patience.taking(self, self._seconds, self._request.transport, self.abort)
        try:
            return await work
        except ConnectionError as error:
            raise ClientGone(type(error).__name__) from None
        finally:
            self._patience.end(self)


def _headers(head: Head) -> CIMultiDict[str]:
    headers = CIMultiDict(head.fields())
    headers["Server"] = NAME
    return headers
