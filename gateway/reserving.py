"""reserve: take the worst case of a permitted request from every limit at once, and hold its budgets as they say.

Where a budget that is strict refuses, the request is asked for again with as much output as fits: a second round trip,
only near the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import Refusal
from gateway.limits.answer import denied
from gateway.limits.estimate import output_name, parts
from gateway.limits.line import Line, fitting
from gateway.limits.reservation import BOUND, Estimate, Reservation
from gateway.limits.scopes import Account, Charge, Claim, Denial, Lease, Unit
from gateway.limits.worst_case import counted, uncounted
from gateway.policy.permit import Permit, decision_id

if TYPE_CHECKING:
    from gateway.ports import LimitStore, Settler
    from gateway.redaction.safe import SafeRequest
    from gateway.routing.plan import Attempt
    from gateway.tokens.counting import Counting

_ALL: tuple[int | None, int | None] = (None, None)  # what limits that are not sliced hold at first
TRIES = 3  # of a capped request, where others take at the same time what was still there


async def reserve(
    request_id: str, permit: Permit, attempts: Sequence[Attempt], counting: Counting, store: LimitStore,
    settler: Settler, now: float, safe: SafeRequest | None,
) -> Reservation | Refusal:  # fmt: skip
    """The reservation, or the limit that refuses. `now` in Unix seconds, for words; `safe`: the request as it leaves,
    where it holds nothing to redact. Raises StoreFailure."""
    prices = [attempts[0].price] if len(attempts) == 1 else [attempt.price for attempt in attempts]
    key, bounds, clean = permit.principal.key, permit.bounds, safe is not None
    worst = uncounted(permit, prices, bounds, clean=clean) or await counted(permit, attempts, counting, clean=clean)
    held = bounds.streamed if permit.ask.stream else bounds.whole
    sure, tries = worst.by != BOUND, TRIES
    while True:
        line = Line(worst, prices) if held.sliced and worst.output_tokens else None
        first = line.first() if line is not None else _ALL
        claim = Claim(
            request_id, key.tenant, permit.scopes, worst.input_tokens + worst.output_tokens, worst.nano_usd,
            key.on_failure, first[0], first[1], permit.row, key.time_zone,
        )  # fmt: skip
        try:
            verdict = await store.admit(claim)
        except BaseException:
            # The reply is lost, the reservation may not be: give back what the store may hold under this request's id.
            settler.settle(Lease(claim, ()), Charge(0, 0, requests=0))
            raise
        if not isinstance(verdict, Denial):
            settler.opened(verdict)
            cap = worst.output_tokens // parts(permit) if held.capped and worst.output_tokens else None
            return Reservation(worst, verdict, cap, line)
        smaller: Estimate | None = None
        if not sure and verdict.limit.unit is not Unit.REQUESTS:
            sure, found = True, await counted(permit, attempts, counting, clean=clean)
            smaller = found if found.tokens < worst.tokens else None  # it may fit after all
        if smaller is None:
            tries -= 1
            smaller = fitting(verdict, worst, prices, capped=held.capped, parts=parts(permit))
        if smaller is None or not tries:
            decision = decision_id(permit.policy, verdict.limit.rule)
            return denied(verdict, worst, decision, now=now, output=output_name(permit))
        worst = smaller  # a refusal has changed nothing


def unlimited(permit: Permit) -> Reservation | None:
    """The reservation of a request that no limit holds: of nothing, but what it comes to is written down. Calls that
    are alike share it. None: some limit does."""
    if permit.scopes:
        return None
    decided, key = permit.decided, permit.principal.key
    if decided is not None and decided.unlimited is not None:
        return decided.unlimited
    reservation = Reservation(None, account=Account(key.tenant, permit.row, key.time_zone))
    if decided is not None:
        decided.unlimited = reservation
    return reservation
