"""Streams of every shape as a provider writes them, and what a client reads of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from gateway.providers import echo_shapes
from gateway.stream.filters import StreamFilter
from gateway.stream.sse import Decoder

USAGE = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
SHAPES = ("chat", "completions", "responses", "messages")
KINDS = [(shape, kind) for shape in SHAPES for kind in ("text", "tool") if (shape, kind) != ("completions", "tool")]


def stream(shape: str, kind: str, pieces: Sequence[str], *, ends: bool = True) -> bytes:
    """The bytes of a stream whose text, or whose tool call's arguments, come in these pieces."""
    return b"".join(_events(shape, kind, pieces, ends=ends))


def _events(shape: str, kind: str, pieces: Sequence[str], *, ends: bool) -> Iterator[bytes]:
    if shape in ("chat", "completions"):
        yield from _chat(shape, kind, pieces, ends=ends)
        return
    text = "".join(pieces)
    call = None
    if kind == "tool":
        call = {"name": "send", "arguments": json.loads(text)}
    if shape == "responses":
        item = echo_shapes.response_item(text, call)
        if call is not None:
            item["arguments"] = text
        trees = list(echo_shapes.response_events({}, "m", item, pieces, USAGE))
    else:
        trees = list(echo_shapes.message_events("m", echo_shapes.message_block(text, call), pieces, USAGE))
    for tree in trees:
        if not ends and (tree["type"].endswith((".done", "_stop", "message_delta")) or tree["type"] in _LAST):
            continue
        yield f"event: {tree['type']}\ndata: {json.dumps(tree)}\n\n".encode()


_LAST = ("response.completed", "message_stop")


def _chat(shape: str, kind: str, pieces: Sequence[str], *, ends: bool) -> Iterator[bytes]:
    def event(choice: dict[str, Any]) -> bytes:
        whole = {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": None, **choice}]}
        return b"data: " + json.dumps(whole).encode() + b"\n\n"

    for piece in pieces:
        if shape == "completions":
            yield event({"text": piece})
        elif kind == "text":
            yield event({"delta": {"content": piece}})
        else:
            yield event({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}})
    if ends:
        yield event({"finish_reason": "stop", **({"text": ""} if shape == "completions" else {"delta": {}})})
        yield b"data: [DONE]\n\n"


def through(data: bytes, cuts: Sequence[int], stages: Sequence[StreamFilter]) -> bytes:
    """The stream after its stages, its bytes cut at these places."""
    decoder, out = Decoder(), b""

    def passed(events: list[Any], *, last: bool = False) -> bytes:
        for stage in stages:
            events = [one for event in events for one in stage.feed(event)] + (list(stage.flush()) if last else [])
        return b"".join(event.raw for event in events)

    marks = sorted({0, *cuts, len(data)})
    for start, end in pairwise(marks):
        out += passed(decoder.feed(data[start:end]))
    return out + passed(decoder.finish(), last=True)


def read(shape: str, raw: bytes) -> dict[str, list[str]]:
    """What a client reads: `deltas` joined, and every `whole` text that is repeated. Numbers must rise by one."""
    runs: dict[tuple[Any, ...], str] = defaultdict(str)
    whole: list[str] = []
    numbers = []
    for event in Decoder().feed(raw):
        if event.data is None or event.data.startswith(b"[DONE]"):
            continue
        tree = json.loads(event.data)
        assert event.name in (None, tree.get("type"))
        if "sequence_number" in tree:
            numbers.append(tree["sequence_number"])
        for key, text in _deltas(tree):
            runs[key] += text
        whole += _whole(tree)
    assert numbers == list(range(len(numbers)))
    return {"deltas": list(runs.values()), "whole": whole}


def _deltas(tree: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    for choice in tree.get("choices", ()):
        delta = choice.get("delta", {})
        for name, value in {**delta, "text": choice.get("text")}.items():
            if isinstance(value, str) and value:
                yield (choice["index"], name), value
        for call in delta.get("tool_calls", ()):
            yield (choice["index"], "call", call["index"]), call["function"]["arguments"]
    kind = tree.get("type", "")
    if kind.endswith(".delta"):
        yield (kind, tree["output_index"], tree.get("content_index"), tree["item_id"]), tree["delta"]
    elif kind == "content_block_delta":
        delta = tree["delta"]
        yield (tree["index"], delta["type"]), delta.get("text", delta.get("partial_json", ""))


def _whole(tree: dict[str, Any]) -> Iterator[str]:
    kind = tree.get("type", "")
    if kind.endswith(".delta") or not kind.startswith("response."):
        return
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            nodes += node.values()
            text = node.get("text", node.get("arguments"))
            if isinstance(text, str) and text:
                yield text
        elif isinstance(node, list):
            nodes += node
