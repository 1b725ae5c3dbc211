"""A request as what is counted: pieces, each the JSON of one message, tool, prompt or other value. Pure.

A piece is the unit that is counted once and remembered: a chat that is sent again with every turn has one new message.
What is not known to cost nothing is counted, so that a field that a provider adds tomorrow is counted today.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# Top-level values of which no token is made.
UNCOUNTED = frozenset(
    ("audio", "best_of", "conversation", "encoding_format", "function_call", "include", "logit_bias", "logprobs",
     "metadata", "modalities", "model", "n", "prediction", "previous_response_id", "prompt_cache_key", "reasoning",
     "reasoning_effort", "safety_identifier", "seed", "service_tier", "stop", "stop_sequences", "store", "stream",
     "stream_options", "thinking", "tool_choice", "top_logprobs", "truncation", "user", "verbosity")
)  # fmt: skip
_SPLIT = ("messages", "input", "tools", "functions")  # lists whose elements are pieces of their own
_items = msgspec.json.Decoder(list[msgspec.Raw])


def pieces(fields: Mapping[str, msgspec.Raw]) -> list[tuple[str, bytes]]:
    """The pieces of a request's top-level values, each with the field that it stands in, in the order of the body."""
    found: list[tuple[str, bytes]] = []
    for name, raw in fields.items():
        value = bytes(raw)
        if name in UNCOUNTED or value[:1] not in (b'"', b"[", b"{"):
            continue
        if name in _SPLIT and value[:1] == b"[":
            items = [bytes(item) for item in _items.decode(value)]
            if items and items[0][:1] == b"{":
                found.extend((name, item) for item in items)
                continue
        found.append((name, value))
    return found
