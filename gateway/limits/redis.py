"""redis://: limits counted in Redis (6.2 or later), one script each way. Which server a tenant's keys are on is
`redis_nodes.py`'s business, how they are written `redis_code.py`'s.

    q:{TENANT}:k:NAME      what is kept sealed for a while, by a keyed hash
    q:open                 tenants that have, or may have, open leases: what a sweep visits
    q:alive                gateway processes, by when they last swept
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from gateway.errors import StoreFailure
from gateway.limits.exceptions import Exemption
from gateway.limits.ledger import LEASE, GivenUp
from gateway.limits.redis_books import days_from, excepting, growing, is_listed, refused, refused_growth, rows_of
from gateway.limits.redis_code import (
    ADMIT,
    NOTHING,
    STANDING,
    TENANTS,
    Form,
    Keys,
    Script,
    admission,
    bulk,
    command,
    expiring,
    form_of,
    keys_of,
    plans_of,
)
from gateway.limits.redis_dial import Dial, Secret
from gateway.limits.redis_nodes import servers_of, slot_of
from gateway.limits.redis_pipe import Link, Lost, ReplyError
from gateway.limits.redis_settle import NOSCRIPT, Settling
from gateway.limits.redis_url import Tls, parse
from gateway.limits.scopes import Charge, Claim, Crossed, Denial, Lease, Remaining, Scope
from gateway.limits.standing import Standing
from gateway.limits.usage import Row
from gateway.limits.windows import MICRO
from gateway.telemetry.tasks import Background

if TYPE_CHECKING:
    from gateway.ports import Clock

OPEN, ALIVE = b"q:open", b"q:alive"
REGISTER = 20 * MICRO  # µs after which a process tells again that it admits for a tenant
FORGET = 3600.0  # seconds after which a tenant without leases is no longer visited
USUAL = 5_000  # kinds of admissions of which it is kept how they are asked: of each 1 KB
BATCH = 256  # expired leases of one tenant in one step of a sweep
DEAD = 15.0  # seconds without a sweep after which a process no longer counts
# A tenant leaves the index only if no process told of it since it was looked at.
_LEAVE = (
    b"if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end "
    b"return redis.call('ZREM', KEYS[1], ARGV[1])"
)

log = structlog.get_logger(__name__)


class _OfScope(msgspec.Struct, array_like=True, frozen=True):
    """What a lease took of one scope (state.lua), as far as a sweep must know it."""

    key: str


class RedisStore:
    """The ports LimitStore and Keeper. Every call to Redis raises StoreFailure after `call_seconds`; secrets are asked
    at each connect. `processes` is how many gateways shared the store when it was last asked, this one included.

    `micros` gives the time in place of Redis' own, for tests that must turn the clock.
    """

    def __init__(
        self, url: str, *, clock: Clock, background: Background, password: Secret | None = None,
        sentinel_password: Secret | None = None, tls: Tls | None = None, call_seconds: float = 0.05,
        micros: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._clock, self._micros = clock, micros
        self._skew = 0  # µs that Redis' clock is ahead of ours
        dial = Dial(parse(url), password=password, sentinel_password=sentinel_password, tls=tls)
        self._servers = servers_of(dial, call_seconds, background)
        self._pipe = self._servers.pipe
        self._admit = Script.load("admit.lua")
        self._settling = Settling(self._servers, self._of, self._given, self._now, self._learn)
        self._settle = self._settling.script
        self._grow, self._except = Script.load("grow.lua"), Script.load("except.lua")
        self._me = secrets.token_hex(8).encode()
        self._tenants: dict[str, Keys] = {}
        # By tenant, identity of the scopes, row, zone, size of the id: from when till when, over what and how to ask.
        self._usual: dict[tuple[str, int, str, str, int], tuple[int, int, Link, Form]] = {}
        self._told: dict[str, tuple[int, object]] = {}  # tenant → when (µs) it was put into the index, over which link
        self._index, self._beats = slot_of(OPEN), slot_of(ALIVE)
        # With who we are it names a life of the store that begins: never one twice, as it may come back empty any time.
        self._admissions = 0
        self.processes = 1

    async def admit(self, claim: Claim) -> Lease | Denial:
        """One round trip. A lost reply is asked for once more: the same request id counts once."""
        if self._micros is None:
            now, time = int(self._clock.now() * MICRO) + self._skew, NOTHING
        else:
            now = self._micros()
            time = bulk(b"%d" % now)
        request = claim.request_id.encode()
        found = self._usual.get((claim.tenant, id(claim.scopes), claim.row, claim.time_zone, len(request)))
        if found is None:
            return await self._admit_anew(claim, request)
        start, end, link, form = found
        if link.lost or not start <= now < end:
            return await self._admit_anew(claim, request)
        self._admissions = number = self._admissions + 1
        try:
            reply = await link.send(admission(form, claim, request, time, self._me, number, ADMIT, form.head))
        except (Lost, ReplyError) as failure:
            return await self._admit_anew(claim, request, failure)
        if reply[0] == 1 and not link.lost:
            return Lease(claim, Standing(form.shown, reply[3:], reply[1]), form.labels, False, reply[2].decode())
        self._learn(reply[1])
        return await self._verdict(claim, form, reply) or await self._admit_anew(claim, request)

    async def _admit_anew(self, claim: Claim, request: bytes, failure: StoreFailure | None = None) -> Lease | Denial:
        """With nothing of it known. `failure`: of the try before this one."""
        tenant, script = claim.tenant, self._admit
        told = self._told.get(tenant)
        if told is None or told[1] != self._servers.life(self._index) or not 0 <= self._now() - told[0] < REGISTER:
            told = await self._tell(tenant)
        keys, now = self._of(tenant), self._now()
        self._admissions += 1
        again = id(claim.scopes) in keys.joined  # what is counted for each user has scopes of its own each time
        for _ in range(3):
            form = form_of(keys, script, plans_of(keys, claim.scopes, now), claim, len(request), now)
            if again:
                self._keep(claim, len(request), form, told)
            keyed = admission(form, claim, request, bulk(self._given()), self._me, self._admissions, ADMIT)
            if isinstance(failure, Lost):
                lost, failure = failure, None
                reply = await self._ask_again(lost, keys.slot, script, form.count, keyed)
            else:  # an error of the script: it has not run
                reply = await self._ask(keys.slot, script, form.count, keyed)
            now = self._learn(reply[1])
            if (verdict := await self._verdict(claim, form, reply)) is not None:
                return verdict
        raise StoreFailure("the store's clock jumps")

    async def _verdict(self, claim: Claim, form: Form, reply: list[Any]) -> Lease | Denial | None:
        """What admit.lua said; None: a period is over."""
        match reply[0]:
            case 1 | 2:
                told = self._told.get(claim.tenant)
                if told is None or told[1] != self._servers.life(self._index):  # the link that told of it is gone
                    await self._tell(claim.tenant)
                return Lease(claim, Standing(form.shown, reply[3:], reply[1]), form.labels, False, reply[2].decode())
            case 0:
                return refused(claim, form.shown, reply)
            case 3:
                raise GivenUp
        return None

    def _keep(self, claim: Claim, size: int, form: Form, told: tuple[int, object]) -> None:
        """Keep what the next request that is like this one is asked for by: until the tenant is told of again, over the
        link of this moment. A Cluster has many, and a command that may be sent on from one to another."""
        link = self._pipe.newest if self._pipe is not None else None
        if link is None or told[1] != self._servers.life(self._index):
            return
        if len(self._usual) >= USUAL:
            self._usual.clear()
        start, end = max(form.start, told[0]), min(form.end, told[0] + REGISTER)
        self._usual[claim.tenant, id(claim.scopes), claim.row, claim.time_zone, size] = start, end, link, form

    async def grow(self, lease: Lease, tokens: int, nano_usd: int) -> Denial | None:
        """One round trip."""
        keys = self._of(lease.claim.tenant)
        reply = await self._ask(keys.slot, self._grow, *growing(keys, lease, tokens, nano_usd, self._given()))
        self._learn(reply[1])
        return refused_growth(keys, lease, reply)

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        """One round trip; a second call for the same lease changes nothing."""
        (found,) = await self.settle_all([(lease, charge)])
        if isinstance(found, StoreFailure):
            raise found
        return found

    async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        """One round trip for nearly all of them, in one call for each tenant; one more for the others."""
        return await self._settling.settle_all(closed)

    async def keep(self, tenant: str, name: str, value: bytes, seconds: int) -> None:
        """The port Keeper: sealed bytes, beside the tenant's counters."""
        await self.command(b"SET", self._kept(tenant, name), value, b"EX", b"%d" % seconds)

    async def kept(self, tenant: str, name: str) -> bytes | None:
        value: bytes | None = await self.command(b"GET", self._kept(tenant, name))
        return value

    def _kept(self, tenant: str, name: str) -> bytes:
        return self._of(tenant).prefix + b"k:" + name.encode()

    async def renew(self, leases: Sequence[Lease]) -> None:
        """All in one write, in few calls for each tenant."""
        await self._settling.renew(leases)

    async def sweep(self) -> int:
        """Every process sweeps; an expired lease is charged by whoever comes first. A part of the store that is away
        is tried, raises at the end, and does not keep the others waiting for theirs."""
        found = await self._servers.call(self._index, command(b"ZRANGE", OPEN, b"0", b"-1", b"WITHSCORES"))
        expired, broken = 0, None
        for name, score in zip(found[::2], found[1::2], strict=True):
            try:
                expired += await self._visit(name, score)
            except StoreFailure as failure:
                broken = failure
        for tenant, (_, life) in tuple(self._told.items()):
            if life != self._servers.life(self._index):
                await self._tell(tenant)  # what holds the index may have come back empty
        await self._beat()
        if broken is not None:
            raise broken
        return expired

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        """One round trip; nothing changes."""
        keys = self._of(tenant)
        now = self._now()
        claim = Claim("", tenant, tuple(scopes), 0, 0)
        for _ in range(3):
            plans = plans_of(keys, [*scopes], now)  # asked seldom, so not kept
            form = form_of(keys, self._admit, plans, claim, 0, now)
            keyed = admission(form, claim, b"", bulk(self._given()), self._me, 0, STANDING)
            reply = await self._ask(keys.slot, self._admit, form.count, keyed)
            now = self._learn(reply[1])
            if reply[0] == 4:
                return tuple(Standing(form.shown, reply[2:], now))
        raise StoreFailure("the store's clock jumps")

    async def usage(self, tenant: str, since: int) -> Sequence[Row]:
        """One write, and a reply for each day."""
        keys = self._of(tenant)
        days = days_from(since, self._now())
        calls = [self._servers.call(keys.slot, command(b"HGETALL", keys.prefix + b"u:%d" % day)) for day in days]
        found = await asyncio.gather(*calls)
        return [row for day, flat in zip(days, found, strict=True) for row in rows_of(tenant, day, flat)]

    async def exempt(self, tenant: str, scope: Scope, asked: Exemption) -> Exemption:
        """One round trip; a second one where a reset has to list what it forgave."""
        keys = self._of(tenant)
        arguments = excepting(keys, scope, asked, self._now(), self._given())
        _, forgiven = await self._ask(keys.slot, self._except, *arguments)
        if asked.kind != "reset" or not is_listed(scope, asked):
            return asked
        done = msgspec.structs.replace(asked, amount=int(forgiven))
        name = f"{scope.id}|{scope.limits[0].name}|reset".encode()
        await self._servers.call(keys.slot, command(b"HSET", keys.prefix + b"x", name, msgspec.json.encode(done)))
        return done

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        keys = self._of(tenant)
        flat = await self._servers.call(keys.slot, command(b"HGETALL", keys.prefix + b"x"))
        now, standing = self._now(), []
        for name, text in zip(flat[::2], flat[1::2], strict=True):
            one = msgspec.json.decode(text, type=Exemption)
            if one.until > now:
                standing.append(one)
            else:
                await self._servers.call(keys.slot, command(b"HDEL", keys.prefix + b"x", name))
        return standing

    async def ping(self) -> None:
        await self._servers.call(self._index, command(b"PING"))

    async def command(self, name: bytes, key: bytes, *more: bytes) -> Any:
        """A command about one key, for what else is kept in this Redis. Raises StoreFailure."""
        return await self._servers.call(slot_of(key), command(name, key, *more))

    @property
    def divided(self) -> bool:
        """Whether it has parts that can fail one by one."""
        return self._pipe is None

    def part(self, tenant: str) -> str:
        """Names what fails together with this tenant's counters: "" unless the store is a Cluster."""
        return self._servers.part(self._of(tenant).slot)

    async def close(self) -> None:
        with contextlib.suppress(StoreFailure):  # it will be found dead
            await self._servers.call(self._beats, command(b"ZREM", ALIVE, self._me))
        await self._servers.close()

    async def _ask(self, slot: int, script: Script, count: int, keyed: bytes) -> Any:
        """Run a script; where its reply is lost, once more. Raises StoreFailure."""
        try:
            return await self._servers.call(slot, script.evalsha(count, keyed))
        except (Lost, ReplyError) as error:
            return await self._ask_again(error, slot, script, count, keyed)

    async def _ask_again(self, error: StoreFailure, slot: int, script: Script, count: int, keyed: bytes) -> Any:
        if isinstance(error, Lost):
            try:
                return await self._servers.call(slot, script.evalsha(count, keyed))
            except ReplyError as said:
                error = said
        if not isinstance(error, ReplyError) or error.code != NOSCRIPT:
            raise error
        return await self._servers.call(slot, script.eval(count, keyed))

    async def _tell(self, tenant: str) -> tuple[int, object]:
        """Put the tenant into the index before it can have a lease there."""
        now = self._now()
        score = b"%.3f" % (now / MICRO)
        await self._servers.call(self._index, command(b"ZADD", OPEN, score, tenant.encode()))
        told = self._told[tenant] = (now, self._servers.life(self._index))
        return told

    async def _beat(self) -> None:
        """Say that this process lives, and count those that do."""
        now = self._now() / MICRO
        calls = (
            command(b"ZADD", ALIVE, b"%.3f" % now, self._me),
            command(b"ZREMRANGEBYSCORE", ALIVE, b"-inf", b"(%.3f" % (now - DEAD)),
            command(b"ZCARD", ALIVE),
        )
        *_, count = await asyncio.gather(*[self._servers.call(self._beats, call) for call in calls])
        self.processes = max(1, count)

    async def _visit(self, name: bytes, score: bytes) -> int:
        """Charge a tenant's expired leases as reserved; how many."""
        tenant = name.decode()
        keys = self._of(tenant)
        now = await self._time(keys.slot)
        expired = await self._sweep(tenant, now)
        if now / MICRO - float(score) > FORGET:
            self._told.pop(tenant, None)
            if await self._servers.call(keys.slot, command(b"ZCARD", keys.prefix + b"lz")) == 0:
                await self._servers.call(self._index, command(b"EVAL", _LEAVE, b"1", OPEN, name, score))
        return expired

    async def _sweep(self, tenant: str, now: int) -> int:
        keys = self._of(tenant)
        expired = 0
        while True:
            late = await self._servers.call(
                keys.slot,
                command(b"ZRANGEBYSCORE", keys.prefix + b"lz", b"-inf", b"%d" % now, b"LIMIT", b"0", b"%d" % BATCH),
            )
            if not late:
                return expired
            records = await self._servers.call(keys.slot, command(b"HMGET", keys.prefix + b"lh", *late))
            for request, record in zip(late, records, strict=True):
                if record is None:
                    continue  # settled meanwhile
                try:
                    scopes = [one.key.encode() for one in msgspec.msgpack.decode(record, type=list[_OfScope])]
                    keyed = expiring(keys, request.decode(), self._given(), scopes)
                    reply = await self._ask(keys.slot, self._settle, *keyed)
                except (ReplyError, msgspec.DecodeError) as error:
                    if isinstance(error, ReplyError) and not error.of_the_call:
                        raise
                    # It must not keep others from expiring, now or in each sweep: its turn comes again later.
                    log.exception("lease cannot be expired", tenant=tenant, request_id=request.decode())
                    due = command(b"ZADD", keys.prefix + b"lz", b"XX", b"%d" % (now + LEASE), request)
                    await self._servers.call(keys.slot, due)
                else:
                    expired += reply[0]
            if len(late) < BATCH:
                return expired

    def _of(self, tenant: str) -> Keys:
        keys = self._tenants.get(tenant)
        if keys is None:
            if len(self._tenants) >= TENANTS:
                self._tenants.clear()
            keys = self._tenants[tenant] = keys_of(tenant, slot_of)
        return keys

    def _given(self) -> bytes:
        return b"" if self._micros is None else b"%d" % self._micros()

    def _now(self) -> int:
        """What Redis' clock probably says, µs."""
        return self._micros() if self._micros is not None else int(self._clock.now() * MICRO) + self._skew

    async def _time(self, slot: int) -> int:
        if self._micros is not None:
            return self._micros()
        seconds, micros = await self._servers.call(slot, command(b"TIME"))
        return self._learn(int(seconds) * MICRO + int(micros))

    def _learn(self, now: int) -> int:
        if self._micros is None:
            self._skew = now - int(self._clock.now() * MICRO)
        return now
