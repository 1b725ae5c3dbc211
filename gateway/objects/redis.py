"""Objects remembered in Redis: the port `ObjectDirectory` for many processes.

    q:o:<SHA-256 of provider and id>   → the tenant's name, until the object's lifetime ends

The id itself is not stored: whoever reads the store learns no object's name. What this process remembered itself it
knows at once, and without asking.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import StoreFailure
from gateway.objects.memory import MemoryObjects
from gateway.telemetry.tasks import Background

if TYPE_CHECKING:
    from gateway.ports import Clock

log = structlog.get_logger(__name__)
NEAR = 0.05  # days that this process goes by what it remembered itself
TRIES, PAUSE = 5, 0.5  # of writing, and seconds between two

Command = Callable[..., Awaitable[Any]]  # the parts of a command, its key the second of them


class RedisObjects:
    """`command` sends one to the server of its key; it raises StoreFailure."""

    def __init__(self, command: Command, background: Background, clock: Clock) -> None:
        self._command = command
        self._background = background
        self._near = MemoryObjects(clock, 10_000)

    async def owners(self, provider: str, ids: Sequence[str]) -> list[str | None]:
        """Whose each of them is. The commands leave together. Raises StoreFailure."""
        near = [self._near.owner(provider, one) for one in ids]
        asked = [one for one, owner in zip(ids, near, strict=True) if owner is None]
        if not asked:
            return near
        replies = iter(await asyncio.gather(*(self._command(b"GET", _key(provider, one)) for one in asked)))
        return [owner if owner is not None else _name(next(replies)) for owner in near]

    def remember(self, provider: str, one: str, tenant: str, days: float) -> None:
        """It is the tenant's, unless it is somebody's already. Written in the background."""
        if self._near.owner(provider, one) is None:
            self._near.remember(provider, one, tenant, NEAR)
            _ = self._background.spawn("object", self._write(_key(provider, one), tenant.encode(), int(days * 86_400)))

    async def _write(self, key: bytes, tenant: bytes, seconds: int) -> None:
        for attempt in range(TRIES):
            try:
                await self._command(b"SET", key, tenant, b"EX", b"%d" % seconds, b"NX")
            except StoreFailure as failure:
                if attempt == TRIES - 1:
                    log.warning("an object's tenant could not be remembered", failure=failure.detail)
                await asyncio.sleep(PAUSE * (attempt + 1))
            else:
                return


def _key(provider: str, one: str) -> bytes:
    return b"q:o:" + hashlib.sha256(f"{provider}\0{one}".encode("utf-8", "surrogatepass")).hexdigest()[:40].encode()


def _name(reply: Any) -> str | None:
    return reply.decode() if isinstance(reply, bytes) else None
