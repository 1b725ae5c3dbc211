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

    Every part costs its own price, or that of the whole where it has none; `reasoning` costs what output costs, as
    OpenAI and Anthropic bill it. Parts that are said to be larger than their whole count as the whole: nothing is
    charged twice, nor less than nothing. A request whose input is longer than `long_over` is charged at `long` prices.
    """
    if price is None:
        return 0
    asked, written = usage.input_tokens, usage.output_tokens
    if price.flat and asked >= 0 and written >= 0:  # as it mostly is
        return asked * price.input + written * price.output
    whole = max(0, asked)
    if price.long is not None and whole > price.long_over:
        price = price.long
    if not usage.in_parts:
        return whole * price.input + max(0, written) * price.output
    longer = min(max(0, usage.cache_write_1h), max(0, usage.cache_write))
    write = price.input if price.cache_write is None else price.cache_write
    return _parts(
        whole, price.input,
        (usage.cached, price.cached_input), (usage.cache_write - longer, write),
        (longer, write if price.cache_write_1h is None else price.cache_write_1h),
        (usage.audio_input, price.audio_input), (usage.image_input, price.image_input),
    ) + _parts(
        max(0, written), price.output,
        (usage.audio_output, price.audio_output), (usage.image_output, price.image_output),
    )  # fmt: skip


def _parts(whole: int, price: int, *parts: tuple[int, int | None]) -> int:
    """What a number of tokens costs, some of which have a price of their own."""
    left, total = whole, 0
    for tokens, own in parts:
        part = min(max(0, tokens), left)
        left -= part
        total += part * (price if own is None else own)
    return total + left * price


def worst(input_tokens: int, output_tokens: int, price: Price | None) -> int:
    """The most that so much text can cost, whatever part of the input turns out to be cached or written. (Audio and
    pictures that cost more are charged when their usage is known.)"""
    if price is None:
        return 0
    if price.long is not None and input_tokens > price.long_over:
        price = price.long
    return input_tokens * price.dearest_input + output_tokens * price.output
