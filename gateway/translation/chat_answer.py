"""OpenAI's chat answers and streams ↔ the neutral form. Pure.

Source: openai-openapi `CreateChatCompletionResponse` and `CreateChatCompletionStreamResponse`. A model's thoughts have
no place there; `reasoning_content` and, with what their provider signed, `thinking_blocks` are what clients know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.limits.reservation import Usage
from gateway.stream.filters import credible_usage
from gateway.stream.sse import Event, data_event
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

_STOPS: dict[str, Stop] = {"stop": "end", "length": "length", "tool_calls": "tools", "content_filter": "filter"}
_REASONS: dict[Stop, str] = {
    "end": "stop", "sequence": "stop", "length": "length", "tools": "tool_calls", "filter": "content_filter",
    "pause": "stop",
}  # fmt: skip


def decoded(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Unreadable."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable("no JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("no JSON object")
    return value


def read_whole(body: bytes) -> Answer:
    """Raises Unreadable."""
    value = decoded(body)
    try:
        choice = value["choices"][0]
        message = choice["message"]
        parts: list[AnswerPart] = []
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            parts.append(Thought(str(thought)))
        parts.extend(said(message.get("content")))
        if message.get("refusal"):
            parts.append(Declined(message["refusal"]))
        parts.extend(
            Call(call["id"], call["function"]["name"], call["function"]["arguments"] or "{}")
            for call in message.get("tool_calls") or ()
        )
        stop = _STOPS.get(choice.get("finish_reason") or "stop", "end")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Unreadable("no chat completion") from None
    usage = value.get("usage")
    return Answer(str(value.get("id") or ""), str(value.get("model") or ""), tuple(parts), stop,
                  usage=credible_usage(msgspec.json.encode(usage)) if usage else None)  # fmt: skip


def said(content: object) -> Iterator[Text | Thought]:
    """What `content` says: a text, or, of some compatible servers (Mistral's), chunks of text and of thinking. Raises
    Unreadable."""
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    try:
        for chunk in content or ():  # type: ignore[attr-defined]  # what is no list is caught
            if chunk.get("type") == "thinking":
                yield Thought("".join(part.text for part in said(chunk["thinking"])))
            elif text := chunk.get("text"):
                yield Text(str(text))
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("no content") from None


def write_whole(answer: Answer, created: int, _asked: Mapping[str, Any] = NOTHING_ASKED) -> dict[str, Any]:
    """A chat completion; `created` in Unix seconds."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if texts := [part.text for part in answer.parts if isinstance(part, Text)]:
        message["content"] = "".join(texts)
    if declined := [part.text for part in answer.parts if isinstance(part, Declined)]:
        message["refusal"] = "".join(declined)
    if calls := [part for part in answer.parts if isinstance(part, Call)]:
        message["tool_calls"] = [
            {**_head(one), "function": {"name": one.name, "arguments": one.arguments}} for one in calls
        ]
    if thoughts := [part for part in answer.parts if isinstance(part, Thought)]:
        message["reasoning_content"] = "".join(part.text for part in thoughts)
        if any(part.signature or part.sealed for part in thoughts):
            message["thinking_blocks"] = [_block(part) for part in thoughts]
    whole: dict[str, Any] = {
        "id": answer.id, "object": "chat.completion", "created": created, "model": answer.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASONS[answer.stop]}
        ],
    }  # fmt: skip
    if answer.usage is not None:
        whole["usage"] = usage_of(answer.usage)
    return whole


def _head(call: Call) -> dict[str, Any]:
    head: dict[str, Any] = {"id": call.id, "type": "function"}
    if call.signature is not None:
        head["extra_content"] = {"google": {"thought_signature": call.signature}}
    return head


def _block(part: Thought) -> dict[str, Any]:
    if part.sealed is not None:
        return {"type": "redacted_thinking", "data": part.sealed}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def usage_of(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": cache_of(usage),
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }  # fmt: skip


def cache_of(usage: Usage) -> dict[str, Any]:
    """What of the input a cache gave and kept. For how long is Anthropic's to say; the name is LiteLLM's."""
    details: dict[str, Any] = {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write}
    if usage.cache_write_1h:
        shorter = usage.cache_write - usage.cache_write_1h
        kinds = {"ephemeral_5m_input_tokens": shorter, "ephemeral_1h_input_tokens": usage.cache_write_1h}
        details["cache_creation_token_details"] = kinds
    return details


class Reader:
    """A provider's stream. Feed it events; `end` gives what was held for the usage, which comes last."""

    def __init__(self) -> None:
        self._begun = False
        self._open: object = None  # what is open: "text", "thought", "refusal" or a tool call's index
        self._stop: Stop | None = None
        self._usage: Usage | None = None

    def feed(self, event: Event) -> Iterator[Delta]:
        """Raises Unreadable."""
        if event.data is None or event.data.startswith(b"[DONE]"):
            return
        chunk = decoded(event.data)
        if error := chunk.get("error"):
            yield Trouble(str(error.get("code") or error.get("type") or "")[:100] if isinstance(error, dict) else None)
            return
        if not self._begun:
            self._begun = True
            yield Begin(str(chunk.get("id") or ""), str(chunk.get("model") or ""))
        if usage := chunk.get("usage"):
            self._usage = credible_usage(msgspec.json.encode(usage))
        for choice in chunk.get("choices") or ():
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict):
                yield from self._delta(delta)
            if reason := choice.get("finish_reason"):
                self._stop = _STOPS.get(reason, "end")

    def _delta(self, delta: dict[str, Any]) -> Iterator[Delta]:
        if text := delta.get("reasoning_content") or delta.get("reasoning"):
            yield from self._grow("thought", Thought(), str(text))
        for part in said(delta.get("content")):
            yield from self._grow("thought" if isinstance(part, Thought) else "text", type(part)(""), part.text)
        if text := delta.get("refusal"):
            yield from self._grow("refusal", Declined(""), str(text))
        for call in delta.get("tool_calls") or ():
            try:
                index, function = call.get("index", 0), call.get("function") or {}
                if call.get("id") and index != self._open:
                    self._open = index
                    yield Open(Call(call["id"], function["name"], ""))
                if index != self._open:
                    raise Unreadable("tool calls that are not one after the other")
                if function.get("arguments"):
                    yield Grow(function["arguments"])
            except (KeyError, TypeError, AttributeError):
                raise Unreadable("no tool call") from None

    def _grow(self, what: str, part: AnswerPart, text: str) -> Iterator[Delta]:
        if self._open != what:
            self._open = what
            yield Open(part)
        yield Grow(text)

    def end(self) -> Iterator[Delta]:
        """Raises Unreadable where the stream said no reason for its end."""
        if self._stop is None:
            raise Unreadable("a stream that broke off")
        yield End(self._stop, usage=self._usage)


class Writer:
    """A client's stream. `created` in Unix seconds."""

    def __init__(self, created: int, _asked: Mapping[str, Any] = NOTHING_ASKED) -> None:
        self._created = created
        self._id = self._model = ""
        self._part: AnswerPart | None = None
        self._calls = -1
        self._usage: Usage | None = None

    def feed(self, delta: Delta) -> Iterator[Event]:
        """The events of a delta."""
        match delta:
            case Begin(id=one, model=model, usage=usage):
                self._id, self._model, self._usage = one, model, usage
                yield self._chunk({"role": "assistant", "content": "", "refusal": None})
            case Open(part):
                self._part = part
                if isinstance(part, Call):
                    self._calls += 1
                    function = {"name": part.name, "arguments": part.arguments}
                    yield self._call({**_head(part), "function": function})
                elif isinstance(part, Thought) and part.sealed is not None:
                    yield self._chunk({"thinking_blocks": [_block(part)]})
            case Grow(text):
                yield self._grown(text)
            case Sign(signature):
                if isinstance(self._part, Call):
                    extra = {"google": {"thought_signature": signature}}
                    # Clients look into `function` without asking whether it is there.
                    yield self._call({"function": {"arguments": ""}, "extra_content": extra})
                else:
                    block = {"type": "thinking", "thinking": "", "signature": signature}
                    yield self._chunk({"thinking_blocks": [block]})
            case End(stop=stop, usage=usage):
                yield self._chunk({}, _REASONS[stop])
                if (last := usage or self._usage) is not None:
                    yield self._event({"choices": [], "usage": usage_of(last)})
                yield data_event(b"[DONE]")
            case Trouble(kind):
                error = {"message": "The model provider failed.", "type": "server_error", "param": None}
                yield data_event(msgspec.json.encode({"error": {**error, "code": kind or "provider_error"}}))

    def _grown(self, text: str) -> Event:
        match self._part:
            case Call():
                return self._call({"function": {"arguments": text}})
            case Thought():
                return self._chunk({"reasoning_content": text})
            case Declined():
                return self._chunk({"refusal": text})
            case _:
                return self._chunk({"content": text})

    def _call(self, call: dict[str, Any]) -> Event:
        return self._chunk({"tool_calls": [{"index": self._calls, **call}]})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._event({"choices": [choice]})

    def _event(self, fields: dict[str, Any]) -> Event:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        return data_event(msgspec.json.encode({**head, **fields}))
