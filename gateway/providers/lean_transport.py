"""Bytes to and from providers over connections of our own: the port `Transport`, on httptools' parser.

A library's client session is half of what a request through a proxy costs (numbers: docs/performance.md). What is left
here is what a gateway needs: kept connections, one exchange at a time on each, a strict parser, limits on heads, time
limits, and a pause when the client is slower than the provider. Bodies that stream towards a provider take the plain
transport, which also is the reference that this one is tested against.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from functools import partial

from gateway.errors import ConnectFailed
from gateway.patience import Patience
from gateway.ports import Clock, Transport, Upstream, UpstreamRequest
from gateway.providers.lean_connection import IDLE, Connection, Origin, StaleConnection

_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # line ends among them, a tab not
KEPT = 1000  # addresses that are kept taken apart


class LeanTransport:
    """Keeps connections per origin. `plain` takes what does not fit here: bodies that stream."""

    def __init__(self, clock: Clock, patience: Patience, plain: Transport, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._patience = patience
        self._plain = plain
        self._tls = tls or _tls()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._known: dict[str, tuple[Origin, str, str]] = {}
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        if isinstance(request.body, AsyncIterator) or request.method == "HEAD":  # the parser would wait for a body
            return await self._plain.send(request)
        origin, host, target = self._known.get(request.url) or self._split(request.url)
        data = self._request(request, host, target)
        connection = self._take(origin)
        if connection is not None:
            answer = connection.exchange(request, data)
            try:
                await answer.head()
                return answer
            except StaleConnection:
                pass  # the provider closed it as we wrote; nothing of an answer had come
        connection = await self._connect(origin, request.connect)
        answer = connection.exchange(request, data)
        await answer.head()
        return answer

    async def close(self) -> None:
        """Close every connection."""
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        await self._plain.close()

    @property
    def connections(self) -> int:
        """Open ones, idle and busy."""
        return len(self._open)

    def _split(self, url: str) -> tuple[Origin, str, str]:
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[url] = parts = split(url)
        return parts

    def _request(self, request: UpstreamRequest, host: str, target: str) -> bytes:
        """The bytes of a request. Heads differ in their length alone, mostly, so what comes before it is kept."""
        asked = request.method, request.url, request.headers
        head = self._heads.get(asked)
        if head is None:
            if len(self._heads) >= KEPT:
                self._heads.clear()
            head = self._heads[asked] = _head(request, host, target)
        body = request.body
        assert body is None or isinstance(body, bytes)  # noqa: S101  # INVARIANT: `send` has seen to it
        if body is None and request.method in ("GET", "HEAD"):
            return head + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body or b""), body or b"")

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable(self._clock.monotonic()):
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection) -> None:
        """A connection whose exchange has ended in order."""
        idle = self._idle.setdefault(connection.origin, deque())
        oldest = self._clock.monotonic() - IDLE
        while idle and idle[0].idle_since < oldest:
            idle.popleft().abort()
        connection.idle_since = self._clock.monotonic()
        idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """A connection that is no more."""
        self._open.discard(connection)

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        tls = self._tls if origin.scheme == "https" else None
        factory = partial(Connection, origin, self, self._patience, self._clock)
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    factory, origin.host, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
        except TimeoutError:
            raise ConnectFailed(f"no connection within {seconds:g} s") from None
        except (OSError, ssl.SSLError) as error:
            raise ConnectFailed(type(error).__name__) from None
        self._open.add(connection)
        return connection


def split(url: str) -> tuple[Origin, str, str]:
    """Origin, Host header and request target of an absolute URL; escapes stay as they are. Raises ConnectFailed."""
    scheme, _, rest = url.partition("://")
    host, slash, target = rest.partition("/")
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, "443" if scheme == "https" else "80"
    if scheme not in ("http", "https") or not port.isdigit():
        raise ConnectFailed("its address is no http(s) URL")
    return Origin(scheme, name.strip("[]"), int(port)), host, slash + target or "/"


def _head(request: UpstreamRequest, host: str, target: str) -> bytes:
    """A head but for its length and its end. Raises ConnectFailed."""
    lines = [f"{request.method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers if name != "content-length"]
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) - 1):
        raise ConnectFailed("a control character in the request's head")
    return head + b"\r\n"


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
