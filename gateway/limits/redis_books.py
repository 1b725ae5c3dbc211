"""Slices, exceptions, warnings and usage rows, as Redis' scripts take and give them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from gateway.limits.exceptions import Exemption, lifted
from gateway.limits.redis_code import KINDS, LEASE_MICROS, UNITS, Keys, bulk, cut
from gateway.limits.scopes import Claim, Crossed, Denial, Lease, Limit, Scope, Window
from gateway.limits.standing import Shown, Standing
from gateway.limits.usage import KEEP_DAYS, Row, row_of
from gateway.limits.windows import MICRO, period


def refused(claim: Claim, shown: Shown, reply: Sequence[Any]) -> Denial:
    """What admit.lua said no to."""
    _, now, scope, limit, current, reserved, wanted, wait, never = reply[:9]
    left = tuple(Standing(shown, reply[9:], now))
    at = sum(len(one.limits) for one in claim.scopes[: scope - 1]) + limit - 1
    return Denial(
        claim.scopes[scope - 1], left[at].limit, current, wanted, None if wait < 0 else wait / MICRO, never == 1,
        left, reserved,
    )  # fmt: skip


def growing(keys: Keys, lease: Lease, tokens: int, nano_usd: int, given: bytes) -> tuple[int, bytes]:
    """Arguments of grow.lua behind its name, and how many there are."""
    scopes = [keys.prefix + b"s:" + scope.id.encode() for scope in lease.claim.scopes]
    arguments = [
        b"%d" % (2 + len(scopes)), keys.prefix + b"lz", keys.prefix + b"lh", *scopes,
        lease.claim.request_id.encode(), b"%d" % cut(tokens), b"%d" % cut(nano_usd), given,
    ]  # fmt: skip
    return len(arguments) + 1, b"".join([bulk(one) for one in arguments]) + LEASE_MICROS


def refused_growth(keys: Keys, lease: Lease, reply: Sequence[Any]) -> Denial | None:
    """What grow.lua said no to; None where it said yes, or no such lease is open."""
    if reply[0] != 2:
        return None
    _, _, key, counter, amount, current, reserved, wanted, until = reply
    found = _limit(keys, lease.claim.scopes, key, counter)
    assert found is not None  # noqa: S101  # INVARIANT: the record of a lease names its own limits
    scope, limit = found
    return Denial(scope, lifted(limit, amount, until) if until else limit, current, wanted, None, reserved=reserved)


def excepting(keys: Keys, scope: Scope, asked: Exemption, now: int, given: bytes) -> tuple[int, bytes]:
    """Arguments of except.lua behind its name, and how many there are."""
    (limit,) = scope.limits
    listed = msgspec.json.encode(asked) if is_listed(scope, asked) else b""
    arguments = [
        b"2", keys.prefix + b"s:" + scope.id.encode(), keys.prefix + b"x",
        asked.kind.encode(), KINDS[limit.window].encode(), UNITS[limit.unit].encode(), b"%d" % asked.amount,
        b"%d" % asked.until, given, f"{scope.id}|{limit.name}".encode(), listed,
        b"%d" % period(limit.window, scope.time_zone, now).label,
    ]  # fmt: skip
    return len(arguments), b"".join([bulk(one) for one in arguments])


def is_listed(scope: Scope, asked: Exemption) -> bool:
    """Whether an exception stands for a time: a bucket that is emptied does not."""
    return asked.kind == "raise" or (asked.kind == "reset" and scope.limits[0].window is not Window.MINUTE)


def days_from(since: int, now: int) -> list[int]:
    """The labels of the days from `since` to today, in whatever zone is furthest ahead."""
    first = date(since // 10_000, since // 100 % 100, since % 100)
    last = datetime.fromtimestamp(now / MICRO, UTC).date() + timedelta(days=1)
    first = max(first, last - timedelta(days=KEEP_DAYS))
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return [day.year * 10_000 + day.month * 100 + day.day for day in days]


def rows_of(tenant: str, day: int, flat: Sequence[bytes]) -> list[Row]:
    """The rows of a day's hash."""
    names: dict[str, dict[str, int]] = {}
    for field, amount in zip(flat[::2], flat[1::2], strict=True):
        names.setdefault(field[1:].decode(), {})[field[:1].decode()] = int(amount)
    return [row_of(tenant, day, name, amounts) for name, amounts in names.items()]


def crossed_of(keys: Keys, scopes: Sequence[Scope], figures: Sequence[Any]) -> tuple[Crossed, ...]:
    """The `warn_at` shares that a settlement says it passed."""
    found = []
    for key, counter, at, used in zip(figures[::4], figures[1::4], figures[2::4], figures[3::4], strict=True):
        limit = _limit(keys, scopes, key, counter)
        if limit is not None and at <= len(limit[1].warn_at):
            found.append(Crossed(limit[0].id, limit[1], limit[1].warn_at[at - 1], used))
    return tuple(found)


def _limit(keys: Keys, scopes: Sequence[Scope], key: bytes, counter: bytes) -> tuple[Scope, Limit] | None:
    """Which limit a script means by a scope's key, kind and unit; None: none of these."""
    for scope in scopes:
        if keys.prefix + b"s:" + scope.id.encode() == key:
            for limit in scope.limits:
                if (KINDS[limit.window] + UNITS[limit.unit]).encode() == counter:
                    return scope, limit
    return None
