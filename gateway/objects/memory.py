"""Objects remembered in this process: the port `ObjectDirectory` for memory://, and the near copy of a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.ports import Clock

MOST = 200_000  # objects; beyond that the oldest are forgotten
DAY = 86_400.0


class MemoryObjects:
    """Nothing is awaited, nothing fails; all is forgotten at exit."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._known: dict[tuple[str, str], tuple[str, float]] = {}

    async def owners(self, provider: str, ids: Sequence[str]) -> list[str | None]:
        """Whose each of them is."""
        return [self.owner(provider, one) for one in ids]

    def owner(self, provider: str, one: str) -> str | None:
        """Whose it is."""
        found = self._known.get((provider, one))
        if found is None or found[1] <= self._clock.monotonic():
            self._known.pop((provider, one), None)
            return None
        return found[0]

    def remember(self, provider: str, one: str, tenant: str, days: float) -> None:
        """It is the tenant's, unless it is somebody's already."""
        if self.owner(provider, one) is not None:
            return
        self._known[provider, one] = (tenant, self._clock.monotonic() + days * DAY)
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
