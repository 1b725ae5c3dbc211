"""What happens while the limit store is away: `closed` refuses, `open` admits, `bounded` admits a little.

Slow counts as away: a breaker opens after three failures in a row and lets one call a second find out whether the
store is back. In mode `bounded` this process admits, for so many seconds of an outage, `fraction` of each limit
divided by the number of processes, and at least one request per scope. What is admitted here is settled in the store
when it is back; until then it lives in this process only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from gateway.errors import StoreFailure
from gateway.limits.ledger import GivenUp, Ledger, amount_of, burst_of
from gateway.limits.scopes import Charge, Claim, Denial, Lease, OnFailure, Remaining, Scope, Window
from gateway.limits.windows import MICRO

if TYPE_CHECKING:
    from gateway.ports import Clock, LimitStore

T = TypeVar("T")
FAILURES = 3  # in a row, until the breaker opens
PROBE = 1.0  # seconds between two calls that find out whether the store is back
KNOWN = 50_000  # budgets whose last known rest is kept
LOCAL = "local"  # the epoch of leases that the store has never seen: it charges them whole
_STRICTNESS: dict[OnFailure, int] = {"open": 0, "bounded": 1, "closed": 2}


class Guarded:
    """The LimitStore port over another store. `processes` is the last known number of gateways that share it."""

    def __init__(
        self, store: LimitStore, *, mode: OnFailure = "bounded", fraction: float = 0.1, seconds: float = 60.0,
        processes: Callable[[], int] = lambda: 1, clock: Clock,
    ) -> None:  # fmt: skip
        self._store, self._clock = store, clock
        self._mode, self._fraction, self._seconds, self._processes = mode, fraction, seconds, processes
        self._failures = 0
        self._probe_at = 0.0
        self._begun = 0.0
        self._outage: float | None = None  # monotonic seconds at which it began
        self._back: float | None = None  # and at which the last one ended
        self._ledgers: dict[str, Ledger] = {}
        self._known: dict[tuple[str, str], int] = {}
        self.admitted_locally = 0

    @property
    def away(self) -> bool:
        """Whether the breaker is open."""
        return self._failures >= FAILURES

    async def admit(self, claim: Claim) -> Lease | Denial:
        """Raises StoreFailure where the mode, or what it may still admit, says no."""
        try:
            self._check()
            verdict = await self._store.admit(claim)
        except GivenUp:
            raise
        except StoreFailure as failure:
            self._failed()
            return self._admit_locally(claim, failure)
        self._succeeded()
        for one in verdict.remaining:
            if one.limit.window not in (Window.MINUTE, Window.OPEN):
                if len(self._known) >= KNOWN:
                    self._known.clear()
                self._known[one.scope, one.limit.name] = one.remaining
        return verdict

    async def settle(self, lease: Lease, charge: Charge) -> None:
        """A lease of an outage is charged in the store as soon as that is back; its place here is free at once."""
        if lease.local:
            self._ledger(lease.claim.tenant).settle(lease, charge, self._micros())
        await self._through(lambda: self._store.settle(lease, charge))

    async def renew(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if lease.local:
                self._ledger(lease.claim.tenant).renew(lease.claim.request_id, self._micros())
        known = [lease for lease in leases if not lease.local]
        if known:
            await self._through(lambda: self._store.renew(known))

    async def sweep(self) -> int:
        for ledger in self._ledgers.values():
            ledger.expire(self._micros())
        return await self._through(self._store.sweep)

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        return await self._through(lambda: self._store.standing(tenant, scopes))

    async def ping(self) -> None:
        """Asks the store itself, whatever the breaker says."""
        await self._store.ping()

    async def close(self) -> None:
        await self._store.close()

    async def _through(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            self._check()
            result = await call()
        except StoreFailure:
            self._failed()
            raise
        self._succeeded()
        return result

    def _check(self) -> None:
        """Let a call through. Raises StoreFailure while the breaker is open and it is not time to probe."""
        if not self.away:
            return
        now = self._clock.monotonic()
        if now < self._probe_at:
            raise StoreFailure("the store is away")
        self._probe_at = now + PROBE

    def _failed(self) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        if self._failures == FAILURES:
            self._probe_at = now + PROBE
        if self._outage is None:
            if self._back is None or now - self._back > self._seconds:
                self._ledgers = {}
                self._outage = now
            else:
                # The store comes and goes. Each time a fresh allowance would add up, so the last one goes on.
                self._outage = self._begun

    def _succeeded(self) -> None:
        if self._failures:
            self._failures = 0
        if self._outage is not None:
            self._begun, self._outage, self._back = self._outage, None, self._clock.monotonic()

    def _admit_locally(self, claim: Claim, failure: StoreFailure) -> Lease | Denial:
        modes: tuple[OnFailure, ...] = (self._mode, claim.on_failure or self._mode)
        mode = max(modes, key=lambda one: _STRICTNESS[one])
        if mode == "closed":
            raise failure
        lease = Lease(claim, (), local=True, epoch=LOCAL)
        if mode == "bounded":
            now = self._clock.monotonic()
            if self._outage is None or now - self._outage > self._seconds:
                raise failure
            ledger = self._ledger(claim.tenant)
            scopes = tuple(self._bounded(scope, claim, ledger) for scope in claim.scopes)
            if not isinstance(ledger.admit(structs.replace(claim, scopes=scopes), self._micros()), Lease):
                raise failure
        self.admitted_locally += 1
        return lease

    def _bounded(self, scope: Scope, claim: Claim, ledger: Ledger) -> Scope:
        """The scope with the part of its limits that this process may admit alone."""
        share = self._fraction / max(1, self._processes())
        first = scope.id not in ledger.counters
        limits = []
        for limit in scope.limits:
            wanted = amount_of(limit.unit, 1, claim.tokens, claim.nano_usd)
            whole = burst_of(limit) if limit.window is Window.MINUTE else limit.amount
            part = int(whole * share)
            if first:
                part = max(part, min(wanted, whole))  # at least one request, if it could fit at all
            known = self._known.get((scope.id, limit.name))
            if known is not None:
                part = min(part, max(0, known))
            rate = max(1, int(limit.amount * share)) if limit.window is Window.MINUTE else part
            limits.append(replace(limit, amount=rate, burst=part if limit.window is Window.MINUTE else 0))
        return structs.replace(scope, limits=tuple(limits))

    def _ledger(self, tenant: str) -> Ledger:
        ledger = self._ledgers.get(tenant)
        if ledger is None:
            ledger = self._ledgers[tenant] = Ledger(LOCAL)
        return ledger

    def _micros(self) -> int:
        return int(self._clock.now() * MICRO)
