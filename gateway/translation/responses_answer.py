"""The neutral form → OpenAI's Responses and their streams. Pure.

Source: openai-openapi `Response` and `ResponseStreamEvent`, as the models of openai-python 3.3 hold them. Each part is
an item. A stream numbers its events; each text stands there three times: in deltas, in what is done, and in the
response that ends it. What the client asked for is repeated in the response, as OpenAI does, and nobody keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from gateway.limits.reservation import Usage
from gateway.stream.sse import Event
from gateway.translation.chat_answer import cache_of
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
    grown,
)
from gateway.translation.responses_request import SEALED, SIGNED

_REASONS: dict[Stop, str] = {"length": "max_output_tokens", "filter": "content_filter"}  # all others are completed
_REPEATED: dict[str, Any] = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "reasoning": None,
    "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
    "truncation": "disabled", "user": None,
}  # fmt: skip
# the events of each kind of part, and the field of its `.done` that holds the whole
_KINDS: dict[type, tuple[str, str]] = {
    Call: ("response.function_call_arguments", "arguments"), Declined: ("response.refusal", "refusal"),
    Thought: ("response.reasoning_summary_text", "text"), Text: ("response.output_text", "text"),
}  # fmt: skip


def write_whole(answer: Answer, created: int, asked: Mapping[str, Any] = NOTHING_ASKED) -> dict[str, Any]:
    """A response; `created` in Unix seconds."""
    items = [_item(part, _id(part, answer.id, at)) for at, part in enumerate(answer.parts)]
    reason = _REASONS.get(answer.stop)
    return {
        **_head(answer.id, answer.model, created, asked),
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": items, "usage": usage_of(answer.usage),
    }  # fmt: skip


def _head(one: str, model: str, created: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    repeated = {name: idle if asked.get(name) is None else asked[name] for name, idle in _REPEATED.items()}
    return {
        "id": one, "object": "response", "created_at": created, "status": "in_progress", "error": None,
        "incomplete_details": None, "model": model, "output": [], "background": False, "previous_response_id": None,
        "store": False, "usage": None, **repeated,
    }  # fmt: skip


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """The usage object of Responses."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": cache_of(usage),
        "output_tokens": usage.output_tokens, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }  # fmt: skip


def _id(part: AnswerPart, response: str, at: int) -> str:
    kind = "fc" if isinstance(part, Call) else "rs" if isinstance(part, Thought) else "msg"
    return f"{kind}_{response}_{at}"


def _item(part: AnswerPart, one: str) -> dict[str, Any]:
    """An item that is done."""
    match part:
        case Call(id=call, name=name, arguments=arguments, signature=signature):
            item = {"id": one, "type": "function_call", "status": "completed", "arguments": arguments,
                    "call_id": call, "name": name}  # fmt: skip
            extra = {"extra_content": {"google": {"thought_signature": signature}}}
            return {**item, **(extra if signature is not None else {})}
        case Thought(text, signature, sealed):
            kept = SEALED + sealed if sealed is not None else SIGNED + signature if signature else None
            summary = [{"type": "summary_text", "text": text}] if text else []
            return {"id": one, "type": "reasoning", "summary": summary, "encrypted_content": kept}
        case _:
            head = {"id": one, "type": "message", "status": "completed", "role": "assistant"}
            return {**head, "content": [_content(part)]}


def _content(part: AnswerPart) -> dict[str, Any]:
    if isinstance(part, Declined):
        return {"type": "refusal", "refusal": part.text}
    text = "" if isinstance(part, Call) else part.text
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """An item before anything of it has come."""
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "reasoning": {"summary": []},
    }
    status = {} if item["type"] == "reasoning" else {"status": "in_progress"}
    return {**item, **empty[item["type"]], **status}


class Writer:
    """A client's stream. `created` in Unix seconds."""

    def __init__(self, created: int, asked: Mapping[str, Any] = NOTHING_ASKED) -> None:
        self._created, self._asked = created, asked
        self._begin = Begin("", "")
        self._parts: list[AnswerPart] = []  # the last is open, if `_opened`
        self._opened = False
        self._number = -1

    def feed(self, delta: Delta) -> Iterator[Event]:
        """The events of a delta."""
        match delta:
            case Begin():
                self._begin = delta
                response = _head(delta.id, delta.model, self._created, self._asked)
                yield self._event("response.created", {"response": response})
                yield self._event("response.in_progress", {"response": response})
            case Open(part):
                yield from self._close()
                self._parts.append(part)
                self._opened = True
                yield from self._open(part)
            case Grow(text):
                yield from self._grow(text)
            case Sign(signature):
                last = self._parts[-1]
                if isinstance(last, Thought | Call):
                    self._parts[-1] = structs.replace(last, signature=signature)
            case End(stop=stop, usage=usage):
                yield from self._close()
                answer = Answer(self._begin.id, self._begin.model, tuple(self._parts), stop,
                                usage=usage or self._begin.usage)  # fmt: skip
                response = write_whole(answer, self._created, self._asked)
                yield self._event(f"response.{response['status']}", {"response": response})
            case Trouble():
                yield from self._close()
                answer = Answer(self._begin.id, self._begin.model, tuple(self._parts), "end")
                error = {"code": "server_error", "message": "The model provider failed."}
                failed = {**write_whole(answer, self._created, self._asked), "status": "failed", "error": error}
                yield self._event("response.failed", {"response": failed})

    def _open(self, part: AnswerPart) -> Iterator[Event]:
        item = _begun(_item(part, self._item_id()))
        yield self._event("response.output_item.added", {"output_index": len(self._parts) - 1, "item": item})
        if not isinstance(part, Call | Thought):
            yield self._event("response.content_part.added", {**self._where(), "part": _content(part)})

    def _grow(self, text: str) -> Iterator[Event]:
        part = self._parts[-1]
        if isinstance(part, Thought) and not part.text:
            summary = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", {**self._where(), "part": summary})
        self._parts[-1] = grown(part, text)
        kind, _ = _KINDS[type(part)]
        yield self._event(f"{kind}.delta", {**self._where(), "delta": text, **_logprobs(kind)})

    def _close(self) -> Iterator[Event]:
        if not self._opened:
            return
        if isinstance(self._parts[-1], Call) and not self._parts[-1].arguments:
            yield from self._grow("{}")  # a call without any: clients read them as JSON
        part = self._parts[-1]
        kind, key = _KINDS[type(part)]
        item = _item(part, self._item_id())
        text = part.arguments if isinstance(part, Call) else part.text
        if text or not isinstance(part, Thought):
            name = {"name": part.name} if isinstance(part, Call) else {}
            yield self._event(f"{kind}.done", {**self._where(), key: text, **name, **_logprobs(kind)})
        if isinstance(part, Thought) and text:
            done = {**self._where(), "part": item["summary"][0]}
            yield self._event("response.reasoning_summary_part.done", done)
        elif not isinstance(part, Call | Thought):
            yield self._event("response.content_part.done", {**self._where(), "part": _content(part)})
        self._opened = False
        yield self._event("response.output_item.done", {"output_index": len(self._parts) - 1, "item": item})

    def _item_id(self) -> str:
        return _id(self._parts[-1], self._begin.id, len(self._parts) - 1)

    def _where(self) -> dict[str, Any]:
        part = self._parts[-1]
        inner = {} if isinstance(part, Call) else {"summary_index" if isinstance(part, Thought) else "content_index": 0}
        return {"item_id": self._item_id(), "output_index": len(self._parts) - 1, **inner}

    def _event(self, kind: str, fields: dict[str, Any]) -> Event:
        self._number += 1
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        return Event(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n", data, kind)


def _logprobs(kind: str) -> dict[str, Any]:
    return {"logprobs": []} if kind == "response.output_text" else {}
