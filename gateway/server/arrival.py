"""A request that has come in, over aiohttp's public API: the port `Arrival`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from gateway.errors import ClientGone, ClientTooSlow


class HttpArrival:
    """Head read, body not yet. `received` is monotonic seconds; `silence` is how long a body may pause, in seconds."""

    __slots__ = ("_request", "_silence", "headers", "method", "path", "peer", "raw_query", "received", "request_id")

    def __init__(self, request: web.BaseRequest, request_id: str, received: float, silence: float) -> None:
        self._request = request
        self._silence = silence
        self.request_id = request_id
        self.received = received
        self.method = request.method
        # What came on the request line; a library that decodes and encodes it again would change escapes.
        self.path, _, self.raw_query = request.raw_path.partition("?")
        self.headers: Mapping[str, str] = lower_case(request.raw_headers)
        peer = request.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""

    def body_now(self, limit: int) -> None:
        """It is asked for, always."""

    async def body(self, limit: int) -> bytes | None:
        """The whole body; None when it is longer than `limit` bytes. Raises ClientTooSlow, ClientGone."""
        if (self._request.content_length or 0) > limit:
            return None
        content = self._request.content
        if content.is_eof():  # it came with the head, as most do
            body = content.read_nowait(-1)
            return body if len(body) <= limit else None
        parts, size = [], 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > limit:
                return None
            parts.append(chunk)
        return b"".join(parts)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ClientTooSlow, ClientGone."""
        content = self._request.content
        while not content.at_eof():
            try:
                async with asyncio.timeout(self._silence):
                    chunk = await content.readany()
            except TimeoutError:
                raise ClientTooSlow(f"silent for {self._silence:g} s in the body") from None
            except (ConnectionError, web.RequestPayloadError) as error:
                raise ClientGone(type(error).__name__) from None
            if chunk:
                yield chunk


def lower_case(raw: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """Headers by lower-case name. A repeated one is joined with commas (RFC 9110 section 5.3), so that two credentials
    are never mistaken for one."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("utf-8", "surrogateescape")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
