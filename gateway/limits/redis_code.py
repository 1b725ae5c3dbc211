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
from gateway.limits.scopes import Charge, Claim, Limit, Scope, Unit, Window
from gateway.limits.windows import FOREVER, MICRO, period

TENANTS, PLANS = 10_000, 10_000  # and scopes of each, whose encoded form is kept
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

    def evalsha(self, count: int, keyed: bytes) -> bytes:
        """By its digest. `keyed`: the encoded number of keys, keys and arguments; `count`: how many those are."""
        return b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n%b" % (count + 2, self.sha, keyed)

    def eval(self, count: int, keyed: bytes) -> bytes:
        """Whole, for a server that has not seen it."""
        return b"*%d\r\n$4\r\nEVAL\r\n%b%b" % (count + 2, bulk(self.source), keyed)

    @classmethod
    def load(cls, name: str) -> Script:
        folder = files("gateway.limits")
        source = b"\n".join(folder.joinpath(part).read_bytes() for part in ("state.lua", name))
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
    shown: tuple[tuple[Limit, int], ...]  # µs when it starts anew: 0 never, -1 bit by bit
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """A tenant's keys, encoded: those before a request's own and the one behind it. `prefix` is not encoded."""

    slot: int
    prefix: bytes
    before: bytes
    epoch: bytes
    plans: dict[str, Plan] = field(default_factory=dict)  # by scope


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
    ends = [
        -1 if limit.window is Window.MINUTE else one.end if limit.window in (Window.DAY, Window.MONTH) else 0
        for limit, one in zip(scope.limits, periods, strict=True)
    ]
    labels = tuple(str(one.label) for one in periods)
    key = bulk(prefix + b"s:" + scope.id.encode())
    return Plan(
        scope.limits, scope.time_zone, start, end, key, packed, tuple(zip(scope.limits, ends, strict=True)), labels
    )


def admission(
    keys: Keys, claim: Claim, plans: Sequence[Plan], given: bytes, begin: bytes, mode: bytes = b"admit",
    row: bytes = b"",
) -> tuple[int, bytes]:  # fmt: skip
    """Arguments of admit.lua behind its name, and how many there are. `given`: the time, where it is not Redis' own;
    `row`: the usage row (`redis_books.py`)."""
    request = claim.request_id.encode()
    taken, nano = b"%d" % cut(claim.tokens), b"%d" % cut(claim.nano_usd)
    first, first_nano = [b"%d" % cut(amount) for amount in claim.first()]
    scopes = len(plans)
    many = b"%d" % (4 + scopes)
    return 15 + 2 * scopes, _ADMISSION % (
        len(many), many, keys.before, len(keys.prefix) + 2 + len(request), keys.prefix, request, keys.epoch,
        b"".join([plan.key for plan in plans]),
        len(request), request, len(taken), taken, len(nano), nano, LEASE_MICROS, len(given), given, len(begin), begin,
        len(mode), mode, len(first), first, len(first_nano), first_nano, len(row), row,
        b"".join([plan.packed for plan in plans]),
    )  # fmt: skip


def closing(
    keys: Keys, request_id: str, plans: Sequence[Plan], mode: bytes, amounts: tuple[int, int, int], epoch: str,
    given: bytes, more_keys: Sequence[bytes] = (), row: bytes = b"",
) -> tuple[int, bytes]:  # fmt: skip
    """Arguments of settle.lua behind its name, and how many there are. `amounts` as `charged` gives them."""
    request, admitted = request_id.encode(), epoch.encode()
    tokens, nano, requests = [b"%d" % amount for amount in amounts]
    count = 4 + len(plans) + len(more_keys)
    many = b"%d" % count
    return count + 12 + len(plans), _CLOSING % (
        len(many), many, keys.before, len(keys.prefix) + 2 + len(request), keys.prefix, request, keys.epoch,
        b"".join([*[plan.key for plan in plans], *more_keys]),
        len(request), request, len(tokens), tokens, len(nano), nano, len(requests), requests, len(given), given,
        len(mode), mode, LEASE_MICROS, len(admitted), admitted, _TOMBSTONE, _CANCELLED, len(row), row,
        b"".join([plan.packed for plan in plans]),
    )  # fmt: skip


def charged(charge: Charge) -> tuple[int, int, int]:
    """Tokens, nano-USD and requests, as settle.lua takes them."""
    return cut(charge.tokens), cut(charge.nano_usd), cut(charge.requests)


def cut(amount: int) -> int:
    """To what can be counted exactly (`ledger.amount_of`)."""
    if 0 <= amount <= LARGEST:
        return amount
    return 0 if amount < 0 else LARGEST


def keys_of(tenant: str, slot_of: Callable[[bytes], int] = lambda _: 0) -> Keys:
    """The hash tag holds a tenant's name percent-encoded, so that no name can leave it."""
    prefix = b"q:{" + quote(tenant, safe="").encode() + b"}:"
    return Keys(slot_of(prefix), prefix, bulk(prefix + b"lz") + bulk(prefix + b"lh"), bulk(prefix + b"e"))


LEASE_MICROS = bulk(b"%d" % LEASE)
_TOMBSTONE = bulk(b"%d" % (TOMBSTONE // MICRO))
_CANCELLED = bulk(b"%d" % (CANCELLED // MICRO))
_ARGUMENT = b"$%d\r\n%b\r\n"
_KEYS = _ARGUMENT + b"%b$%d\r\n%bt:%b\r\n%b%b"  # how many, expiries and leases, tombstone, epoch, scopes
_ADMISSION = _KEYS + 3 * _ARGUMENT + b"%b" + 6 * _ARGUMENT + b"%b"
_CLOSING = _KEYS + 6 * _ARGUMENT + b"%b" + _ARGUMENT + b"%b%b" + _ARGUMENT + b"%b"
