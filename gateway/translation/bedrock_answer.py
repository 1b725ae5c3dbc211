"""Bedrock's Converse and ConverseStream → the neutral form. Pure.

Source: docs.aws.amazon.com, "API_runtime_Converse" and "API_runtime_ConverseStream", as the service model
bedrock-runtime of botocore 1.44 holds them. A stream's frames come here as events with the frame's type for a name
(`providers/event_stream.py`). Tokens read from and written to a cache are not in `inputTokens` there; in the neutral
form they are parts of it. Answers have neither an id nor a model's name: `pairs.py` puts in what is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.limits.reservation import Usage
from gateway.stream.sse import Event
from gateway.translation.chat_answer import decoded
from gateway.translation.neutral import (
    Answer,
    AnswerPart,
    Begin,
    Call,
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
    "end_turn": "end", "tool_use": "tools", "max_tokens": "length", "model_context_window_exceeded": "length",
    "stop_sequence": "sequence", "guardrail_intervened": "filter", "content_filtered": "filter",
}  # fmt: skip


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None

    def count(name: str) -> int:
        found = value.get(name)
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0

    cached, written = count("cacheReadInputTokens"), count("cacheWriteInputTokens")
    return Usage(count("inputTokens") + cached + written, count("outputTokens"), cached, written)


def _stop(reason: object) -> Stop:
    """A reason that nobody knows yet ends an answer too. Raises Unreadable where the model's words made no sense."""
    if reason in ("malformed_model_output", "malformed_tool_use"):
        raise Unreadable("malformed output of the model")
    return _STOPS.get(str(reason), "end")


def read_whole(body: bytes) -> Answer:
    """Raises Unreadable."""
    value = decoded(body)
    try:
        parts = tuple(part for block in value["output"]["message"]["content"] if (part := _part(block)) is not None)
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("no message") from None
    return Answer("", "", parts, _stop(value.get("stopReason")), None, _usage(value.get("usage")))


def _part(block: dict[str, Any]) -> AnswerPart | None:
    """None for what has no place in another dialect: citations, guardrails' findings."""
    if (text := block.get("text")) is not None:
        return Text(text)
    if call := block.get("toolUse"):
        return Call(call["toolUseId"], call["name"], msgspec.json.encode(call.get("input") or {}).decode())
    if thought := block.get("reasoningContent"):
        if (plain := thought.get("reasoningText")) is not None:
            return Thought(plain["text"], plain.get("signature"))
        return Thought(sealed=thought["redactedContent"])
    return None


class Reader:
    """A provider's stream. Blocks come one after the other; a block of text has no beginning but its first delta."""

    def __init__(self) -> None:
        self._at: int | None = None  # the open block
        self._kind: type[AnswerPart] | None = None
        self._stop: Stop | None = None
        self._usage: Usage | None = None
        self._begun = False

    def feed(self, event: Event) -> Iterator[Delta]:
        """Raises Unreadable."""
        if event.data is None:
            return
        value = decoded(event.data)
        if error := value.get("error"):
            yield Trouble(str(error.get("status") or "")[:100] if isinstance(error, dict) else None)
            return
        try:
            yield from self._event(event.name, value)
        except (KeyError, TypeError, AttributeError):
            raise Unreadable("no event of a conversation") from None

    def _event(self, name: str | None, value: dict[str, Any]) -> Iterator[Delta]:
        match name:
            case "messageStart":
                self._begun = True
                yield Begin("", "")
            case "contentBlockStart" if call := value["start"].get("toolUse"):
                self._at, self._kind = value["contentBlockIndex"], Call
                yield Open(Call(call["toolUseId"], call["name"], ""))
            case "contentBlockDelta":
                yield from self._delta(value["contentBlockIndex"], value["delta"])
            case "contentBlockStop" if value.get("contentBlockIndex") == self._at:
                self._at = self._kind = None
            case "messageStop":
                self._stop = _stop(value.get("stopReason"))
            case "metadata":
                self._usage = _usage(value.get("usage")) or self._usage

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[Delta]:
        if (text := delta.get("text")) is not None:
            yield from self._opened(index, Text)
            if text:
                yield Grow(text)
        elif (call := delta.get("toolUse")) is not None:
            if self._kind is not Call or self._at != index:
                raise Unreadable("a tool's input without its name")
            if part := call.get("input"):
                yield Grow(part)
        elif (thought := delta.get("reasoningContent")) is not None:
            if (sealed := thought.get("redactedContent")) is not None:
                self._at, self._kind = index, Thought
                yield Open(Thought(sealed=sealed))
                return
            yield from self._opened(index, Thought)
            if part := thought.get("text"):
                yield Grow(part)
            if signature := thought.get("signature"):
                yield Sign(signature)

    def _opened(self, index: int, kind: type[Text | Thought]) -> Iterator[Delta]:
        if (self._at, self._kind) != (index, kind):
            self._at, self._kind = index, kind
            yield Open(kind(""))

    def end(self) -> Iterator[Delta]:
        """Raises Unreadable where nothing said that it is over."""
        if self._stop is None or not self._begun:
            raise Unreadable("a stream that broke off")
        yield End(self._stop, usage=self._usage)
