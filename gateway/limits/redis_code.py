"""What the scripts are told, encoded: each scope once, each request a few numbers beside it. Pure.

Keys, all of a tenant in one Cluster slot by the hash tag (state.lua says what a scope holds):

    q:{tenant}:s:<scope>   one scope                    q:{tenant}:lz / :lh   open leases, by expiry / what they took
    q:{tenant}:t:<request> tombstone                    q:{tenant}:e          epoch: which life of the store this is
    q:{tenant}:u:<day>     usage rows of a day          q:{tenant}:x          exceptions that were made
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from urllib.parse import quote

import msgspec

from gateway.limits.ledger import CANCELLED, LARGEST, LEASE, TOMBSTONE, burst_of
from gateway.limits.scopes import Charge, Claim, Lease, Limit, Scope, Unit, Window
from gateway.limits.standing import BIT_BY_BIT, Shown, shown
from gateway.limits.windows import FOREVER, MICRO, period

TENANTS, PLANS = 10_000, 10_000  # and scopes of each, whose encoded form is kept
JOINED = 500  # requests of a tenant with other scopes, likewise: a key's, but also each user's where they are counted
_TTL = 172_800  # seconds an idle scope without a budget is kept: longer than any tombstone that refers to it
_BUDGET_TTL = 34_560_000  # 400 days, as long as elapsed periods
KINDS = {Window.MINUTE: "b", Window.OPEN: "o", Window.DAY: "d", Window.MONTH: "m", Window.TOTAL: "a"}
UNITS = {Unit.REQUESTS: "r", Unit.TOKENS: "t", Unit.USD: "u"}


def bulk(value: bytes) -> bytes:
    """One argument in RESP."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def command(*arguments: bytes) -> bytes:
    """A whole command in RESP."""
    return b"*%d\r\n" % len(arguments) + b"".join([bulk(argument) for argument in arguments])


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the commands that run it up to where its arguments begin."""

    source: bytes
    sha: bytes
    heads: dict[int, bytes] = field(default_factory=dict, compare=False, repr=False)

    def evalsha(self, count: int, keyed: bytes) -> bytes:
        """By its digest. `keyed`: the encoded number of keys, keys and arguments; `count`: how many those are."""
        return self.head(count) + keyed

    def head(self, count: int) -> bytes:
        """What stands before `keyed`."""
        head = self.heads.get(count)
        if head is None:
            head = self.heads[count] = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % (count + 2, self.sha)
        return head

    def eval(self, count: int, keyed: bytes) -> bytes:
        """Whole, for a server that has not seen it."""
        return b"*%d\r\n$4\r\nEVAL\r\n%b%b" % (count + 2, bulk(self.source), keyed)

    @classmethod
    def load(cls, *names: str) -> Script:
        """Of files, behind what all scripts share."""
        folder = files("gateway.limits")
        source = b"\n".join(folder.joinpath(part).read_bytes() for part in ("state.lua", *names))
        return cls(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


@dataclass(frozen=True, slots=True)
class Plan:
    """A scope as the scripts take it, encoded once. It holds from `start` to `end`, in µs."""

    limits: tuple[Limit, ...]
    zone: str
    start: int
    end: int
    key: bytes
    packed: bytes
    ends: tuple[int, ...]  # as `standing.Shown` has them
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of a request's scopes, joined: all that is the same for every request with these scopes. `before` and
    `after`: what stands on both sides of the request's own key."""

    scopes: Sequence[Scope]
    count: int
    start: int
    end: int
    before: bytes
    after: bytes
    packed: bytes
    labels: tuple[tuple[str, ...], ...]
    shown: Shown


@dataclass(frozen=True, slots=True)
class Form:
    """An admission but for what is the request's own: what stands before the key of its tombstone, between that and
    its id, and behind its numbers. It holds from `start` to `end`, µs. `head` and `count`: the command, and how many
    arguments it has behind the script's name."""

    scopes: Sequence[Scope]
    slot: int
    start: int
    end: int
    count: int
    head: bytes
    before: bytes
    between: bytes
    after: bytes
    labels: tuple[tuple[str, ...], ...]
    shown: Shown


@dataclass(frozen=True, slots=True)
class Keys:
    """A tenant's keys, encoded: those before a request's own and the one behind it. `prefix` is not encoded."""

    slot: int
    prefix: bytes
    before: bytes
    epoch: bytes
    nobody: bytes  # the tombstone of no request, where the scripts for one have its own
    plans: dict[str, Plan] = field(default_factory=dict)  # by scope
    joined: dict[int, Plans] = field(default_factory=dict)  # by the identity of a request's scopes
    rows: dict[tuple[str, str], tuple[int, int, bytes]] = field(default_factory=dict)  # from, to, encoded


def plans_of(keys: Keys, scopes: Sequence[Scope], now: int) -> Plans:
    """A request's scopes as the scripts take them at `now`. The policies give requests that are alike the same tuple
    of scopes, so nearly always it is found as it was joined for the last one."""
    found = keys.joined.get(id(scopes))
    if found is not None and found.start <= now < found.end:
        return found
    plans = [_plan(keys, scope, now) for scope in scopes]
    count = b"%d" % (4 + len(plans))
    after = keys.epoch + b"".join([plan.key for plan in plans])
    found = Plans(
        scopes, len(plans), max([plan.start for plan in plans], default=0),
        min([plan.end for plan in plans], default=FOREVER), bulk(count) + keys.before,
        after, b"".join([plan.packed for plan in plans]),
        tuple([plan.labels for plan in plans]), shown(scopes, [end for plan in plans for end in plan.ends]),
    )  # fmt: skip
    if isinstance(scopes, tuple):  # INVARIANT: what is found by identity is kept alive, and cannot change
        if len(keys.joined) >= JOINED:
            keys.joined.clear()
        keys.joined[id(scopes)] = found
    return found


def _plan(keys: Keys, scope: Scope, now: int) -> Plan:
    """One scope at `now`; encoded anew only where something has changed."""
    plan = keys.plans.get(scope.id)
    if plan is None or not plan.start <= now < plan.end or plan.limits != scope.limits or plan.zone != scope.time_zone:
        if len(keys.plans) >= PLANS:
            keys.plans.clear()
        plan = keys.plans[scope.id] = encode(keys.prefix, scope, now)
    return plan


def row_in(keys: Keys, claim: Claim, now: int) -> bytes:
    """A claim's usage row for the scripts, encoded: the key of its day, and its name; empty where it has none."""
    return _row(keys, claim, now)[2]


def _row(keys: Keys, claim: Claim, now: int) -> tuple[int, int, bytes]:
    """The same, and from when to when it is so, in µs."""
    if not claim.row:
        return 0, FOREVER, NOTHING
    asked = claim.row, claim.time_zone
    found = keys.rows.get(asked)
    if found is None or not found[0] <= now < found[1]:
        if len(keys.rows) >= PLANS:
            keys.rows.clear()
        day = period(Window.DAY, claim.time_zone, now)
        # Texts: cmsgpack knows no bin.
        packed = msgspec.msgpack.encode((f"{keys.prefix.decode()}u:{day.label}", claim.row))
        found = keys.rows[asked] = day.start, day.end, bulk(packed)
    return found


def encode(prefix: bytes, scope: Scope, now: int) -> Plan:
    """A scope's plan for the periods of `now` (µs)."""
    periods = tuple(period(limit.window, scope.time_zone, now) for limit in scope.limits)
    ttl = _TTL
    for limit in scope.limits:
        if limit.window is Window.TOTAL:
            ttl = 0  # what is spent in all is never forgotten
            break
        if limit.window in (Window.DAY, Window.MONTH):
            ttl = max(ttl, _BUDGET_TTL)
        elif limit.window is Window.MINUTE and limit.amount:
            ttl = max(ttl, 60 * burst_of(limit) // limit.amount + _TTL)  # until the bucket is surely full again
    start = max((one.start for one in periods), default=0)
    end = min((one.end for one in periods), default=FOREVER)
    limits = [
        (
            KINDS[limit.window], UNITS[limit.unit], limit.amount, burst_of(limit), limit.shadow, one.label, one.end,
            limit.sliced, *((limit.thresholds,) if limit.thresholds else ()),
        )
        for limit, one in zip(scope.limits, periods, strict=True)
    ]  # fmt: skip
    packed = bulk(msgspec.msgpack.encode((ttl, start, end, limits)))
    ends = tuple([
        BIT_BY_BIT if limit.window is Window.MINUTE else one.end if limit.window in (Window.DAY, Window.MONTH) else 0
        for limit, one in zip(scope.limits, periods, strict=True)
    ])  # fmt: skip
    labels = tuple(str(one.label) for one in periods)
    key = bulk(prefix + b"s:" + scope.id.encode())
    return Plan(scope.limits, scope.time_zone, start, end, key, packed, ends, labels)


def form_of(keys: Keys, script: Script, plans: Plans, claim: Claim, size: int, now: int) -> Form:
    """What is the same at `now` for every admission with these scopes, this row and a request id of `size` bytes."""
    start, end, row = _row(keys, claim, now)
    count = 15 + 2 * plans.count
    request = b"$%d\r\n" % size
    return Form(
        plans.scopes, keys.slot, max(plans.start, start), min(plans.end, end), count, script.head(count),
        b"%b$%d\r\n%bt:" % (plans.before, len(keys.prefix) + 2 + size, keys.prefix),
        b"\r\n" + plans.after + request, row + plans.packed, plans.labels, plans.shown,
    )  # fmt: skip


def admission(
    form: Form, claim: Claim, request: bytes, time: bytes, process: bytes, number: int, mode: bytes, head: bytes = b""
) -> bytes:
    """Arguments of admit.lua behind its name, and before them `head`. Encoded already: `time`, where it is not Redis'
    own, and `mode`. What becomes the epoch where there is none: the name of this `process`, 16 bytes, and a number."""
    tokens, nano_usd = claim.tokens, claim.nano_usd
    first, first_usd = tokens, nano_usd
    if claim.first_tokens is not None or claim.first_nano_usd is not None:
        first, first_usd = claim.first()
    if not 0 <= tokens | nano_usd | first | first_usd <= LARGEST:  # as they nearly always are: LARGEST is all ones
        tokens, nano_usd, first, first_usd = cut(tokens), cut(nano_usd), cut(first), cut(first_usd)
    own = _ADMITTING % (tokens, nano_usd, time, process, number, mode, first, first_usd)
    return b"".join((head, form.before, request, form.between, request, own, form.after))


def closing(
    keys: Keys, lease: Lease, plans: Plans, amounts: tuple[int, int, int], given: bytes, row: bytes
) -> tuple[int, bytes]:
    """Arguments of settle.lua behind its name that settle a lease, and how many there are. `amounts` as `charged`
    gives them."""
    request, admitted = lease.claim.request_id.encode(), lease.epoch.encode()
    tokens, nano_usd, requests = b"%d" % amounts[0], b"%d" % amounts[1], b"%d" % amounts[2]
    own = _CLOSING % (
        len(keys.prefix) + 2 + len(request), keys.prefix, request, plans.after, len(request), request,
        len(tokens), tokens, len(nano_usd), nano_usd, len(requests), requests, len(given), given, FINAL,
        len(admitted), admitted, _KEPT,
    )  # fmt: skip
    return 15 + 2 * plans.count, b"".join((plans.before, own, row, plans.packed))


def closing_all(
    keys: Keys, plans: Sequence[Plans], epoch: str, closed: Sequence[tuple[str, int, int, int]], given: bytes
) -> tuple[int, bytes]:
    """Arguments of settle_all.lua behind its name that settle leases which one `epoch` admitted, and how many there
    are. `plans`: of their scopes, each once; `closed`: request id, tokens, nano-USD and requests of each."""
    admitted, packed = epoch.encode(), msgspec.msgpack.encode(closed)
    own = _THREE % (len(given), given, len(admitted), admitted, len(packed), packed)
    if len(plans) == 1:
        (one,) = plans
        return 8 + one.count, b"".join((one.before, keys.nobody, one.after, own))
    count, start = 4 + sum([one.count for one in plans]), len(keys.epoch)
    scopes = b"".join([one.after[start:] for one in plans])
    return 4 + count, b"".join((bulk(b"%d" % count), keys.before, keys.nobody, keys.epoch, scopes, own))


def expiring(keys: Keys, request_id: str, given: bytes, scopes: Sequence[bytes]) -> tuple[int, bytes]:
    """The same for a lease that has expired: it is charged as reserved. `scopes`: keys of those that it is on."""
    request = request_id.encode()
    arguments = [
        b"%d" % (4 + len(scopes)), keys.prefix + b"lz", keys.prefix + b"lh", keys.prefix + b"t:" + request,
        keys.prefix + b"e", *scopes, request, b"0", b"0", b"0", given, b"expire", b"",
        b"%d" % (TOMBSTONE // MICRO), b"%d" % (CANCELLED // MICRO), b"",
    ]  # fmt: skip
    return len(arguments), b"".join([bulk(one) for one in arguments])


def renewing(keys: Keys, request_ids: Sequence[str], given: bytes) -> tuple[int, bytes]:
    """Arguments of renew.lua behind its name, and how many there are."""
    packed = bulk(msgspec.msgpack.encode(request_ids))
    return 6, b"".join((bulk(b"2"), bulk(keys.prefix + b"lz"), keys.nobody, bulk(given), LEASE_MICROS, packed))


def charged(charge: Charge) -> tuple[int, int, int]:
    """Tokens, nano-USD and requests, as the scripts take them."""
    return cut(charge.tokens), cut(charge.nano_usd), cut(charge.requests)


def cut(amount: int) -> int:
    """To what can be counted exactly (`ledger.amount_of`)."""
    if 0 <= amount <= LARGEST:
        return amount
    return 0 if amount < 0 else LARGEST


def keys_of(tenant: str, slot_of: Callable[[bytes], int] = lambda _: 0) -> Keys:
    """The hash tag holds a tenant's name percent-encoded, so that no name can leave it."""
    prefix = b"q:{" + quote(tenant, safe="").encode() + b"}:"
    before = bulk(prefix + b"lz") + bulk(prefix + b"lh")
    return Keys(slot_of(prefix), prefix, before, bulk(prefix + b"e"), bulk(prefix + b"t:"))


LEASE_MICROS = bulk(b"%d" % LEASE)
NOTHING = bulk(b"")
FINAL = bulk(b"final")
_KEPT = bulk(b"%d" % (TOMBSTONE // MICRO)) + bulk(b"%d" % (CANCELLED // MICRO))
_ARGUMENT = b"$%d\r\n%b\r\n"
_THREE = 3 * _ARGUMENT
_OWN = b"$%d\r\n%bt:%b\r\n%b" + _ARGUMENT  # tombstone, epoch and scopes; request id
# Of an admission: request id's end; tokens, nano-USD, the lease's length, the time, the epoch to begin with, the mode,
# and what sliced limits hold at first. Amounts have as many digits as the largest, so that nobody counts them.
_AMOUNTS = 2 * b"$16\r\n%016d\r\n"
_ADMITTING = b"\r\n" + _AMOUNTS + LEASE_MICROS + b"%b$32\r\n%b%016x\r\n%b" + _AMOUNTS
ADMIT, STANDING = bulk(b"admit"), bulk(b"standing")
_CLOSING = _OWN + 4 * _ARGUMENT + b"%b" + _ARGUMENT + b"%b"
