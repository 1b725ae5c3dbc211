"""THE JOURNEY of a request, from top to bottom.

Each step takes what the steps before it have proved and returns its own evidence, or a Refusal. `_travel` is the way;
`journey` is what holds around it: whatever happens, to the client, the provider, the store or to us, the exchange
ends once, and its end settles the budget and writes the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Protocol

import msgspec

from gateway.dialects import dialect_of
from gateway.endpoints import Endpoint
from gateway.envelopes import failed, refused
from gateway.errors import ClientGone, Failure, LateRefusal, Reason, Refusal, Stopping
from gateway.exchange import Ending, Exchange, Phase
from gateway.forms import Form
from gateway.identity.authenticate import authenticate
from gateway.identity.principal import Principal
from gateway.identity.standing import describe, own_scopes
from gateway.limits.line import overshoot
from gateway.limits.scopes import Remaining
from gateway.objects.holding import held
from gateway.objects.keeping import keep, looked_through, see
from gateway.own_count import count_here, counts_here
from gateway.policy.compiled import PolicySet
from gateway.policy.decide import decide, form_guard, visible_models
from gateway.policy.parameters import capped
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
    Upstream,
)
from gateway.providers.credentials import ROTATED
from gateway.providers.edits import edit_body
from gateway.providers.errors import provider_request_id, retry_after
from gateway.reading import Ask, read
from gateway.record import record_of
from gateway.redaction.safe import SafeRequest
from gateway.reserving import reserve, unlimited
from gateway.routing.plan import Attempt, Plan, plan, share, stickiness
from gateway.shapes.table import SHAPES
from gateway.stream.recount import recount
from gateway.stream.relay import Answer, final_usage, relay
from gateway.stream.tunnel import Tunnels
from gateway.tokens.counting import Counting
from gateway.translation.speaking import spoken
from gateway.unserved import unserved


class Policies(Protocol):
    """The policy set of this moment, and its keys."""

    @property
    def current(self) -> PolicySet: ...
    @property
    def keys(self) -> KeyDirectory: ...


class Redactor(Protocol):
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


DRAINING = "draining"  # the message of a cancellation that ends what outlasted its grace at shutdown


async def journey(arrival: Arrival, endpoint: Endpoint | None, reply: Reply, rooms: Rooms) -> None:
    """Take one request from its head to its record. `endpoint` is None for a path that we do not serve. Raises
    nothing but cancellation, which means that the client left."""
    exchange = Exchange(
        arrival.request_id, arrival.received, rooms.clock.now(), arrival.method, arrival.path, arrival.peer,
        rooms.policies.current, endpoint=endpoint,
        dialect=dialect_of(endpoint, anthropic="anthropic-version" in arrival.headers),
    )  # fmt: skip
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


async def _travel(
    exchange: Exchange, arrival: Arrival, endpoint: Endpoint | None, reply: Reply, rooms: Rooms
) -> Refusal | None:
    now = rooms.clock.now()

    principal = authenticate(arrival.headers, rooms.policies.keys, now)
    if isinstance(principal, Refusal):
        return principal
    exchange.principal = principal
    exchange.enter(Phase.AUTHENTICATED)
    if endpoint is None:
        return unserved(arrival.method, arrival.path)
    if endpoint.shape == "key":
        await _show_key(exchange, principal, arrival, reply, rooms)
        return None

    ask = await read(arrival, endpoint, rooms.max_body)
    if isinstance(ask, Refusal):
        return ask
    exchange.ask = ask
    exchange.enter(Phase.READ)

    permit = decide(exchange.policy, principal, ask, now)
    if isinstance(permit, Refusal):
        return permit
    exchange.permit = permit
    exchange.enter(Phase.PERMITTED)
    if endpoint.shape == "models":
        return await _list_models(exchange, permit, reply)

    route = plan(permit, _draw(permit, rooms), datetime.fromtimestamp(now, UTC).date())
    if isinstance(route, Refusal):
        return route
    exchange.plan = route
    exchange.enter(Phase.PLANNED)

    if exchange.policy.several_tenants:
        foreign = await held(rooms.objects, exchange.policy, principal.key, route.attempts[0].provider, ask)
        if foreign is not None:
            return foreign

    reservation = (
        await reserve(exchange.request_id, permit, route.attempts, rooms.counting, rooms.store, rooms.settler, now)
        if permit.scopes
        else unlimited(exchange.request_id, permit, route.attempts)
    )
    if isinstance(reservation, Refusal):
        return reservation
    exchange.reservation = reservation
    exchange.enter(Phase.RESERVED)

    safe = await rooms.redactor.redact(permit) if permit.redaction is not None else SafeRequest(ask.body)
    if isinstance(safe, Refusal):
        return safe
    exchange.safe = safe
    exchange.enter(Phase.REDACTED)

    return await _answer(exchange, arrival, permit, route, safe, reply, rooms)


async def _answer(
    exchange: Exchange, arrival: Arrival, permit: Permit, route: Plan, safe: SafeRequest, reply: Reply, rooms: Rooms,
) -> Refusal | None:  # fmt: skip
    if permit.ask.upgrade:
        return await rooms.tunnels.open(exchange, arrival, permit, reply, rooms.providers, _answer_headers(exchange))
    if counts_here(permit.ask, rooms.providers[route.attempts[0].provider]):
        return await count_here(exchange, reply, rooms.counting, _answer_headers(exchange))
    answer = await _call(exchange, arrival, permit, route, safe, rooms)
    await relay(exchange, answer, reply, rooms.clock, rooms.counting, rooms.store.grow)
    return None


async def _call(
    exchange: Exchange, arrival: Arrival, permit: Permit, route: Plan, safe: SafeRequest, rooms: Rooms,
) -> Answer:  # fmt: skip
    """Call the provider with a body that may leave, in its own dialect. Raises LateRefusal where that has no words for
    it, ConnectFailed, ProviderTimeout, ProviderBroken."""
    attempt, ask = route.attempts[0], permit.ask
    provider, headers = rooms.providers[attempt.provider], arrival.headers
    cap = exchange.reservation.cap if exchange.reservation is not None else None
    body = ask.rest if safe.body is None else _outgoing(ask, permit, attempt, safe.body, cap)
    if isinstance(body, Form):
        headers = _govern_form(body, permit, attempt, headers, rooms.clock.now())
    drop, created = permit.principal.key.drop_params, int(exchange.started_at)
    said = spoken(ask, provider, body, drop=drop, created=created, name=exchange.request_id)
    if isinstance(said, Refusal):
        raise LateRefusal(said)
    body, translation = said
    exchange.dropped = translation.dropped if translation is not None else ()
    exchange.attempt = attempt
    upstream = await _send(exchange, provider, body, headers, rooms)
    look = partial(see, exchange, rooms.objects) if looked_through(permit) else None
    return Answer(provider, upstream, safe, _answer_headers(exchange), look, translation)


async def _send(
    exchange: Exchange, provider: Provider, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
    rooms: Rooms,
) -> Upstream:  # fmt: skip
    """Send with one of the provider's credentials, and with the next where that one is refused or limited: no byte
    has gone to the client. What a provider keeps is its credential's, so calls that may mean such a thing always take
    the tenant's same one, and so does a body that cannot be sent twice."""
    permit, attempt, now = exchange.permit, exchange.attempt, rooms.clock.now()
    assert permit is not None and attempt is not None  # noqa: S101, PT018  # INVARIANT: nothing is called without
    ask, tenant, tried = permit.ask, permit.principal.key.tenant, set[str]()
    kept = ask.endpoint.shape in {"responses"} & provider.speaks
    fixed = kept or not (ask.endpoint.visible and isinstance(body, bytes))
    draw = share(f"credential|{tenant}", rooms.sticky_key) if fixed else rooms.draw()
    credential = provider.credentials.pick(tenant, inf if fixed else now, draw)
    if credential is None and provider.credentials:
        words = f"No credential of the provider '{provider.name}' serves this key's tenant."
        raise LateRefusal(Refusal(Reason.NO_PROVIDER, words, "model", permit.rule))
    while True:
        secret = credential.read() if credential is not None else None
        exchange.credential = credential.name if credential is not None else None
        request = provider.request(ask, attempt.model, body, headers, ask.timeout, secret)
        exchange.called = rooms.clock.monotonic()
        exchange.enter(Phase.CALLING)
        upstream = await provider.transport.send(request)
        exchange.answered = rooms.clock.monotonic()
        exchange.provider_status, exchange.provider_request_id = upstream.status, provider_request_id(upstream.headers)
        exchange.enter(Phase.ANSWERING)
        if upstream.status not in ROTATED or credential is None or fixed:
            return upstream
        now = rooms.clock.now()
        provider.credentials.refused(credential, upstream.status, now, retry_after(upstream.headers, now))
        tried.add(credential.name)
        following = provider.credentials.pick(tenant, now, draw, tried)
        if following is None:
            return upstream
        upstream.close()
        credential = following


def _outgoing(ask: Ask, permit: Permit, attempt: Attempt, body: bytes, cap: int | None) -> bytes:
    """The body with what must change on the way out: the provider's model name, forced and capped parameters, and the
    usage chunk that we need and the client did not ask for."""
    model = attempt.model if attempt.model != ask.model else None
    shape = SHAPES.get(ask.endpoint.shape)
    metered = ask.stream and not ask.include_usage and shape is not None and shape.asks_usage
    edits = permit.edits if cap is None else capped(permit.edits, ask, cap)
    if model is None and not edits and not metered:
        return body
    return edit_body(body, edits, model=model, include_usage=metered)


def _govern_form(
    form: Form, permit: Permit, attempt: Attempt, headers: Mapping[str, str], now: float
) -> Mapping[str, str]:
    """Hold the rest of a form to the rules, and name the provider's model in it; the headers that then are true."""
    form.rules, form.read_lines = form_guard(permit, now), permit.ask.endpoint.name == "files"
    longer = form.rename(attempt.model) if attempt.model is not None and attempt.model != form.model else 0
    length = headers.get("content-length", "")
    return {**headers, "content-length": str(int(length) + longer)} if longer and length.isdigit() else headers


def _answer_headers(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    return (*_own_headers(exchange), *_limit_headers(exchange))


def _draw(permit: Permit, rooms: Rooms) -> float:
    mark = stickiness(permit)
    return rooms.draw() if mark is None else share(mark, rooms.sticky_key)


def _own_headers(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    own = [*exchange.dialect.id_headers(exchange.request_id), ("x-gateway-decision", exchange.decision)]
    if exchange.attempt is not None and exchange.attempt.version is not None:
        own.append(("x-gateway-model-version", exchange.attempt.version))
    if exchange.dropped:
        own.append(("x-gateway-dropped", ", ".join(exchange.dropped)[:1000]))
    return tuple(own)


def _limit_headers(exchange: Exchange, remaining: Sequence[Remaining] | None = None) -> tuple[tuple[str, str], ...]:
    """How limits stand, by default as the reservation found them."""
    if remaining is None:
        lease = exchange.reservation.lease if exchange.reservation is not None else None
        remaining = lease.remaining if lease is not None else ()
    return exchange.dialect.limit_headers(remaining, exchange.started_at) if remaining else ()


async def _show_key(exchange: Exchange, principal: Principal, arrival: Arrival, reply: Reply, rooms: Rooms) -> None:
    """GET /gateway/v1/key: what the key may do and what is left of it, also when nothing is. Raises StoreFailure."""
    who = {"user": arrival.headers.get("x-gateway-user"), "session": arrival.headers.get("x-gateway-session")}
    scopes = own_scopes(principal.key, who)
    remaining = await rooms.store.standing(principal.key.tenant, scopes) if scopes else ()
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.LOCAL, 200
    head = Head(
        200, (("content-type", "application/json"), *_own_headers(exchange), *_limit_headers(exchange, remaining))
    )
    await reply.send(head, msgspec.json.encode(describe(principal, remaining, exchange.started_at)))


async def _list_models(exchange: Exchange, permit: Permit, reply: Reply) -> Refusal | None:
    """GET /v1/models and /v1/models/{id}: answered here, with what the key may use."""
    listing = visible_models(permit)
    if isinstance(listing, Refusal):
        return listing
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.LOCAL, 200
    head = Head(200, (("content-type", "application/json"), *_own_headers(exchange)))
    await reply.send(head, msgspec.json.encode(listing))
    return None


async def _refuse(exchange: Exchange, refusal: Refusal, reply: Reply) -> None:
    exchange.refusal = refusal
    wire, headers, body = refused(refusal, exchange.request_id, exchange.dialect)
    exchange.ending, exchange.status = Ending.REFUSED, wire.status
    own = (("content-type", "application/json"), *_own_headers(exchange), *headers)
    await reply.send(Head(wire.status, (*own, *_limit_headers(exchange, refusal.remaining))), body)


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
    own = (("content-type", "application/json"), *_own_headers(exchange), *headers)
    try:
        await reply.send(Head(wire.status, (*own, *_limit_headers(exchange))), body)
    except ClientGone:
        exchange.ending = Ending.CLIENT_GONE


def _close(exchange: Exchange, rooms: Rooms) -> None:
    """Settle and record. Synchronous, since it runs in a `finally` that a cancellation may have entered."""
    reservation, ask = exchange.reservation, exchange.ask
    if ask is not None and isinstance(ask.rest, Form):
        ask.rest.close()
    keep(exchange, rooms.objects)
    if reservation is not None:
        exchange.usage = final_usage(exchange)
        exchange.charge = exchange.charge or exchange.cost()
        exchange.overshoot = overshoot(reservation, exchange.charge)
        if reservation.lease is not None:
            rooms.settler.settle(reservation.lease, exchange.charge)
    if (safe := exchange.safe) is not None:
        if safe.coverage is not None and safe.coverage.forgotten:
            exchange.flags.append("conversation_not_recalled")
        if safe.keep is not None and safe.keep.failed:
            exchange.flags.append("conversation_not_kept")
    ending = exchange.ending or Ending.FAILED
    exchange.end(ending, 499 if ending is Ending.CLIENT_GONE else exchange.status, rooms.clock.monotonic())
    rooms.records.write(record_of(exchange))
