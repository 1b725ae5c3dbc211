"""The echo model inside of this process: a Provider and its Transport without a socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

from gateway.endpoints import Endpoint
from gateway.errors import ProviderBroken, ProviderTimeout
from gateway.ports import Upstream, UpstreamRequest
from gateway.providers.credentials import Credentials
from gateway.providers.echo_core import Reply, answer
from gateway.providers.openai import Head, OpenAI
from gateway.reading import Ask
from gateway.shapes.table import SHAPES

LARGEST = 64 << 20  # bytes of a request's body


class Echo(OpenAI):
    """The OpenAI dialect towards nobody."""

    kind = "echo"
    speaks = frozenset(SHAPES)

    def __init__(self, name: str) -> None:
        super().__init__(name, "http://echo/v1", Credentials(), EchoTransport())

    def _head(self, ask: Ask, model: str | None, body: object, headers: Mapping[str, str], secret: str | None) -> Head:
        """What is asked of it in headers is asked of this call alone, so it is not remembered."""
        if not any(name.startswith("x-echo-") for name in headers):
            return super()._head(ask, model, body, headers, secret)
        return self._base + self._path(ask, model), tuple(self._headers(ask.endpoint, body, headers, secret))

    def _headers(
        self, endpoint: Endpoint, body: object, headers: Mapping[str, str], secret: str | None
    ) -> list[tuple[str, str]]:
        own = [(name, value) for name, value in headers.items() if name.startswith("x-echo-")]
        return [*super()._headers(endpoint, body, headers, secret), *own]


class EchoTransport:
    """The port `Transport`: answers by itself."""

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ProviderTimeout where the behaviour is to stall."""
        path = urlsplit(request.url).path.removeprefix("/v1")
        if isinstance(request.body, AsyncIterator):
            # A stream is only counted: it may be longer than memory.
            seen, size = hashlib.sha256(), 0
            async for part in request.body:
                seen.update(part)
                size += len(part)
            body = b'{"streamed_bytes":%d,"sha256":"%b"}' % (size, seen.hexdigest().encode())
        else:
            body = request.body or b""
        reply = answer(request.method, path, dict(request.headers), body)
        if reply.behaviour.stall:
            await asyncio.sleep(request.first_byte)
            raise ProviderTimeout(f"no answer within {request.first_byte:g} s")
        if reply.behaviour.delay:
            await asyncio.sleep(reply.behaviour.delay)
        return EchoAnswer(reply)

    async def close(self) -> None:
        """Nothing is open."""


class EchoAnswer:
    """The port `Upstream`."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = dict(reply.headers)
        self._parts = iter(reply.parts)
        self._gap = reply.behaviour.gap
        self._ends = reply.ends

    def rest_now(self) -> None:
        """It comes in pieces."""

    async def chunk(self) -> bytes:
        """Next bytes; b"" at the orderly end. Raises ProviderBroken where the behaviour is to break."""
        if self._gap:
            await asyncio.sleep(self._gap)
        part = next(self._parts, None)
        if part is None:
            if not self._ends:
                raise ProviderBroken("it was asked to break")
            return b""
        return part

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Nothing comes by itself."""
        return False

    def close(self) -> None:
        """Nothing is open."""
