"""THE JOURNEY of a request, from top to bottom.

Each step takes what the steps before it have proved and returns its own evidence, or a Refusal. `_travel` is the way
and `_prepare` its middle; `journey` is what holds around it: whatever happens, to the client, the provider, the store
or to us, the exchange ends once, and its end settles the budget and writes the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
from msgspec import structs

from gateway.calling import call
from gateway.dialects import dialect_of
from gateway.endpoints import Endpoint
from gateway.envelopes import failed, refused
from gateway.errors import ClientGone, Failure, LateRefusal, Refusal, Stopping
from gateway.exchange import Ending, Exchange, Phase
from gateway.forms import Form
from gateway.identity.authenticate import authenticate
from gateway.identity.principal import Principal
from gateway.identity.standing import describe, own_scopes
from gateway.limits.line import overshoot
from gateway.limits.reservation import NONE, Reservation
from gateway.limits.scopes import Charge
from gateway.objects.holding import held
from gateway.objects.keeping import keep
from gateway.own_count import COUNTS, count_here, counts_here
from gateway.own_lines import answer_lines, own_lines
from gateway.policy.compiled import PolicySet
from gateway.policy.decide import decide, visible_models
from gateway.policy.permit import Permit
from gateway.ports import (
    Arrival,
    Clock,
    Head,
    KeyDirectory,
    LimitStore,
    ObjectDirectory,
    Provider,
    RecordSink,
    Reply,
    Settler,
)
from gateway.reading import read, read_now
from gateway.recording import record_of
from gateway.redaction.safe import SafeRequest
from gateway.reserving import reserve, unlimited
from gateway.routing.plan import Attempt, Plan, only_plan, plan, share, stickiness
from gateway.stream.recount import recount
from gateway.stream.relay import final_usage, relay
from gateway.stream.tunnel import Tunnels
from gateway.tokens.counting import Counting
from gateway.unserved import unserved


class Policies(Protocol):
    """The policy set of this moment, and its keys."""

    @property
    def current(self) -> PolicySet: ...
    @property
    def keys(self) -> KeyDirectory: ...


class Redactor(Protocol):
    def at_once(self, permit: Permit) -> SafeRequest | None:
        """What `redact` would say, where a look suffices; None: it must be asked."""

    async def redact(self, permit: Permit) -> SafeRequest | Refusal:
        """Raises AnalyzerFailure where the profile says `on_error = "deny"`."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the journey calls; made once, by `app.py`."""

    clock: Clock
    policies: Policies
    store: LimitStore
    settler: Settler
    redactor: Redactor
    counting: Counting
    providers: Mapping[str, Provider]
    records: RecordSink
    draw: Callable[[], float]  # uniform in [0, 1)
    sticky_key: bytes
    objects: ObjectDirectory
    tunnels: Tunnels
    max_body: int  # bytes of a body that are held


class Straight(NamedTuple):
    """What the steps of `_prepare` come to for a call and for all that are like it: one version alone may answer, no
    limit holds it, nothing is redacted, and what it names can be nobody else's. So it leaves nothing behind either."""

    plan: Plan
    reservation: Reservation
    attempt: Attempt


JSON = (("content-type", "application/json"),)
DRAINING = "draining"  # the message of a cancellation that ends what outlasted its grace at shutdown


async def journey(arrival: Arrival, endpoint: Endpoint | None, reply: Reply, rooms: Rooms) -> None:
    """Take one request from its head to its record. `endpoint` is None for a path that we do not serve. Raises
    nothing but cancellation, which means that the client left."""
    exchange = _arrived(arrival, endpoint, rooms)
    try:
        refusal = await _travel(exchange, arrival, endpoint, reply, rooms)
        if refusal is not None:
            await _refuse(exchange, refusal, reply)
    except asyncio.CancelledError as cancelled:
        if cancelled.args == (DRAINING,):
            await _fail(exchange, Stopping("drained"), reply)
        else:
            _leave(exchange, ClientGone("cancelled"), reply)
            await recount(exchange, rooms.counting)
            raise
    except ClientGone as gone:
        _leave(exchange, gone, reply)
        await recount(exchange, rooms.counting)
    except LateRefusal as late:
        await (_fail(exchange, late, reply) if reply.begun else _refuse(exchange, late.refusal, reply))
    except Failure as failure:
        await _fail(exchange, failure, reply)
    except Exception as bug:  # noqa: BLE001  # the last resort: an id for the client, the traceback for the log
        rooms.records.bug(exchange.request_id, bug)
        await _fail(exchange, Failure(type(bug).__name__), reply)
    finally:
        _close(exchange, rooms)


def left_before(arrival: Arrival, endpoint: Endpoint | None, rooms: Rooms) -> None:
    """The record of a request whose client has left before its journey began: nothing was done for it."""
    exchange = _arrived(arrival, endpoint, rooms)
    principal = authenticate(arrival.headers, rooms.policies.keys, exchange.started_at)
    if not isinstance(principal, Refusal):
        exchange.principal = principal
    exchange.ending, exchange.failure = Ending.CLIENT_GONE, ClientGone("before it was served")
    _close(exchange, rooms)


def _arrived(arrival: Arrival, endpoint: Endpoint | None, rooms: Rooms) -> Exchange:
    exchange = Exchange(
        arrival.request_id, arrival.received, rooms.clock.now(), arrival.method, arrival.path, arrival.peer,
        rooms.policies.current, endpoint,
    )  # fmt: skip
    if endpoint is None or endpoint.in_anthropics_words:
        exchange.dialect = dialect_of(endpoint, anthropic="anthropic-version" in arrival.headers)
    return exchange


async def _travel(
    exchange: Exchange, arrival: Arrival, endpoint: Endpoint | None, reply: Reply, rooms: Rooms
) -> Refusal | None:
    now = exchange.started_at

    principal = authenticate(arrival.headers, rooms.policies.keys, now)
    if type(principal) is Refusal:
        return principal
    exchange.principal = principal
    if endpoint is None:
        return unserved(arrival.method, arrival.path)
    if endpoint.shape == "key":
        await _show_key(exchange, principal, arrival, reply, rooms)
        return None

    ask = read_now(arrival, endpoint, rooms.max_body) or await read(arrival, endpoint, rooms.max_body)
    if type(ask) is Refusal:
        return ask
    exchange.ask = ask

    permit = decide(exchange.policy, principal, ask, now)
    if type(permit) is Refusal:
        return permit
    exchange.permit = permit
    decided = permit.decided
    if decided is not None and decided.straight is not None and "service_tier" not in ask.fields:
        exchange.plan, exchange.reservation, attempt = decided.straight
        exchange.enter(Phase.RESERVED)
        exchange.safe = safe = SafeRequest(ask.body)
    elif endpoint.shape == "models":
        return await _list_models(exchange, permit, reply)
    else:
        ready = await _prepare(exchange, permit, rooms)
        if isinstance(ready, Refusal):
            return ready
        attempt, safe = ready
        if ask.upgrade or counts_here(ask, rooms.providers[attempt.provider]):
            return await _answer_otherwise(exchange, arrival, permit, reply, rooms)

    answer = await call(exchange, arrival, permit, attempt, safe, rooms)
    try:
        await relay(exchange, answer, reply, rooms.clock, rooms.counting, rooms.store.grow)
    finally:
        answer.upstream.close()
    return None


async def _prepare(exchange: Exchange, permit: Permit, rooms: Rooms) -> tuple[Attempt, SafeRequest] | Refusal:
    """From the permit to the body that may leave. What is the same for all calls like this one is kept with what was
    decided of them."""
    now, ask, policy = exchange.started_at, permit.ask, permit.policy
    route = only_plan(permit) or plan(permit, _draw(permit, rooms), now)
    if type(route) is Refusal:
        return route
    exchange.plan = route

    if policy.several_tenants:
        foreign = await held(rooms.objects, policy, permit.principal.key, route.attempts[0].provider, ask)
        if foreign is not None:
            return foreign

    # Before the reservation, since what leaves as it came need not be reserved for with what might stand in its place.
    known = SafeRequest(ask.body) if permit.redaction is None else rooms.redactor.at_once(permit)
    reservation = unlimited(permit) or await reserve(
        exchange.request_id, permit, route.attempts, rooms.counting, rooms.store, rooms.settler, now, known
    )
    if type(reservation) is Refusal:
        return reservation
    exchange.reservation = reservation
    exchange.enter(Phase.RESERVED)

    safe = known or await rooms.redactor.redact(permit)
    if type(safe) is Refusal:
        return safe
    exchange.safe = safe

    if reservation.account is not None and permit.redaction is None:
        _keep_straight(permit, route, reservation)
    return route.attempts[0], safe


def _keep_straight(permit: Permit, route: Plan, reservation: Reservation) -> None:
    decided, policy = permit.decided, permit.policy
    if decided is None or policy.several_tenants or permit.ask.endpoint.shape in COUNTS:
        return
    if route is only_plan(permit) and reservation is decided.unlimited:
        decided.straight = Straight(route, reservation, route.attempts[0])


async def _answer_otherwise(
    exchange: Exchange, arrival: Arrival, permit: Permit, reply: Reply, rooms: Rooms
) -> Refusal | None:  # fmt: skip
    """A WebSocket, or a count of tokens that the provider does not offer."""
    lines = answer_lines(exchange)
    if permit.ask.upgrade:
        return await rooms.tunnels.open(exchange, arrival, permit, reply, rooms.providers, lines)
    return await count_here(exchange, reply, rooms.counting, lines)


def _draw(permit: Permit, rooms: Rooms) -> float:
    mark = stickiness(permit)
    return rooms.draw() if mark is None else share(mark, rooms.sticky_key)


async def _show_key(exchange: Exchange, principal: Principal, arrival: Arrival, reply: Reply, rooms: Rooms) -> None:
    """GET /gateway/v1/key: what the key may do and what is left of it, also when nothing is. Raises StoreFailure."""
    who = {"user": arrival.headers.get("x-gateway-user"), "session": arrival.headers.get("x-gateway-session")}
    scopes = own_scopes(principal.key, who)
    remaining = await rooms.store.standing(principal.key.tenant, scopes) if scopes else ()
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.LOCAL, 200
    standing = exchange.dialect.limit_lines(remaining, exchange.started_at)
    head = Head(200, JSON, own_lines(exchange) + standing)
    await reply.send(head, msgspec.json.encode(describe(principal, remaining, exchange.started_at)))


async def _list_models(exchange: Exchange, permit: Permit, reply: Reply) -> Refusal | None:
    """GET /v1/models and /v1/models/{id}: answered here, with what the key may use."""
    listing = visible_models(permit)
    if isinstance(listing, Refusal):
        return listing
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.LOCAL, 200
    head = Head(200, JSON, own_lines(exchange))
    await reply.send(head, msgspec.json.encode(listing))
    return None


async def _refuse(exchange: Exchange, refusal: Refusal, reply: Reply) -> None:
    exchange.refusal = refusal
    wire, headers, body = refused(refusal, exchange.request_id, exchange.dialect)
    exchange.ending, exchange.status = Ending.REFUSED, wire.status
    lines = own_lines(exchange) + exchange.dialect.limit_lines(refusal.remaining, exchange.started_at)
    try:
        await reply.send(Head(wire.status, (*JSON, *headers), lines), body)
    except ClientGone as gone:
        _leave(exchange, gone, reply)


def _leave(exchange: Exchange, gone: ClientGone, reply: Reply) -> None:
    exchange.ending = Ending.CLIENT_GONE
    exchange.failure = exchange.failure or gone
    reply.abort()


async def _fail(exchange: Exchange, failure: Failure, reply: Reply) -> None:
    """Tell the client, if its answer has not begun; else break the connection, which it takes for an error."""
    exchange.failure = failure
    if reply.begun:
        exchange.ending = Ending.TRUNCATED
        reply.abort()
        return
    wire, headers, body = failed(failure, exchange.request_id, exchange.dialect)
    exchange.ending, exchange.status = Ending.FAILED, wire.status
    try:
        await reply.send(Head(wire.status, (*JSON, *headers), answer_lines(exchange)), body)
    except ClientGone:
        exchange.ending = Ending.CLIENT_GONE


def _close(exchange: Exchange, rooms: Rooms) -> None:
    """Settle and record, whatever else fails. Synchronous, since it runs in a `finally` that a cancellation may have
    entered."""
    try:
        if (reservation := exchange.reservation) is not None:
            _settle(exchange, reservation, rooms)
        permit = exchange.permit
        if permit is None or permit.decided is None or permit.decided.straight is None:
            _let_go(exchange, rooms)
    except Exception as bug:  # noqa: BLE001  # what is left behind must not cost the record
        rooms.records.bug(exchange.request_id, bug)
    exchange.end(rooms.clock.monotonic())
    rooms.records.write(record_of(exchange))


def _settle(exchange: Exchange, reservation: Reservation, rooms: Rooms) -> None:
    try:
        if exchange.usage is None:
            exchange.usage = final_usage(exchange)
        if (charge := exchange.charge) is None:
            charge = exchange.charge = exchange.cost()
        if reservation.held is not None:
            exchange.overshoot = overshoot(reservation, charge)
    except Exception as bug:  # noqa: BLE001  # a lease that nobody settles would be renewed for ever
        rooms.records.bug(exchange.request_id, bug)
        held = reservation.held or NONE
        charge = exchange.charge = Charge(held.tokens, held.nano_usd)
    if reservation.lease is not None:
        rooms.settler.settle(reservation.lease, charge)
    elif reservation.account is not None:
        rooms.settler.add_up(reservation.account, exchange.request_id, charge)


def _let_go(exchange: Exchange, rooms: Rooms) -> None:
    """End what the request held, and say of its conversation what did not work."""
    ask, safe = exchange.ask, exchange.safe
    if ask is not None and ask.rest is not None and isinstance(ask.rest, Form):
        ask.rest.close()
    if exchange.policy.several_tenants:
        keep(exchange, rooms.objects)
    if safe is not None:
        if safe.late is not None:
            exchange.safe = structs.replace(safe, coverage=safe.late.coverage)
        if safe.coverage is not None and safe.coverage.forgotten:
            exchange.flags += ("conversation_not_recalled",)
        if safe.keep is not None and safe.keep.failed:
            exchange.flags += ("conversation_not_kept",)
