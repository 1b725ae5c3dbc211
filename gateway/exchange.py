"""One request and what became of it, append-only, and its lifecycle. `record.py` writes it down.

What may follow what is a table; a missing entry is the error. Every exchange ends exactly once, whatever its ending,
and the end is what settles and records it. The steps before the reservation are no phases: each asks for the evidence
of the one before it, so the type checker refuses a journey that skips one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.dialects import OPENAI, Dialect
from gateway.endpoints import Endpoint
from gateway.errors import Failure, Refusal
from gateway.identity.principal import Principal
from gateway.limits.estimate import estimate
from gateway.limits.pricing import cost
from gateway.limits.reservation import NONE, Basis, Estimate, Reservation, Usage
from gateway.limits.scopes import Charge, Denial
from gateway.policy.compiled import PolicySet, Price
from gateway.policy.permit import Permit, decision_id
from gateway.reading import Ask
from gateway.redaction.safe import Coverage, SafeRequest
from gateway.routing.plan import ORDINARY, Attempt, Plan
from gateway.tokens.passed import Passed


class Phase:
    """Words, and no enumeration: to name a member of one costs as much as the move."""

    ARRIVED = "arrived"
    RESERVED = "reserved"  # every limit holds it
    CALLING = "calling"  # bytes may have left for a provider
    ANSWERING = "answering"  # the provider's answer has begun
    RELAYING = "relaying"  # the client's answer has begun: no retry, no other status
    ENDED = "ended"


LIFECYCLE: dict[str, frozenset[str]] = {
    Phase.ARRIVED: frozenset({Phase.RESERVED, Phase.RELAYING, Phase.ENDED}),  # relaying: a local reply
    Phase.RESERVED: frozenset({Phase.CALLING, Phase.RELAYING, Phase.ENDED}),  # relaying: a local reply
    Phase.CALLING: frozenset({Phase.ANSWERING, Phase.ENDED}),
    Phase.ANSWERING: frozenset({Phase.CALLING, Phase.RELAYING, Phase.ENDED}),  # calling: the next attempt
    Phase.RELAYING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


class Ending:
    """Words, as phases are."""

    ANSWERED = "answered"  # whole, as the provider gave it
    CUT = "cut"  # ended by us where a budget was used up, well-formed
    LOCAL = "local"  # answered by the gateway itself
    REFUSED = "refused"
    PROVIDER_ERROR = "provider_error"  # the provider answered with an error
    FAILED = "failed"  # something broke before the client's answer began
    TRUNCATED = "truncated"  # something broke in the middle of the client's answer
    CLIENT_GONE = "client_gone"


class IllegalMove(Exception):
    """A programming error: the lifecycle table has no such move."""


NONE_OVER = (0, 0)
_ENDED, _GONE = Phase.ENDED, Ending.CLIENT_GONE
_NOTHING, _ABANDONED = Basis.NOTHING, Basis.ABANDONED


class Exchange:
    """One request and what became of it. Times are monotonic seconds. No dataclass: to take as many arguments as it has
    fields would take longer than all that is done to them; and no Struct, which is slow to write to."""

    __slots__ = (
        "answered", "ask", "attempt", "called", "charge", "counted_by", "credential", "cut", "dialect",
        "dropped", "ended", "ending", "endpoint", "failure", "finish_reasons", "first_byte", "flags", "method",
        "overshoot", "passed", "path", "peer", "permit", "phase", "plan", "policy", "principal",
        "provider_error", "provider_request_id", "provider_status", "received", "refusal", "reply",
        "request_id", "reservation", "response_id", "response_model", "safe", "started_at", "status", "tier",
        "told_code", "usage",
    )  # fmt: skip

    def __init__(
        self, request_id: str, received: float, started_at: float, method: str, path: str, peer: str,
        policy: PolicySet, endpoint: Endpoint | None = None, dialect: Dialect = OPENAI,
    ) -> None:  # fmt: skip
        self.request_id = request_id
        self.received = received
        self.started_at = started_at  # Unix seconds
        self.method = method
        self.path = path
        self.peer = peer
        self.policy = policy
        self.endpoint = endpoint
        self.dialect = dialect  # whose words the client expects
        self.phase = Phase.ARRIVED
        self.principal: Principal | None = None
        self.ask: Ask | None = None
        self.permit: Permit | None = None
        self.plan: Plan | None = None
        self.reservation: Reservation | None = None
        self.safe: SafeRequest | None = None
        self.attempt: Attempt | None = None
        self.called: float | None = None
        self.answered: float | None = None  # head of the provider's answer
        self.first_byte: float | None = None  # first byte to the client
        self.ended: float | None = None
        self.credential: str | None = None  # the name of the provider's that was used last
        self.provider_status: int | None = None
        self.provider_request_id: str | None = None
        self.provider_error: str | None = None  # its code, never its message
        self.told_code: str | None = None  # the code that the client was told of that
        self.status: int | None = None  # what the client was told
        self.ending: str | None = None
        self.refusal: Refusal | None = None
        self.failure: Failure | None = None
        self.usage: Usage | None = None
        self.passed: Passed | None = None  # of a reply, until it is counted
        self.counted_by: str | None = None  # the encoding of our own count
        self.charge: Charge | None = None
        self.overshoot: tuple[int, int] = NONE_OVER  # tokens and nano-USD beyond what was held
        self.cut: Denial | None = None  # the budget that ended the answer before its time
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.finish_reasons: tuple[str, ...] = ()
        self.tier: str | None = None  # the service tier that the provider says it served
        self.reply: Coverage | None = None  # what the search of the reply has seen
        self.flags: tuple[str, ...] = ()
        self.dropped: tuple[str, ...] = ()  # parameters that the provider's dialect cannot express

    def enter(self, phase: str) -> None:
        """Move on. Raises IllegalMove when the table does not allow it."""
        if phase not in LIFECYCLE[self.phase]:
            raise IllegalMove(f"{self.phase} → {phase}")
        self.phase = phase

    def end(self, now: float) -> None:
        """The one ending. Who did not say how it ends has failed. Raises IllegalMove the second time."""
        if _ENDED not in LIFECYCLE[self.phase]:
            raise IllegalMove(f"{self.phase} → {_ENDED}")
        self.phase, self.ended = _ENDED, now
        if (ending := self.ending) is None:
            self.ending = Ending.FAILED
        elif ending is _GONE:
            self.status = 499

    @property
    def estimate(self) -> Estimate:
        """The worst case of a reserved request: what is held for it or, where no limit holds anything, what would have
        been, which is worked out only if somebody must know."""
        reservation, permit, plan = self.reservation, self.permit, self.plan
        assert reservation is not None  # noqa: S101  # INVARIANT: nobody asks before
        if reservation.held is not None:
            return reservation.held
        if permit is None or plan is None:
            return NONE
        return estimate(permit, [attempt.price for attempt in plan.attempts])

    def cost(self) -> Charge:
        """What the exchange comes to as far as it is known: its usage, priced by the attempt that served it."""
        usage, attempt = self.usage, self.attempt
        if usage is None or (basis := usage.basis) is _NOTHING:
            return Charge(0, 0)
        if basis is _ABANDONED and self.reservation is not None:
            worst = self.estimate
            return Charge(worst.tokens, worst.nano_usd)
        tokens = usage.input_tokens + usage.output_tokens
        if attempt is None or (price := attempt.price) is None:
            return Charge(tokens, 0)
        return Charge(tokens, cost(usage, price if self.tier is None else self._served(attempt, price)))

    def _served(self, attempt: Attempt, price: Price) -> Price:
        """The attempt's, which is that of the tier that was asked for; or, where the provider says that it served
        another, that one's."""
        served = None if self.tier in ORDINARY else self.tier
        if served == price.tier or attempt.model is None:
            return price
        today = datetime.fromtimestamp(self.started_at, UTC).date()
        return self.policy.price(attempt.provider, attempt.model, today, served) or price

    def cost_line(self) -> str:
        """`x-gateway-cost-usd`, as a line of a head, where the model is priced."""
        if (attempt := self.attempt) is None or attempt.price is None:
            return ""
        self.charge = charge = self.cost()
        return f"x-gateway-cost-usd: {charge.nano_usd / 1e9:.9f}\r\n"

    @property
    def decision(self) -> str:
        """What `x-gateway-decision` carries: the rule that refused, else the rule that permitted."""
        if self.refusal is not None:
            return decision_id(self.policy, self.refusal.rule)
        permit = self.permit
        if permit is not None and permit.decided is not None:
            return permit.decided.id
        return decision_id(self.policy, permit.rule if permit is not None else None)
