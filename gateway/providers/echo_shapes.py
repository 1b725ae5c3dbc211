"""The echo model in the shapes of the Responses API and of Anthropic's Messages. Pure; `echo_core.py` calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

CREATED = 1_700_000_000
ID, ITEM = "resp_echo", "msg_echo"


def asked_text(asked: dict[str, Any], *, last: bool) -> str:
    """The text of the last message of a user, or of everything that was asked."""
    given = asked.get("messages", asked.get("input", ""))
    if isinstance(given, str):
        return given
    texts = [asked.get(name) for name in ("system", "instructions")]
    found = []
    for item in given if isinstance(given, list) else ():
        if not isinstance(item, dict):
            continue
        text = _text_of(item.get("content", item.get("output", "")))
        found.append(text)
        if item.get("role") == "user" and _text_of(item.get("content")):
            texts.append(text)
    if last:
        return str(texts[-1]) if len(texts) > 2 else ""
    return " ".join([*(_text_of(one) for one in texts[:2] if one), *found])


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def asked_call(asked: dict[str, Any], text: str) -> dict[str, Any] | None:
    """`{"name", "arguments"}` of the tool that must be called: its first property that is a string gets the text."""
    tools, choice = asked.get("tools"), asked.get("tool_choice")
    forced = choice == "required" or (isinstance(choice, dict) and choice.get("type") in ("any", "tool", "function"))
    if not forced or not isinstance(tools, list):
        return None
    wanted = choice.get("name") if isinstance(choice, dict) else None
    tool = next((one for one in tools if isinstance(one, dict) and wanted in (None, one.get("name"))), None)
    if tool is None:
        return None
    schema: dict[str, Any] = tool.get("parameters") or tool.get("input_schema") or {}
    properties = schema.get("properties", {})
    name = next((key for key, value in properties.items() if value.get("type") == "string"), "text")
    return {"name": tool.get("name"), "arguments": {name: text}}


# the Responses API


def response(asked: dict[str, Any], model: str, items: list[Any], usage: dict[str, int] | None) -> dict[str, Any]:
    """A response object."""
    told = None
    if usage is not None:
        told = {
            "input_tokens": usage["prompt_tokens"], "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"], "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }  # fmt: skip
    return {
        "id": ID, "object": "response", "created_at": CREATED, "status": "completed" if items else "in_progress",
        "error": None, "incomplete_details": None, "instructions": asked.get("instructions"), "model": model,
        "output": items, "parallel_tool_calls": True, "previous_response_id": asked.get("previous_response_id"),
        "tool_choice": asked.get("tool_choice", "auto"), "tools": asked.get("tools", []), "temperature": 1.0,
        "top_p": 1.0, "metadata": asked.get("metadata", {}), "usage": told,
    }  # fmt: skip


def response_item(text: str, call: dict[str, Any] | None) -> dict[str, Any]:
    """The one item of an answer."""
    if call is not None:
        arguments = msgspec.json.encode(call["arguments"]).decode()
        return {"type": "function_call", "id": "fc_echo", "call_id": "call_echo", "name": call["name"],
                "arguments": arguments, "status": "completed"}  # fmt: skip
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": ITEM, "role": "assistant", "status": "completed", "content": [part]}


def response_events(
    asked: dict[str, Any], model: str, item: dict[str, Any], pieces: Sequence[str], usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    """The events of a streamed response, numbered."""
    for number, event in enumerate(_response_events(asked, model, item, pieces, usage)):
        yield {"type": event["type"], "sequence_number": number, **event}


def _response_events(
    asked: dict[str, Any], model: str, item: dict[str, Any], pieces: Sequence[str], usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    begun = response(asked, model, [], None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    place: dict[str, Any] = {"item_id": item["id"], "output_index": 0}
    empty = {**item, "status": "in_progress"}
    if item["type"] == "function_call":
        yield {"type": "response.output_item.added", "output_index": 0, "item": {**empty, "arguments": ""}}
        for piece in pieces:
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "name": item["name"],
               "arguments": item["arguments"]}  # fmt: skip
    else:
        place["content_index"] = 0
        part = item["content"][0]
        yield {"type": "response.output_item.added", "output_index": 0, "item": {**empty, "content": []}}
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for piece in pieces:
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": response(asked, model, [item], usage)}


# Anthropic's Messages


def message_block(text: str, call: dict[str, Any] | None) -> dict[str, Any]:
    """The one content block of an answer."""
    if call is not None:
        return {"type": "tool_use", "id": "toolu_echo", "name": call["name"], "input": call["arguments"]}
    return {"type": "text", "text": text}


def message(model: str, block: dict[str, Any] | None, usage: dict[str, int] | None) -> dict[str, Any]:
    """A message object; without a block one that begins."""
    told = {"input_tokens": 0, "output_tokens": 0}
    if usage is not None:
        told = {"input_tokens": usage["prompt_tokens"], "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "output_tokens": usage["completion_tokens"]}  # fmt: skip
    reason = None if block is None else "tool_use" if block["type"] == "tool_use" else "end_turn"
    return {
        "id": ITEM, "type": "message", "role": "assistant", "model": model, "content": [] if block is None else [block],
        "stop_reason": reason, "stop_sequence": None,
        **({} if usage is None and block is not None else {"usage": told}),
    }  # fmt: skip


def message_events(
    model: str, block: dict[str, Any], pieces: Sequence[str], usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    """The events of a streamed message."""
    whole = message(model, block, usage)
    begun = message(model, None, {**usage, "completion_tokens": 1} if usage is not None else None)
    yield {"type": "message_start", "message": begun}
    call = block["type"] == "tool_use"
    yield {
        "type": "content_block_start",
        "index": 0,
        "content_block": {**block, **({"input": {}} if call else {"text": ""})},
    }
    yield {"type": "ping"}
    for piece in pieces:
        delta = {"type": "input_json_delta", "partial_json": piece} if call else {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end,
           **({"usage": {"output_tokens": usage["completion_tokens"]}} if usage is not None else {})}  # fmt: skip
    yield {"type": "message_stop"}


def written(call: dict[str, Any] | None, text: str) -> str:
    """What is streamed: the text, or the JSON of a call's arguments."""
    return text if call is None else json.dumps(call["arguments"], ensure_ascii=False)
