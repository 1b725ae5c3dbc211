"""What a model writes by itself is searched, and what comes out does not depend on how it was cut."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AnalyzerFailure, BlockedReply, Refusal, UnscannableReply
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.placeholders import LOOKS_LIKE
from gateway.redaction.reply import STEP, ReplyGuard
from gateway.redaction.restore import RestoreFilter
from gateway.redaction.safe import SafeRequest
from gateway.redaction.unfinished import HOLD
from gateway.shapes.table import SHAPES
from gateway.stream.sse import Decoder
from tests.redaction.redacting import EMAILS, Emails, permit_of, redaction
from tests.redaction.streams import KINDS, read, stream

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses",
         "messages": "/v1/messages"}  # fmt: skip
REPLIES = replace(EMAILS, output=True)
MASKED = replace(REPLIES, output_action="mask", digest="masked")


async def guarded(
    shape: str, profile: RedactionProfile = REPLIES, analyzer: Emails | None = None, said: str = "hello"
) -> tuple[SafeRequest, ReplyGuard]:
    body: dict[str, Any] = {
        "model": "m",
        "prompt": said,
        "input": said,
        "messages": [{"role": "user", "content": said}],
    }
    safe = await redaction(analyzer).redact(permit_of(PATHS[shape], body, profile))
    assert not isinstance(safe, Refusal)
    assert isinstance(safe.reply, ReplyGuard)
    return safe, safe.reply


async def streamed(shape: str, data: bytes, safe: SafeRequest, guard: ReplyGuard, cuts: Sequence[int] = ()) -> bytes:
    decoder, search = Decoder(), guard.stream(SHAPES[shape].runs(), json_text=False)
    restorer = RestoreFilter(SHAPES[shape].runs(), safe.restore)
    events = []
    for start, end in pairwise(sorted({0, *cuts, len(data)})):
        events += await search.feed(decoder.feed(data[start:end]))
    events += await search.feed(decoder.finish())
    events += await search.flush()
    passed = [one for event in events for one in restorer.feed(event)]
    return b"".join(event.raw for event in [*passed, *restorer.flush()])


def texts(shape: str, kind: str, raw: bytes) -> list[str]:
    found = read(shape, raw)
    return [json.loads(one)["to"] if kind == "tool" else one for one in (*found["deltas"], *found["whole"]) if one]


def written(kind: str, text: str) -> str:
    return text if kind == "text" else json.dumps({"to": text}, ensure_ascii=False)


LONG = " ".join(f"Line {number}: ask person{number}@example.com or 49301234{number:03}.\n" for number in range(9))


def masked(text: str) -> str:
    for number in range(9):
        for value in (f"person{number}@example.com", f"49301234{number:03}"):
            text = text.replace(value, "*" * len(value))
    return text


@pytest.mark.parametrize(("shape", "kind"), KINDS)
async def test_nothing_found_goes_on_however_it_is_cut(shape: str, kind: str) -> None:
    text = written(kind, LONG)
    for size in (1, 3, 11, 60, len(text)):
        safe, guard = await guarded(shape, MASKED)
        data = stream(shape, kind, [text[at : at + size] for at in range(0, len(text), size)])
        got = texts(shape, kind, await streamed(shape, data, safe, guard))
        assert set(got) == {masked(LONG)}
        assert len(got) == (1 if shape != "responses" else 4 if kind == "tool" else 5)
        assert guard.coverage.spans == {"EMAIL_ADDRESS": 9, "PHONE_NUMBER": 9}


@pytest.mark.parametrize(("shape", "kind"), KINDS)
@given(seed=st.integers(0, 2**32))
async def test_the_cut_does_not_matter(shape: str, kind: str, seed: int) -> None:
    chance = random.Random(seed)
    words = ["ada@example.com", "x@y.zz", "4930123456789", " ", " and ", "\n", "<", "é𝄞", '"', "word " * 12, "l" * 90]
    plain = "".join(chance.choices(words, k=14))
    text = written(kind, plain)
    seen = set()
    for _ in range(2):
        marks = sorted(chance.sample(range(1, len(text)), k=min(7, len(text) - 1)))
        pieces = [text[a:b] for a, b in zip([0, *marks], [*marks, len(text)], strict=True)]
        safe, guard = await guarded(shape, MASKED)
        data = stream(shape, kind, pieces)
        got = texts(shape, kind, await streamed(shape, data, safe, guard, chance.sample(range(len(data)), k=9)))
        seen |= set(got)
    assert len(seen) == 1
    assert "ada@example" not in seen.pop()


@pytest.mark.parametrize(("shape", "kind"), KINDS)
async def test_the_clients_own_values_come_back_and_the_models_do_not(shape: str, kind: str) -> None:
    safe, guard = await guarded(shape, said="I am ada@example.com")
    (placeholder,) = safe.restore
    text = written(kind, f"You are {placeholder}, and not eve@example.com.")
    data = stream(shape, kind, [text[at : at + 4] for at in range(0, len(text), 4)])
    for got in texts(shape, kind, await streamed(shape, data, safe, guard)):
        assert "ada@example.com" in got
        assert "eve@" not in got
        assert len(LOOKS_LIKE.findall(got)) == 1
    assert guard.coverage.spans == {"EMAIL_ADDRESS": 1}


@pytest.mark.parametrize("shape", PATHS)
async def test_a_profile_that_only_watches_changes_no_byte_and_waits_for_nothing(shape: str) -> None:
    data = stream(shape, "text", [LONG[at : at + 9] for at in range(0, len(LONG), 9)])
    for profile in (replace(REPLIES, shadow=True), replace(REPLIES, output_action="detect")):
        safe, guard = await guarded(shape, profile)
        search, decoder = guard.stream(SHAPES[shape].runs(), json_text=False), Decoder()
        for event in decoder.feed(data):
            assert b"".join(one.raw for one in await search.feed([event])) == event.raw
        assert await search.flush() == []
        assert guard.coverage.spans["EMAIL_ADDRESS"] >= 9
        assert not safe.restore


@pytest.mark.parametrize("shape", PATHS)
async def test_what_is_blocked_stops_the_stream_before_it(shape: str) -> None:
    safe, guard = await guarded(shape, replace(REPLIES, output_actions=(("EMAIL_ADDRESS", "block"),)))
    text = "x " * 200 + "ada@example.com " + "y " * 200
    decoder, search, seen = Decoder(), guard.stream(SHAPES[shape].runs(), json_text=False), b""
    with pytest.raises(BlockedReply) as caught:
        for event in decoder.feed(stream(shape, "text", [text[at : at + 7] for at in range(0, len(text), 7)])):
            seen += b"".join(one.raw for one in await search.feed([event]))
    assert caught.value.detail == "EMAIL_ADDRESS"
    assert b"ada@" not in seen
    assert b"x x x" in seen
    assert safe.restore == {}


@pytest.mark.parametrize(("on_error", "raises"), [("deny", True), ("allow", False)])
async def test_an_analysis_that_fails_does_what_the_profile_says(on_error: Any, raises: bool) -> None:
    for whole in (True, False):
        safe, guard = await guarded("chat", replace(REPLIES, on_error=on_error), Emails(fails=True))
        data = stream("chat", "text", [LONG])
        body = msgspec.json.encode({"choices": [{"message": {"content": LONG}}]})
        try:
            got = await guard.whole(body, frozenset((b"choices",))) if whole else await streamed(
                "chat", data, safe, guard
            )  # fmt: skip
        except AnalyzerFailure:
            assert raises
        else:
            assert not raises
            assert b"person1@example.com" in got
            assert guard.coverage.failed == "it was asked to"


async def test_no_more_is_held_back_than_is_said() -> None:
    _, guard = await guarded("chat", MASKED)
    search, came, went = guard.stream(SHAPES["chat"].runs(), json_text=False), 0, 0
    for at in range(0, len(LONG), 5):
        piece = LONG[at : at + 5]
        for event in await search.feed(Decoder().feed(stream("chat", "text", [piece], ends=False))):
            went += sum(len(one) for one in read("chat", event.raw)["deltas"])
        came += len(piece)
        assert came - went <= HOLD + STEP + len("person0@example.com")


WHOLE: dict[str, dict[str, Any]] = {
    "chat": {"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "logprobs": {"content": [{"token": "ada@"}]},
        "message": {"role": "assistant", "content": "ask ada@example.com", "tool_calls": [
            {"id": "t", "function": {"name": "f", "arguments": '{"to": "ada@example.com"}'}}]}}], "big": 10**20},
    "completions": {"id": "c", "choices": [{"text": "ask ada@example.com"}]},
    "responses": {"id": "r", "output": [{"type": "message", "content": [{"type": "output_text",
        "text": "ask ada@example.com"}]}, {"type": "function_call", "arguments": '{"to": "ada@example.com"}'}]},
    "messages": {"id": "m", "content": [{"type": "text", "text": "ask ada@example.com"},
                                        {"type": "tool_use", "id": "t", "input": {"to": "ada@example.com"}}]},
}  # fmt: skip


@pytest.mark.parametrize("shape", WHOLE)
async def test_a_whole_reply(shape: str) -> None:
    body = json.dumps(WHOLE[shape]).encode()
    _, guard = await guarded(shape, MASKED)
    got = await guard.whole(body, SHAPES[shape].texts)
    assert b"ada@" not in got
    assert b"*" * 15 in got
    assert b"100000000000000000000" in got or shape != "chat"
    assert list(json.loads(got)) == list(WHOLE[shape])
    _, guard = await guarded(shape, replace(REPLIES, shadow=True))
    assert await guard.whole(body, SHAPES[shape].texts) == body
    assert guard.coverage.spans["EMAIL_ADDRESS"] >= 1
    _, guard = await guarded(shape, replace(REPLIES, output_action="block"))
    with pytest.raises(BlockedReply):
        await guard.whole(body, SHAPES[shape].texts)


AUDIO = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1, "transcript": "call ada@example.com"}
PICTURE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
PARTIAL = {
    "type": "response.image_generation_call.partial_image",
    "output_index": 0,
    "partial_image_b64": "iVBORw0KGgo=",
}
UNSEEN: list[tuple[str, str, bytes, Any]] = [
    ("chat", "audio", b"choices", {"choices": [{"index": 0, "message": {"role": "assistant", "audio": AUDIO}}]}),
    (
        "chat",
        "image",
        b"choices",
        {"choices": [{"index": 0, "message": {"images": [{"image_url": {"url": "data:"}}]}}]},
    ),
    ("responses", "image", b"output", {"output": [PICTURE]}),
]
UNSEEN_EVENTS: list[tuple[str, str, Any]] = [
    ("chat", "audio", {"choices": [{"index": 0, "delta": {"audio": AUDIO}}]}),
    ("chat", "audio", {"choices": [{"index": 0, "delta": {"content": "and a word", "audio": AUDIO}}]}),
    ("responses", "image", PARTIAL),
    ("responses", "image", {"type": "response.output_item.done", "output_index": 0, "item": PICTURE}),
    ("responses", "audio", {"type": "response.audio.delta", "delta": "UklGRg=="}),
]


@pytest.mark.parametrize(("shape", "kind", "key", "reply"), UNSEEN)
async def test_sound_and_pictures_in_a_reply_are_refused_or_named(
    shape: str, kind: str, key: bytes, reply: Any
) -> None:
    _, guard = await guarded(shape, replace(MASKED, unscannable="deny"))
    with pytest.raises(UnscannableReply) as raised:
        await guard.whole(json.dumps(reply).encode(), frozenset((key,)))
    assert raised.value.detail == kind
    assert guard.coverage.unscanned == (kind,)
    _, guard = await guarded(shape, replace(MASKED, unscannable="allow", digest="allowed"))
    passed = await guard.whole(json.dumps(reply).encode(), frozenset((key,)))
    assert json.loads(passed) == json.loads(json.dumps(reply).replace("ada@example.com", "*" * 15))
    assert guard.coverage.unscanned == (kind,)


@pytest.mark.parametrize(("shape", "kind", "event"), UNSEEN_EVENTS)
async def test_in_a_stream_too(shape: str, kind: str, event: Any) -> None:
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    safe, guard = await guarded(shape, replace(MASKED, unscannable="deny"))
    with pytest.raises(UnscannableReply):
        await streamed(shape, data, safe, guard)
    watching = replace(MASKED, unscannable="deny", shadow=True, digest="shadow")
    for profile in (watching, replace(MASKED, unscannable="allow", digest="allowed")):
        safe, guard = await guarded(shape, profile)
        passed = await streamed(shape, data, safe, guard)
        assert (b"UklGRg==" in passed) or (b"iVBORw0KGgo=" in passed)
        assert (b"ada@example.com" in passed) == (profile.shadow and b"ada@" in data)
        assert guard.coverage.unscanned == (kind,)


async def test_a_chunk_with_running_text_and_other_text_is_searched_whole() -> None:
    citation = {"type": "url_citation", "url_citation": {"title": "of bob@example.com", "url": "https://example.com"}}
    delta = {"content": "write to ada@exam", "annotations": [citation]}
    chunks = [{"index": 0, "delta": delta}, {"index": 0, "delta": {"content": "ple.com"}, "finish_reason": "stop"}]
    data = b"".join(b"data: " + json.dumps({"choices": [one]}).encode() + b"\n\n" for one in chunks)
    safe, guard = await guarded("chat", MASKED)
    passed = await streamed("chat", data, safe, guard)
    assert b"@exam" not in passed
    assert b"of ***************" in passed
    events = [json.loads(line[6:]) for line in passed.splitlines() if line.startswith(b"data: ")]
    said = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert said == "write to ***************"
    assert guard.coverage.spans == {"EMAIL_ADDRESS": 2}


async def test_the_transcript_of_sound_is_running_text() -> None:
    parts = ["call ada@exa", "mple.com", " now"]
    chunks = [{"choices": [{"index": 0, "delta": {"audio": {"id": "a", "transcript": one}}}]} for one in parts]
    data = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
    safe, guard = await guarded("chat", MASKED)
    passed = await streamed("chat", data, safe, guard)
    events = [json.loads(line[6:]) for line in passed.splitlines() if line.startswith(b"data: {")]
    heard = "".join(choice["delta"]["audio"]["transcript"] for event in events for choice in event["choices"])
    assert heard == "call *************** now"


@pytest.mark.parametrize("levels", [300, 700, 5000, 50_000])
async def test_an_event_too_deep_to_search_does_not_go_on(levels: int) -> None:
    safe, guard = await guarded("chat")
    deep = b"[" * levels + b'"ada@example.com"' + b"]" * levels
    data = b'data: {"choices":[{"index":0,"delta":{"content":"one"},"odd":' + deep + b"}]}\n\n"
    data += b'data: {"choices":[{"index":0,"delta":{"content":"two"}}]}\n\ndata: [DONE]\n\n'
    passed = await streamed("chat", data, safe, guard)
    assert b"ada@" not in passed
    assert b"two" in passed
