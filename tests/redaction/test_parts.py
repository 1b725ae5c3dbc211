"""Content in parts, as Mistral streams it: thinking and text are counted, searched and restored as text is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.restore import RestoreFilter
from gateway.shapes.table import SHAPES
from gateway.stream.sse import Decoder, data_event
from tests.redaction.redacting import EMAILS
from tests.redaction.test_reply import MASKED, guarded, streamed

THOUGHT = (
    "Somebody asks for ada@example.com, whose number is 4930123456789. " + "I wonder. " * 20 + "So eve@x.org it is."
)
ANSWER = "Write to eve@x.org, or call 4930123456789. " + "That is all. " * 15 + "Ask bob@example.com too."
HIDDEN = ("ada@example.com", "eve@x.org", "bob@example.com", "4930123456789")


def masked(text: str) -> str:
    for value in HIDDEN:
        text = text.replace(value, "*" * len(value))
    return text


def thinking(text: str) -> dict[str, Any]:
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": True}]}


def flat(text: str) -> dict[str, Any]:
    return {"content": [{"type": "thinking", "thinking": text}]}


def part(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def plain(text: str) -> dict[str, Any]:
    return {"content": text}


def several(text: str) -> dict[str, Any]:
    """More than one part in an event."""
    third = len(text) // 3
    return {"content": [
        {"type": "text", "text": text[:third]}, {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": text[third:]},
    ]}  # fmt: skip


def pieces(text: str, marks: Iterable[int]) -> list[str]:
    at = sorted({0, *(mark % (len(text) + 1) for mark in marks), len(text)})
    return [text[a:b] for a, b in pairwise(at)]


def stream(deltas: Sequence[dict[str, Any]], *, ends: bool = True) -> bytes:
    last: list[dict[str, Any]] = [{"delta": {"content": ""}, "finish_reason": "stop"}] if ends else []
    choices = [{"index": 0, "finish_reason": None, **one} for one in [*({"delta": one} for one in deltas), *last]]
    data = b"".join(b"data: " + json.dumps({"id": "c", "choices": [one]}).encode() + b"\n\n" for one in choices)
    return data + (b"data: [DONE]\n\n" if ends else b"")


def read(raw: bytes) -> list[tuple[str, str]]:
    """What a client reads, in order: runs of thinking and of text."""
    said: list[tuple[str, str]] = []

    def add(kind: str, text: str) -> None:
        if text and said and said[-1][0] == kind:
            said[-1] = (kind, said[-1][1] + text)
        elif text:
            said.append((kind, text))

    for event in Decoder().feed(raw):
        if event.data is None or event.data.startswith(b"[DONE]"):
            continue
        for choice in json.loads(event.data)["choices"]:
            content = choice["delta"]["content"]
            for one in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                if one["type"] == "thinking":
                    inner = one["thinking"]
                    add("thinking", inner if isinstance(inner, str) else "".join(piece["text"] for piece in inner))
                else:
                    add("text", one.get("text", ""))
    return said


@pytest.mark.parametrize("think", [thinking, flat])
@pytest.mark.parametrize("write", [part, plain, several])
@pytest.mark.parametrize("ends", [True, False])
@given(marks=st.lists(st.integers(0, 999), max_size=40))
async def test_what_is_thought_and_said_in_parts_is_searched(think: Any, write: Any, ends: bool, marks: Any) -> None:
    deltas = [*map(think, pieces(THOUGHT, marks)), *map(write, pieces(ANSWER, marks))]
    safe, guard = await guarded("chat", MASKED)
    got = read(await streamed("chat", stream(deltas, ends=ends), safe, guard))
    assert got == [("thinking", masked(THOUGHT)), ("text", masked(ANSWER))]
    assert guard.coverage.spans == {"EMAIL_ADDRESS": 4, "PHONE_NUMBER": 2}


@given(marks=st.lists(st.integers(0, 999), max_size=40))
async def test_text_that_goes_on_from_parts_to_plain_text_is_one_run(marks: Any) -> None:
    cut = pieces(ANSWER, marks)
    deltas = [(part if number % 2 else plain)(one) for number, one in enumerate(cut)]
    safe, guard = await guarded("chat", MASKED)
    assert read(await streamed("chat", stream(deltas), safe, guard)) == [("text", masked(ANSWER))]


@pytest.mark.parametrize("think", [thinking, flat])
@pytest.mark.parametrize("write", [part, plain, several])
@given(marks=st.lists(st.integers(0, 999), max_size=20))
async def test_the_clients_own_values_come_back(think: Any, write: Any, marks: Any) -> None:
    safe, _ = await guarded("chat", replace(EMAILS, digest="no output", output=True), said="I am ada@example.com")
    (placeholder,) = safe.restore
    text = f"It says {placeholder}, and <b> & {placeholder}."
    restorer = RestoreFilter(SHAPES["chat"].runs(), safe.restore)
    raw = stream([*map(think, pieces(text, marks)), *map(write, pieces(text, marks))])
    events = [one for event in Decoder().feed(raw) for one in restorer.feed(event)]
    whole = text.replace(placeholder, "ada@example.com")
    assert read(b"".join(one.raw for one in events)) == [("thinking", whole), ("text", whole)]


async def test_parts_of_other_fields_are_searched_too() -> None:
    def delta(text: str) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, "format": "x", "text": text}]}

    safe, guard = await guarded("chat", MASKED)
    got = await streamed("chat", stream([*map(delta, pieces(THOUGHT, range(0, 400, 7)))]), safe, guard)
    read_of = [
        detail
        for event in Decoder().feed(got)
        if event.data is not None and event.data.startswith(b"{")
        for choice in json.loads(event.data)["choices"]
        for detail in choice["delta"].get("reasoning_details", ())
    ]
    assert "".join(one["text"] for one in read_of) == masked(THOUGHT)
    assert {(one["type"], one["index"], one["format"]) for one in read_of} == {("reasoning.text", 0, "x")}


@pytest.mark.parametrize("strip", [True, False])
def test_parts_are_counted_and_what_else_their_chunk_says_is_read(strip: bool) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    said = [thinking("abc"), flat("de"), part("fgh"), several("ijklmn"), plain("op"), {"refusal": "qr"},
            {"reasoning_content": "st"}, {"reasoning": "uv"},
            {"reasoning_content": "wx", "reasoning": "wx"}]  # fmt: skip
    meter = SHAPES["chat"].meter(strip)
    for one in said:
        list(meter.feed(data_event(json.dumps({"id": "c", "choices": [{"index": 0, "delta": one}]}).encode())))
    last = {"choices": [{"index": 0, "delta": part("yz"), "finish_reason": "stop"}], "usage": usage}
    list(meter.feed(data_event(json.dumps(last).encode())))
    assert bytes(meter.passed.text) == b"abcdefghijklmnopqrstuvwxyz"
    assert (meter.usage is not None, meter.finish_reasons, meter.flags) == (True, ["stop"], [])
