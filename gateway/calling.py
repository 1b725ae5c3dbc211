"""call: a body that may leave, on its way to a provider, until the head of the answer has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from gateway.errors import LateRefusal, Reason, Refusal
from gateway.exchange import Exchange, Phase
from gateway.forms import Form
from gateway.objects.keeping import looked_through, see
from gateway.policy.decide import form_guard
from gateway.policy.parameters import capped
from gateway.policy.permit import Permit
from gateway.ports import Provider, Upstream
from gateway.providers.credentials import ROTATED
from gateway.providers.edits import edit_body
from gateway.providers.errors import provider_request_id, retry_after
from gateway.reading import Ask
from gateway.redaction.safe import SafeRequest
from gateway.routing.plan import Attempt, share
from gateway.shapes.table import SHAPES
from gateway.translation.pairs import Translation
from gateway.translation.speaking import spoken

if TYPE_CHECKING:
    from gateway.journey import Rooms
    from gateway.ports import Arrival, Clock

Body = bytes | AsyncIterator[bytes] | None


class Called(msgspec.Struct, frozen=True):
    """Evidence that a provider has begun to answer. `see`: what a JSON answer that we do not meter must pass;
    `translation`: where it speaks another dialect than the client."""

    provider: Provider
    upstream: Upstream
    see: Callable[[bytes], Awaitable[bytes]] | None = None
    translation: Translation | None = None

    def way_back(self, safe: SafeRequest) -> SafeRequest:
        """The redaction of this call; of a translated response nothing is kept, since nobody can continue it."""
        return safe if self.translation is None or safe.keep is None else structs.replace(safe, keep=None)


async def call(
    exchange: Exchange, arrival: Arrival, permit: Permit, attempt: Attempt, safe: SafeRequest, rooms: Rooms
) -> Called:
    """Call the provider with a body that may leave, in its own dialect, with one of its credentials, and with the next
    where that one is refused or limited: no byte has gone to the client. Raises LateRefusal where the dialect has no
    words for it or no credential serves the tenant, ConnectFailed, ProviderTimeout, ProviderBroken."""
    ask, provider, clock = permit.ask, rooms.providers[attempt.provider], rooms.clock
    body, headers, translation = _outgoing(exchange, arrival.headers, permit, attempt, safe, provider, clock)
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
        exchange.answered = clock.monotonic()
        exchange.provider_status = status = upstream.status
        exchange.provider_request_id = provider_request_id(upstream.headers)
        exchange.enter(Phase.ANSWERING)
        if status not in ROTATED or credential is None or fixed:
            break
        now = clock.now()
        credentials.refused(credential, status, now, retry_after(upstream.headers, now))
        tried.add(credential.name)
        following = credentials.pick(tenant, now, draw, tried)
        if following is None:
            break
        upstream.close()
        credential = following
    looked_at = ask.endpoint.shape not in provider.speaks and looked_through(permit)
    return Called(provider, upstream, partial(see, exchange, rooms.objects) if looked_at else None, translation)


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
