"""What all hot connections of a process share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.server.heads import request_lines

if TYPE_CHECKING:
    from gateway.server.hot import HotConnection

LARGEST_BODY = 1 << 20  # bytes that are held here; a larger body takes aiohttp's way, with its back-pressure


class Limits:
    """Seconds that are waited for a client, bytes that a body may have, who there is, and the lines of heads that came
    before."""

    __slots__ = ("connections", "header", "keepalive", "largest", "lines", "silence", "write")

    def __init__(self, *, header: float, silence: float, write: float, keepalive: float, body: int) -> None:
        self.header, self.silence, self.write, self.keepalive = header, silence, write, keepalive
        self.largest = min(LARGEST_BODY, body)
        self.connections: set[HotConnection] = set()
        self.lines = request_lines()
