"""Restoring does not depend on how a reply was cut, and restores only what this exchange made."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.placeholders import Placeholders, tenant_key
from gateway.redaction.restore import Names, RestoreFilter, Restorer, as_json, as_text, restore_body, restore_text
from gateway.shapes.table import SHAPES
from gateway.stream.opaque import RestoringLines
from gateway.stream.sse import Decoder

KEY = tenant_key(b"m" * 32, "acme")


def made(*values: str) -> dict[str, str]:
    placeholders = Placeholders(KEY)
    for value in values:
        placeholders.of("EMAIL_ADDRESS", value)
    return dict(placeholders.restore)


MAPPING = made("ada@example.com", 'o"brien\\@example.com', "x@y.z")
ADA, OBRIEN, XYZ = MAPPING
FOREIGN = "<EMAIL_ADDRESS_00000000>"
PIECES = [
    ADA, OBRIEN, XYZ, FOREIGN, "<", "<EMAIL", "<EMAIL_ADDRESS_", ADA[:-1], "&lt;" + ADA[1:-1] + "&gt;", "&l", "\\",
    "\\u003c" + XYZ[1:-1] + "\\u003e", "\\u003C" + XYZ[1:-1] + "\\u003E", "\\u00", "words ", "é𝄞",
    "\n", '{"a": 1}', ">",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)


def cut(text: str, places: list[int]) -> list[str]:
    marks = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *marks], [*marks, len(text)], strict=True)]


@given(TEXTS, st.lists(st.integers(0, 200), max_size=8), st.sampled_from([as_text, as_json]))
def test_the_cut_does_not_matter(text: str, places: list[int], write: Any) -> None:
    names = Names(MAPPING)
    restorer = Restorer(names, write)
    assert "".join(restorer.feed(piece) for piece in cut(text, places)) + restorer.flush() == restore_text(
        text, names, write
    )


@given(st.text())
def test_text_without_placeholders_stays(text: str) -> None:
    assert restore_text(text, Names(MAPPING)) == text


@given(TEXTS)
def test_held_back_is_never_more_than_a_placeholder(text: str) -> None:
    restorer = Restorer(Names(MAPPING))
    longest = max(len(placeholder) for placeholder in MAPPING) + 10
    for char in text:
        restorer.feed(char)
        assert len(restorer.held) <= longest


def test_each_way_to_write_a_bracket() -> None:
    name = ADA[1:-1]
    for form in (ADA, f"\\u003c{name}\\u003e", f"\\u003C{name}\\u003E", f"&lt;{name}&gt;"):
        assert restore_text(f"to {form}.", Names(MAPPING)) == "to ada@example.com."
    assert restore_text(f"to {FOREIGN}", Names(MAPPING)) == f"to {FOREIGN}"


def chunk(**choice: Any) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 12345678901234567890, "model": "m"}
    return (
        b"data: " + json.dumps({**body, "choices": [{"index": 0, "finish_reason": None, **choice}]}).encode() + b"\n\n"
    )


def streamed(shape: str, stream: bytes, cuts: list[int] | None = None) -> list[dict[str, Any]]:
    """What a client reads of a stream that came in these pieces."""
    decoder, stage = Decoder(), RestoreFilter(SHAPES[shape].runs(), MAPPING)
    marks = [0, *(cuts or []), len(stream)]
    raw = b""
    for start, end in pairwise(marks):
        for event in decoder.feed(stream[start:end]):
            raw += b"".join(one.raw for one in stage.feed(event))
    for event in decoder.finish():
        raw += b"".join(one.raw for one in stage.feed(event))
    raw += b"".join(one.raw for one in stage.flush())
    return [json.loads(one.data) for one in Decoder().feed(raw) if one.data and one.data != b"[DONE]"]


def content(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for one in chunks for c in one["choices"])


def arguments(chunks: list[dict[str, Any]], call: int) -> str:
    return "".join(
        tool["function"].get("arguments", "")
        for one in chunks
        for choice in one["choices"]
        for tool in choice["delta"].get("tool_calls") or ()
        if tool["index"] == call
    )


def test_every_split_of_a_streams_bytes_and_text() -> None:
    text = f"Dear {ADA}, not {FOREIGN} <b> {XYZ}"
    wanted = restore_text(text, Names(MAPPING))
    for size in (1, 2, 3, 7, len(text)):
        stream = chunk(delta={"role": "assistant", "content": ""})
        stream += b"".join(chunk(delta={"content": text[at : at + size]}) for at in range(0, len(text), size))
        stream += chunk(delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
        assert content(streamed("chat", stream)) == wanted
    short = (
        chunk(delta={"content": ADA[:9]}) + chunk(delta={"content": ADA[9:]}) + chunk(delta={}, finish_reason="stop")
    )
    for first in range(len(short)):
        assert content(streamed("chat", short, [first])) == "ada@example.com"


def test_tool_arguments_stay_json() -> None:
    text = json.dumps({"to": OBRIEN, "cc": XYZ})
    for size in (1, 2, 5, len(text)):
        stream = b"".join(
            chunk(delta={"tool_calls": [{"index": 1, "function": {"arguments": text[at : at + size]}}]})
            for at in range(0, len(text), size)
        )
        stream += chunk(delta={}, finish_reason="tool_calls")
        assert json.loads(arguments(streamed("chat", stream), 1)) == {"to": 'o"brien\\@example.com', "cc": "x@y.z"}


def test_what_is_held_back_is_not_lost() -> None:
    for end in (chunk(delta={}, finish_reason="length"), b"data: [DONE]\n\n", b""):
        stream = chunk(delta={"content": f"a {ADA[:-3]}"}) + end
        assert content(streamed("chat", stream)) == f"a {ADA[:-3]}"
    half = json.dumps({"to": ADA})[:12]
    stream = chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": half}}]}) + chunk(
        delta={}, finish_reason="length"
    )
    assert arguments(streamed("chat", stream), 0) == half


def test_choices_do_not_mix() -> None:
    stream = b""
    for piece in (ADA[:5], ADA[5:]):
        for index, text in ((0, piece), (1, piece.lower())):
            stream += chunk(index=index, delta={"content": text})
    chunks = streamed("chat", stream)
    of = [
        "".join(c["delta"]["content"] for one in chunks for c in one["choices"] if c["index"] == index)
        for index in (0, 1)
    ]
    assert of == ["ada@example.com", ADA.lower()]


def test_completions_too() -> None:
    stream = b"".join(chunk(text=char) for char in f"x {ADA} y") + chunk(text="", finish_reason="stop")
    assert (
        "".join(c["text"] for one in streamed("completions", stream) for c in one["choices"]) == "x ada@example.com y"
    )


def test_events_without_placeholders_keep_their_bytes() -> None:
    stage = RestoreFilter(SHAPES["chat"].runs(), MAPPING)
    for raw in (
        chunk(delta={"content": "a < b \\ & c"}).replace(b'"index": 0', b'"index": 0, "x": 1e-7, "y": 1.0'),
        b": ping\n\n", b"data: not json <\n\n", b'data: {"choices": 1, "t": "<"}\n\n', b"data: [DONE]\n\n",
    ):  # fmt: skip
        (event,) = Decoder().feed(raw)
        assert b"".join(one.raw for one in stage.feed(event)) == raw


def test_a_whole_body() -> None:
    tree = {
        "choices": [{"message": {"content": f"{ADA} {FOREIGN} {OBRIEN}", "tool_calls": [
            {"function": {"arguments": json.dumps({"to": OBRIEN})}}]}}],
        "big": 123456789012345678901,
    }  # fmt: skip
    for dumped in (json.dumps(tree), json.dumps(tree).replace("<", "\\u003c").replace(">", "\\u003e")):
        got = json.loads(restore_body(dumped.encode(), MAPPING))
        message = got["choices"][0]["message"]
        assert message["content"] == f'ada@example.com {FOREIGN} o"brien\\@example.com'
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"to": 'o"brien\\@example.com'}
        assert got["big"] == 123456789012345678901
    plain = {name: value for name, value in MAPPING.items() if '"' not in value}
    spaced = b'{ "a" : 1e-7, "b": "%b" }' % ADA.encode()
    assert restore_body(spaced, plain) == b'{ "a" : 1e-7, "b": "ada@example.com" }'
    assert restore_body(b"no json " + ADA.encode(), MAPPING) == b"no json ada@example.com"


def test_placeholders_are_stable_and_a_tenants_own() -> None:
    one, two = Placeholders(KEY), Placeholders(KEY)
    two.of("PHONE_NUMBER", "1")
    assert one.of("EMAIL_ADDRESS", "a@b.c") == two.of("EMAIL_ADDRESS", "a@b.c")
    other = Placeholders(tenant_key(b"m" * 32, "other"))
    assert other.of("EMAIL_ADDRESS", "a@b.c") != one.of("EMAIL_ADDRESS", "a@b.c")
    assert one.of("PHONE_NUMBER", "a@b.c") != one.of("EMAIL_ADDRESS", "a@b.c")


def test_ten_thousand_placeholders() -> None:
    mapping = made(*(f"user{number}@example.com" for number in range(10_000)))
    text = " ".join(mapping)
    assert restore_text(text, Names(mapping)) == " ".join(mapping.values())


@pytest.mark.parametrize("levels", [150, 700, 5000, 50_000])
def test_a_body_of_any_depth_is_restored(levels: int) -> None:
    """Python reads some 1,000 levels of JSON or as many as its stack holds, by its version; its functions go 1,000."""
    body = b'{"content":"' + OBRIEN.encode() + b'","odd":' + b"[" * levels + b"]" * levels + b"}"
    assert b'"o' in (restored := restore_body(body, MAPPING))
    assert OBRIEN.encode() not in restored
    (event,) = Decoder().feed(b'data: {"choices":[{"index":0,"delta":' + body + b"}]}\n\n")
    stage = RestoreFilter(SHAPES["chat"].runs(), MAPPING)
    assert [one.raw for one in (*stage.feed(event), *stage.flush())] != []


def test_what_is_looked_at_for_a_beginning_is_no_longer_than_a_placeholder() -> None:
    class Watched(Names):
        asked = 0

        def begins(self, start: str) -> bool:
            self.asked += len(start)
            return super().begins(start)

    names = Watched(MAPPING)
    page = "<td>cell &amp; cell</td>\n" * 2000
    assert Restorer(names).feed(page) == page
    assert names.asked < names.longest**2


RESULTS = b"".join([
    json.dumps({"custom_id": str(number), "response": {"body": {"text": text}}}).encode() + b"\n"
    for number, text in enumerate([ADA, "<td>", f"{OBRIEN} and {XYZ}", ""])
])  # fmt: skip


@given(st.lists(st.integers(0, len(RESULTS)), max_size=20))
def test_the_lines_of_a_batch_wherever_they_are_cut(places: list[int]) -> None:
    lines = RestoringLines(MAPPING)
    marks = sorted({0, len(RESULTS), *places})
    got = b"".join([lines.feed(RESULTS[start:stop]) for start, stop in pairwise(marks)]) + lines.finish()
    assert got == b"".join([restore_body(line, MAPPING) for line in RESULTS.splitlines(keepends=True)])
    assert ADA.encode() not in got
