"""Conversations that the provider keeps: the client sends a response's id in place of what was said before, so the way
back from its placeholders is kept too: sealed, per tenant, for as long as the profile says. Where a store is away, a
reply keeps placeholders that nobody could restore; that is said, and nothing is leaked by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote

import msgspec

from gateway.errors import StoreFailure
from gateway.policy.compiled import RedactionProfile
from gateway.policy.permit import Permit
from gateway.ports import Keeper
from gateway.reading import Ask
from gateway.redaction.sealed import Seal

DAY = 86_400
# Endpoints whose paths name what a provider keeps, and at which segment.
STORED: Mapping[str, int] = MappingProxyType({"stored_responses": 1, "conversations": 1, "message_batches": 2})
MOST = 10_000  # placeholders of one conversation; of more the oldest are forgotten


class Conversations:
    """What is kept of them in `keeper`."""

    def __init__(self, keeper: Keeper, seal: Seal) -> None:
        self._keeper = keeper
        self._seal = seal

    async def recalled(self, permit: Permit) -> tuple[dict[str, str], bool]:
        """The placeholders of the conversation that a request continues; and whether the store could be asked."""
        tenant, found = permit.principal.key.tenant, dict[str, str]()
        for conversation in continued(permit.ask):
            name = self._seal.name(tenant, conversation)
            try:
                sealed = await self._keeper.kept(tenant, name)
            except StoreFailure:
                return {}, False
            if sealed is not None:
                found |= self._seal.opened(tenant, name, sealed) or {}
        return found, True

    def keep(self, permit: Permit, profile: RedactionProfile, mapping: Mapping[str, str]) -> Keep | None:
        """What keeps the placeholders of an exchange; None where there is nothing to keep."""
        if not mapping or not profile.remember_days or not stays(permit):
            return None
        newest = dict(list(mapping.items())[-MOST:])
        return Keep(self._keeper, self._seal, permit, newest, profile.remember_days * DAY)


class Keep:
    """Keeps one exchange's placeholders, once the response has an id. `failed`: the store could not be reached."""

    def __init__(
        self, keeper: Keeper, seal: Seal, permit: Permit, mapping: Mapping[str, str], seconds: int
    ) -> None:  # fmt: skip
        self._keeper = keeper
        self._seal = seal
        self._permit = permit
        self._mapping = mapping
        self._seconds = seconds
        self.failed = False

    async def under(self, response_id: str) -> None:
        """Keep them under the response's id, and under the conversation's that it belongs to."""
        tenant = self._permit.principal.key.tenant
        for conversation in dict.fromkeys((response_id, *_named(self._permit.ask), *_in_path(self._permit.ask))):
            name = self._seal.name(tenant, conversation)
            try:
                await self._keeper.keep(tenant, name, self._seal.sealed(tenant, name, self._mapping), self._seconds)
            except StoreFailure:
                self.failed = True
                return


def continued(ask: Ask) -> tuple[str, ...]:
    """The ids of what a request continues."""
    previous = (ask.previous_response_id,) if ask.previous_response_id else ()
    return (*previous, *_named(ask), *_in_path(ask))


def _in_path(ask: Ask) -> tuple[str, ...]:
    """What a path names of that: /responses/ID, /conversations/ID/items, /messages/batches/ID/results."""
    at = STORED.get(ask.endpoint.name)
    segments = unquote(ask.endpoint.path).strip("/").split("/")
    return (segments[at],) if at is not None and len(segments) > at else ()


def _named(ask: Ask) -> tuple[str, ...]:
    """The id of the conversation that a request belongs to, as a text or as an object."""
    if ask.endpoint.shape != "responses" or (raw := ask.fields.get("conversation")) is None:
        return ()
    conversation = msgspec.json.decode(raw)
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    return (conversation,) if isinstance(conversation, str) and conversation else ()


def stays(permit: Permit) -> bool:
    """Whether the provider keeps the response: unless it is told not to."""
    if permit.ask.endpoint.name in ("conversations", "message_batches"):
        return True
    if permit.ask.endpoint.shape != "responses":
        return False
    for name, value in permit.edits:
        if name == "store":
            return value is not False
    return bytes(permit.ask.fields.get("store", b"true")) != b"false"
