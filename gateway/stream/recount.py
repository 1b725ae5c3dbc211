"""recount: what an exchange used where its provider did not say, counted in the model's encoding. Pure.

The relay counts bytes as it goes, since it cannot wait. When it is over, what it kept of the reply is counted for good,
and the input too where it was only bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from gateway.exchange import Exchange
from gateway.limits.reservation import BOUND, ESTIMATED, Basis

if TYPE_CHECKING:
    from gateway.tokens.counting import Counting


async def recount(exchange: Exchange, counting: Counting) -> None:
    """Replace our rough count by one in tokens, if there is such a count and it can be had."""
    used, ask, passed = exchange.usage, exchange.ask, exchange.passed
    exchange.passed = None
    if used is None or used.basis is not Basis.COUNTED or ask is None or exchange.reservation is None:
        return
    model = exchange.attempt.model if exchange.attempt is not None else ask.model
    if passed is not None and passed.size:
        reply = await counting.text(bytes(passed.text), model)
        if reply is None:
            return
        tokens = -(-reply.tokens * passed.size // max(1, len(passed.text)))  # in proportion, where not all was kept
        used = structs.replace(used, output_tokens=tokens)
        exchange.counted_by = reply.by
    estimate = exchange.estimate
    if estimate.by in (BOUND, ESTIMATED) and used.input_tokens == estimate.input_tokens:
        asked = await counting.request(ask.fields, model)
        if asked is not None:
            used = structs.replace(used, input_tokens=min(asked.tokens, estimate.input_tokens))
            exchange.counted_by = asked.by
    exchange.usage = used
