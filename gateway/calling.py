"""call: a body that may leave, on its way to a provider, until the head of the answer has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from msgspec import structs

from gateway.errors import LateRefusal, Reason, Refusal
from gateway.exchange import Exchange, Phase
from gateway.fields import Fields
from gateway.forms import Form
from gateway.objects.keeping import looked_through, see
from gateway.own_lines import answer_lines
from gateway.policy.decide import form_guard
from gateway.policy.parameters import capped
from gateway.policy.permit import Permit
from gateway.ports import Provider, Repeating, Upstream, Way
from gateway.providers.credentials import ROTATED, Credential
from gateway.providers.edits import edit_body
from gateway.providers.errors import provider_request_id, retry_after
from gateway.reading import Ask
from gateway.redaction.safe import SafeRequest
from gateway.routing.plan import Attempt, share
from gateway.shapes.table import SHAPES
from gateway.stream.relay import Answer
from gateway.translation.pairs import Translation
from gateway.translation.speaking import spoken

if TYPE_CHECKING:
    from gateway.journey import Rooms
    from gateway.ports import Arrival, Clock

Body = bytes | AsyncIterator[bytes] | None


class _Leaving:
    """How the last call of a head left. The next leaves likewise that goes the same attempt, of which what was decided
    of it is a part, and its own body; with the same credential, if that serves everybody and still is what it was."""

    __slots__ = ("as_it_came", "attempt", "credential", "endpoint", "fixed", "provider", "secret", "stream", "way")

    def __init__(
        self, provider: Provider, ask: Ask, attempt: Attempt, credential: Credential | None, secret: str | None,
        way: Way, *, fixed: bool,
    ) -> None:  # fmt: skip
        self.provider, self.endpoint, self.stream, self.attempt = provider, ask.endpoint, ask.stream, attempt
        self.credential, self.secret, self.fixed, self.way = credential, secret, fixed, way
        # Whether nothing changes on the way out, unless it is the permit or the reservation that asks for it.
        self.as_it_came = attempt.model in (None, ask.model) and not ask.stream


async def call(
    exchange: Exchange, arrival: Arrival, permit: Permit, attempt: Attempt, safe: SafeRequest, rooms: Rooms
) -> Answer:
    """Call the provider with a body that may leave, in its own dialect, with one of its credentials, and with the next
    where that one is refused or limited: no byte has gone to the client. Raises LateRefusal where the dialect has no
    words for it or no credential serves the tenant, ConnectFailed, ProviderTimeout, ProviderBroken."""
    headers, ask, body = arrival.headers, permit.ask, safe.body
    leaving: _Leaving | None = headers.made.get(_Leaving) if type(headers) is Fields else None
    if (
        leaving is None or leaving.attempt is not attempt or leaving.endpoint is not ask.endpoint
        or leaving.stream != ask.stream or body is None
        or (credential := leaving.credential) is not (credentials := leaving.provider.credentials).usual
        or (credential is not None and credential.read() != leaving.secret)
    ):  # fmt: skip
        return await _call_anew(exchange, headers, permit, attempt, safe, rooms)
    reservation = exchange.reservation
    if not leaving.as_it_came or permit.edits or reservation is None or reservation.cap is not None:
        body = _edited(ask, permit, attempt, body, reservation.cap if reservation is not None else None)
    exchange.attempt = attempt
    if credential is not None:
        exchange.credential = credential.name
    exchange.called = rooms.clock.monotonic()
    exchange.enter(Phase.CALLING)
    upstream = await leaving.way.send(body)
    _answering(exchange, upstream, rooms.clock)
    if upstream.status in ROTATED and credential is not None and not leaving.fixed:
        now = rooms.clock.now()
        credentials.refused(credential, upstream.status, now, retry_after(upstream.headers, now))
    return Answer(leaving.provider, upstream, safe, answer_lines(exchange))


async def _call_anew(
    exchange: Exchange, came: Mapping[str, str], permit: Permit, attempt: Attempt, safe: SafeRequest, rooms: Rooms
) -> Answer:
    """A call that is not like the last with the client's headers, which `came`."""
    ask, provider, clock = permit.ask, rooms.providers[attempt.provider], rooms.clock
    body, headers, translation = _outgoing(exchange, came, permit, attempt, safe, provider, clock)
    exchange.attempt = attempt
    fixed = _fixed(ask, provider, body)
    tenant, credentials = permit.principal.key.tenant, provider.credentials
    draw = share(f"credential|{tenant}", rooms.sticky_key) if fixed else rooms.draw()
    credential = credentials.pick(tenant, inf if fixed else clock.now(), draw)
    if credential is None and credentials:
        words = f"No credential of the provider '{provider.name}' serves this key's tenant."
        raise LateRefusal(Refusal(Reason.NO_PROVIDER, words, "model", permit.rule))
    tried: set[str] = set()
    while True:
        secret = None
        if credential is not None:
            secret, exchange.credential = credential.read(), credential.name
        request = provider.request(ask, attempt.model, body, headers, ask.timeout, secret)
        exchange.called = clock.monotonic()
        exchange.enter(Phase.CALLING)
        upstream = await provider.transport.send(request)
        _answering(exchange, upstream, clock)
        if (status := upstream.status) not in ROTATED or credential is None or fixed:
            break
        now = clock.now()
        credentials.refused(credential, status, now, retry_after(upstream.headers, now))
        tried.add(credential.name)
        following = credentials.pick(tenant, now, draw, tried)
        if following is None:
            break
        upstream.close()
        credential = following
    if type(came) is Fields and isinstance(safe.body, bytes) and ask.endpoint.shape in provider.speaks:
        last, transport = provider.last(came), provider.transport
        if credential is credentials.usual and last is not None and isinstance(transport, Repeating):
            way = transport.way(last)
            came.made[_Leaving] = _Leaving(provider, ask, attempt, credential, secret, way, fixed=fixed)
    if translation is not None and safe.keep is not None:  # nobody can continue a translated response
        safe = structs.replace(safe, keep=None)
    looked_at = ask.endpoint.shape not in provider.speaks and looked_through(permit)
    look = partial(see, exchange, rooms.objects) if looked_at else None
    return Answer(provider, upstream, safe, answer_lines(exchange), look, translation)


def _answering(exchange: Exchange, upstream: Upstream, clock: Clock) -> None:
    """The head of the provider's answer has come."""
    exchange.answered = clock.monotonic()
    exchange.provider_status = upstream.status
    exchange.provider_request_id = provider_request_id(upstream.headers)
    exchange.enter(Phase.ANSWERING)


def _fixed(ask: Ask, provider: Provider, body: Body) -> bool:
    """Whether only one credential will do. What a provider keeps is its credential's, so calls that may mean such a
    thing always take the tenant's same one, and so does a body that cannot be sent twice."""
    kept = ask.endpoint.shape == "responses" and "responses" in provider.speaks
    return kept or not (ask.endpoint.visible and isinstance(body, bytes))


def _outgoing(
    exchange: Exchange, headers: Mapping[str, str], permit: Permit, attempt: Attempt, safe: SafeRequest,
    provider: Provider, clock: Clock,
) -> tuple[Body, Mapping[str, str], Translation | None]:  # fmt: skip
    """What leaves for the provider, in its own dialect: the body, the client's headers as they then are true, and the
    way back where it was translated. Raises LateRefusal."""
    ask = permit.ask
    cap = exchange.reservation.cap if exchange.reservation is not None else None
    body: Body = ask.rest if safe.body is None else _edited(ask, permit, attempt, safe.body, cap)
    if isinstance(body, Form):
        headers = _govern_form(body, permit, attempt, headers, clock.now())
    if ask.endpoint.shape in provider.speaks:  # as they mostly do
        return body, headers, None
    drop, created = permit.principal.key.drop_params, int(exchange.started_at)
    said = spoken(ask, provider, body, drop=drop, created=created, name=exchange.request_id)
    if isinstance(said, Refusal):
        raise LateRefusal(said)
    body, translation = said
    exchange.dropped = translation.dropped if translation is not None else ()
    return body, headers, translation


def _edited(ask: Ask, permit: Permit, attempt: Attempt, body: bytes, cap: int | None) -> bytes:
    """The body with what must change on the way out: the provider's model name, forced and capped parameters, and the
    usage chunk that we need and the client did not ask for."""
    model, metered = attempt.model if attempt.model != ask.model else None, _metered(ask)
    edits = permit.edits if cap is None else capped(permit.edits, ask, cap)
    if model is None and not edits and not metered:
        return body
    fields = ask.fields or None if body is ask.body else None  # else it was redacted, or is no object
    return edit_body(body, edits, model=model, include_usage=metered, fields=fields)


def _metered(ask: Ask) -> bool:
    """Whether we need a usage chunk that the client did not ask for."""
    shape = SHAPES.get(ask.endpoint.shape)
    return ask.stream and not ask.include_usage and shape is not None and shape.asks_usage


def _govern_form(
    form: Form, permit: Permit, attempt: Attempt, headers: Mapping[str, str], now: float
) -> Mapping[str, str]:
    """Hold the rest of a form to the rules, and name the provider's model in it; the headers that then are true."""
    form.rules, form.read_lines = form_guard(permit, now), permit.ask.endpoint.name == "files"
    longer = form.rename(attempt.model) if attempt.model is not None and attempt.model != form.model else 0
    length = headers.get("content-length", "")
    return {**headers, "content-length": str(int(length) + longer)} if longer and length.isdigit() else headers
