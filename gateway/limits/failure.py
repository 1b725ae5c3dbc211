"""What happens while the limit store is away: `closed` refuses, `open` admits, `bounded` admits a little.

Slow counts as away: a breaker opens after three failures in a row and lets one call a second find out whether the
store is back. Calls that were on their way together have failed together: one pause of the store, of however many
callers, is one failure. In mode `bounded` this process admits, for so many seconds of an outage, `fraction` of each
limit divided by the number of processes, and at least one request per scope. What is admitted here is settled in the
store when it is back; until then it lives in this process only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import structs

from gateway.errors import StoreFailure
from gateway.limits.exceptions import Exemption
from gateway.limits.ledger import GivenUp, Ledger, amount_of, burst_of
from gateway.limits.scopes import Charge, Claim, Crossed, Denial, Lease, OnFailure, Remaining, Scope, Window
from gateway.limits.usage import Row
from gateway.limits.windows import MICRO

if TYPE_CHECKING:
    from gateway.ports import Clock, LimitStore

T = TypeVar("T")
News = Literal["away", "used up", "back"]  # "used up": the seconds for which mode `bounded` admits
FAILURES = 3  # in a row, until the breaker opens
PROBE = 1.0  # seconds between two calls that find out whether the store is back
KNOWN = 50_000  # budgets whose last known rest is kept
SEEN = 1_000  # answers of the store that were not looked into yet
WHOLE = ""  # the part that a store is which is not divided
LOCAL = "local"  # the epoch of leases that the store has never seen: it charges them whole
_STRICTNESS: dict[OnFailure, int] = {"open": 0, "bounded": 1, "closed": 2}


class Part:
    """A breaker over what fails together: all of a store, or one node of a Cluster. Times in monotonic seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.failures = 0  # in a row; of calls that were on their way together one counts
        self._probe_at = 0.0
        self._begun = 0.0
        self._back: float | None = None  # when the last outage ended
        self.outage: float | None = None  # when this one began
        self.ledgers: dict[str, Ledger] = {}  # by tenant: what was admitted here since then
        self.told: News = "back"  # what was last said of it
        self.well = True  # whether a call that succeeds is nothing new

    @property
    def away(self) -> bool:
        """Whether the breaker is open."""
        return self.failures >= FAILURES

    def left(self, now: float) -> float:
        """Seconds for which mode `bounded` still admits."""
        return max(0.0, self._seconds - (now - self.outage)) if self.outage is not None else self._seconds

    def check(self, now: float) -> None:
        """Let a call through. Raises StoreFailure while the breaker is open and it is not time to probe."""
        if now < self._probe_at:
            raise StoreFailure("the store is away")
        self._probe_at = now + PROBE

    def failed(self, now: float, before: int) -> None:
        """A call has failed that began after so many `failures`."""
        self.well = False
        if self.failures == before:
            self.failures += 1
            if self.failures == FAILURES:
                self._probe_at = now + PROBE
        if self.outage is None:
            if self._back is None or now - self._back > self._seconds:
                self.ledgers = {}
                self.outage = now
            else:
                # The store comes and goes. Each time a fresh allowance would add up, so the last one goes on.
                self.outage = self._begun

    def succeeded(self, now: float) -> None:
        self.failures = 0
        if self.outage is not None:
            self._begun, self.outage, self._back = self.outage, None, now


class Guarded:
    """The LimitStore port over another store. `processes` is the last known number of gateways that share it; `part`
    names what fails together with a tenant's counters, where that is not all of it. `tell` is called when such a part
    goes or comes, once each."""

    def __init__(
        self, store: LimitStore, *, mode: OnFailure = "bounded", fraction: float = 0.1, seconds: float = 60.0,
        processes: Callable[[], int] = lambda: 1, part: Callable[[str], str] | None = None, clock: Clock,
        tell: Callable[[News, str, Guarded], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self._store, self._clock = store, clock
        self._mode, self._fraction, self._seconds, self._processes = mode, fraction, seconds, processes
        self._whole = Part(seconds) if part is None else None
        self._part_of = part if part is not None else lambda _: WHOLE
        self._parts = {WHOLE: self._whole} if self._whole is not None else {}
        self._seen: dict[int, tuple[Sequence[Scope], Sequence[Remaining]]] = {}
        self._known: dict[tuple[str, str], int] = {}
        self._tell = tell
        self.admitted_locally = 0

    @property
    def away(self) -> bool:
        """Whether some of the store is away."""
        return any(part.away for part in self._parts.values())

    @property
    def processes(self) -> int:
        """Gateways that share the store, as last seen."""
        return self._processes()

    @property
    def gone(self) -> bool:
        """Whether all of it is that was ever asked."""
        return bool(self._parts) and all(part.away for part in self._parts.values())

    @property
    def mode(self) -> OnFailure:
        """What holds while it is away, for tenants that are not stricter."""
        return self._mode

    @property
    def allowance(self) -> float:
        """Seconds for which mode `bounded` still admits, where that is longest."""
        now = self._clock.monotonic()
        return max((part.left(now) for part in self._parts.values()), default=self._seconds)

    async def admit(self, claim: Claim) -> Lease | Denial:
        """Raises StoreFailure where the mode, or what it may still admit, says no."""
        part = self._whole or self._part(claim.tenant)
        before = part.failures
        try:
            if before >= FAILURES:
                part.check(self._clock.monotonic())
            verdict = await self._store.admit(claim)
        except GivenUp:
            raise
        except StoreFailure as failure:
            self._failed(part, before)
            return self._admit_locally(claim, part, failure)
        if not part.well:
            self._succeeded(part)
        # Keep how limits stand, for the time when the store is away. Of requests with the same scopes the last word
        # counts, and it is looked into only when it is needed.
        seen, scopes = self._seen, claim.scopes
        if len(seen) >= SEEN:
            self._look()
        seen.pop(id(scopes), None)  # what was seen last stands last
        seen[id(scopes)] = scopes, verdict.remaining
        return verdict

    async def grow(self, lease: Lease, tokens: int, nano_usd: int) -> Denial | None:
        """While the store is away, what runs goes on; only `closed` ends it."""
        if lease.local:
            return None
        try:
            return await self._through(lease.claim.tenant, lambda: self._store.grow(lease, tokens, nano_usd))
        except StoreFailure:
            if self._mode_for(lease.claim) == "closed":
                raise
            return None

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        """A lease of an outage is charged in the store as soon as that is back; its place here is free at once."""
        tenant = lease.claim.tenant
        if lease.local:
            self._free(lease, charge)
        return await self._through(tenant, lambda: self._store.settle(lease, charge))

    async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        """Likewise, each by itself."""
        if self._whole is not None and not self.admitted_locally:
            return await self._settle_in_part(closed)
        together: dict[str, list[int]] = {}
        parts: dict[str, str] = {}  # by tenant
        for at, (lease, charge) in enumerate(closed):
            if lease.local:
                self._free(lease, charge)
            tenant = lease.claim.tenant
            part = parts.get(tenant)
            if part is None:
                part = parts[tenant] = self._part_of(tenant)
                together.setdefault(part, [])
            together[part].append(at)
        if len(together) == 1:
            return await self._settle_in_part(closed)
        found: list[Sequence[Crossed] | StoreFailure] = [()] * len(closed)
        for places in together.values():
            answers = await self._settle_in_part([closed[at] for at in places])
            for at, answer in zip(places, answers, strict=True):
                found[at] = answer
        return found

    async def _settle_in_part(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        part = self._part(closed[0][0].claim.tenant)
        before = part.failures
        try:
            if part.away:
                part.check(self._clock.monotonic())
        except StoreFailure as failure:
            return [failure] * len(closed)
        found = await self._store.settle_all(closed)
        broken = [one for one in found if one and isinstance(one, StoreFailure)]
        if len(broken) < len(found):
            if not part.well:
                self._succeeded(part)
        elif not all(one.of_the_call for one in broken):  # a lease that cannot be settled is no outage
            self._failed(part, before)
        return found

    def _free(self, lease: Lease, charge: Charge) -> None:
        """Free the place that a lease of an outage has here."""
        tenant = lease.claim.tenant
        for part in self._parts.values():
            if tenant in part.ledgers:
                part.ledgers[tenant].settle(lease, charge, self._micros())

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Raises StoreFailure where a part is away; the others are renewed all the same."""
        known: dict[str, list[Lease]] = {}
        for lease in leases:
            tenant = lease.claim.tenant
            if lease.local:
                for part in self._parts.values():
                    if tenant in part.ledgers:
                        part.ledgers[tenant].renew(lease.claim.request_id, self._micros())
            else:
                known.setdefault(self._part_of(tenant), []).append(lease)
        broken: StoreFailure | None = None
        for together in known.values():
            try:
                await self._through(together[0].claim.tenant, partial(self._store.renew, together))
            except StoreFailure as failure:
                broken = failure
        if broken is not None:
            raise broken

    async def sweep(self) -> int:
        """A sweep goes everywhere: one that comes back has found every part."""
        for part in self._parts.values():
            for ledger in part.ledgers.values():
                ledger.expire(self._micros())
        whole = self._parts.setdefault(WHOLE, Part(self._seconds))
        self._say()
        before = whole.failures
        if whole.away:
            whole.check(self._clock.monotonic())
        try:
            expired = await self._store.sweep()
        except StoreFailure:
            self._failed(whole, before)
            raise
        for part in self._parts.values():
            self._succeeded(part)
        return expired

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        return await self._through(tenant, lambda: self._store.standing(tenant, scopes))

    async def usage(self, tenant: str, since: int) -> Sequence[Row]:
        return await self._through(tenant, lambda: self._store.usage(tenant, since))

    async def exempt(self, tenant: str, scope: Scope, asked: Exemption) -> Exemption:
        return await self._through(tenant, lambda: self._store.exempt(tenant, scope, asked))

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        return await self._through(tenant, lambda: self._store.exemptions(tenant))

    async def ping(self) -> None:
        """Asks the store itself, whatever the breaker says."""
        await self._store.ping()

    async def close(self) -> None:
        await self._store.close()

    def _part(self, tenant: str) -> Part:
        name = self._part_of(tenant)
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = Part(self._seconds)
        return part

    async def _through(self, tenant: str, call: Callable[[], Awaitable[T]]) -> T:
        part = self._part(tenant)
        before = part.failures
        try:
            if part.away:
                part.check(self._clock.monotonic())
            result = await call()
        except StoreFailure:
            self._failed(part, before)
            raise
        self._succeeded(part)
        return result

    def _look(self) -> None:
        """Know the rest of each budget that was seen."""
        for _, standing in self._seen.values():
            for one in standing:
                if one.limit.window not in (Window.MINUTE, Window.OPEN):
                    if len(self._known) >= KNOWN:
                        self._known.clear()
                    self._known[one.scope, one.limit.name] = one.remaining
        self._seen.clear()

    def _failed(self, part: Part, before: int) -> None:
        part.failed(self._clock.monotonic(), before)
        self._say()

    def _succeeded(self, part: Part) -> None:
        part.succeeded(self._clock.monotonic())
        if part.told != "back":
            self._say()
        part.well = True

    def _say(self) -> None:
        """Tell what has changed since the last time."""
        now = self._clock.monotonic()
        for name, part in self._parts.items():
            if part.away and part.told == "back":
                part.told = "away"
                self._tell("away", name, self)
            if part.away and part.told == "away" and self._mode == "bounded" and part.left(now) <= 0:
                part.told = "used up"
                self._tell("used up", name, self)
            elif not part.away and part.told != "back":
                part.told = "back"
                self._tell("back", name, self)

    def _mode_for(self, claim: Claim) -> OnFailure:
        modes: tuple[OnFailure, ...] = (self._mode, claim.on_failure or self._mode)
        return max(modes, key=lambda one: _STRICTNESS[one])

    def _admit_locally(self, claim: Claim, part: Part, failure: StoreFailure) -> Lease | Denial:
        mode = self._mode_for(claim)
        if mode == "closed":
            raise failure
        lease = Lease(claim, (), local=True, epoch=LOCAL)
        if mode == "bounded":
            now = self._clock.monotonic()
            if part.outage is None or now - part.outage > self._seconds:
                raise failure
            self._look()
            ledger = part.ledgers.setdefault(claim.tenant, Ledger(LOCAL))
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

    def _micros(self) -> int:
        return int(self._clock.now() * MICRO)
