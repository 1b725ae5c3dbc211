"""The Responses API. Pure.

Source: openai-openapi `ResponseStreamEvent`. Each event has a name, the same as its `type`, and a number that rises;
text comes as deltas, again in the `.done` of its part, and again in the terminal event, which alone tells the usage. An
error in a stream is flat; it carries `error` as well, since that is what the SDKs raise on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.dialects import OPENAI
from gateway.errors import Wire
from gateway.shapes.chat import CHAT_OUTPUT
from gateway.shapes.shape import Key, Piece, Said, Shape, short, tier_of
from gateway.stream.filters import Meter, credible_usage
from gateway.stream.sse import Event

_ABSENT = msgspec.Raw(b"")
_NOTHING = (b"", b"null", b"false")
TERMINAL = frozenset(("response.completed", "response.failed", "response.incomplete", "response.cancelled"))
PENDING = frozenset(("queued", "in_progress"))
_JSON_DELTAS = frozenset(("response.function_call_arguments.delta", "response.mcp_call_arguments.delta"))
_PLACE = ("output_index", "content_index", "summary_index", "item_id")  # what a delta's event says of where it belongs


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    type: msgspec.Raw = _ABSENT  # of an event; a response has none
    object: str | None = None
    model: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int | None = None
    delta: msgspec.Raw = _ABSENT
    response: _Response | None = None
    error: msgspec.Raw = _ABSENT


_event = msgspec.json.Decoder(_Event)
_response = msgspec.json.Decoder(_Response)
_string = msgspec.json.Decoder(str)


def _text(delta: bytes) -> str | bytes:
    return _string.decode(delta) if delta[:1] == b'"' else delta


class ResponsesMeter(Meter):
    """The meter of Responses. Its usage is always told, and always the client's."""

    def __init__(self, strip_usage: bool) -> None:  # noqa: FBT001  # called through the table
        super().__init__()

    def read(self, data: bytes) -> bool:
        """One event."""
        event = _event.decode(data)
        if event.sequence_number is not None:
            self.sequence = event.sequence_number
        if event.response is not None:
            self.call_it(event.response.id, event.response.model)
        self.count(_text(bytes(event.delta)))
        if event.type == "error" or bytes(event.error) not in _NOTHING:
            self.error = True
        elif event.type in TERMINAL and event.response is not None:
            self.ended = True
            self.error = event.type == "response.failed"
            self.finish(_reason(event.response))
            self.tier = tier_of(bytes(event.response.service_tier))
            if (usage := bytes(event.response.usage)) not in _NOTHING:
                self.use(credible_usage(usage))
        return True


def _reason(response: _Response) -> str | None:
    if response.incomplete_details is not None and response.incomplete_details.reason:
        return response.incomplete_details.reason
    return response.status


def said(body: bytes) -> Said:
    """What a whole response says of itself. One in the background is still to be worked on."""
    try:
        whole = _response.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Said()
    reason = short(_reason(whole))
    usage = bytes(whole.usage)
    return Said(
        credible_usage(usage) if usage not in _NOTHING else None,
        short(whole.id),
        short(whole.model),
        (reason,) if reason is not None else (),
        tier_of(bytes(whole.service_tier)),
        pending=whole.status in PENDING,
        is_object=True,
        is_sound=whole.object == "response" and whole.type is _ABSENT,
    )


def is_error(data: bytes) -> bool:
    """An error event, or an error envelope. A response that failed is an answer: it says so itself."""
    if b'"error"' not in data[:4096]:
        return False
    try:
        event = _event.decode(data)
        return event.type == "error" or (
            bytes(event.error) not in (*_NOTHING, b"{}", b'""') and _response.decode(data).object != "response"
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def stream_error(wire: Wire, message: str, _request_id: str, meter: Meter) -> Event:
    """The event `error`, numbered after the last one that passed."""
    said: dict[str, Any] = {"code": wire.code, "message": message, "param": None}
    return named_event(
        {"type": "error", **said, "sequence_number": meter.sequence + 1, "error": {"type": wire.type, **said}}
    )


def named_event(chunk: dict[str, Any]) -> Event:
    """An event that is named by its `type`."""
    data, name = msgspec.json.encode(chunk), chunk["type"]
    return Event(b"event: " + name.encode() + b"\ndata: " + data + b"\n\n", data, name)


class ResponsesRuns:
    """Runs are keyed by the delta's type and its place."""

    def __init__(self) -> None:
        self._added = 0  # events that were put in
        self._number = 0  # of the event at hand, as it came; after it, of the next

    def pieces(self, chunk: dict[str, Any]) -> list[Piece]:
        """The one delta of an event that has one."""
        kind = chunk.get("type")
        self._number = number if isinstance(number := chunk.get("sequence_number"), int) else self._number
        if not isinstance(kind, str) or not kind.endswith(".delta") or not isinstance(chunk.get("delta"), str):
            return []
        if kind == "response.audio.delta":  # sound, in base64
            return []
        key = (kind, *(chunk.get(name) for name in _PLACE))
        return [Piece(key, chunk, "delta", kind in _JSON_DELTAS)]

    def ends(self, chunk: dict[str, Any]) -> Callable[[Key], bool] | None:
        """A `.done` ends its run, a part's or an item's every run of that part or item, a terminal event all."""
        kind = chunk.get("type")
        if not isinstance(kind, str) or kind.endswith(".delta"):
            return None
        if kind in TERMINAL or kind == "error":
            return lambda _: True
        if not kind.endswith(".done"):
            return None
        index = chunk.get("output_index")
        if kind == "response.output_item.done":
            return lambda key: key[1] == index
        place = tuple(chunk.get(name) for name in _PLACE[:3])
        if kind.endswith("_part.done"):
            return lambda key: key[1:4] == place
        delta = kind.removesuffix(".done") + ".delta"
        return lambda key: key[0] == delta and key[1:4] == place

    def more(self, piece: Piece, text: str) -> Event:
        """One more delta, in front of the event at hand or behind the last."""
        kind, *place = piece.key
        chunk: dict[str, Any] = {"type": kind, "sequence_number": self._number + self._added, "delta": text}
        chunk |= {name: value for name, value in zip(_PLACE, place, strict=True) if value is not None}
        if kind == "response.output_text.delta":
            chunk["logprobs"] = []
        self._added += 1
        return named_event(chunk)

    def renumber(self, chunk: dict[str, Any]) -> bool:
        """Numbers rise by what was put in."""
        number = chunk.get("sequence_number")
        if not isinstance(number, int):
            return False
        self._number = number + 1  # whatever is put in now comes after this one
        chunk["sequence_number"] = number + self._added
        return self._added > 0


RESPONSES = Shape(
    "responses", OPENAI, "chat", ("max_output_tokens",), CHAT_OUTPUT,
    whole=said, is_error=is_error, meter=ResponsesMeter, runs=ResponsesRuns, stream_error=stream_error,
    texts=frozenset((b"output", b"output_text")),
    format=("text", "format"),
)  # fmt: skip
# POST /v1/responses/input_tokens: how many tokens an input has.
INPUT_TOKENS = Shape(
    "input_tokens", OPENAI, "chat", (), 0,
    whole=lambda _: Said(), is_error=is_error, meter=ResponsesMeter, runs=ResponsesRuns, stream_error=stream_error,
    texts=frozenset((b"output", b"output_text")),
    free=True,
)  # fmt: skip
