"""redis://: limits counted in Redis (6.2 or later), one script each way.

Keys, all of a tenant in one Cluster slot by the hash tag (state.lua says what a scope holds):

    q:{tenant}:s:<scope>   one scope                    q:{tenant}:lz / :lh   open leases, by expiry / what they took
    q:{tenant}:t:<request> tombstone                    q:{tenant}:e          epoch: which life of the store this is
    q:open                 tenants that have, or may have, open leases: what a sweep visits
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.errors import StoreFailure
from gateway.limits.ledger import CANCELLED, LEASE, TOMBSTONE, GivenUp, amount_of, burst_of
from gateway.limits.redis_pipe import Lost, Pipe, ReplyError, bulk, command
from gateway.limits.scopes import Charge, Claim, Denial, Lease, Limit, Remaining, Scope, Unit, Window
from gateway.limits.windows import FOREVER, MICRO, Period, period
from gateway.telemetry.tasks import Background

if TYPE_CHECKING:
    from gateway.ports import Clock

OPEN = b"q:open"
REGISTER = 20.0  # seconds after which a process tells again that it admits for a tenant
FORGET = 3600.0  # seconds after which a tenant without leases is no longer visited
BATCH = 256  # expired leases of one tenant in one step of a sweep
PLANS = 50_000  # scopes whose encoded form is kept
CONNECT = 2.0  # seconds to connect, TLS and AUTH included
_TTL = 172_800  # seconds an idle scope without a budget is kept: longer than any tombstone that refers to it
_BUDGET_TTL = 34_560_000  # 400 days, as long as elapsed periods
_KINDS = {Window.MINUTE: "b", Window.OPEN: "o", Window.DAY: "d", Window.MONTH: "m", Window.TOTAL: "a"}
_UNITS = {Unit.REQUESTS: "r", Unit.TOKENS: "t", Unit.USD: "u"}
# A tenant leaves the index only if no process told of it since it was looked at.
_LEAVE = (
    b"if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end "
    b"return redis.call('ZREM', KEYS[1], ARGV[1])"
)


@dataclass(frozen=True, slots=True)
class _Script:
    source: bytes
    sha: bytes

    @classmethod
    def load(cls, name: str) -> _Script:
        folder = files("gateway.limits")
        source = b"\n".join(folder.joinpath(part).read_bytes() for part in ("state.lua", name))
        return cls(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


@dataclass(frozen=True, slots=True)
class _Plan:
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
class _Keys:
    """A tenant's keys, encoded; `prefix` is not."""

    prefix: bytes
    expiries: bytes
    leases: bytes
    epoch: bytes


class RedisStore:
    """The LimitStore port. Every call raises StoreFailure after `call_seconds`; `password` is asked at each connect.

    `micros` gives the time in place of Redis' own, for tests that must turn the clock.
    """

    def __init__(
        self, url: str, *, clock: Clock, background: Background, password: Callable[[], str] | None = None,
        call_seconds: float = 0.05, micros: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._url, self._password = url, password
        self._clock, self._micros = clock, micros
        self._skew = 0  # µs that Redis' clock is ahead of ours
        self._pipe = Pipe(self._connect, call_seconds, background)
        self._admit, self._settle = _Script.load("admit.lua"), _Script.load("settle.lua")
        self._begin = secrets.token_hex(8).encode()
        self._plans: dict[tuple[str, str], _Plan] = {}
        self._tenants: dict[str, _Keys] = {}
        self._told: dict[str, tuple[float, int]] = {}  # tenant → when it was put into the index, over which link
        self._connection: AbstractConnection | None = None

    async def admit(self, claim: Claim) -> Lease | Denial:
        """One round trip. A lost reply is asked for once more: the same request id counts once."""
        await self._tell(claim.tenant)
        for _ in range(3):
            plans = self._plan(claim.tenant, claim.scopes)
            reply = await self._ask(self._admit, *self._admission(claim, plans, b"admit"), again=True)
            now = self._learn(reply[1])
            match reply[0]:
                case 1 | 2:
                    await self._tell(claim.tenant)  # nothing to do, unless the link that told of it is gone
                    left = self._remaining(claim.scopes, plans, reply[3:], now)
                    return Lease(claim, left, tuple(plan.labels for plan in plans), epoch=reply[2].decode())
                case 0:
                    return self._denial(claim, plans, reply, now)
                case 3:
                    raise GivenUp
        raise StoreFailure("the store's clock jumps")

    async def settle(self, lease: Lease, charge: Charge) -> None:
        """One round trip; a second call for the same lease changes nothing."""
        claim = lease.claim
        for _ in range(3):
            plans = self._plan(claim.tenant, claim.scopes)
            amounts = (
                amount_of(unit, charge.requests, charge.tokens, charge.nano_usd)
                for unit in (Unit.TOKENS, Unit.USD, Unit.REQUESTS)
            )
            count, keyed = self._closing(claim.tenant, claim.request_id, plans, b"final", amounts, lease.epoch)
            reply = await self._ask(self._settle, count, keyed, again=True)
            self._learn(reply[1])
            if reply[0] != -1:
                return
        raise StoreFailure("the store's clock jumps")

    async def renew(self, leases: Sequence[Lease]) -> None:
        """All in one write."""
        link = await self._pipe.link()
        calls = []
        for lease in leases:
            claim = lease.claim
            count, keyed = self._closing(claim.tenant, claim.request_id, (), b"renew", (0, 0, 0), "")
            calls.append(link.send(_evalsha(self._settle, count, keyed)))
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for lease, reply in zip(leases, replies, strict=True):
            if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
                claim = lease.claim
                again = self._closing(claim.tenant, claim.request_id, (), b"renew", (0, 0, 0), "")
                await self._ask(self._settle, *again)
            elif isinstance(reply, BaseException):
                raise reply

    async def sweep(self) -> int:
        """Every process sweeps; an expired lease is charged by whoever comes first."""
        found = await self._pipe.call(command(b"ZRANGE", OPEN, b"0", b"-1", b"WITHSCORES"))
        now = await self._time()
        expired = 0
        for name, score in zip(found[::2], found[1::2], strict=True):
            tenant = name.decode()
            expired += await self._sweep(tenant, now)
            if now / MICRO - float(score) > FORGET:
                prefix = self._keys(tenant).prefix
                if await self._pipe.call(command(b"ZCARD", prefix + b"lz")) == 0:
                    await self._pipe.call(command(b"EVAL", _LEAVE, b"1", OPEN, name, score))
        return expired

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        """One round trip; nothing changes."""
        claim = Claim("", tenant, tuple(scopes), 0, 0)
        for _ in range(3):
            plans = self._plan(tenant, claim.scopes)
            reply = await self._ask(self._admit, *self._admission(claim, plans, b"standing"), again=True)
            now = self._learn(reply[1])
            if reply[0] == 4:
                return self._remaining(claim.scopes, plans, reply[2:], now)
        raise StoreFailure("the store's clock jumps")

    async def ping(self) -> None:
        await self._pipe.call(command(b"PING"))

    async def close(self) -> None:
        await self._pipe.close()
        await self._disconnect()

    async def _connect(self) -> asyncio.WriteTransport:
        """A connection that redis-py has made and greeted, as its bare transport. The one before it is closed."""
        await self._disconnect()
        try:
            options: dict[str, Any] = dict(parse_url(self._url))
            kind = options.pop("connection_class", Connection)
            if self._password is not None:
                options["password"] = self._password()
            connection: AbstractConnection = kind(
                **options, protocol=2, socket_connect_timeout=CONNECT, socket_timeout=CONNECT,
                retry=Retry(NoBackoff(), 0),
            )  # fmt: skip
            async with asyncio.timeout(CONNECT):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py does not annotate it
        except (RedisError, OSError, TimeoutError) as error:
            # The words of such an error may hold the URL, and so a user name; its type says enough.
            raise StoreFailure(f"cannot connect to the store: {type(error).__name__}") from None
        writer = connection._writer  # noqa: SLF001  # redis-py has no public way to its transport; a test holds it
        assert writer is not None  # noqa: S101  # INVARIANT: connect() returned
        self._connection = connection
        return writer.transport

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _ask(self, script: _Script, count: int, keyed: bytes, *, again: bool = False) -> Any:
        """Run a script. Raises StoreFailure."""
        try:
            return await self._pipe.call(_evalsha(script, count, keyed))
        except ReplyError as error:
            if error.code == "NOSCRIPT":
                return await self._pipe.call(b"*%d\r\n" % (count + 2) + bulk(b"EVAL") + bulk(script.source) + keyed)
            if error.code in ("READONLY", "LOADING", "MASTERDOWN"):
                self._pipe.drop()  # it is not, or not yet, the one that counts
            raise
        except Lost:
            if not again:
                raise
            return await self._ask(script, count, keyed)

    async def _tell(self, tenant: str) -> None:
        """Put the tenant into the index before it can have a lease there: over the same connection, hence first."""
        now = self._clock.monotonic()
        told = self._told.get(tenant)
        if told is not None and now - told[0] < REGISTER and told[1] == self._pipe.opened:
            return
        link = await self._pipe.link()
        opened = self._pipe.opened
        score = b"%.3f" % (self._now() / MICRO)
        await link.send(command(b"ZADD", OPEN, score, tenant.encode()))
        self._told[tenant] = (now, opened)

    async def _sweep(self, tenant: str, now: int) -> int:
        keys = self._keys(tenant)
        expired = 0
        while True:
            late = await self._pipe.call(
                command(b"ZRANGEBYSCORE", keys.prefix + b"lz", b"-inf", b"%d" % now, b"LIMIT", b"0", b"%d" % BATCH)
            )
            if not late:
                return expired
            records = await self._pipe.call(command(b"HMGET", keys.prefix + b"lh", *late))
            for request, record in zip(late, records, strict=True):
                if record is None:
                    continue  # settled meanwhile
                scopes = [bulk(scope[0].encode()) for scope in msgspec.msgpack.decode(record)]
                count, keyed = self._closing(tenant, request.decode(), (), b"expire", (0, 0, 0), "", scopes)
                reply = await self._ask(self._settle, count, keyed)
                expired += reply[0]
            if len(late) < BATCH:
                return expired

    def _admission(self, claim: Claim, plans: tuple[_Plan, ...], mode: bytes) -> tuple[int, bytes]:
        """Arguments of admit.lua, and how many there are."""
        keys, request = self._keys(claim.tenant), claim.request_id.encode()
        tokens = amount_of(Unit.TOKENS, 0, claim.tokens, 0)
        nano = amount_of(Unit.USD, 0, 0, claim.nano_usd)
        parts = [
            bulk(b"%d" % (4 + len(plans))),
            keys.expiries, keys.leases, bulk(keys.prefix + b"t:" + request), keys.epoch,
            *[plan.key for plan in plans],
            bulk(request), bulk(b"%d" % tokens), bulk(b"%d" % nano), _LEASE, bulk(self._given()), bulk(self._begin),
            bulk(mode),
            *[plan.packed for plan in plans],
        ]  # fmt: skip
        return 12 + 2 * len(plans), b"".join(parts)

    def _closing(
        self, tenant: str, request_id: str, plans: tuple[_Plan, ...], mode: bytes, amounts: Any, epoch: str,
        more_keys: Sequence[bytes] = (),
    ) -> tuple[int, bytes]:  # fmt: skip
        """Arguments of settle.lua, and how many there are."""
        keys, request = self._keys(tenant), request_id.encode()
        many = 4 + len(plans) + len(more_keys)
        parts = [
            bulk(b"%d" % many),
            keys.expiries, keys.leases, bulk(keys.prefix + b"t:" + request), keys.epoch,
            *[plan.key for plan in plans], *more_keys,
            bulk(request), *[bulk(b"%d" % amount) for amount in amounts], bulk(self._given()), bulk(mode),
            _LEASE, bulk(epoch.encode()), _TOMBSTONE, _CANCELLED,
            *[plan.packed for plan in plans],
        ]  # fmt: skip
        return many + 11 + len(plans), b"".join(parts)

    def _plan(self, tenant: str, scopes: Sequence[Scope]) -> tuple[_Plan, ...]:
        now = self._now()
        plans = []
        for scope in scopes:
            plan = self._plans.get((tenant, scope.id))
            stale = plan is None or not plan.start <= now < plan.end
            if plan is None or stale or plan.limits != scope.limits or plan.zone != scope.time_zone:
                if len(self._plans) >= PLANS:
                    self._plans.clear()
                plan = self._plans[tenant, scope.id] = _encode(self._keys(tenant).prefix, scope, now)
            plans.append(plan)
        return tuple(plans)

    def _keys(self, tenant: str) -> _Keys:
        keys = self._tenants.get(tenant)
        if keys is None:
            prefix = b"q:{" + quote(tenant, safe="").encode() + b"}:"
            keys = _Keys(prefix, bulk(prefix + b"lz"), bulk(prefix + b"lh"), bulk(prefix + b"e"))
            self._tenants[tenant] = keys
        return keys

    def _given(self) -> bytes:
        return b"" if self._micros is None else b"%d" % self._micros()

    def _now(self) -> int:
        """What Redis' clock probably says, µs."""
        return self._micros() if self._micros is not None else int(self._clock.now() * MICRO) + self._skew

    async def _time(self) -> int:
        if self._micros is not None:
            return self._micros()
        seconds, micros = await self._pipe.call(command(b"TIME"))
        return self._learn(int(seconds) * MICRO + int(micros))

    def _learn(self, now: int) -> int:
        if self._micros is None:
            self._skew = now - int(self._clock.now() * MICRO)
        return now

    def _denial(self, claim: Claim, plans: tuple[_Plan, ...], reply: list[int], now: int) -> Denial:
        _, _, scope, limit, current, reserved, wanted, wait, never = reply[:9]
        refusing = claim.scopes[scope - 1]
        return Denial(
            refusing, refusing.limits[limit - 1], current, wanted, None if wait < 0 else wait / MICRO, never == 1,
            self._remaining(claim.scopes, plans, reply[9:], now), reserved,
        )  # fmt: skip

    def _remaining(
        self, scopes: Sequence[Scope], plans: tuple[_Plan, ...], figures: list[int], now: int
    ) -> tuple[Remaining, ...]:
        standing, at = [], 0
        for scope, plan in zip(scopes, plans, strict=True):
            for limit, calendar in zip(scope.limits, plan.periods, strict=True):
                reset: float | None = None
                if limit.window is Window.MINUTE:
                    reset = figures[at + 1] / MICRO
                elif limit.window in (Window.DAY, Window.MONTH):
                    reset = (calendar.end - now) / MICRO
                standing.append(Remaining(scope.id, limit, figures[at], reset))
                at += 2
        return tuple(standing)


def _evalsha(script: _Script, count: int, keyed: bytes) -> bytes:
    return b"*%d\r\n$7\r\nEVALSHA\r\n" % (count + 2) + bulk(script.sha) + keyed


def _encode(prefix: bytes, scope: Scope, now: int) -> _Plan:
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
    return _Plan(scope.limits, scope.time_zone, start, end, key, packed, periods, labels)


_LEASE = bulk(b"%d" % LEASE)
_TOMBSTONE = bulk(b"%d" % (TOMBSTONE // MICRO))
_CANCELLED = bulk(b"%d" % (CANCELLED // MICRO))
