"""What the scripts are told, encoded: each scope once, each request a few numbers beside it. Pure.

Keys, all of a tenant in one Cluster slot by the hash tag (state.lua says what a scope holds):

    q:{tenant}:s:<scope>   one scope                    q:{tenant}:lz / :lh   open leases, by expiry / what they took
    q:{tenant}:t:<request> tombstone                    q:{tenant}:e          epoch: which life of the store this is
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import quote

import msgspec

from gateway.limits.ledger import CANCELLED, LEASE, TOMBSTONE, amount_of, burst_of
from gateway.limits.scopes import Charge, Limit, Scope, Unit, Window
from gateway.limits.windows import FOREVER, MICRO, Period, period

PLANS = 50_000  # scopes, and tenants, whose encoded form is kept
_TTL = 172_800  # seconds an idle scope without a budget is kept: longer than any tombstone that refers to it
_BUDGET_TTL = 34_560_000  # 400 days, as long as elapsed periods
_KINDS = {Window.MINUTE: "b", Window.OPEN: "o", Window.DAY: "d", Window.MONTH: "m", Window.TOTAL: "a"}
_UNITS = {Unit.REQUESTS: "r", Unit.TOKENS: "t", Unit.USD: "u"}


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
    periods: tuple[Period, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """A tenant's keys, encoded; `prefix` is not."""

    prefix: bytes
    expiries: bytes
    leases: bytes
    epoch: bytes


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
        (_KINDS[limit.window], _UNITS[limit.unit], limit.amount, burst_of(limit), limit.shadow, one.label, one.end)
        for limit, one in zip(scope.limits, periods, strict=True)
    ]
    packed = bulk(msgspec.msgpack.encode((ttl, start, end, limits)))
    labels = tuple(str(one.label) for one in periods)
    key = bulk(prefix + b"s:" + scope.id.encode())
    return Plan(scope.limits, scope.time_zone, start, end, key, packed, periods, labels)


def admission(
    keys: Keys,
    request_id: str,
    tokens: int,
    nano_usd: int,
    plans: Sequence[Plan],
    mode: bytes,
    given: bytes,
    begin: bytes,
) -> tuple[int, bytes]:
    """Arguments of admit.lua behind its name, and how many there are."""
    request = request_id.encode()
    tokens = amount_of(Unit.TOKENS, 0, tokens, 0)
    nano = amount_of(Unit.USD, 0, 0, nano_usd)
    parts = [
        bulk(b"%d" % (4 + len(plans))),
        keys.expiries, keys.leases, bulk(keys.prefix + b"t:" + request), keys.epoch,
        *[plan.key for plan in plans],
        bulk(request), bulk(b"%d" % tokens), bulk(b"%d" % nano), _LEASE, bulk(given), bulk(begin), bulk(mode),
        *[plan.packed for plan in plans],
    ]  # fmt: skip
    return 12 + 2 * len(plans), b"".join(parts)


def closing(
    keys: Keys, request_id: str, plans: Sequence[Plan], mode: bytes, amounts: Iterable[int], epoch: str, given: bytes,
    more_keys: Sequence[bytes] = (),
) -> tuple[int, bytes]:  # fmt: skip
    """Arguments of settle.lua behind its name, and how many there are."""
    request = request_id.encode()
    many = 4 + len(plans) + len(more_keys)
    parts = [
        bulk(b"%d" % many),
        keys.expiries, keys.leases, bulk(keys.prefix + b"t:" + request), keys.epoch,
        *[plan.key for plan in plans], *more_keys,
        bulk(request), *[bulk(b"%d" % amount) for amount in amounts], bulk(given), bulk(mode),
        _LEASE, bulk(epoch.encode()), _TOMBSTONE, _CANCELLED,
        *[plan.packed for plan in plans],
    ]  # fmt: skip
    return many + 11 + len(plans), b"".join(parts)


def charged(charge: Charge) -> tuple[int, int, int]:
    """Tokens, nano-USD and requests, as settle.lua takes them."""
    tokens, nano_usd, requests = (
        amount_of(unit, charge.requests, charge.tokens, charge.nano_usd)
        for unit in (Unit.TOKENS, Unit.USD, Unit.REQUESTS)
    )
    return tokens, nano_usd, requests


def keys_of(tenant: str) -> Keys:
    """The hash tag holds a tenant's name percent-encoded, so that no name can leave it."""
    prefix = b"q:{" + quote(tenant, safe="").encode() + b"}:"
    return Keys(prefix, bulk(prefix + b"lz"), bulk(prefix + b"lh"), bulk(prefix + b"e"))


_LEASE = bulk(b"%d" % LEASE)
_TOMBSTONE = bulk(b"%d" % (TOMBSTONE // MICRO))
_CANCELLED = bulk(b"%d" % (CANCELLED // MICRO))
