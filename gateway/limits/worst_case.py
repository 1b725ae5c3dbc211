"""worst_case: what a request reserves, with as little counting as the limits on it allow. Pure; counting is a port.

No text has more tokens than UTF-8 bytes. Where that bound of the input is small beside every limit on it, it is what is
reserved, and nothing is counted. Where it is not, the input is counted: reserving four times what a prompt comes to
would keep others out. Where there are no ranks to count with, the input is estimated, and a `strict` limit, which may
not be overshot, takes the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.identity.standing import own_scopes
from gateway.limits.estimate import bound, counted_input, estimate
from gateway.limits.pricing import worst
from gateway.limits.reservation import Estimate
from gateway.limits.scopes import Unit
from gateway.tokens.counting import ENDLESS, Counted
from gateway.tokens.encodings import NEWEST, encoding_of

if TYPE_CHECKING:
    from gateway.limits.bounds import Bounds
    from gateway.policy.compiled import PolicySet, Price
    from gateway.policy.permit import Permit
    from gateway.routing.plan import Attempt
    from gateway.tokens.counting import Counting

SMALL = 32  # times that a bound must go into a limit: 32 such requests at once, all four times too large, still fit


def uncounted(
    permit: Permit, prices: Sequence[Price | None], bounds: Bounds, *, clean: bool = False
) -> Estimate | None:  # fmt: skip
    """The worst case of a permitted request where nothing is counted for it; None: something must be. `clean`: it holds
    nothing to redact."""
    if not bounds.governed:
        return estimate(permit, prices, clean=clean)
    most = bound(permit, prices, clean=clean)
    if SMALL * most.input_tokens > bounds.tokens:
        return None
    return most if SMALL * most.nano_usd <= bounds.nano_usd or _little(most, prices, bounds.nano_usd) else None


async def counted(
    permit: Permit, attempts: Sequence[Attempt], counting: Counting, *, clean: bool = False
) -> Estimate:  # fmt: skip
    """The same where something must be counted, or the bound was refused."""
    prices, bounds = [attempt.price for attempt in attempts], permit.bounds
    if not bounds.governed:
        return estimate(permit, prices, clean=clean)
    most = bound(permit, prices, clean=clean)
    if most.tokens == 0:
        return most
    found = await _counted(permit, attempts, counting, min(bounds.enforced_tokens, ENDLESS))
    if found is not None:
        return counted_input(permit, prices, min(found.at_most, most.input_tokens), found.by, clean=clean)
    return most if bounds.strict else estimate(permit, prices, clean=clean)


def _little(most: Estimate, prices: Sequence[Price | None], nano_usd: int) -> bool:
    """Whether the input by itself is small beside every limit of money; with the output it nearly always is."""
    return SMALL * max((worst(most.input_tokens, 0, price) for price in prices), default=0) <= nano_usd


async def _counted(permit: Permit, attempts: Sequence[Attempt], counting: Counting, stop: int) -> Counted | None:
    """The most that any attempt's model makes of the input; counting stops where it could never fit."""
    found: list[Counted] = []
    for model in {encoding_of(one.model): one.model for one in attempts}.values():
        one = await counting.request(permit.ask.fields, model, stop)
        if one is None:
            return None
        found.append(one)
    return max(found, key=lambda one: one.at_most, default=None)


def encodings_counted(policy: PolicySet) -> set[str]:
    """The encodings in which something will be counted: those of the models, if any key has a limit that needs it."""
    if not any(
        limit.unit is not Unit.REQUESTS
        for key in policy.keys.values()
        for scope in own_scopes(key)
        for limit in scope.limits
    ):
        return set()
    versions = (version for model in policy.models.values() for version in model.versions)
    return {encoding_of(version.model)[0] for version in versions} or {NEWEST}
