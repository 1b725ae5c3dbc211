"""How a stream ends before its time, well-formed in each shape: as if the model had reached its maximum. Pure.

A terminator watches the events that pass to the client, and says at the end what is still missing. Sources: OpenAI's
API reference (chat and completion chunks; Responses' streaming events, `response.incomplete`), Anthropic's (Messages,
streaming: `content_block_stop`, `message_delta` with `stop_reason: "max_tokens"`, `message_stop`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from gateway.limits.reservation import Usage
from gateway.stream.sse import Event, data_event


class Terminator(Protocol):
    """Watches a stream of one shape."""

    def feed(self, event: Event) -> None:
        """An event that goes on to the client."""

    def end(self, usage: Usage, *, include_usage: bool) -> list[Event]:
        """The events that end the stream; `include_usage` where the client asked for a chunk with it."""


class Chunks:
    """Chat and legacy completions: a last chunk for each choice that has none, the usage if asked for, [DONE]."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._head: dict[str, Any] = {}
        self._open: dict[int, bool] = {}  # choice → whether it still runs

    def feed(self, event: Event) -> None:
        chunk = _object(event)
        if not self._head:
            self._head = {
                name: value for name, value in chunk.items() if name not in ("choices", "usage", "obfuscation")
            }
        for choice in _list(chunk.get("choices")):
            index = choice.get("index")
            if isinstance(index, int):
                self._open[index] = self._open.get(index, True) and not choice.get("finish_reason")

    def end(self, usage: Usage, *, include_usage: bool) -> list[Event]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        head = {"object": kind, **self._head}
        no_usage = {"usage": None} if include_usage else {}
        body: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        events = [
            _data(
                {**head, "choices": [{"index": index, **body, "logprobs": None, "finish_reason": "length"}], **no_usage}
            )
            for index, runs in sorted(self._open.items() or [(0, True)])
            if runs
        ]
        if include_usage:
            events.append(_data({**head, "choices": [], "usage": openai_usage(usage)}))
        return [*events, data_event(b"[DONE]")]


class Responses:
    """OpenAI's Responses: what is open is closed as incomplete, then `response.incomplete`."""

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}  # output index → item, those that are done included
        self._open: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, int], str] = {}  # of content parts that are open
        self._arguments: dict[int, str] = {}
        self._number = -1

    def feed(self, event: Event) -> None:
        said = _object(event)
        number = said.get("sequence_number")
        self._number = max(self._number, number) if isinstance(number, int) else self._number
        index, part = said.get("output_index"), said.get("content_index")
        match said.get("type"):
            case "response.created" | "response.in_progress":
                if isinstance(said.get("response"), dict):
                    self._response = said["response"]
            case "response.output_item.added" if isinstance(index, int) and isinstance(said.get("item"), dict):
                self._items[index] = self._open[index] = said["item"]
            case "response.output_item.done" if isinstance(index, int) and isinstance(said.get("item"), dict):
                self._items[index] = said["item"]
                self._open.pop(index, None)
            case "response.content_part.added" if isinstance(index, int) and isinstance(part, int):
                self._texts[index, part] = ""
            case "response.output_text.delta" if isinstance(index, int) and isinstance(part, int):
                self._texts[index, part] = self._texts.get((index, part), "") + str(said.get("delta", ""))
            case "response.function_call_arguments.delta" if isinstance(index, int):
                self._arguments[index] = self._arguments.get(index, "") + str(said.get("delta", ""))

    def end(self, usage: Usage, *, include_usage: bool) -> list[Event]:  # usage is always part of it
        events = []
        for index, item in sorted(self._open.items()):
            texts = {part: text for (at, part), text in self._texts.items() if at == index}
            where = {"item_id": item.get("id"), "output_index": index}
            parts = []
            for part, text in sorted(texts.items()):
                whole = {"type": "output_text", "text": text, "annotations": []}
                parts.append(whole)
                at = {**where, "content_index": part}
                events.append(self._event("response.output_text.done", {**at, "text": text}))
                events.append(self._event("response.content_part.done", {**at, "part": whole}))
            ended = {**item, "status": "incomplete"}
            if parts:
                ended["content"] = parts
            if index in self._arguments:
                ended["arguments"] = self._arguments[index]
            self._items[index] = ended
            events.append(self._event("response.output_item.done", {"output_index": index, "item": ended}))
        response = {
            **self._response, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
            "output": [item for _, item in sorted(self._items.items())], "usage": responses_usage(usage),
        }  # fmt: skip
        return [*events, self._event("response.incomplete", {"response": response})]

    def _event(self, kind: str, fields: dict[str, Any]) -> Event:
        self._number += 1
        return _named(kind, {"type": kind, **fields, "sequence_number": self._number})


class Messages:
    """Anthropic's Messages: the open block ends, `message_delta` says max_tokens, `message_stop`."""

    def __init__(self) -> None:
        self._open: int | None = None

    def feed(self, event: Event) -> None:
        said = _object(event)
        index = said.get("index")
        if said.get("type") == "content_block_start" and isinstance(index, int):
            self._open = index
        elif said.get("type") == "content_block_stop":
            self._open = None

    def end(self, usage: Usage, *, include_usage: bool) -> list[Event]:  # usage is always part of it
        events = []
        if self._open is not None:
            events.append(_named("content_block_stop", {"type": "content_block_stop", "index": self._open}))
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        told = {"output_tokens": usage.output_tokens}
        events.append(_named("message_delta", {"type": "message_delta", "delta": delta, "usage": told}))
        return [*events, _named("message_stop", {"type": "message_stop"})]


TERMINATORS: Mapping[str, Callable[[], Terminator]] = MappingProxyType({
    "chat": lambda: Chunks(chat=True),
    "completions": lambda: Chunks(chat=False),
    "responses": Responses,
    "messages": Messages,
})  # fmt: skip


def comment(words: str) -> Event:
    """A comment line, which every SSE client skips."""
    line = "".join(letter if letter.isprintable() else " " for letter in words)
    return Event(b": " + line.encode("utf-8", "replace") + b"\n\n")


def openai_usage(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage` of chat and completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def responses_usage(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage` of Responses, all of whose parts are required."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _data(tree: dict[str, Any]) -> Event:
    return data_event(msgspec.json.encode(tree))


def _named(name: str, tree: dict[str, Any]) -> Event:
    data = msgspec.json.encode(tree)
    return Event(b"event: " + name.encode() + b"\ndata: " + data + b"\n\n", data, name)


def _object(event: Event) -> dict[str, Any]:
    if event.data is None:
        return {}
    try:
        found = msgspec.json.decode(event.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
