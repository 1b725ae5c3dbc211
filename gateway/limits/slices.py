"""Slices: how the reservation of a running answer grows where a budget cuts (`at_limit = "cut"`). Pure.

At admission a sliced limit holds the input and one slice of output. As tokens pass, the next slice is asked for before
they are beyond what is held; where the store says no, the stream ends there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.limits.exceptions import in_force
from gateway.limits.ledger import LEASE, Held, amount_of
from gateway.limits.scopes import Denial, Lease

if TYPE_CHECKING:
    from gateway.limits.ledger import Ledger


def grow(ledger: Ledger, lease: Lease, tokens: int, nano_usd: int, now: int) -> Denial | None:
    """Let the sliced limits of an open lease hold so much in all; or the first that cannot, and nothing changes."""
    held = ledger.leases.get(lease.claim.request_id)
    if held is None:
        return None  # it has expired and was charged; the settlement corrects that
    grown = []
    for taken in held.taken:
        more = amount_of(taken.unit, 0, tokens, nano_usd) - taken.amount
        if not taken.limit.sliced or more <= 0:
            grown.append(taken)
            continue
        state = ledger.of(taken.scope)
        calendar = state.period(taken.window)
        bound = in_force(taken.limit, state.raised.get((taken.window, taken.unit)), now)
        used, reserved = calendar.used.get(taken.unit, 0), calendar.reserved.get(taken.unit, 0)
        if calendar.label != taken.label:  # the period is over: what is known of it is what was charged, and this lease
            used, reserved = calendar.closed.get(taken.label, {}).get(taken.unit, 0), taken.amount
        if used + reserved + more > bound.amount:
            scope = next(scope for scope in lease.claim.scopes if scope.id == taken.scope)
            return Denial(scope, bound, used + reserved, more, None, reserved=reserved)
        grown.append(replace(taken, amount=taken.amount + more))
    for before, after in zip(held.taken, grown, strict=True):
        calendar = ledger.of(after.scope).period(after.window)
        if after.amount != before.amount and calendar.label == after.label:
            calendar.reserved[after.unit] += after.amount - before.amount
    asked = (max(held.asked[0], tokens), max(held.asked[1], nano_usd))
    ledger.leases[lease.claim.request_id] = Held(tuple(grown), max(held.until, now + LEASE), held.row, asked)
    return None
