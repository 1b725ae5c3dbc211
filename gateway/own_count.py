"""own_count: how many tokens a request would have, told by us where its provider does not say.

`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens` exist at some providers. Elsewhere what would be
sent is counted here, and nobody is called (docs/decisions/0100).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.errors import Reason, Refusal
from gateway.exchange import Ending, Exchange, Phase
from gateway.limits.estimate import likely
from gateway.limits.reservation import ESTIMATED
from gateway.ports import Head, Provider, Reply
from gateway.reading import Ask
from gateway.tokens.counting import Counting

BY = "x-gateway-counted-by"  # the encoding that was counted in, or "estimate"
FLAG = "counted_here"
COUNTS = frozenset(("count_tokens", "input_tokens"))
_STORED = ("previous_response_id", "conversation")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def counts_here(ask: Ask, provider: Provider) -> bool:
    """Whether an ask is for a count that its provider does not offer."""
    return ask.endpoint.shape in COUNTS and ask.endpoint.shape not in provider.speaks


async def count_here(exchange: Exchange, reply: Reply, counting: Counting, lines: str) -> Refusal | None:
    """Answer in the client's dialect, with the count of the body that would have left: redacted where that is the
    rule, and in the encoding of the model that would have got it."""
    ask, safe, route = exchange.ask, exchange.safe, exchange.plan
    assert ask is not None and safe is not None and route is not None  # noqa: S101, PT018  # INVARIANT: see the journey
    body = safe.body or b""
    fields: Mapping[str, msgspec.Raw] = ask.fields if body is ask.body else _fields.decode(body)
    if (refusal := _uncountable(ask, fields)) is not None:
        return refusal
    found = await counting.request(fields, route.attempts[0].model or ask.model)
    tokens, by = (found.tokens, found.by) if found is not None else (likely(body), ESTIMATED)
    exchange.counted_by = by
    exchange.flags += (FLAG,)
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.LOCAL, 200
    told = {"input_tokens": tokens}
    if ask.endpoint.shape == "input_tokens":
        told = {"object": "response.input_tokens", **told}  # type: ignore[dict-item]  # one is no number
    head = Head(200, (("content-type", "application/json"), (BY, by)), lines)
    await reply.send(head, msgspec.json.encode(told))
    return None


def _uncountable(ask: Ask, fields: Mapping[str, msgspec.Raw]) -> Refusal | None:
    """What stands elsewhere cannot be counted here."""
    if ask.endpoint.shape == "count_tokens" and bytes(fields.get("messages", b""))[:1] != b"[":
        return Refusal(Reason.BAD_REQUEST, "messages: a list of messages is expected.", "messages")
    for name in _STORED:
        if bytes(fields.get(name, b"null")) != b"null":
            return Refusal(
                Reason.UNTRANSLATABLE,
                f"The provider of this model does not count tokens, and we cannot: what '{name}' names is kept by it.",
                name,
            )
    return None
