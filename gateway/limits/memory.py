"""memory://: limits counted in this process. One process only; all is forgotten at exit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import StoreFailure
from gateway.limits.exceptions import Exemption, exempt, listed
from gateway.limits.ledger import GivenUp, Ledger
from gateway.limits.scopes import Charge, Claim, Crossed, Denial, Lease, Remaining, Scope
from gateway.limits.slices import grow
from gateway.limits.usage import Row
from gateway.limits.windows import MICRO

if TYPE_CHECKING:
    from gateway.ports import Clock

MOST_KEPT = 10_000  # sealed maps of conversations
EPOCH = "memory"  # a process that ends takes its leases with it, so one life is all there is


class MemoryStore:
    """The ports LimitStore, over one ledger per tenant, and Keeper. Nothing is awaited, so a call is one step for
    everybody else."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = int((clock.now() - clock.monotonic()) * MICRO)
        self._ledgers: dict[str, Ledger] = {}
        self._kept: dict[tuple[str, str], tuple[bytes, int]] = {}  # what is kept, and until when (µs)

    async def admit(self, claim: Claim) -> Lease | Denial:
        """Raises GivenUp for a request id that was given up before."""
        verdict = self._ledger(claim.tenant).admit(claim, self._now())
        if verdict is None:
            raise GivenUp
        return verdict

    async def grow(self, lease: Lease, tokens: int, nano_usd: int) -> Denial | None:
        return grow(self._ledger(lease.claim.tenant), lease, tokens, nano_usd, self._now())

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        return self._ledger(lease.claim.tenant).settle(lease, charge, self._now())

    async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        found: list[Sequence[Crossed] | StoreFailure] = []
        for lease, charge in closed:
            try:
                found.append(await self.settle(lease, charge))
            except StoreFailure as failure:
                found.append(failure)
        return found

    async def renew(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._ledger(lease.claim.tenant).renew(lease.claim.request_id, self._now())

    async def sweep(self) -> int:
        now = self._now()
        expired = sum(ledger.expire(now) for ledger in self._ledgers.values())
        for tenant in [tenant for tenant, ledger in self._ledgers.items() if ledger.idle(now)]:
            del self._ledgers[tenant]
        return expired

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        return self._ledger(tenant).standing(scopes, self._now())

    async def keep(self, tenant: str, name: str, value: bytes, seconds: int) -> None:
        """The oldest are forgotten where there are too many."""
        self._kept.pop((tenant, name), None)
        self._kept[(tenant, name)] = (value, self._now() + seconds * MICRO)
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    async def kept(self, tenant: str, name: str) -> bytes | None:
        value, until = self._kept.get((tenant, name), (None, 0))
        return value if self._now() < until else None

    async def usage(self, tenant: str, since: int) -> list[Row]:
        return self._ledger(tenant).usage.rows(tenant, since)

    async def exempt(self, tenant: str, scope: Scope, asked: Exemption) -> Exemption:
        return exempt(self._ledger(tenant), scope, asked, self._now())

    async def exemptions(self, tenant: str) -> list[Exemption]:
        return listed(self._ledger(tenant), self._now())

    async def ping(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        self._ledgers.clear()
        self._kept.clear()

    def ledger(self, tenant: str) -> Ledger:
        """The counters of a tenant, for those who look after the store."""
        return self._ledger(tenant)

    def _now(self) -> int:
        # The wall clock is read once: a step of it neither fills buckets nor ends a period.
        return self._started + int(self._clock.monotonic() * MICRO)

    def _ledger(self, tenant: str) -> Ledger:
        ledger = self._ledgers.get(tenant)
        if ledger is None:
            ledger = self._ledgers[tenant] = Ledger(EPOCH)
        return ledger
