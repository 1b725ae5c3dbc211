"""At the line: what happens where a budget runs out under an answer (`at_limit`). Pure.

    finish   the answer ends by itself; what it lacked is stated (`overshoot`)
    cut      the reservation grows slice by slice as tokens pass, and a stream ends where the next slice does not fit.
             An answer that is not streamed has no place to be cut, so it is held like a strict one
    strict   the request leaves with a maximum of output that fits

Slices and caps are for budgets of tokens and money; a rate is reserved whole, and no answer ends for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.limits.pricing import worst
from gateway.limits.reservation import Estimate, Reservation
from gateway.limits.scopes import Charge, Denial, Limit, Unit, Window

if TYPE_CHECKING:
    from gateway.policy.compiled import Price

Prices = Sequence["Price | None"]
SLICE = 256  # tokens of output: a round trip for each few seconds of a stream, and no more than that held in vain
LEAST = 16  # tokens of output that are worth a call; OpenAI's Responses take no smaller maximum either


def dearest(input_tokens: int, output_tokens: int, prices: Prices) -> int:
    """The most nano-USD that so many tokens can cost at any of the attempts."""
    if len(prices) == 1:  # as there mostly is
        return worst(input_tokens, output_tokens, prices[0])
    return max((worst(input_tokens, output_tokens, price) for price in prices), default=0)


def with_output(estimate: Estimate, output_tokens: int, prices: Prices) -> Estimate:
    """The estimate with another number of output tokens."""
    nano_usd = dearest(estimate.input_tokens, output_tokens, prices)
    return Estimate(estimate.input_tokens, output_tokens, nano_usd, estimate.by)


def fitting(denial: Denial, estimate: Estimate, prices: Prices, *, capped: bool, parts: int) -> Estimate | None:
    """The estimate with as much output as fits the budgets that cap, in equal parts for each choice; None where that
    is too little to be worth a call, or where what refuses is no such budget."""
    if not capped or not _caps(denial.limit):
        return None
    most = estimate.output_tokens
    for one in denial.remaining:
        if _caps(one.limit):
            most = min(most, _output_within(one.limit.unit, one.remaining, estimate.input_tokens, prices))
    each = most // parts
    if most >= estimate.output_tokens or each < LEAST:
        return None
    return with_output(estimate, each * parts, prices)


def overshoot(reservation: Reservation, charge: Charge) -> tuple[int, int]:
    """Tokens and nano-USD by which an exchange came to more than its budgets held for it."""
    estimate, line = reservation.held, reservation.line
    if estimate is None:
        return 0, 0
    held, nano_usd = estimate.input_tokens + estimate.output_tokens, estimate.nano_usd
    if line is not None:
        held, nano_usd = line.holding(line.held)
    if charge.tokens <= held and charge.nano_usd <= nano_usd:  # as it mostly is
        return 0, 0
    return max(0, charge.tokens - held), max(0, charge.nano_usd - nano_usd)


class Line:
    """How much output a running answer may pass on: `held` tokens. Each further slice is asked of the store."""

    def __init__(self, estimate: Estimate, prices: Prices) -> None:
        self.held = min(SLICE, estimate.output_tokens)
        self._input, self._prices = estimate.input_tokens, prices

    def first(self) -> tuple[int, int]:
        """Tokens and nano-USD to hold at admission."""
        return self.holding(self.held)

    def holding(self, output_tokens: int) -> tuple[int, int]:
        """Tokens and nano-USD that the lease holds in all for so much output."""
        return self._input + output_tokens, dearest(self._input, output_tokens, self._prices)

    def wanted(self, passed: int) -> int:
        """The output to hold next, where `passed` tokens would be beyond what is held."""
        return max(passed, self.held + SLICE)

    def fits(self, denial: Denial) -> int:
        """The output that could still be held: what is held, and the rest of the budget that refused."""
        rest = max(0, denial.limit.amount - denial.current)
        if denial.limit.unit is Unit.TOKENS:
            return self.held + rest
        dear = max((price.output for price in self._prices if price is not None), default=0)
        return self.held + (rest // dear if dear else 0)


def _caps(limit: Limit) -> bool:
    return (limit.strict or limit.sliced) and limit.window not in (Window.MINUTE, Window.OPEN)


def _output_within(unit: Unit, remaining: int, input_tokens: int, prices: Prices) -> int:
    """Output tokens that fit what remains of a budget, beside the input."""
    if unit is Unit.TOKENS:
        return remaining - input_tokens
    rooms = [
        (remaining - worst(input_tokens, 0, price)) // price.output
        for price in prices
        if price is not None and price.output
    ]
    return min(rooms, default=1 << 62)
