"""Objects on the journey: an answer as its client may see it, and what an exchange leaves with the provider. Pure but
for the port.
"""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.objects.holding import remember, seen
from gateway.objects.results import own_results
from gateway.policy.permit import Permit
from gateway.ports import ObjectDirectory


def looked_through(permit: Permit) -> bool:
    """Whether JSON answers of opaque calls must be read before the client gets them."""
    return permit.policy.several_tenants or permit.ask.endpoint.name == "message_batches"


async def see(exchange: Exchange, objects: ObjectDirectory, body: bytes) -> bytes:
    """A JSON answer of an opaque call, as the client may see it. Raises StoreFailure."""
    permit, attempt = exchange.permit, exchange.attempt
    assert permit is not None  # noqa: S101  # INVARIANT: nothing is called without
    assert attempt is not None  # noqa: S101  # INVARIANT: as above
    body = own_results(body) if permit.ask.endpoint.name == "message_batches" else body
    return await seen(objects, permit.policy, permit.principal.key, attempt.provider, permit.ask, body)


def keep(exchange: Exchange, objects: ObjectDirectory) -> None:
    """A response, or a completion, that the provider keeps belongs to the tenant, where there are several."""
    permit, attempt, one = exchange.permit, exchange.attempt, exchange.response_id
    if one is None or permit is None or attempt is None:
        return
    if permit.ask.endpoint.shape == "responses" or bytes(permit.ask.fields.get("store", b"")) == b"true":
        remember(objects, permit.principal.key, attempt.provider, (one,))
