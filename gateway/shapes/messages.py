"""Anthropic's Messages API. Pure.

Source: Anthropic's pages "Messages" and "Streaming messages". Usage comes twice: `message_start` knows the input (and
says 1 for an output that has not begun), `message_delta` the whole so far. `input_tokens` counts neither what was read
from a cache nor what was written to one, so the input is the sum of three. SDKs skip every event without a name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.dialects import ANTHROPIC
from gateway.errors import Wire
from gateway.limits.reservation import Basis, Usage
from gateway.providers.errors import is_error_body
from gateway.shapes.chat import CHAT_OUTPUT
from gateway.shapes.responses import named_event
from gateway.shapes.shape import Key, Piece, Said, Shape, short
from gateway.stream.filters import Meter, credible_tokens
from gateway.stream.sse import Event

_ABSENT = msgspec.Raw(b"")
_INPUTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: msgspec.Raw = _ABSENT


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None


_event = msgspec.json.Decoder(_Event)
_message = msgspec.json.Decoder(_Message)


class MessagesMeter(Meter):
    """The meter of messages. Its usage is always told, and always the client's."""

    def __init__(self, strip_usage: bool) -> None:  # noqa: FBT001  # called through the table
        super().__init__()
        self._told: dict[str, Any] = {}

    def read(self, data: bytes) -> bool:
        """One event."""
        event = _event.decode(data)
        match event.type:
            case "message_start" if event.message is not None:
                self.call_it(event.message.id, event.message.model)
                self._tell(event.message.usage)
                if (known := usage_of({**self._told, "output_tokens": 0})) is not None:
                    self.input_tokens = known.input_tokens
            case "content_block_delta" if event.delta is not None:
                for text in (event.delta.text, event.delta.partial_json, event.delta.thinking):
                    self.count(text)
            case "message_delta":
                self._tell(event.usage)
                if event.delta is not None and event.delta.stop_reason:
                    self.finish(event.delta.stop_reason)
                    self.use(usage_of(self._told))
                    self.tier = _tier(self._told)
            case "message_stop":
                self.ended = True
            case "error":
                self.error = True
            case _:
                pass
        return True

    def _tell(self, usage: dict[str, Any] | None) -> None:
        self._told.update({name: value for name, value in (usage or {}).items() if value is not None})


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """Anthropic's `usage` object; None where it is not credible."""
    counts = [credible_tokens(usage.get(name, 0 if at else None)) for at, name in enumerate(_INPUTS)]
    output = credible_tokens(usage.get("output_tokens"))
    if output is None or any(count is None for count in counts):
        return None
    plain, read, written = (count or 0 for count in counts)
    kinds = usage.get("cache_creation")  # how long what was written is kept: for an hour it costs more
    longer = credible_tokens(kinds.get("ephemeral_1h_input_tokens", 0)) if isinstance(kinds, dict) else 0
    return Usage(
        plain + read + written, output, cached=read, cache_write=written, basis=Basis.PROVIDER,
        cache_write_1h=min(longer or 0, written),
    )  # fmt: skip


def said(body: bytes) -> Said:
    """What a whole message says of itself."""
    try:
        whole = _message.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Said()
    reason = short(whole.stop_reason)
    told = {name: value for name, value in (whole.usage or {}).items() if value is not None}
    reasons = (reason,) if reason is not None else ()
    return Said(
        usage_of(told), short(whole.id), short(whole.model), reasons, _tier(told),
        is_object=True, is_sound=whole.error is _ABSENT,
    )  # fmt: skip


def _tier(usage: dict[str, Any]) -> str | None:
    """The service tier, which Anthropic's `usage` says."""
    tier = usage.get("service_tier")
    return short(tier) if isinstance(tier, str) else None


def stream_error(wire: Wire, message: str, request_id: str, _meter: Meter) -> Event:
    """The event `error`."""
    data = ANTHROPIC.envelope(wire, message, None, request_id)
    return Event(b"event: error\ndata: " + data + b"\n\n", data, "error")


_TEXTS = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}


class MessagesRuns:
    """Runs are keyed by content block and kind of delta."""

    def pieces(self, chunk: dict[str, Any]) -> list[Piece]:
        """The text of a delta. A signature is none; it is over what the provider wrote."""
        delta = chunk.get("delta")
        if chunk.get("type") != "content_block_delta" or not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        field = _TEXTS.get(kind) if isinstance(kind, str) else None
        if field is None or not isinstance(delta.get(field), str):
            return []
        return [Piece((chunk.get("index"), kind), delta, field, kind == "input_json_delta")]

    def ends(self, chunk: dict[str, Any]) -> Callable[[Key], bool] | None:
        """A block's end ends its runs, the message's all."""
        match chunk.get("type"):
            case "content_block_stop":
                index = chunk.get("index")
                return lambda key: key[0] == index
            case "message_delta" | "message_stop" | "error":
                return lambda _: True
            case _:
                return None

    def more(self, piece: Piece, text: str) -> Event:
        """One more delta of a block."""
        index, kind = piece.key
        delta = {"type": kind, _TEXTS[kind]: text}
        return named_event({"type": "content_block_delta", "index": index, "delta": delta})

    def renumber(self, chunk: dict[str, Any]) -> bool:
        """Events have no numbers."""
        return False


MESSAGES = Shape(
    "messages", ANTHROPIC, "chat", ("max_tokens",), CHAT_OUTPUT,
    whole=said, is_error=is_error_body, meter=MessagesMeter, runs=MessagesRuns, stream_error=stream_error,
    texts=frozenset((b"content",)),
    format=("output_config", "format"), user=("metadata", "user_id"),
    takes=frozenset((
        "max_tokens", "metadata", "service_tier", "stop_sequences", "system", "temperature", "thinking", "tool_choice",
        "tools", "top_k", "top_p",
    )),
)  # fmt: skip
# POST /v1/messages/count_tokens: how many tokens a message has.
COUNT_TOKENS = Shape(
    "count_tokens", ANTHROPIC, "chat", (), 0,
    whole=lambda _: Said(), is_error=is_error_body, meter=MessagesMeter, runs=MessagesRuns, stream_error=stream_error,
    texts=frozenset((b"content",)),
    user=("metadata", "user_id"), takes=frozenset(("system", "thinking", "tool_choice", "tools")), free=True,
)  # fmt: skip
