"""Bytes to and from providers over connections of our own: the port `Transport`, on httptools' parser.

A library's client session is half of what a request through a proxy costs (numbers: docs/performance.md). What is left
here is what a gateway needs: kept connections, one exchange at a time on each, a strict parser, limits on heads, time
limits, and a pause when the client is slower than the provider. Bodies that stream towards a provider take the plain
transport, which also is the reference that this one is tested against.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from gateway.errors import ConnectFailed
from gateway.patience import Patience
from gateway.ports import Clock, Transport, Upstream, UpstreamRequest
from gateway.providers.lean_answer import StaleConnection
from gateway.providers.lean_connection import Connection, Origin, Place

_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # line ends among them, a tab not
KEPT = 1000  # addresses that are kept taken apart


class LeanTransport:
    """Keeps connections per origin. `plain` takes what does not fit here: bodies that stream. `tls` is for https;
    without one, one is made when it is first needed (15 ms, and a MB of authorities)."""

    def __init__(self, clock: Clock, patience: Patience, plain: Transport, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self.now = clock.monotonic
        self._patience = patience
        self._plain = plain
        self._tls = tls
        self._places: dict[Origin, Place] = {}
        # By the identity of their fields, which providers make once; they are kept here, so that it stays theirs.
        self._heads: dict[int, tuple[str, str, tuple[tuple[str, str], ...], Place, bytes]] = {}

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        body = request.body
        if not (body is None or isinstance(body, bytes)) or request.method == "HEAD":  # to which no body comes
            return await self._plain.send(request)
        return await self.way(request).send(body)

    def way(self, request: UpstreamRequest) -> Way:
        """The port `Repeating`. Heads differ in their length alone, mostly, so what comes before it is kept. Raises
        ConnectFailed."""
        known = self._heads.get(id(request.headers))
        if known is not None and known[1] == request.url and known[0] == request.method:
            return Way(self, request, known[3], known[4])
        origin, host, target = split(request.url)
        head = _head(request, host, target)
        place = self._places.get(origin)
        if place is None:
            place = self._places[origin] = Place(origin)
        if len(self._heads) >= KEPT:
            self._heads.clear()
        self._heads[id(request.headers)] = request.method, request.url, request.headers, place, head
        return Way(self, request, place, head)

    async def close(self) -> None:
        """Close every connection."""
        for place in self._places.values():
            for connection in tuple(place.open):
                connection.abort()
        await self._plain.close()

    @property
    def connections(self) -> int:
        """Open ones, idle and busy."""
        return sum(len(place.open) for place in self._places.values())

    async def connect(self, place: Place, seconds: float) -> Connection:
        """A new connection. Raises ConnectFailed."""
        loop, origin = asyncio.get_running_loop(), place.origin
        tls = None
        if origin.scheme == "https":
            tls = self._tls = self._tls or tls_context()
        factory = partial(Connection, place, self._patience, self._clock)
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    factory, origin.host, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
        except TimeoutError:
            raise ConnectFailed(f"no connection within {seconds:g} s") from None
        except (OSError, ssl.SSLError) as error:
            raise ConnectFailed(type(error).__name__) from None
        if not connection.sound:  # it ended, or spoke before it was asked, as it was made
            raise ConnectFailed("closed as it was opened")
        place.open.add(connection)
        return connection


class Way:
    """Where requests go that differ in nothing but their bodies, and the head with which they leave."""

    __slots__ = ("_head", "_idle", "_now", "_place", "_request", "_transport")

    def __init__(self, transport: LeanTransport, request: UpstreamRequest, place: Place, head: bytes) -> None:
        """`head` is that of `request` but for its length and its end."""
        self._transport, self._now = transport, transport.now
        self._request = request
        self._place, self._idle = place, place.idle
        self._head = head

    async def send(self, body: bytes | None) -> Upstream:
        """The request with this body. Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        if body is not None:
            head = b"%bcontent-length: %d\r\n\r\n" % (self._head, len(body))
        else:
            head = self._head + (b"\r\n" if self._request.method == "GET" else b"content-length: 0\r\n\r\n")
        idle, now = self._idle, self._now()
        while idle:
            connection, _ = idle.popitem()  # the last used
            if (answer := connection.exchange(self._request, head, body, now)) is None:
                continue
            try:
                return await answer
            except StaleConnection:  # the provider closed it as we wrote; nothing of an answer had come
                break
            except asyncio.CancelledError:
                connection.leave(answer)
                raise
        return await self._send_first(head, body)

    async def _send_first(self, head: bytes, body: bytes | None) -> Upstream:
        """The same over a new connection, which is not stale."""
        connection = await self._transport.connect(self._place, self._request.connect)
        answer = connection.exchange(self._request, head, body, self._now())
        if answer is None:
            raise ConnectFailed("closed as it was opened")
        try:
            return await answer
        except asyncio.CancelledError:
            connection.leave(answer)
            raise


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
