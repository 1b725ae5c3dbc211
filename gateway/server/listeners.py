"""Sockets: bind first, so that a taken port is a clear error before anything else starts; then serve."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.telemetry.tasks import start

log = structlog.get_logger(__name__)
BREATHER = 0.5  # seconds without accepting when no descriptor is free


class PortTaken(Exception):
    """An address that cannot be listened on; the message names the setting, the address and why."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket and the address by which it is reached."""

    socket: socket.socket
    url: str

    @classmethod
    def of(cls, descriptor: int, url: str) -> Bound:
        """One that another process bound."""
        return cls(socket.socket(fileno=descriptor), url)


def bind(setting: str, host: str, port: int, backlog: int = 2048) -> Bound:
    """Listen on an address (`port` 0: any free one). `setting` is the table it comes from. Raises PortTaken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family[0], family[1], family[2])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # what is accepted inherits it
        if family[0] == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(family[4])
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError as error:
        taken = f"; another port: [{setting}] port, or GATEWAY_{setting.upper()}__PORT"
        hint = taken if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise PortTaken(f"[{setting}] cannot listen on {host}:{port}: {error.strerror or error}{hint}") from None
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
    shown = f"[{name}]" if ":" in name else name
    return Bound(listening, f"http://{shown}:{listening.getsockname()[1]}")


async def serve(runner: web.BaseRunner, bound: Bound, backlog: int = 2048, *, shared: bool = False) -> web.BaseRunner:
    """Answer on a bound socket until the runner is cleaned up. `shared`: other processes accept from it as well."""
    await runner.setup()
    site = SharedSite(runner, bound) if shared else web.SockSite(runner, bound.socket, backlog=backlog)
    await site.start()
    return runner


class SharedSite(web.BaseSite):
    """Accepts one connection at each turn of the event loop. A loop that takes all that wait, as servers do, leaves
    none to its neighbours: of 16 connections that came at once, one of two workers got all. Who is busy comes back
    later and takes fewer."""

    def __init__(self, runner: web.BaseRunner, bound: Bound) -> None:
        super().__init__(runner)
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._accepting: set[asyncio.Task[object]] = set()

    @property
    def name(self) -> str:
        """Its address."""
        return self._bound.url

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._loop.add_reader(self._bound.socket, self._accept)

    async def stop(self) -> None:
        """Accept no more; the socket stays open in the other processes."""
        self._loop.remove_reader(self._bound.socket)
        await super().stop()

    def _accept(self) -> None:
        try:
            connection, _ = self._bound.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another was faster, or the client left
        except OSError as error:  # no descriptor is free: what waits can wait
            log.warning("cannot accept", reason=error.strerror)
            self._loop.remove_reader(self._bound.socket)
            self._loop.call_later(BREATHER, self._resume)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = self._runner.server
        assert server is not None  # noqa: S101  # INVARIANT: `start` comes after the runner's set-up
        task = start(self._loop.connect_accepted_socket(server, connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepted)

    def _accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a connection was lost as it was accepted", error=type(error).__name__)

    def _resume(self) -> None:
        if self in self._runner.sites:
            self._loop.add_reader(self._bound.socket, self._accept)
