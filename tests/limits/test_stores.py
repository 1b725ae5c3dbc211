"""One stateful test holds every store to the invariants of design section 4, with time that the test turns."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis as redis_library
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.limits.failure import LOCAL
from gateway.limits.ledger import GivenUp
from gateway.limits.memory import MemoryStore
from gateway.limits.redis import RedisStore
from gateway.limits.scopes import Charge, Claim, Denial, Lease, Limit, Scope, Unit, Window
from gateway.limits.windows import period
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests.limit_trial import claim, limit, scope

TICK = 60_000_000
# A lease's scopes: rates and concurrency; budgets alone (so that budgets, not rates, are what refuses); a rate so high
# that a lost microsecond would show, and a limit that only watches.
RATES = (
    scope("key:a", limit("rpm", 5, burst=8), limit("tpm", 2000, burst=3000), limit("open", 3)),
    scope("team:a", limit("tpm", 4000), limit("upm", 60_000), zone="Europe/Berlin"),
)
BUDGETS = (
    scope("key:b", limit("rpd", 30), limit("tpd", 5000), zone="America/New_York"),
    scope("tenant:b", limit("upd", 9_000), limit("usd", 40_000), limit("tot", 30_000)),
)
HIGH = (scope("key:c", limit("tpm", 100_000_000, burst=100_000_001), limit("rpm", 2, shadow=True), limit("open", 50)),)
# Nothing but a bucket: where refunds, idle time and younger claims meet most often.
BUCKET = (scope("key:e", limit("tpm", 2000, burst=3000)),)
MIXED = (RATES[1], BUDGETS[1], scope("key:d"))
CALENDARS = (Window.DAY, Window.MONTH, Window.TOTAL)
STEPS = [0.0, 0.000001, 0.000999, 0.25, 1.0, 7.5, 20.0, 61.0, 600.0, 3600.0, 30_000.0]


@dataclass
class Open:
    """What the model knows of a lease."""

    lease: Lease
    labels: dict[tuple[str, Window], int]
    until: int


@dataclass
class Flow:
    """What passed a bucket: (µs, tokens that count, tokens that were taken at first)."""

    entries: list[list[int]] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    """Subclasses say which store."""

    def build(self) -> Any:
        raise AssertionError("subclasses build")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = trial.TurnedClock(1_796_079_000.0)  # 2026-11-30T22:50Z: days and months end soon, zone by zone
        self.tenant = "ac{me} *?"
        self.number = 0
        self.open: dict[str, Open] = {}
        self.expired: dict[str, Open] = {}
        self.done: dict[str, Lease] = {}
        self.told: tuple[int, Claim] | None = None  # when to come back, and with what
        self.label: dict[tuple[str, Window], int] = {}
        self.used: dict[tuple[str, Window, Unit, int], int] = defaultdict(int)
        self.flows: dict[tuple[str, Unit], list[dict[str, Any]]] = defaultdict(list)
        self.beyond: dict[tuple[str, Window, Unit, int], int] = defaultdict(int)

    @initialize(focus=st.sampled_from([RATES, BUCKET, BUCKET, BUDGETS, BUDGETS, HIGH]))
    def begin(self, focus: tuple[Scope, ...]) -> None:
        """Most of a history is about the same scopes, so that their limits are reached."""
        self.store, self.view = self.build()
        self.focus = focus

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.finish()
        self.runner.close()

    def finish(self) -> None:
        """What a subclass has to end."""

    # -- rules --------------------------------------------------------------------------------------------------

    @rule(
        other=st.sampled_from([None, None, None, RATES, BUDGETS, MIXED, HIGH]),
        asked=st.lists(
            st.tuples(
                st.sampled_from([0, 1, 90, 504, 672, 1001, 1500, 2000, 3001]),
                st.sampled_from([0, 1, 1, 1999, 7000, 9001]),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def admit(self, other: tuple[Scope, ...] | None, asked: list[tuple[int, int]]) -> None:
        for tokens, nano_usd in asked:
            self.admit_one(other or self.focus, tokens, nano_usd)

    def admit_one(self, scopes: tuple[Scope, ...], tokens: int, nano_usd: int) -> None:
        self.number += 1
        if scopes is HIGH:
            tokens *= 33_333
        wanted = claim(f"r{self.number}", *scopes, tokens=tokens, nano_usd=nano_usd, tenant=self.tenant)
        before = self.view.dump()
        verdict = self.run(self.store.admit(wanted))
        if isinstance(verdict, Denial):
            assert self.view.dump() == before, "a refusal changes nothing"
            self.justified(wanted, verdict)
            if verdict.limit.window is Window.MINUTE and verdict.retry_after is not None:
                due = self.clock.micros() + round(verdict.retry_after * 1_000_000)
                self.told = (due, wanted)
            return
        self.fits(wanted)
        self.take(wanted, verdict)

    @precondition(lambda self: self.open)
    @rule(choice=st.integers(0, 50))
    def admit_again(self, choice: int) -> None:
        name = sorted(self.open)[choice % len(self.open)]
        before = self.view.dump()
        assert isinstance(self.run(self.store.admit(self.open[name].lease.claim)), Lease)
        assert self.view.dump() == before, "the same request id counts once"

    @precondition(lambda self: self.done)
    @rule(choice=st.integers(0, 50), tokens=st.integers(0, 5000))
    def settle_again(self, choice: int, tokens: int) -> None:
        name = sorted(self.done)[choice % len(self.done)]
        before = self.view.dump()
        self.run(self.store.settle(self.done[name], Charge(tokens, tokens)))
        assert self.view.dump() == before, "a second settlement changes nothing"

    @precondition(lambda self: self.open)
    @rule(
        choice=st.integers(0, 50),
        share=st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0, 1.0, 1.7]),
        requests=st.sampled_from([1, 1, 0]),
        known=st.sampled_from(["lease", "lease", "claim", "elsewhere"]),
    )
    def settle(self, choice: int, share: float, requests: int, *, known: str) -> None:
        """By what the caller knows: the lease; the claim, since the reply was lost; or a lease of its own, since it
        gave the reply up and admitted by itself while the store was away."""
        name = sorted(self.open)[choice % len(self.open)]
        one = self.open.pop(name)
        wanted = one.lease.claim
        charge = Charge(int(wanted.tokens * share), int(wanted.nano_usd * share), requests)
        lease = {
            "lease": one.lease,
            "claim": Lease(wanted, ()),
            "elsewhere": Lease(wanted, (), local=True, epoch=LOCAL),
        }
        self.run(self.store.settle(lease[known], charge))
        self.charge(one, charge)
        if known == "elsewhere":
            before = self.view.dump()
            self.run(self.store.settle(lease[known], charge))
            assert self.view.dump() == before, "sent again, since the first reply was lost too, it changes nothing"
        self.done[name] = one.lease

    @precondition(lambda self: self.correctable())
    @rule(choice=st.integers(0, 50), share=st.sampled_from([0.0, 0.3, 1.0, 1.5]))
    def settle_late(self, choice: int, share: float) -> None:
        names = self.correctable()
        name = names[choice % len(names)]
        one = self.expired.pop(name)
        self.done[name] = one.lease
        wanted = one.lease.claim
        charge = Charge(int(wanted.tokens * share), int(wanted.nano_usd * share))
        self.run(self.store.settle(one.lease, charge))
        self.correct(one, charge)

    @rule(seconds=st.sampled_from(STEPS))
    def wait(self, seconds: float) -> None:
        self.clock.at = (self.clock.micros() + round(seconds * 1_000_000)) / 1_000_000

    @precondition(lambda self: self.told)
    @rule()
    def come_back(self) -> None:
        """Whoever waits exactly as long as told either gets in, which `take` checks, or is refused rightly."""
        assert self.told is not None
        due, refused = self.told
        self.told = None
        self.clock.at = max(self.clock.micros(), due) / 1_000_000
        self.number += 1
        wanted = claim(f"r{self.number}", *refused.scopes, tokens=refused.tokens, nano_usd=refused.nano_usd,
                       tenant=self.tenant)  # fmt: skip
        verdict = self.run(self.store.admit(wanted))
        if isinstance(verdict, Lease):
            self.fits(wanted)
            self.take(wanted, verdict)
        else:
            self.justified(wanted, verdict)

    @rule(where=st.sampled_from([BUDGETS[0], BUDGETS[1], RATES[1]]), window=st.sampled_from([Window.DAY, Window.MONTH]))
    def next_period(self, where: Scope, window: Window) -> None:
        self.clock.at = period(window, where.time_zone, self.clock.micros()).end / 1_000_000

    @precondition(lambda self: self.open)
    @rule(choice=st.integers(0, 50))
    def renew(self, choice: int) -> None:
        name = sorted(self.open)[choice % len(self.open)]
        one = self.open[name]
        self.run(self.store.renew([one.lease]))
        one.until = max(one.until, self.clock.micros() + 60_000_000)

    @rule()
    def sweep(self) -> None:
        late = {name: one for name, one in self.open.items() if one.until <= self.clock.micros()}
        assert self.run(self.store.sweep()) == len(late)
        for name, one in late.items():
            del self.open[name]
            wanted = one.lease.claim
            self.charge(one, Charge(wanted.tokens, wanted.nano_usd))
            self.expired[name] = one
            one.until = self.clock.micros()

    @rule()
    def give_up(self) -> None:
        """An admission whose reply was lost is settled to nothing before it comes, and then must not come to life."""
        self.number += 1
        wanted = claim(f"r{self.number}", *RATES, tokens=1, tenant=self.tenant)
        self.run(self.store.settle(Lease(wanted, ()), Charge(0, 0, requests=0)))
        with pytest.raises(GivenUp):
            self.run(self.store.admit(wanted))

    @rule(scopes=st.sampled_from([RATES, BUDGETS]))
    def stand(self, scopes: tuple[Scope, ...]) -> None:
        before = self.view.dump()
        standing = self.run(self.store.standing(self.tenant, scopes))
        assert [one.limit for one in standing] == [one for each in scopes for one in each.limits]
        assert self.view.dump() == before, "asking changes nothing"

    def correctable(self) -> list[str]:
        """Expired leases whose tombstones still stand: for a day, of which the test leaves the last hour out."""
        return sorted(name for name, one in self.expired.items() if self.clock.micros() - one.until < 82_800_000_000)

    # -- the model ----------------------------------------------------------------------------------------------

    def current(self, where: Scope, window: Window) -> int:
        """The label that counts now: it never goes back."""
        return max(self.label.get((where.id, window), -1), period(window, where.time_zone, self.clock.micros()).label)

    def reserved(self, where: Scope, unit: Unit, window: Window, label: int) -> int:
        return sum(
            amount(one.lease.claim, unit)
            for one in self.open.values()
            if one.labels.get((where.id, window)) == label and holds(one.lease.claim, where.id, window, unit)
        )

    def level(self, where: Scope, bound: Limit) -> int:
        """The most that a bucket's level can be: GCRA by its definition, with no refund at all."""
        now, running, highest = self.clock.micros(), 0, 0
        for entry in reversed(self.flows[where.id, bound.unit]):
            running += entry["gross"]
            highest = max(highest, running * TICK - (now - entry["at"]) * bound.amount)
        return highest

    def fits(self, wanted: Claim) -> None:
        """No calendar budget and no concurrency limit is exceeded by what was admitted."""
        for where in wanted.scopes:
            for bound in where.limits:
                if bound.shadow:
                    continue
                if bound.window is Window.OPEN:
                    assert self.count_open(where.id) + 1 <= bound.amount
                elif bound.window in CALENDARS:
                    label = self.current(where, bound.window)
                    used = self.used[where.id, bound.window, bound.unit, label]
                    held = self.reserved(where, bound.unit, bound.window, label)
                    assert used + held + amount(wanted, bound.unit) <= bound.amount

    def justified(self, wanted: Claim, denial: Denial) -> None:
        """A refusal is right about the limit it names."""
        where, bound, asked = denial.scope, denial.limit, amount(wanted, denial.limit.unit)
        assert not bound.shadow
        assert denial.wanted == asked
        if bound.window is Window.OPEN:
            assert denial.current == self.count_open(where.id) == bound.amount
        elif bound.window is Window.MINUTE:
            burst = bound.burst or bound.amount
            assert denial.never == (asked > burst)
            if not denial.never:
                assert denial.retry_after is not None
                assert denial.retry_after > 0
                assert self.level(where, bound) + asked * TICK > burst * TICK
        else:
            label = self.current(where, bound.window)
            used = self.used[where.id, bound.window, bound.unit, label]
            held = self.reserved(where, bound.unit, bound.window, label)
            assert denial.never == (asked > bound.amount)
            assert (denial.current, denial.reserved) == (used + held, held)
            assert used + held + asked > bound.amount

    def take(self, wanted: Claim, lease: Lease) -> None:
        now = self.clock.micros()
        labels = {}
        for where in wanted.scopes:
            for bound in where.limits:
                if bound.window in CALENDARS:
                    label = self.current(where, bound.window)
                    self.label[where.id, bound.window] = labels[where.id, bound.window] = label
                elif bound.window is Window.MINUTE and not bound.shadow:
                    asked = amount(wanted, bound.unit)
                    flow = self.flows[where.id, bound.unit]
                    flow.append({"at": now, "name": wanted.request_id, "counts": asked, "gross": asked})
                    total = 0
                    for entry in reversed(flow):
                        total += entry["counts"]
                        allowed = (bound.burst or bound.amount) * TICK + (now - entry["at"]) * bound.amount
                        assert total * TICK <= allowed, "tokens in any window ≤ burst + rate × window"
        self.open[wanted.request_id] = Open(lease, labels, now + 60_000_000)

    def charge(self, one: Open, charge: Charge) -> None:
        wanted = one.lease.claim
        for where in wanted.scopes:
            for bound in where.limits:
                actual = part(charge, bound.unit)
                if bound.window in CALENDARS:
                    label = one.labels[where.id, bound.window]
                    self.used[where.id, bound.window, bound.unit, label] += actual
                    self.exceed(where, bound, label, actual - amount(wanted, bound.unit))
                elif bound.window is Window.MINUTE and not bound.shadow:
                    self.flow(where, bound, wanted, actual)

    def correct(self, one: Open, charge: Charge) -> None:
        wanted = one.lease.claim
        for where in wanted.scopes:
            for bound in where.limits:
                actual = part(charge, bound.unit)
                if bound.window in CALENDARS:
                    label = one.labels[where.id, bound.window]
                    self.used[where.id, bound.window, bound.unit, label] += actual - amount(wanted, bound.unit)
                    self.exceed(where, bound, label, actual - amount(wanted, bound.unit))
                elif bound.window is Window.MINUTE and not bound.shadow:
                    self.flow(where, bound, wanted, actual)

    def exceed(self, where: Scope, bound: Limit, label: int, by: int) -> None:
        self.beyond[where.id, bound.window, bound.unit, label] += max(0, by)

    def flow(self, where: Scope, bound: Limit, wanted: Claim, actual: int) -> None:
        """A settlement lowers what counts of its claim; what it adds beyond the reservation comes now."""
        asked = amount(wanted, bound.unit)
        flow = self.flows[where.id, bound.unit]
        for entry in flow:
            if entry["name"] == wanted.request_id:
                entry["counts"] = min(actual, asked)
        if actual > asked:
            flow.append({"at": self.clock.micros(), "name": "", "counts": 0, "gross": actual - asked})

    def count_open(self, scope_id: str) -> int:
        return sum(
            1 for one in self.open.values() if any(s.id == scope_id and s.limits for s in one.lease.claim.scopes)
        )

    # -- invariants ---------------------------------------------------------------------------------------------

    @invariant()
    def ledger_holds(self) -> None:
        if not hasattr(self, "view"):
            return
        view = self.view.at_once()
        assert view.leases() == (len(self.open), len(self.open))
        for where in (*RATES, *BUDGETS, *HIGH, *BUCKET):
            assert view.open(where.id) == self.count_open(where.id)
            for bound in where.limits:
                if bound.window in CALENDARS:
                    self.period_holds(view, where, bound)

    def period_holds(self, view: Any, where: Scope, bound: Limit) -> None:
        label, used, held = view.calendar(where.id, bound.window, bound.unit)
        assert label == self.label.get((where.id, bound.window), -1), "rollover never reopens an old period"
        if label == -1:
            return
        key = (where.id, bound.window, bound.unit, label)
        assert used == self.used[key], "used = the sum of what was charged"
        assert held == self.reserved(where, bound.unit, bound.window, label), "reserved = the sum of open leases"
        assert used + held <= bound.amount + self.beyond[key]
        for (scope_id, window, unit, old), total in self.used.items():
            if (scope_id, window, unit) == key[:3] and old < label:
                assert view.closed(where.id, window, unit, old) == total


def amount(wanted: Claim, unit: Unit) -> int:
    return {Unit.REQUESTS: 1, Unit.TOKENS: wanted.tokens, Unit.USD: wanted.nano_usd}[unit]


def part(charge: Charge, unit: Unit) -> int:
    return {Unit.REQUESTS: charge.requests, Unit.TOKENS: charge.tokens, Unit.USD: charge.nano_usd}[unit]


def holds(wanted: Claim, scope_id: str, window: Window, unit: Unit) -> bool:
    return any(
        one.id == scope_id and any(bound.window is window and bound.unit is unit for bound in one.limits)
        for one in wanted.scopes
    )


class MemoryMachine(StoreMachine):
    def build(self) -> Any:
        store = MemoryStore(self.clock)
        return store, trial.MemoryView(store, self.tenant)


def redis_machine(server: Any) -> type[StoreMachine]:
    """The machine on a server that runs."""

    class RedisMachine(StoreMachine):
        def build(self) -> Any:
            self.client = redis_library.Redis(port=server.port)
            self.client.flushdb()
            self.background = Background()
            store = self.run(self.make())
            return store, trial.RedisView(self.client, "ac%7Bme%7D%20%2A%3F")

        async def make(self) -> RedisStore:
            return RedisStore(
                server.url, clock=self.clock, background=self.background, call_seconds=5.0, micros=self.clock.micros
            )

        def finish(self) -> None:
            if hasattr(self, "client"):
                self.client.close()
                self.run(self.background.close())

    return RedisMachine


def test_memory_keeps_its_invariants() -> None:
    run_state_machine_as_test(MemoryMachine)


def test_redis_keeps_the_same_invariants(redis: Any) -> None:
    run_state_machine_as_test(redis_machine(redis))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ("memory", "redis"))
def test_invariants_hold_over_many_histories(kind: str, redis: Any) -> None:
    machine = MemoryMachine if kind == "memory" else redis_machine(redis)
    run_state_machine_as_test(machine, settings=settings.get_profile("long"))


@pytest.mark.parametrize("kind", ("memory", "redis"))
def test_a_late_refund_takes_nothing_from_a_younger_claim(kind: str, redis: Any) -> None:
    """The history behind gcra.py's refund, which random ones do not always find: old claim, idle time, young claim."""
    machine = MemoryMachine() if kind == "memory" else redis_machine(redis)()
    machine.begin(BUCKET)
    machine.admit_one(BUCKET, 2000, 0)
    machine.wait(600.0)
    machine.admit_one(BUCKET, 1500, 0)
    machine.settle(0, 0.0, 1, known="lease")
    machine.admit_one(BUCKET, 2000, 0)
    assert sorted(machine.open) == ["r2"], "1500 of 3000 are in use: 2000 more do not fit"
    machine.admit_one(BUCKET, 1500, 0)
    assert sorted(machine.open) == ["r2", "r4"]
    machine.teardown()


@pytest.mark.parametrize("kind", ("memory", "redis"))
def test_no_microsecond_is_lost_at_a_hundred_million_tokens_a_minute(kind: str, redis: Any) -> None:
    """37 µs are 61 tokens there. A clock reading has 16 digits; written with 14 it is up to 50 µs off."""
    machine = MemoryMachine() if kind == "memory" else redis_machine(redis)()
    machine.begin(HIGH)
    machine.clock.at += 0.000037
    for tokens in (100_000_001, 40):
        wanted = claim(f"r{tokens}", *HIGH, tokens=tokens, tenant=machine.tenant)
        verdict = machine.run(machine.store.admit(wanted))
        assert isinstance(verdict, Lease) == (tokens > 40), "full at this very moment"
    machine.clock.at += 0.000030
    wanted = claim("later", *HIGH, tokens=50, tenant=machine.tenant)
    assert isinstance(machine.run(machine.store.admit(wanted)), Lease), "50 tokens drain in 30 µs"
    machine.teardown()
