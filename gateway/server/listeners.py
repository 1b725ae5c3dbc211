"""Sockets: bind first, so that a taken port is a clear error before anything else starts; then serve."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from aiohttp import web


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
        if family[0] == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(family[4])
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError as error:
        raise PortTaken(f"[{setting}] cannot listen on {host}:{port}: {error.strerror or error}") from None
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
    shown = f"[{name}]" if ":" in name else name
    return Bound(listening, f"http://{shown}:{listening.getsockname()[1]}")


async def serve(runner: web.BaseRunner, bound: Bound, backlog: int = 2048) -> web.BaseRunner:
    """Answer on a bound socket until the runner is cleaned up."""
    await runner.setup()
    await web.SockSite(runner, bound.socket, backlog=backlog).start()
    return runner
