"""warn_at on rates and open requests, which have no period in the store: told once a minute and share. Pure.

Each process tells of what it sees itself, by the figures that its own admissions bring back. Budgets are watched by the
store, once for all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.limits.ledger import burst_of
from gateway.limits.scopes import Crossed, Remaining, Window
from gateway.limits.standing import Standing

KEPT = 10_000  # limits of which it is known what was told this minute


class Rates:
    """What was told of this minute."""

    def __init__(self) -> None:
        self._minute = -1
        self._told: set[tuple[str, str, float]] = set()

    def crossed(self, standing: Iterable[Remaining], now: float) -> Iterable[Crossed]:
        """The shares that are in use and were not told yet this minute; `now` in seconds."""
        return () if isinstance(standing, Standing) and not standing.shown.warned else self._crossed(standing, now)

    def _crossed(self, standing: Iterable[Remaining], now: float) -> Iterator[Crossed]:
        if int(now // 60) != self._minute or len(self._told) > KEPT:
            self._minute = int(now // 60)
            self._told.clear()
        for one in standing:
            limit = one.limit
            if not limit.warn_at or limit.window not in (Window.MINUTE, Window.OPEN):
                continue
            whole = burst_of(limit) if limit.window is Window.MINUTE else limit.amount
            used = whole - one.remaining
            for share in limit.warn_at:
                mark = (one.scope, limit.name, share)
                if used >= share * whole and mark not in self._told:
                    self._told.add(mark)
                    yield Crossed(one.scope, limit, share, used)
