"""One end of an open WebSocket over aiohttp, a client's or a provider's: the port `Socket`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp

from gateway.ports import Message

LARGEST = 32 << 20  # bytes of a message
HEARTBEAT = 30.0  # seconds between pings; an end that answers none is gone
CLOSING = 5.0  # seconds for the other end to say that it closes too
ABNORMAL = 1006  # RFC 6455: closed without a word; is never sent
_UNSENDABLE = frozenset((1005, ABNORMAL, 1015))


class AiohttpSocket:
    """One end: aiohttp's WebSocketResponse or ClientWebSocketResponse."""

    def __init__(self, socket: Any, protocol: str | None) -> None:
        self._socket = socket
        self.protocol = protocol

    async def receive(self) -> Message:
        """The next message; at the end, one with a code."""
        try:
            message = await self._socket.receive()
        except (ConnectionError, RuntimeError, aiohttp.ClientError):
            return Message(b"", code=ABNORMAL)
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                return Message(message.data.encode("utf-8", "surrogatepass"))
            case aiohttp.WSMsgType.BINARY:
                return Message(message.data, is_text=False)
            case aiohttp.WSMsgType.CLOSE:
                return Message((message.extra or "").encode()[:120], code=message.data or 1005)
            case _:
                return Message(b"", code=self._socket.close_code or ABNORMAL)

    async def send(self, message: Message) -> None:
        """Waits while the other end takes nothing."""
        with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
            if message.is_text:
                await self._socket.send_str(message.data.decode("utf-8", "surrogatepass"))
            else:
                await self._socket.send_bytes(message.data)

    async def close(self, code: int, reason: bytes) -> None:
        """Say why, and wait a moment for the answer."""
        with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._socket.close(code=1000 if code in _UNSENDABLE else code, message=reason)
