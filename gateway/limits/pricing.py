"""What tokens cost, in integer nano-USD. Pure.

Prices are whole nano-USD per token (rounded up when they are compiled), so a product is exact and no float occurs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.limits.reservation import Usage

if TYPE_CHECKING:
    from gateway.policy.compiled import Price


def cost(usage: Usage, price: Price | None) -> int:
    """Nano-USD of a usage; 0 where the model is not priced.

    `cached` and `cache_write` are parts of the input and cost their own price, or the input's where there is none.
    `reasoning` is a part of the output and costs what output costs, as OpenAI and Anthropic bill it. A part that is
    said to be larger than its whole counts as the whole: nothing is charged twice, nor less than nothing.
    """
    if price is None:
        return 0
    whole = max(0, usage.input_tokens)
    cached = min(max(0, usage.cached), whole)
    written = min(max(0, usage.cache_write), whole - cached)
    plain = whole - cached - written
    return (
        plain * price.input
        + cached * (price.input if price.cached_input is None else price.cached_input)
        + written * (price.input if price.cache_write is None else price.cache_write)
        + max(0, usage.output_tokens) * price.output
    )


def worst(input_tokens: int, output_tokens: int, price: Price | None) -> int:
    """The most that so many tokens can cost, whatever part of the input turns out to be cached or written."""
    if price is None:
        return 0
    dearest = max(price.input, price.cached_input or 0, price.cache_write or 0)
    return input_tokens * dearest + output_tokens * price.output
