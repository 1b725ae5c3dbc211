"""The ledger: what admit, settle, renew and expire do to counters. Pure: time (µs) is an argument.

The scripts say the same in Redis' language: `admit.lua`, `settle.lua` and `settle_all.lua` with `charge.lua`,
`grow.lua`, `renew.lua`, `except.lua`. Stateful tests hold both to the same invariants.
A ledger is the counters of one tenant:

    scope → buckets (requests, tokens), open leases, and per calendar window its label and used/reserved per unit
    lease → what it took of each counter, by which label and mark, so that it is given back where it was taken
    tombstone → a lease that expired and was charged as reserved, until a late settlement corrects it
    day → the usage rows of keys (usage.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec import structs

from gateway.errors import StoreFailure
from gateway.limits import windows
from gateway.limits.exceptions import Exemption, Raised, in_force
from gateway.limits.gcra import TICK, Bucket, full_after, remaining, wait
from gateway.limits.scopes import Charge, Claim, Crossed, Denial, Lease, Limit, Remaining, Scope, Unit, Window
from gateway.limits.usage import Days
from gateway.limits.windows import MICRO

LEASE = 60 * MICRO  # µs until a lease that nobody renews is charged as reserved
TOMBSTONE = 86_400 * MICRO  # µs for which a late settlement still corrects an expired lease
CANCELLED = 600 * MICRO  # µs for which an admission that was given up cannot come to life any more
LARGEST = (1 << 53) - 1  # of any amount: what a double, and so Lua, counts exactly
UNCOUNTED = "free"  # the epoch of a lease that no limit holds: its settlement only adds to the usage rows


class GivenUp(StoreFailure):
    """The request id was given up, or settled, before its admission came."""


@dataclass(slots=True)
class Period:
    """One calendar window of a scope. `closed` holds what was charged to elapsed periods, by label and unit."""

    label: int = -1
    used: dict[Unit, int] = field(default_factory=dict)
    reserved: dict[Unit, int] = field(default_factory=dict)
    closed: dict[int, dict[Unit, int]] = field(default_factory=dict)
    told: dict[Unit, int] = field(default_factory=dict)  # how many of its `warn_at` shares were told

    def roll(self, label: int) -> None:
        """Close the current period where `label` is a later one. An earlier label never reopens an old period."""
        if label <= self.label:
            return
        if self.used:
            self.closed[self.label] = self.used
        self.label, self.used, self.reserved = label, {}, {}
        self.told = {}

    def charge(self, label: int, unit: Unit, amount: int, release: int) -> None:
        """Charge the period that admitted, whichever is current now."""
        if label == self.label:
            self.used[unit] = self.used.get(unit, 0) + amount
            self.reserved[unit] = self.reserved.get(unit, 0) - release
        else:
            used = self.closed.setdefault(label, {})
            used[unit] = used.get(unit, 0) + amount


@dataclass(slots=True)
class Counters:
    """The state of one scope."""

    open: int = 0
    buckets: dict[Unit, Bucket] = field(default_factory=dict)
    periods: dict[Window, Period] = field(default_factory=dict)
    raised: dict[tuple[Window, Unit], Raised] = field(default_factory=dict)

    def bucket(self, unit: Unit) -> Bucket:
        return self.buckets.setdefault(unit, Bucket())

    def period(self, window: Window) -> Period:
        return self.periods.setdefault(window, Period())


@dataclass(frozen=True, slots=True)
class Taken:
    """What a lease took of one limit's counter. `mark` refunds a bucket; `label` names a period."""

    scope: str
    window: Window
    unit: Unit
    rate: int
    label: int
    mark: int
    amount: int
    limit: Limit  # as the policy has it


@dataclass(slots=True)
class Held:
    """An open lease, or the tombstone of an expired one. `until` in µs."""

    taken: tuple[Taken, ...]
    until: int
    row: tuple[int, str] | None = None  # day and name of its usage row
    asked: tuple[int, int] = (0, 0)  # tokens and nano-USD that the row is charged if nobody settles


def amount_of(unit: Unit, requests: int, tokens: int, nano_usd: int) -> int:
    """The part of a claim or charge that a unit counts, cut to what can be counted exactly."""
    amount = requests if unit is Unit.REQUESTS else tokens if unit is Unit.TOKENS else nano_usd
    return min(max(0, amount), LARGEST)


class Ledger:
    """Counters of one tenant. `epoch` names the life of the store that they belong to."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.counters: dict[str, Counters] = {}
        self.leases: dict[str, Held] = {}
        self.tombs: dict[str, Held] = {}  # with nothing taken: a mark that this request id is done with
        self.usage = Days()
        self.exemptions: dict[tuple[str, str, str], Exemption] = {}  # by scope, limit and kind
        self._periods: dict[tuple[Window, str], windows.Period] = {}

    def admit(self, claim: Claim, now: int) -> Lease | Denial | None:
        """Reserve in all scopes, or say what stands in the way and change nothing. None: this request id was given
        up or charged before."""
        if claim.request_id in self.leases:
            return self._lease(claim, now)
        if (tomb := self.tombs.get(claim.request_id)) is not None and tomb.until > now:
            return None
        denial = self._denial(claim, now)
        if denial is not None:
            return denial
        over = frozenset(self._watched(claim, now))
        taken = tuple(self._take(claim, scope, limit, now) for scope in claim.scopes for limit in scope.limits)
        for name in {one.scope for one in taken}:
            self.of(name).open += 1
        self.leases[claim.request_id] = Held(taken, now + LEASE, self._row(claim, now), claim.first())
        return self._lease(claim, now, over)

    def settle(self, lease: Lease, charge: Charge, now: int) -> tuple[Crossed, ...]:
        """Replace a reservation by its charge, once; the `warn_at` shares that this passes."""
        claim = lease.claim
        if not self._settle(lease, charge, now):
            return ()
        return tuple(one for scope in claim.scopes for limit in scope.limits for one in self._crossed(scope, limit))

    def _settle(self, lease: Lease, charge: Charge, now: int) -> bool:
        claim = lease.claim
        held = self.leases.pop(claim.request_id, None)
        if held is not None:
            self._close(held, charge, now)
            self.usage.add(held.row, charge.requests, charge.tokens, charge.nano_usd)
            if lease.epoch and lease.epoch != self.epoch:
                # Admitted elsewhere while this admission was on its way: the same settlement must not charge anew.
                self.tombs[claim.request_id] = Held((), now + TOMBSTONE)
            return True
        tomb = self.tombs.get(claim.request_id)
        if tomb is not None and tomb.until > now:
            self.tombs[claim.request_id] = Held((), tomb.until)
            self._correct(tomb.taken, charge, now)
            self.usage.add(tomb.row, 0, charge.tokens - tomb.asked[0], charge.nano_usd - tomb.asked[1])
            return bool(tomb.taken)
        if lease.epoch and lease.epoch != self.epoch:
            self._force(claim, charge, now)
            self.usage.add(self._row(claim, now), charge.requests, charge.tokens, charge.nano_usd)
            keep = CANCELLED if lease.epoch == UNCOUNTED else TOMBSTONE
            self.tombs[claim.request_id] = Held((), now + keep)
            return True
        if not lease.epoch:
            self.tombs[claim.request_id] = Held((), now + CANCELLED)
        return False

    def renew(self, request_id: str, now: int) -> None:
        held = self.leases.get(request_id)
        if held is not None:
            held.until = max(held.until, now + LEASE)

    def expire(self, now: int) -> int:
        """Charge expired leases as reserved; how many there were. Tombstones that have had their time go."""
        late = [request_id for request_id, held in self.leases.items() if held.until <= now]
        for request_id in late:
            held = self.leases.pop(request_id)
            self._release(held, now)
            self.usage.add(held.row, 1, *held.asked)
            self.tombs[request_id] = Held(held.taken, now + TOMBSTONE, held.row, held.asked)
        for request_id in [request_id for request_id, tomb in self.tombs.items() if tomb.until <= now]:
            del self.tombs[request_id]
        return len(late)

    def standing(self, scopes: Iterable[Scope], now: int) -> tuple[Remaining, ...]:
        """How the limits stand; nothing changes."""
        return tuple(self._remaining(scope, limit, now) for scope in scopes for limit in scope.limits)

    def idle(self, now: int) -> bool:
        """Drop counters that hold nothing; whether nothing would be lost with the whole ledger."""
        if self.leases or self.tombs or self.usage.days or self.exemptions:
            return False  # INVARIANT: a lease or tombstone holds marks of buckets, which must not begin again
        for scope, state in tuple(self.counters.items()):
            if not state.periods and not state.raised and not any(one.leak(0, now) for one in state.buckets.values()):
                del self.counters[scope]
        return not self.counters

    def _period(self, limit: Limit, scope: Scope, now: int) -> windows.Period:
        found = self._periods.get((limit.window, scope.time_zone))
        if found is None or now not in found:
            found = windows.period(limit.window, scope.time_zone, now)
            self._periods[(limit.window, scope.time_zone)] = found
        return found

    def of(self, scope: str) -> Counters:
        return self.counters.setdefault(scope, Counters())

    def _lease(self, claim: Claim, now: int, over: frozenset[tuple[str, str]] = frozenset()) -> Lease:
        held = self.leases[claim.request_id]
        labels = iter(held.taken)
        periods = tuple(tuple(str(next(labels).label) for _ in scope.limits) for scope in claim.scopes)
        standing = self.standing(claim.scopes, now)
        if over:
            standing = tuple([structs.replace(one, over=(one.scope, one.limit.name) in over) for one in standing])
        return Lease(claim, standing, periods, epoch=self.epoch)

    def _watched(self, claim: Claim, now: int) -> Iterator[tuple[str, str]]:
        """The shadow limits that would have refused."""
        for scope in claim.scopes:
            for limit in scope.limits:
                if limit.shadow:
                    bound = self._bound(scope, limit, now)
                    if self._refused(scope, bound, _wanted(claim, limit), self._current(scope, bound, now)[0], now)[0]:
                        yield scope.id, limit.name

    def _bound(self, scope: Scope, limit: Limit, now: int) -> Limit:
        state = self.counters.get(scope.id)
        return limit if state is None else in_force(limit, state.raised.get((limit.window, limit.unit)), now)

    def _row(self, claim: Claim, now: int) -> tuple[int, str] | None:
        return (windows.period(Window.DAY, claim.time_zone, now).label, claim.row) if claim.row else None

    def _crossed(self, scope: Scope, limit: Limit) -> Iterator[Crossed]:
        """The shares of a budget that its use has passed, each once a period."""
        state = self.counters.get(scope.id)
        calendar = state.periods.get(limit.window) if state is not None and limit.thresholds else None
        if calendar is None:
            return
        used, told = calendar.used.get(limit.unit, 0), calendar.told.get(limit.unit, 0)
        for at, threshold in enumerate(limit.thresholds, 1):
            if at > told and used >= threshold:
                calendar.told[limit.unit] = at
                yield Crossed(scope.id, limit, limit.warn_at[at - 1], used)

    def _denial(self, claim: Claim, now: int) -> Denial | None:
        """Of the limits that do not fit, the one that takes longest to give way."""
        worst: tuple[int, Scope, Limit, int, int, int, int | None] | None = None
        for scope in claim.scopes:
            for limit in scope.limits:
                if limit.shadow:
                    continue
                wanted, limit = _wanted(claim, limit), self._bound(scope, limit, now)  # noqa: PLW2901  # as it holds now
                current, reserved = self._current(scope, limit, now)
                rank, retry = self._refused(scope, limit, wanted, current, now)
                if rank > 0 and (worst is None or rank > worst[0]):
                    worst = (rank, scope, limit, current, reserved, wanted, retry)
        if worst is None:
            return None
        rank, scope, limit, current, reserved, wanted, retry = worst
        return Denial(
            scope, limit, current, wanted, None if retry is None else retry / MICRO, rank == NEVER,
            self.standing(claim.scopes, now), reserved,
        )  # fmt: skip

    def _refused(self, scope: Scope, limit: Limit, wanted: int, current: int, now: int) -> tuple[int, int | None]:
        """(rank, µs to wait): rank 0 where it fits, else the higher the longer it takes."""
        if limit.window is Window.MINUTE:
            level, pace = self._level(scope, limit, now)
            delay = wait(level, wanted, pace, burst_of(limit))
            return (NEVER, None) if delay is None else (0, None) if delay == 0 else (1 + delay, delay)
        if wanted > limit.amount:
            return NEVER, None
        if current + wanted <= limit.amount:
            return 0, None
        if limit.window is Window.OPEN:
            return 1, None
        if limit.window is Window.TOTAL:
            return NEVER - 1, None
        delay = self._period(limit, scope, now).end - now
        return 1 + delay, delay

    def _current(self, scope: Scope, limit: Limit, now: int) -> tuple[int, int]:
        """(used + reserved, reserved) in the limit's unit."""
        state = self.counters.get(scope.id)
        if state is None:
            return 0, 0
        if limit.window is Window.MINUTE:
            return -(-self._level(scope, limit, now)[0] // TICK), 0
        if limit.window is Window.OPEN:
            return state.open, 0
        current = state.periods.get(limit.window)
        if current is None or current.label < self._period(limit, scope, now).label:
            return 0, 0
        reserved = current.reserved.get(limit.unit, 0)
        return current.used.get(limit.unit, 0) + reserved, reserved

    def _level(self, scope: Scope, limit: Limit, now: int) -> tuple[int, int]:
        """(level, the rate that it leaks by; 0 where the limit is 0)"""
        state = self.counters.get(scope.id)
        bucket = state.buckets.get(limit.unit) if state is not None else None
        if bucket is None:
            return 0, limit.amount
        return bucket.leak(limit.amount, now), bucket.pace(limit.amount) if limit.amount else 0

    def _remaining(self, scope: Scope, limit: Limit, now: int) -> Remaining:
        limit = self._bound(scope, limit, now)
        if limit.window is Window.MINUTE:
            level, pace = self._level(scope, limit, now)
            return Remaining(scope.id, limit, remaining(level, burst_of(limit)), full_after(level, pace) / MICRO)
        left = limit.amount - self._current(scope, limit, now)[0]
        if limit.window not in (Window.DAY, Window.MONTH):
            return Remaining(scope.id, limit, left, None)
        return Remaining(scope.id, limit, left, (self._period(limit, scope, now).end - now) / MICRO)

    def _take(self, claim: Claim, scope: Scope, limit: Limit, now: int) -> Taken:
        amount = _wanted(claim, limit)
        state = self.of(scope.id)
        written, limit = limit, self._bound(scope, limit, now)
        label = mark = 0
        if limit.window is Window.MINUTE:
            bucket = state.bucket(limit.unit)
            if limit.shadow and wait(bucket.leak(limit.amount, now), amount, limit.amount, burst_of(limit)) != 0:
                return Taken(scope.id, limit.window, limit.unit, limit.amount, 0, UNTAKEN, 0, written)
            mark = bucket.take(amount, limit.amount, now)
        elif limit.window is not Window.OPEN:
            calendar = state.period(limit.window)
            calendar.roll(self._period(limit, scope, now).label)
            label = calendar.label
            calendar.reserved[limit.unit] = calendar.reserved.get(limit.unit, 0) + amount
        return Taken(scope.id, limit.window, limit.unit, limit.amount, label, mark, amount, written)

    def _close(self, held: Held, charge: Charge, now: int) -> None:
        for scope in {taken.scope for taken in held.taken}:
            self.of(scope).open -= 1
        for taken in held.taken:
            actual = amount_of(taken.unit, charge.requests, charge.tokens, charge.nano_usd)
            self._replace(taken, actual, taken.amount, now)

    def _release(self, held: Held, now: int) -> None:
        for scope in {taken.scope for taken in held.taken}:
            self.of(scope).open -= 1
        for taken in held.taken:
            self._replace(taken, taken.amount, taken.amount, now)

    def _correct(self, all_taken: tuple[Taken, ...], charge: Charge, now: int) -> None:
        for taken in all_taken:
            actual = amount_of(taken.unit, charge.requests, charge.tokens, charge.nano_usd)
            if taken.window is Window.MINUTE:
                self._replace(taken, actual, 0, now)
            elif taken.window is not Window.OPEN:
                self.of(taken.scope).period(taken.window).charge(taken.label, taken.unit, actual - taken.amount, 0)

    def _replace(self, taken: Taken, actual: int, release: int, now: int) -> None:
        state = self.of(taken.scope)
        if taken.window is Window.MINUTE:
            bucket = state.bucket(taken.unit)
            if taken.mark == UNTAKEN:
                return
            if actual < taken.amount:
                bucket.refund(taken.amount - actual, taken.mark, taken.rate, now)
            elif actual > taken.amount:
                bucket.take(actual - taken.amount, taken.rate, now)
        elif taken.window is not Window.OPEN:
            state.period(taken.window).charge(taken.label, taken.unit, actual, release)

    def _force(self, claim: Claim, charge: Charge, now: int) -> None:
        """Charge what another life of the store admitted: to the calendar periods of now."""
        for scope, limit in [(one, limit) for one in claim.scopes for limit in one.limits]:
            if limit.window not in (Window.MINUTE, Window.OPEN):
                calendar = self.of(scope.id).period(limit.window)
                calendar.roll(self._period(limit, scope, now).label)
                actual = amount_of(limit.unit, charge.requests, charge.tokens, charge.nano_usd)
                calendar.charge(calendar.label, limit.unit, actual, 0)


UNTAKEN = -1  # the mark of a shadow bucket that was too full: an enforced limit would have refused, and taken nothing
NEVER = 1 << 62  # the rank of a denial that waiting cannot cure


def _wanted(claim: Claim, limit: Limit) -> int:
    tokens, nano_usd = claim.first() if limit.sliced else (claim.tokens, claim.nano_usd)
    return amount_of(limit.unit, 1, tokens, nano_usd)


def burst_of(limit: Limit) -> int:
    """The bucket's depth: as much as the limit, unless given."""
    return limit.burst or limit.amount
