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
from functools import partial

from gateway.errors import ConnectFailed
from gateway.patience import Patience
from gateway.ports import Clock, Transport, Upstream, UpstreamRequest
from gateway.providers.lean_connection import IDLE, Connection, Origin, StaleConnection

_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # line ends among them, a tab not
KEPT = 1000  # addresses that are kept taken apart


class LeanTransport:
    """Keeps connections per origin. `plain` takes what does not fit here: bodies that stream. `tls` is for https;
    without one, one is made when it is first needed (15 ms, and a MB of authorities)."""

    def __init__(self, clock: Clock, patience: Patience, plain: Transport, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._patience = patience
        self._plain = plain
        self._tls = tls
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        # By the identity of their fields, which providers make once; they are kept here, so that it stays theirs.
        self._heads: dict[int, tuple[str, str, tuple[tuple[str, str], ...], Origin, bytes]] = {}

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        body = request.body
        if not (body is None or isinstance(body, bytes)) or request.method == "HEAD":  # to which no body comes
            return await self._plain.send(request)
        origin, head = self._request(request)
        connection = self._take(origin)
        while True:
            if connection is None:
                connection = await self._connect(origin, request.connect)
            answer = connection.exchange(request, head)
            try:
                await answer.head()
            except StaleConnection:  # the provider closed it as we wrote; nothing of an answer had come
                connection = None  # INVARIANT: a new one is not stale, so this happens once
            except asyncio.CancelledError:
                answer.close()
                raise
            else:
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

    def _request(self, request: UpstreamRequest) -> tuple[Origin, bytes]:
        """Where a request goes, and its head. Heads differ in their length alone, mostly, so what comes before it is
        kept."""
        known = self._heads.get(id(request.headers))
        if known is not None and known[1] == request.url and known[0] == request.method:
            origin, head = known[3], known[4]
        else:
            origin, host, target = split(request.url)
            head = _head(request, host, target)
            if len(self._heads) >= KEPT:
                self._heads.clear()
            self._heads[id(request.headers)] = request.method, request.url, request.headers, origin, head
        body = request.body
        assert body is None or isinstance(body, bytes)  # noqa: S101  # INVARIANT: `send` has seen to it
        if body is None and request.method in ("GET", "HEAD"):
            return origin, head + b"\r\n"
        return origin, b"%bcontent-length: %d\r\n\r\n" % (head, len(body or b""))

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
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = deque()
        now = connection.idle_since = self._clock.monotonic()
        while idle and idle[0].idle_since < now - IDLE:
            idle.popleft().abort()
        idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """A connection that is no more."""
        self._open.discard(connection)

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        tls = None
        if origin.scheme == "https":
            tls = self._tls = self._tls or tls_context()
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
        if not connection.usable(self._clock.monotonic()):  # it ended, or spoke before it was asked, as it was made
            raise ConnectFailed("closed as it was opened")
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


def tls_context() -> ssl.SSLContext:
    """What providers are trusted by: the system's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
