"""The record of one request, append-only, and its lifecycle.

What may follow what is a table; a missing entry is the error. Every exchange ends exactly once, whatever its ending,
and the end is what settles and records it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway import __version__
from gateway.endpoints import OTHER, Endpoint
from gateway.errors import ClientGone, Failure, Reason, Refusal
from gateway.identity.principal import Principal
from gateway.limits.pricing import cost
from gateway.limits.reservation import Basis, Reservation, Usage
from gateway.limits.scopes import Charge
from gateway.policy.compiled import PolicySet
from gateway.policy.permit import Permit, decision_id
from gateway.reading import Ask
from gateway.redaction.safe import SafeRequest
from gateway.routing.plan import Attempt, Plan

UNKNOWN = "(unknown)"  # in a record, for a client's word that means nothing here: it might be a secret in a wrong place
QUOTING = frozenset({Reason.UNKNOWN_MODEL, Reason.UNKNOWN_PATH})  # whose messages quote such a word


class Phase(StrEnum):
    ARRIVED = "arrived"
    AUTHENTICATED = "authenticated"
    READ = "read"
    PERMITTED = "permitted"
    PLANNED = "planned"
    RESERVED = "reserved"
    REDACTED = "redacted"
    CALLING = "calling"  # bytes may have left for a provider
    ANSWERING = "answering"  # the provider's answer has begun
    RELAYING = "relaying"  # the client's answer has begun: no retry, no other status
    ENDED = "ended"


LIFECYCLE: dict[Phase, frozenset[Phase]] = {
    Phase.ARRIVED: frozenset({Phase.AUTHENTICATED, Phase.ENDED}),
    Phase.AUTHENTICATED: frozenset({Phase.READ, Phase.RELAYING, Phase.ENDED}),  # relaying: a local reply
    Phase.READ: frozenset({Phase.PERMITTED, Phase.ENDED}),
    Phase.PERMITTED: frozenset({Phase.PLANNED, Phase.RELAYING, Phase.ENDED}),  # relaying: a local reply
    Phase.PLANNED: frozenset({Phase.RESERVED, Phase.ENDED}),
    Phase.RESERVED: frozenset({Phase.REDACTED, Phase.ENDED}),
    Phase.REDACTED: frozenset({Phase.CALLING, Phase.ENDED}),
    Phase.CALLING: frozenset({Phase.ANSWERING, Phase.ENDED}),
    Phase.ANSWERING: frozenset({Phase.CALLING, Phase.RELAYING, Phase.ENDED}),  # calling: the next attempt
    Phase.RELAYING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


class Ending(StrEnum):
    ANSWERED = "answered"  # whole, as the provider gave it
    LOCAL = "local"  # answered by the gateway itself
    REFUSED = "refused"
    PROVIDER_ERROR = "provider_error"  # the provider answered with an error
    FAILED = "failed"  # something broke before the client's answer began
    TRUNCATED = "truncated"  # something broke in the middle of the client's answer
    CLIENT_GONE = "client_gone"


class IllegalMove(Exception):
    """A programming error: the lifecycle table has no such move."""


class Exchange(msgspec.Struct):
    """One request and what became of it. Times are monotonic seconds."""

    request_id: str
    received: float
    started_at: float  # Unix seconds
    method: str
    path: str
    peer: str
    policy: PolicySet
    phase: Phase = Phase.ARRIVED
    endpoint: Endpoint | None = None
    principal: Principal | None = None
    ask: Ask | None = None
    permit: Permit | None = None
    plan: Plan | None = None
    reservation: Reservation | None = None
    safe: SafeRequest | None = None
    attempt: Attempt | None = None
    called: float | None = None
    answered: float | None = None  # head of the provider's answer
    first_byte: float | None = None  # first byte to the client
    ended: float | None = None
    provider_status: int | None = None
    provider_request_id: str | None = None
    provider_error: str | None = None  # its code, never its message
    status: int | None = None  # what the client was told
    ending: Ending | None = None
    refusal: Refusal | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    charge: Charge | None = None
    response_id: str | None = None
    response_model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    flags: list[str] = msgspec.field(default_factory=list)

    def enter(self, phase: Phase) -> None:
        """Move on. Raises IllegalMove when the table does not allow it."""
        if phase not in LIFECYCLE[self.phase]:
            raise IllegalMove(f"{self.phase} → {phase}")
        self.phase = phase

    def end(self, ending: Ending, status: int | None, now: float) -> None:
        """The one ending. Raises IllegalMove the second time."""
        self.enter(Phase.ENDED)
        self.ending, self.status, self.ended = ending, status, now

    def is_client_gone(self, failure: Failure) -> bool:
        """Whether nobody is left to be told."""
        return isinstance(failure, ClientGone)

    def cost(self) -> Charge:
        """What the exchange comes to as far as it is known: its usage, priced by the attempt that served it."""
        usage = self.usage
        if usage is None or usage.basis is Basis.NOTHING:
            return Charge(0, 0)
        if usage.basis is Basis.ABANDONED and self.reservation is not None:
            return Charge(self.reservation.estimate.tokens, self.reservation.estimate.nano_usd)
        price = self.attempt.price if self.attempt is not None else None
        return Charge(usage.input_tokens + usage.output_tokens, cost(usage, price))

    def cost_header(self) -> tuple[tuple[str, str], ...]:
        """`x-gateway-cost-usd` where the model is priced."""
        if self.attempt is None or self.attempt.price is None:
            return ()
        return (("x-gateway-cost-usd", f"{self.cost().nano_usd / 1e9:.9f}"),)

    @property
    def decision(self) -> str:
        """What `x-gateway-decision` carries: the rule that refused, else the rule that permitted."""
        if self.refusal is not None:
            return decision_id(self.policy, self.refusal.rule)
        return decision_id(self.policy, self.permit.rule if self.permit is not None else None)

    def record(self) -> Mapping[str, Any]:
        """The structured record: an allow-list of fields, no content, no secret; what does not apply is absent. Names
        follow OpenTelemetry's GenAI conventions where one exists (open-telemetry/semantic-conventions-genai)."""
        rule = self.refusal.rule if self.refusal is not None else self.permit.rule if self.permit is not None else None
        fields: dict[str, Any] = {
            "event": "exchange",
            "gateway.version": __version__,
            "gateway.request_id": self.request_id,
            "timestamp": self.started_at,
            "http.request.method": self.method,
            "url.path": self.path if self.endpoint is not None and self.endpoint.name != OTHER else UNKNOWN,
            "client.address": self.peer,
            "http.response.status_code": self.status,
            "gateway.ending": self.ending,
            "gateway.policy": self.policy.hash,
            "gateway.decision": self.decision,
            "gateway.rule": str(rule) if rule is not None else None,
        }
        for part in (self._who, self._what, self._answer, self._use, self._times, self._cover):
            part(fields)
        return {name: value for name, value in fields.items() if value is not None and value != () and value != []}

    def _who(self, to: dict[str, Any]) -> None:
        if self.principal is None:
            return
        key = self.principal.key
        to["gateway.key.id"], to["gateway.key.name"], to["gateway.key.secret"] = (
            key.id,
            key.name,
            self.principal.secret_id,
        )
        to["gateway.team"], to["gateway.tenant"] = key.team, key.tenant
        to["gateway.labels"] = dict(key.labels) or None

    def _what(self, to: dict[str, Any]) -> None:
        if self.endpoint is not None:
            to["gateway.endpoint"] = self.endpoint.name
            to["gen_ai.operation.name"] = self.endpoint.operation
        ask = self.ask
        if ask is not None:
            known = ask.model is None or self.policy.model(ask.model) is not None
            to["gen_ai.request.model"] = ask.model if known else UNKNOWN
            to["gen_ai.request.max_tokens"] = ask.max_output_tokens
            to["gen_ai.request.stream"] = ask.stream or None
            to["gen_ai.conversation.id"] = ask.conversation
            to["gateway.client_request_id"] = ask.client_request_id
            to["gateway.tags"] = ask.tags
            to["gateway.request_bytes"] = len(ask.body) if ask.body is not None else None
        if self.permit is not None and self.permit.models:
            to["gateway.model"] = self.permit.models[0][0].name  # the policy's name: a wildcard has one for all
        attempt = self.attempt
        if attempt is not None:
            to["gen_ai.provider.name"] = attempt.provider
            to["gateway.model.version"] = attempt.version
            to["gateway.model.upstream"] = attempt.model

    def _answer(self, to: dict[str, Any]) -> None:
        to["gateway.provider.status"] = self.provider_status
        to["gateway.provider.request_id"] = self.provider_request_id
        to["gateway.provider.error"] = self.provider_error
        to["gen_ai.response.id"] = self.response_id
        to["gen_ai.response.model"] = self.response_model
        to["gen_ai.response.finish_reasons"] = self.finish_reasons
        to["gateway.flags"] = self.flags
        if self.refusal is not None:
            to["error.type"] = self.refusal.reason
            if self.refusal.reason not in QUOTING:
                to["gateway.message"] = self.refusal.message
        elif self.failure is not None:
            to["error.type"] = self.failure.wire.code
            to["gateway.failure"] = f"{type(self.failure).__name__}: {self.failure.detail}"[:500]

    def _use(self, to: dict[str, Any]) -> None:
        if self.reservation is not None:
            estimate = self.reservation.estimate
            to["gateway.estimate.input_tokens"] = estimate.input_tokens
            to["gateway.estimate.output_tokens"] = estimate.output_tokens
            to["gateway.estimate.cost_usd"] = estimate.nano_usd / 1e9
            lease = self.reservation.lease
            to["gateway.store"] = ("local" if lease.local else "store") if lease is not None else None
        usage = self.usage
        if usage is not None and usage.basis is not Basis.NOTHING:
            to["gen_ai.usage.input_tokens"] = usage.input_tokens
            to["gen_ai.usage.output_tokens"] = usage.output_tokens
            to["gen_ai.usage.cache_read.input_tokens"] = usage.cached or None
            to["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write or None
            to["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning or None
        to["gateway.usage.basis"] = usage.basis if usage is not None else None
        if self.charge is not None:
            to["gateway.charged.tokens"] = self.charge.tokens
            to["gateway.charged.cost_usd"] = self.charge.nano_usd / 1e9
            to["gateway.charged.nano_usd"] = self.charge.nano_usd

    def _times(self, to: dict[str, Any]) -> None:
        def since(start: float | None, end: float | None) -> float | None:
            return round((end - start) * 1000, 3) if start is not None and end is not None else None

        to["gateway.ms.total"] = since(self.received, self.ended)
        to["gateway.ms.before_call"] = since(self.received, self.called)
        to["gateway.ms.provider_head"] = since(self.called, self.answered)
        to["gateway.ms.first_byte"] = since(self.received, self.first_byte)

    def _cover(self, to: dict[str, Any]) -> None:
        coverage = self.safe.coverage if self.safe is not None else None
        if coverage is None:
            return
        to["gateway.redaction.profile"] = coverage.profile
        to["gateway.redaction.parts"] = coverage.parts
        to["gateway.redaction.bytes"] = coverage.bytes
        to["gateway.redaction.spans"] = dict(coverage.spans)
        to["gateway.redaction.cache_hits"] = coverage.cache_hits
        to["gateway.redaction.ms"] = round(coverage.milliseconds, 3)
        to["gateway.redaction.unscanned"] = coverage.unscanned
        to["gateway.redaction.failed"] = coverage.failed
