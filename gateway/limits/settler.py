"""The settler: what must still be told to the store when the exchange is over, and while it is open.

`settle` takes a settlement without waiting, so that a `finally` under cancellation can hand it over; a task brings it
to the store, again and again until it is there. What keys without limits use is added up for a second first
(`rows.py`). Open leases are renewed; leases that nobody renews are swept.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.errors import StoreFailure
from gateway.limits.ledger import CANCELLED, TOMBSTONE
from gateway.limits.rows import Waiting
from gateway.limits.scopes import Account, Charge, Claim, Crossed, Lease
from gateway.limits.standing import Standing
from gateway.limits.warnings import Rates
from gateway.limits.windows import MICRO

if TYPE_CHECKING:
    from gateway.ports import Clock, LimitStore
    from gateway.telemetry.tasks import Background

RENEW = 20.0  # seconds; a lease lasts 60, so two renewals may fail
YOUNG = 5.0  # seconds of age below which a lease need not be renewed yet
SWEEP = 1.0  # seconds between sweeps, ± half of it, so that processes do not sweep in step
FIRST, LONGEST = 0.1, 5.0  # seconds between two tries
ADDED_UP = 1.0  # seconds for which usage that no limit waits for is added up
BATCH = 256  # settlements on their way at once
RENEWED_AT_ONCE = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What became of leases, for metrics."""

    settled: int = 0
    retried: int = 0
    lost: int = 0  # given up: the store stayed away for longer than it can correct an expired lease
    swept: int = 0


Closed = tuple[Lease, Charge]


@dataclass(eq=False, slots=True)
class _Due:
    """A settlement that the store did not take at first."""

    closed: Closed
    since: float  # monotonic seconds, of the first try
    tries: int = 0


class Settler:
    """The port Settler, and the tasks behind it. `draw` is uniform in [0, 1); `crossed` hears of each `warn_at` share
    that was passed, and of the claim that did."""

    def __init__(
        self, store: LimitStore, background: Background, clock: Clock, *, draw: Callable[[], float] = random.random,
        crossed: Callable[[Crossed, Claim], None] = lambda _, __: None,
    ) -> None:  # fmt: skip
        self._store, self._background, self._clock, self._draw = store, background, clock, draw
        self._crossed, self._rates = crossed, Rates()
        self._open: dict[str, tuple[float, Lease]] = {}
        self._new: list[Closed] = []
        self._again: list[tuple[float, int, _Due]] = []  # a heap, by the monotonic second of the next try
        self._rows = Waiting()
        self._number = 0
        self._flying = 0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: asyncio.Task[None] | None = None
        self._closing = False
        self.counts = Counts()

    @property
    def depth(self) -> int:
        """Settlements that the store does not have yet."""
        return len(self._new) + len(self._again) + self._flying + len(self._rows)

    @property
    def open_leases(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin to settle, renew and sweep. Needs a running loop; a second call does nothing."""
        if self._settling is None:
            self._settling = self._background.spawn("settle", self._settle_all())
            self._tasks = [
                self._background.spawn("renew leases", self._renew()),
                self._background.spawn("sweep leases", self._sweep()),
            ]

    def opened(self, lease: Lease) -> None:
        if self._settling is None:
            self.start()
        now, standing = self._clock.monotonic(), lease.remaining
        self._open[lease.claim.request_id] = now, lease
        if not isinstance(standing, Standing) or standing.shown.warned:
            for one in self._rates.crossed(standing, now):
                self._tell(one, lease.claim)

    def settle(self, lease: Lease, charge: Charge) -> None:
        if self._settling is None:
            self.start()
        self._open.pop(lease.claim.request_id, None)
        if not self._new:
            self._wake.set()
        self._new.append((lease, charge))

    def add_up(self, account: Account, request_id: str, charge: Charge) -> None:
        """What a request came to that no limit holds: its row is told within a second, or at once when we close."""
        if self._rows.add(account, request_id, charge):
            self.start()
            if self._closing:
                self._tell_rows()
            else:
                asyncio.get_running_loop().call_later(ADDED_UP, self._tell_rows)

    def _tell_rows(self) -> None:
        for closed in self._rows.taken():
            if not self._new:
                self._wake.set()
            self._new.append(closed)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109  # at the end of it, it has work to do itself
        """Bring everything to the store, for at most `timeout` seconds; what is left then is counted as lost, logged,
        and charged as reserved when its lease expires."""
        self._closing = True
        self._tell_rows()  # INVARIANT: before anything is awaited, since the task ends where nothing is due
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._wake.set()
        if self._settling is not None:
            await asyncio.wait({self._settling}, timeout=timeout)
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        for closed in (*self._new, *[due.closed for _, _, due in self._again]):
            self._lose(*closed)
        self._new.clear()
        self._again.clear()

    async def _settle_all(self) -> None:
        while self._new or self._again or not self._closing:
            now = self._clock.monotonic()
            batch, self._new = self._new[:BATCH], self._new[BATCH:]
            again: list[_Due] = []
            while self._again and self._again[0][0] <= now and len(batch) + len(again) < BATCH:
                again.append(heapq.heappop(self._again)[2])
            if batch or again:
                await self._bring(batch, again, now)
                continue
            self._wake.clear()
            if not self._again:
                if not self._closing:
                    await self._wake.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._again[0][0] - now)):
                    await self._wake.wait()

    async def _bring(self, new: list[Closed], again: list[_Due], now: float) -> None:
        """All that is due in one step, so that what many exchanges leave behind takes one task and one write."""
        batch = new + [due.closed for due in again] if again else new
        self._flying = len(batch)
        try:
            answers = await self._store.settle_all(batch)
        except Exception as bug:
            # Whatever it is: one settlement that cannot be brought must not end the task that brings all others.
            log.exception("settling failed", error=type(bug).__name__)
            answers = [StoreFailure(type(bug).__name__)] * len(batch)
        except BaseException:
            self._new = batch + self._new  # a second settlement of the same lease changes nothing
            raise
        finally:
            self._flying = 0
        tried = {id(due.closed): due for due in again}
        failed = 0
        for closed, passed in zip(batch, answers, strict=True):
            if not passed:  # as nearly always
                continue
            if isinstance(passed, StoreFailure):
                failed += 1
                self._try_again(tried.get(id(closed)) or _Due(closed, now))
                continue
            for one in passed:
                self._tell(one, closed[0].claim)
        self.counts.settled += len(batch) - failed

    def _tell(self, one: Crossed, claim: Claim) -> None:
        """Whoever hears of warnings must neither end the task that settles nor lose a lease that was just opened."""
        try:
            self._crossed(one, claim)
        except Exception as bug:
            log.exception("warning failed", error=type(bug).__name__, request_id=claim.request_id)

    def _try_again(self, due: _Due) -> None:
        now = self._clock.monotonic()
        # An admission that was given up matters as long as it could still come to life; a lease, as long as a
        # tombstone lets its charge be corrected.
        lifetime = TOMBSTONE if due.closed[0].epoch else CANCELLED
        if now - due.since > lifetime / MICRO:
            self._lose(*due.closed)
            return
        due.tries += 1
        self.counts.retried += 1
        self._number += 1
        at = now + min(LONGEST, FIRST * 2 ** min(due.tries, 10)) * (0.5 + self._draw() / 2)
        heapq.heappush(self._again, (at, self._number, due))

    def _lose(self, lease: Lease, charge: Charge) -> None:
        self.counts.lost += 1
        claim = lease.claim
        log.error(
            "settlement lost", request_id=claim.request_id, tenant=claim.tenant, requests=charge.requests,
            tokens=charge.tokens, nano_usd=charge.nano_usd, reserved_tokens=claim.tokens,
            reserved_nano_usd=claim.nano_usd,
        )  # fmt: skip

    async def _renew(self) -> None:
        delay = RENEW
        while True:
            await asyncio.sleep(delay)
            delay = RENEW
            now = self._clock.monotonic()
            leases = [lease for opened, lease in self._open.values() if now - opened >= YOUNG]
            try:
                for start in range(0, len(leases), RENEWED_AT_ONCE):
                    await self._store.renew(leases[start : start + RENEWED_AT_ONCE])
            except StoreFailure:
                delay = LONGEST

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP * (0.5 + self._draw()))
            try:
                self.counts.swept += await self._store.sweep()
            except StoreFailure as failure:
                log.debug("sweep failed", reason=failure.detail)
