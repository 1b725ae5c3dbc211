"""Gemini's answers and streams → the neutral form. Pure.

Source: ai.google.dev/api/generate-content, `GenerateContentResponse`: a stream is a row of them, each with what is
new; calls come whole. Thoughts are counted beside the candidates' tokens there; here they are a part of the output.
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
    Stop,
    Text,
    Thought,
    Trouble,
    Unreadable,
    fold,
)

_STOPS: dict[str, Stop] = {"STOP": "end", "MAX_TOKENS": "length"}  # all others are reasons not to answer


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None

    def count(name: str) -> int:
        found = value.get(name)
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0

    asked = count("promptTokenCount") + count("toolUsePromptTokenCount")
    thought = count("thoughtsTokenCount")
    cached = min(asked, count("cachedContentTokenCount"))
    return Usage(asked, count("candidatesTokenCount") + thought, cached, reasoning=thought)


def read_whole(body: bytes) -> Answer:
    """Raises Unreadable."""
    reader = Reader()
    return fold((*reader.take(decoded(body)), *reader.end()))


class Reader:
    """A provider's stream."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._open: type[AnswerPart] | None = None
        self._calls = 0
        self._stop: Stop | None = None
        self._usage: Usage | None = None

    def feed(self, event: Event) -> Iterator[Delta]:
        """Raises Unreadable."""
        if event.data is not None:
            yield from self.take(decoded(event.data))

    def take(self, value: dict[str, Any]) -> Iterator[Delta]:
        """The deltas of one response. Raises Unreadable."""
        if error := value.get("error"):
            yield Trouble(str(error.get("status") or "")[:100] if isinstance(error, dict) else None)
            return
        if self._id is None:
            self._id = str(value.get("responseId") or "")
            yield Begin(self._id, str(value.get("modelVersion") or ""))
        self._usage = _usage(value.get("usageMetadata")) or self._usage
        feedback = value.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._stop = "filter"
        try:
            for candidate in (value.get("candidates") or ())[:1]:
                for part in (candidate.get("content") or {}).get("parts") or ():
                    yield from self._part(part)
                if reason := candidate.get("finishReason"):
                    self._stop = _STOPS.get(reason, "filter")
        except (KeyError, TypeError, AttributeError):
            raise Unreadable("no candidate") from None

    def _part(self, part: dict[str, Any]) -> Iterator[Delta]:
        signature = part.get("thoughtSignature")
        if call := part.get("functionCall"):
            self._open = Call
            self._calls += 1
            one = str(call.get("id") or f"call_{self._id}_{self._calls}")
            # Signed from its beginning: a client may be told the signature then alone.
            yield Open(Call(one, call["name"], "", signature or None))
            yield Grow(msgspec.json.encode(call.get("args") or {}).decode())
            return
        text = part.get("text")
        if not text:
            return
        kind: type[Thought | Text] = Thought if part.get("thought") else Text
        if self._open is not kind:
            self._open = kind
            yield Open(kind(""))
        yield Grow(text)

    def end(self) -> Iterator[Delta]:
        """Raises Unreadable where nothing said that it is over."""
        if self._stop is None:
            raise Unreadable("a stream that broke off")
        stop: Stop = "tools" if self._calls and self._stop == "end" else self._stop
        yield End(stop, usage=self._usage)
