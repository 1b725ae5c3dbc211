"""Exceptions: for a time, and by an admin's word, a limit is more than the policy says. Pure.

They live in the store beside the counter that they lift, so that the step that admits sees them, in every process at
once, and no process has to remember their end. `state.lua` says the same (`bound`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.limits import windows
from gateway.limits.scopes import Limit, Scope, Window

if TYPE_CHECKING:
    from gateway.limits.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Raised:
    """What stands beside one counter: `to` an amount until `until`, and `more` on top until `more_until` (µs). A
    reset of a budget is `more`: what was used stays counted, and is forgiven until its period ends."""

    to: int = 0
    until: int = 0
    more: int = 0
    more_until: int = 0


class Exemption(msgspec.Struct, frozen=True):
    """One exception, as it is asked for, kept and listed. `amount`: what holds instead (`raise`), or what was forgiven
    (`reset`), in the limit's unit; `until` and `at` in µs. `lift` takes back what stands."""

    kind: Literal["raise", "reset", "lift"]
    scope: str
    limit: str
    amount: int
    until: int
    by: str
    at: int
    reason: str = ""


def exempt(ledger: Ledger, scope: Scope, asked: Exemption, now: int) -> Exemption:
    """Do it to the one limit of `scope`, and note it; the exemption with what was forgiven."""
    (limit,) = scope.limits
    counter = (limit.window, limit.unit)
    state = ledger.of(scope.id)
    stands = state.raised.get(counter, Raised())
    name = (scope.id, limit.name)
    if asked.kind == "lift":
        state.raised.pop(counter, None)
        for kind in ("raise", "reset"):
            ledger.exemptions.pop((*name, kind), None)
        return asked
    if asked.kind == "raise":
        state.raised[counter] = replace(stands, to=asked.amount, until=asked.until)
    elif limit.window is Window.MINUTE:
        state.bucket(limit.unit).level = 0
        return asked
    else:
        calendar = state.period(limit.window)
        here = calendar.label == windows.period(limit.window, scope.time_zone, now).label
        asked = msgspec.structs.replace(asked, amount=calendar.used.get(limit.unit, 0) if here else 0)
        state.raised[counter] = replace(stands, more=asked.amount, more_until=asked.until)
    ledger.exemptions[*name, asked.kind] = asked
    return asked


def listed(ledger: Ledger, now: int) -> list[Exemption]:
    """Those that stand; what has ended goes."""
    for name in [name for name, one in ledger.exemptions.items() if one.until <= now]:
        del ledger.exemptions[name]
    return list(ledger.exemptions.values())


def in_force(limit: Limit, raised: Raised | None, now: int) -> Limit:
    """The limit as it holds at `now` (µs): the very one where no exception does. None lowers a limit."""
    if raised is None:
        return limit
    amount, until = limit.amount, 0
    if now < raised.until and raised.to > amount:
        amount, until = raised.to, raised.until
    if now < raised.more_until and raised.more > 0:
        amount, until = amount + raised.more, max(until, raised.more_until)
    return lifted(limit, amount, until) if until else limit


def lifted(limit: Limit, amount: int, until: int) -> Limit:
    """The limit with what an exception lets it be."""
    burst = max(limit.burst, amount) if limit.window is Window.MINUTE else 0
    return replace(limit, amount=amount, burst=burst, written=limit.amount, until=until)
