"""Answers and streams of Anthropic's Messages ↔ the neutral form. Pure.

Source: platform.claude.com, "Create a Message" and "Streaming messages". Tokens read from and written to a cache are
not in `input_tokens` there; in the neutral form they are parts of it. The usage of `message_delta` is cumulative.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.limits.reservation import Usage
from gateway.stream.sse import Event
from gateway.translation.carried import carried
from gateway.translation.chat_answer import decoded
from gateway.translation.neutral import (
    NOTHING_ASKED,
    Answer,
    AnswerPart,
    Begin,
    Call,
    Declined,
    Delta,
    End,
    Grow,
    Open,
    Sign,
    Stop,
    Text,
    Thought,
    Trouble,
    Unreadable,
)

_STOPS: dict[str, Stop] = {
    "end_turn": "end", "max_tokens": "length", "model_context_window_exceeded": "length", "tool_use": "tools",
    "stop_sequence": "sequence", "refusal": "filter", "pause_turn": "pause",
}  # fmt: skip
_REASONS: dict[Stop, str] = {
    "end": "end_turn", "length": "max_tokens", "tools": "tool_use", "sequence": "stop_sequence", "filter": "refusal",
    "pause": "pause_turn",
}  # fmt: skip


def _usage(value: object, before: Usage | None = None) -> Usage | None:
    if not isinstance(value, dict):
        return before
    cached, written = _count(value, "cache_read_input_tokens"), _count(value, "cache_creation_input_tokens")
    kinds, details = value.get("cache_creation"), value.get("output_tokens_details")
    longer = _count(kinds, "ephemeral_1h_input_tokens") if isinstance(kinds, dict) else None
    thought = _count(details, "thinking_tokens") if isinstance(details, dict) else None
    if before is None:
        before = Usage()
    cached = before.cached if cached is None else cached
    written = before.cache_write if written is None else written
    longer = min(written, before.cache_write_1h if longer is None else longer)
    plain = _count(value, "input_tokens")
    plain = before.input_tokens - before.cached - before.cache_write if plain is None else plain
    output = _count(value, "output_tokens")
    output = before.output_tokens if output is None else output
    return Usage(plain + cached + written, output, cached, written, min(output, thought or before.reasoning),
                 cache_write_1h=longer)  # fmt: skip


def _count(value: dict[str, Any], name: str) -> int | None:
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _part(block: Any) -> AnswerPart | None:
    """None for what has no place in another dialect: what the provider's own tools did."""
    try:
        match block:
            case {"type": "text"}:
                return Text(block["text"])
            case {"type": "tool_use"}:
                return Call(block["id"], block["name"], msgspec.json.encode(block.get("input") or {}).decode())
            case {"type": "thinking"}:
                return Thought(block["thinking"], block.get("signature") or None)
            case {"type": "redacted_thinking"}:
                return Thought(sealed=block["data"])
            case {"type": str()}:
                return None
    except KeyError:
        pass
    raise Unreadable("no content block")


def read_whole(body: bytes) -> Answer:
    """Raises Unreadable."""
    value = decoded(body)
    content = value.get("content")
    if not isinstance(content, list):
        raise Unreadable("no message")
    parts = tuple(part for block in content if (part := _part(block)) is not None)
    stop = _STOPS.get(value.get("stop_reason") or "end_turn", "end")
    return Answer(str(value.get("id") or ""), str(value.get("model") or ""), parts, stop, value.get("stop_sequence"),
                  _usage(value.get("usage")))  # fmt: skip


def write_whole(answer: Answer, _created: int, _asked: Mapping[str, Any] = NOTHING_ASKED) -> dict[str, Any]:
    """A message."""
    declined = any(isinstance(part, Declined) for part in answer.parts)
    return {
        "id": answer.id, "type": "message", "role": "assistant", "model": answer.model,
        "content": [_block(part) for part in answer.parts],
        "stop_reason": "refusal" if declined else _REASONS[answer.stop], "stop_sequence": answer.sequence,
        "usage": usage_of(answer.usage),
    }  # fmt: skip


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """Anthropic's usage object."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    shorter = usage.cache_write - usage.cache_write_1h
    kinds = {"ephemeral_5m_input_tokens": shorter, "ephemeral_1h_input_tokens": usage.cache_write_1h}
    return {
        **({"cache_creation": kinds} if usage.cache_write_1h else {}),
        "input_tokens": usage.input_tokens - usage.cached - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write, "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output_tokens, "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }  # fmt: skip


def _block(part: AnswerPart) -> dict[str, Any]:
    match part:
        case Call(id=one, name=name, arguments=arguments, signature=signature):
            try:
                value = msgspec.json.decode(arguments or "{}")
            except msgspec.MsgspecError:
                raise Unreadable("a tool call whose arguments are no JSON") from None
            return {"type": "tool_use", "id": carried(one, signature), "name": name, "input": value}
        case Thought(text, signature, sealed):
            if sealed is not None:
                return {"type": "redacted_thinking", "data": sealed}
            return {"type": "thinking", "thinking": text, "signature": signature or ""}
        case _:
            return {"type": "text", "text": part.text}


class Reader:
    """A provider's stream."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._stop: Stop | None = None
        self._sequence: str | None = None
        self._over = False
        self._skipping = False
        self._bare = False  # a call is open that has no arguments yet

    def feed(self, event: Event) -> Iterator[Delta]:
        """Raises Unreadable."""
        if event.data is None:
            return
        value = decoded(event.data)
        match value.get("type"):
            case "message_start":
                message = value.get("message")
                if not isinstance(message, dict):
                    raise Unreadable("no message")
                self._usage = _usage(message.get("usage"))
                yield Begin(str(message.get("id") or ""), str(message.get("model") or ""), self._usage)
            case "content_block_start" | "content_block_delta" | "content_block_stop":
                yield from self._block(value)
            case "message_delta":
                delta = value.get("delta")
                if isinstance(delta, dict) and delta.get("stop_reason"):
                    self._stop = _STOPS.get(delta["stop_reason"], "end")
                    self._sequence = delta.get("stop_sequence")
                self._usage = _usage(value.get("usage"), self._usage)
            case "message_stop":
                self._over = True
            case "error":
                error = value.get("error")
                yield Trouble(str(error.get("type") or "")[:100] if isinstance(error, dict) else None)

    def _block(self, value: dict[str, Any]) -> Iterator[Delta]:
        if value["type"] == "content_block_start":
            part = _part(value.get("content_block"))
            self._skipping, self._bare = part is None, isinstance(part, Call)
            if part is not None:
                yield from _opened(part)
        elif value["type"] == "content_block_delta":
            for grown in () if self._skipping else _grown(value.get("delta")):
                self._bare = self._bare and not isinstance(grown, Grow)
                yield grown
        elif self._bare:
            self._bare = False
            yield Grow("{}")  # a call without arguments: other dialects' clients read them as JSON

    def end(self) -> Iterator[Delta]:
        """Raises Unreadable where the stream broke off."""
        if not self._over:
            raise Unreadable("a stream that broke off")
        yield End(self._stop or "end", self._sequence, self._usage)


def _opened(part: AnswerPart) -> Iterator[Delta]:
    if isinstance(part, Call):
        yield Open(Call(part.id, part.name, ""))
    elif isinstance(part, Thought):
        yield Open(Thought(sealed=part.sealed))
        if part.text:
            yield Grow(part.text)
    else:
        yield Open(Text(""))
        if part.text:
            yield Grow(part.text)


def _grown(delta: object) -> Iterator[Delta]:
    match delta:
        case {"type": "text_delta", "text": str(text)} | {"type": "input_json_delta", "partial_json": str(text)} | {
            "type": "thinking_delta", "thinking": str(text)}:  # fmt: skip
            if text:
                yield Grow(text)
        case {"type": "signature_delta", "signature": str(signature)}:
            yield Sign(signature)


class Writer:
    """A client's stream."""

    def __init__(self, _created: int, _asked: Mapping[str, Any] = NOTHING_ASKED) -> None:
        self._index = -1
        self._part: AnswerPart | None = None
        self._declined = False
        self._usage: Usage | None = None

    def feed(self, delta: Delta) -> Iterator[Event]:
        """The events of a delta."""
        match delta:
            case Begin(id=one, model=model, usage=usage):
                self._usage = usage
                message = {**write_whole(Answer(one, model, (), "end", usage=usage), 0), "stop_reason": None}
                yield _event({"type": "message_start", "message": message})
            case Open(part):
                yield from self._close()
                self._part = part
                self._index += 1
                self._declined = self._declined or isinstance(part, Declined)
                block = _block(part)
                yield _event({"type": "content_block_start", "index": self._index, "content_block": block})
            case Grow(text):
                name, key = (("input_json_delta", "partial_json") if isinstance(self._part, Call)
                             else ("thinking_delta", "thinking") if isinstance(self._part, Thought)
                             else ("text_delta", "text"))  # fmt: skip
                yield self._delta({"type": name, key: text})
            case Sign(signature):
                if isinstance(self._part, Thought):
                    yield self._delta({"type": "signature_delta", "signature": signature})
            case End(stop=stop, sequence=sequence, usage=usage):
                yield from self._close()
                reason = "refusal" if self._declined else _REASONS[stop]
                end = {"stop_reason": reason, "stop_sequence": sequence}
                yield _event({"type": "message_delta", "delta": end, "usage": usage_of(usage or self._usage)})
                yield _event({"type": "message_stop"})
            case Trouble():
                error = {"type": "api_error", "message": "The model provider failed."}
                yield _event({"type": "error", "error": error})

    def _close(self) -> Iterator[Event]:
        if self._part is not None:
            self._part = None
            yield _event({"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: dict[str, Any]) -> Event:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})


def _event(value: dict[str, Any]) -> Event:
    data = msgspec.json.encode(value)
    name = str(value["type"])
    return Event(b"event: " + name.encode() + b"\ndata: " + data + b"\n\n", data, name)
