"""What the limits of a request's scopes come to, looked at all together. Pure: worked out once for requests that are
alike, since none of it depends on what a request asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.limits.scopes import Limit, Scope, Unit, Window

ENDLESS = 1 << 80  # no limit


@dataclass(frozen=True, slots=True)
class AtLine:
    """How a request's budgets are held: `capped`, its output is bounded on the way out; `sliced`, it is taken in
    slices."""

    capped: bool = False
    sliced: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """`governed`: some limit is of tokens or money. `tokens`, `nano_usd`: the least that such a limit can ever hold,
    `enforced_tokens` of those that are not only watched. `strict`: one may not be overshot. `streamed`, `whole`: how
    the budgets want to be held under an answer that is streamed, and one that is not."""

    governed: bool = False
    tokens: int = ENDLESS
    nano_usd: int = ENDLESS
    enforced_tokens: int = ENDLESS
    strict: bool = False
    streamed: AtLine = AtLine()
    whole: AtLine = AtLine()


def bounds_of(scopes: Iterable[Scope]) -> Bounds:
    """Of the scopes of a request."""
    limits = [limit for scope in scopes for limit in scope.limits if limit.unit is not Unit.REQUESTS]
    tokens = [limit for limit in limits if limit.unit is Unit.TOKENS]
    caps, cuts = any(limit.strict for limit in limits), any(limit.sliced for limit in limits)
    return Bounds(
        bool(limits), _least(tokens), _least(limit for limit in limits if limit.unit is Unit.USD),
        _least(limit for limit in tokens if not limit.shadow), any(limit.at_limit == "strict" for limit in limits),
        AtLine(caps, cuts), AtLine(caps or cuts),
    )  # fmt: skip


def _least(limits: Iterable[Limit]) -> int:
    return min(
        (limit.burst if limit.window is Window.MINUTE else limit.amount for limit in limits), default=ENDLESS
    )  # fmt: skip
