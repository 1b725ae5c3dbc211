"""OpenAI's Responses and their streams → the neutral form, of providers that have nothing else. Pure.

Source: openai-openapi `Response` and `ResponseStreamEvent`, as the models of openai-python 3.54 hold them. What a
provider wants back with its thoughts is the item's id and its encrypted content; nobody keeps the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.limits.reservation import Usage
from gateway.stream.filters import credible_usage
from gateway.stream.sse import Event
from gateway.translation.chat_answer import decoded
from gateway.translation.neutral import (
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
from gateway.translation.responses_request import thought_signature

_STOPS: dict[str, Stop] = {"max_output_tokens": "length", "content_filter": "filter"}
_GROWING = frozenset((
    "response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
))  # fmt: skip
BETWEEN = "\n\n"  # the parts of a summary


def _usage(value: object) -> Usage | None:
    return credible_usage(msgspec.json.encode(value)) if value else None


def _stop(response: dict[str, Any], *, calls: bool) -> Stop:
    reason = str((response.get("incomplete_details") or {}).get("reason"))
    return _STOPS.get(reason, "length") if response.get("status") == "incomplete" else "tools" if calls else "end"


def read_whole(body: bytes) -> Answer:
    """Raises Unreadable."""
    value = decoded(body)
    if value.get("status") in ("failed", "cancelled") or value.get("error"):
        raise Unreadable("a response that failed")
    try:
        parts = tuple(part for item in value["output"] for part in _parts(item))
        stop = _stop(value, calls=any(isinstance(part, Call) for part in parts))
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("no response") from None
    return Answer(str(value.get("id") or ""), str(value.get("model") or ""), parts, stop,
                  usage=_usage(value.get("usage")))  # fmt: skip


def _parts(item: dict[str, Any]) -> Iterator[AnswerPart]:
    """Nothing of what has no place in another dialect: what the provider's own tools did."""
    match item["type"]:
        case "message":
            for one in item["content"]:
                if one["type"] == "output_text":
                    yield Text(one["text"])
                elif one["type"] == "refusal":
                    yield Declined(one["refusal"])
        case "function_call":
            yield Call(item["call_id"], item["name"], item["arguments"] or "{}")
        case "reasoning":
            text = BETWEEN.join(one["text"] for one in item.get("summary") or ())
            signature = thought_signature(item)
            if text or signature:
                yield Thought(text, signature)


class Reader:
    """A provider's stream. Items come one after the other."""

    def __init__(self) -> None:
        self._thinking = False  # the open part is a thought
        self._calls = False
        self._end: End | None = None

    def feed(self, event: Event) -> Iterator[Delta]:
        """Raises Unreadable."""
        if event.data is None:
            return
        value = decoded(event.data)
        try:
            yield from self._event(str(value.get("type")), value)
        except (KeyError, TypeError, AttributeError):
            raise Unreadable("no event of a response") from None

    def _event(self, kind: str, value: dict[str, Any]) -> Iterator[Delta]:
        if kind in _GROWING:
            if value["delta"]:
                yield Grow(value["delta"])
            return
        match kind:
            case "response.created":
                yield Begin(str(value["response"].get("id") or ""), str(value["response"].get("model") or ""))
            case "response.output_item.added":
                self._thinking = False
                if (item := value["item"])["type"] == "function_call":
                    self._calls = True
                    yield Open(Call(item["call_id"], item["name"], ""))
            case "response.content_part.added" if value["part"]["type"] in ("output_text", "refusal"):
                yield Open(Text("") if value["part"]["type"] == "output_text" else Declined(""))
            case "response.reasoning_summary_text.delta":
                yield from self._thought(value["delta"])
            case "response.reasoning_summary_part.added" if self._thinking:
                yield Grow(BETWEEN)
            case "response.output_item.done" if value["item"]["type"] == "reasoning":
                yield from self._signed(value["item"])
            case "response.completed" | "response.incomplete":
                response = value["response"]
                self._end = End(_stop(response, calls=self._calls), usage=_usage(response.get("usage")))
            case "response.failed" | "error":
                error = value.get("response", value)
                error = error.get("error") or error
                yield Trouble(str(error.get("code") or "")[:100] or None)

    def _thought(self, text: str) -> Iterator[Delta]:
        if not self._thinking:
            self._thinking = True
            yield Open(Thought())
        if text:
            yield Grow(text)

    def _signed(self, item: dict[str, Any]) -> Iterator[Delta]:
        if signature := thought_signature(item):
            yield from self._thought("")
            yield Sign(signature)

    def end(self) -> Iterator[Delta]:
        """Raises Unreadable where nothing said that it is over."""
        if self._end is None:
            raise Unreadable("a stream that broke off")
        yield self._end
