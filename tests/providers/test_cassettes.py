"""The provider contract, over recorded-shape answers: each is what its provider's official package says an answer is,
and means the same to every client, whole or streamed, however it is cut."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic.types
import openai.types.chat
import pytest
from google.genai import types as genai
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gateway.providers.errors import client_error
from gateway.shapes.table import SHAPES
from gateway.stream.sse import Decoder
from gateway.translation.neutral import Answer, Call, Delta, Text, Thought, Unreadable, fold
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from tests.providers.frames import through_frames
from tests.providers.upstream import cassette, events

DIALECTS = {"anthropic": "messages", "openai": "chat", "gemini": "gemini", "bedrock": "bedrock"}
SDKS = [name for name in DIALECTS if name != "bedrock"]  # whose package has models; for Bedrock see test_bedrock.py
WHOLE: dict[str, type[BaseModel]] = {
    "anthropic": anthropic.types.Message, "openai": openai.types.chat.ChatCompletion,
    "gemini": genai.GenerateContentResponse,
}  # fmt: skip
EVENTS: dict[str, TypeAdapter[Any]] = {
    "anthropic": TypeAdapter(anthropic.types.RawMessageStreamEvent),
    "openai": TypeAdapter(openai.types.chat.ChatCompletionChunk),
    "gemini": TypeAdapter(genai.GenerateContentResponse),
}
CASES = [(provider, name) for provider in DIALECTS for name in cassette(provider)["whole"]]
STREAMS = [(provider, name) for provider in DIALECTS for name in cassette(provider)["streams"]]


def read_stream(dialect: str, raw: bytes, size: int) -> Answer:
    decoder, reader = Decoder(), PROVIDERS[dialect].reader()
    deltas: list[Delta] = []
    for at in range(0, len(raw), size):
        for event in decoder.feed(raw[at : at + size]):
            deltas.extend(reader.feed(event))
    for event in decoder.finish():
        deltas.extend(reader.feed(event))
    return fold([*deltas, *reader.end()])


def played(provider: str, sent: list[bytes], size: int = 1 << 20) -> bytes:
    """What the gateway reads of a stream: frames of AWS's arrive as events."""
    raw = b"".join(sent)
    return asyncio.run(through_frames(raw, size)) if provider == "bedrock" else raw


def strict(model: Any, value: object) -> None:
    """Every field is known to the official model, and has its type."""
    made = model.validate_python(value, strict=False) if isinstance(model, TypeAdapter) else model.model_validate(value)
    for one in _models(made):
        assert not one.model_extra, (type(one).__name__, one.model_extra)


def _models(value: object) -> list[BaseModel]:
    if isinstance(value, BaseModel):
        return [value, *(inner for name in type(value).model_fields for inner in _models(getattr(value, name)))]
    if isinstance(value, list):
        return [inner for one in value for inner in _models(one)]
    return []


@pytest.mark.parametrize(("provider", "name"), [one for one in CASES if one[0] in SDKS])
def test_an_answer_is_what_the_official_package_reads(provider: str, name: str) -> None:
    strict(WHOLE[provider], cassette(provider)["whole"][name])


@pytest.mark.parametrize(("provider", "name"), [one for one in STREAMS if one[0] in SDKS])
def test_an_event_is_what_the_official_package_reads(provider: str, name: str) -> None:
    for event in cassette(provider)["streams"][name]:
        if event.get("type") != "ping":  # which the SDK drops before its models see it
            strict(EVENTS[provider], event)


def test_every_kind_of_event_and_delta_is_in_a_cassette() -> None:
    tape = cassette("anthropic")
    played = [event for stream in (*tape["streams"].values(), *tape["broken"].values()) for event in stream]
    assert {event["type"] for event in played} == {
        "message_start", "content_block_start", "ping", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop", "error",
    }  # fmt: skip
    assert {event["delta"]["type"] for event in played if event["type"] == "content_block_delta"} == {
        "text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta",
    }  # fmt: skip
    assert {event["content_block"]["type"] for event in played if event["type"] == "content_block_start"} == {
        "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result",
    }  # fmt: skip


def test_an_error_in_a_stream_is_what_the_official_package_reads() -> None:
    (*_, error) = cassette("anthropic")["broken"]["overloaded halfway"]
    strict(anthropic.types.ErrorResponse, error)


def test_what_a_providers_own_tools_did_is_left_out() -> None:
    answer = PROVIDERS["messages"].read(json.dumps(cassette("anthropic")["whole"]["search"]).encode())
    assert answer.parts == (Text("I will search."), Text("It rains."))
    assert answer.stop == "end"


def test_a_streamed_call_without_arguments_has_an_empty_object() -> None:
    sent = [event for event in events("anthropic", "tools") if b"input_json_delta" not in event]
    calls = [part for part in read_stream("messages", b"".join(sent), 99).parts if isinstance(part, Call)]
    assert [call.arguments for call in calls] == ["{}", "{}"]


def test_a_server_that_thinks_in_chunks_of_its_content_is_understood() -> None:
    """As Mistral's models that reason do."""
    chunks = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Rain."}]
    choice = {"index": 0, "message": {"role": "assistant", "content": chunks}, "finish_reason": "stop"}
    head = {"id": "x", "model": "m", "object": "chat.completion", "created": 1}
    whole = PROVIDERS["chat"].read(json.dumps({**head, "choices": [choice]}).encode())
    assert whole.parts == (Thought("Hm."), Text("Rain."))
    deltas = [{"content": [chunks[0]]}, {"content": [chunks[1]]}, {"content": ""}]
    events = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    raw = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    assert read_stream("chat", raw, 1 << 20).parts == whole.parts
    with pytest.raises(Unreadable):
        PROVIDERS["chat"].read(json.dumps({**head, "choices": [{"message": {"content": [3]}}]}).encode())


@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_cache_keeps_for_an_hour_is_charged_in_every_dialect(client: str) -> None:
    translation, shape = Translation(client, "messages", 7), SHAPES[client]
    whole = shape.whole(translation.whole(json.dumps(cassette("anthropic")["whole"]["search"]).encode())).usage
    assert whole is not None
    assert (whole.input_tokens, whole.cached, whole.cache_write, whole.cache_write_1h) == (90, 10, 50, 30)
    stream, meter = translation.stream(), shape.meter(False)
    for sent in Decoder().feed(b"".join(events("anthropic", "search"))):
        for event in stream.feed(sent):
            meter.read(event.data or b"")
    for event in stream.end():
        if event.data and not event.data.startswith(b"[DONE]"):
            meter.read(event.data)
    assert meter.usage == whole


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_an_error_halfway_ends_the_stream_as_an_error_in_every_dialect(client: str, provider: str) -> None:
    stream, meter = Translation(client, DIALECTS[provider], 7).stream(), SHAPES[client].meter(False)
    sent = Decoder().feed(b"".join(events(provider, "overloaded halfway")))
    out = [event for one in sent for event in stream.feed(one)] + list(stream.end())
    for event in out:
        meter.read(event.data or b"")
    assert meter.error
    assert "One, two" in b"".join(event.raw for event in out).decode()
    assert b"[DONE]" not in out[-1].raw


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(("provider", "name"), STREAMS)
def test_a_stream_says_what_the_whole_says(provider: str, name: str, size: int) -> None:
    dialect = DIALECTS[provider]
    whole = PROVIDERS[dialect].read(json.dumps(cassette(provider)["whole"][name]).encode())
    assert read_stream(dialect, played(provider, events(provider, name), size), size) == whole


@pytest.mark.parametrize("provider", DIALECTS)
def test_all_providers_say_the_same(provider: str) -> None:
    answer = PROVIDERS[DIALECTS[provider]].read(json.dumps(cassette(provider)["whole"]["tools"]).encode())
    assert [part.text for part in answer.parts if isinstance(part, Text)] == ["I will look at both."]
    assert [(part.name, json.loads(part.arguments)) for part in answer.parts if isinstance(part, Call)] == [
        ("weather", {"city": "Köln"}), ("weather", {"city": "Ulm"}),
    ]  # fmt: skip
    thoughts = [part.text for part in answer.parts if isinstance(part, Thought)]
    assert thoughts == ([] if provider == "openai" else ["The picture shows a sky."])
    assert answer.stop == "tools"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (125, 60)
    assert (answer.usage.cached, answer.usage.reasoning) == (100, 0 if provider == "bedrock" else 12)


@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize(("provider", "name"), CASES)
def test_a_translated_answer_is_what_the_clients_package_reads(client: str, provider: str, name: str) -> None:
    body = Translation(client, DIALECTS[provider], 7).whole(json.dumps(cassette(provider)["whole"][name]).encode())
    model = anthropic.types.Message if client == "messages" else openai.types.chat.ChatCompletion
    model.model_validate_json(body)
    assert PROVIDERS[client].read(body).usage == _usage(provider, name)


def _usage(provider: str, name: str) -> Any:
    return PROVIDERS[DIALECTS[provider]].read(json.dumps(cassette(provider)["whole"][name]).encode()).usage


@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize(("provider", "name"), STREAMS)
def test_a_translated_stream_is_what_the_clients_package_reads(client: str, provider: str, name: str) -> None:
    translation = Translation(client, DIALECTS[provider], 7)
    stream = translation.stream()
    out = [one for event in Decoder().feed(played(provider, events(provider, name))) for one in stream.feed(event)]
    out += stream.end()
    model = EVENTS["anthropic" if client == "messages" else "openai"]
    for event in out:
        if event.data and not event.data.startswith(b"[DONE]"):
            model.validate_json(event.data)
    whole = translation.whole(json.dumps(cassette(provider)["whole"][name]).encode())
    seen, wanted = read_stream(client, b"".join(event.raw for event in out), 11), PROVIDERS[client].read(whole)
    assert seen.usage == wanted.usage
    assert seen.stop == wanted.stop
    assert [part for part in seen.parts if not isinstance(part, Thought)] == [
        part for part in wanted.parts if not isinstance(part, Thought)
    ]
    thoughts = [part.text for part in wanted.parts if isinstance(part, Thought)]
    assert [part.text for part in seen.parts if isinstance(part, Thought)] == [one for one in thoughts if one] or (
        client == "messages"
    )


@pytest.mark.parametrize(("provider", "name"), STREAMS)
def test_a_translated_stream_is_what_a_client_of_responses_reads(provider: str, name: str) -> None:
    translation = Translation("responses", DIALECTS[provider], 7)
    stream = translation.stream()
    out = [one for event in Decoder().feed(played(provider, events(provider, name))) for one in stream.feed(event)]
    out += stream.end()
    read: list[Any] = [TypeAdapter(ResponseStreamEvent).validate_json(event.data or b"") for event in out]
    assert [event.sequence_number for event in read] == list(range(len(read)))
    body = translation.whole(json.dumps(cassette(provider)["whole"][name]).encode())
    whole = Response.model_validate_json(body)
    assert read[-1].response == whole
    usage = _usage(provider, name)
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize("cut", range(8))
@pytest.mark.parametrize("provider", DIALECTS)
def test_a_stream_that_breaks_off_is_no_answer(provider: str, cut: int) -> None:
    sent = events(provider, "tools")
    ends = {"openai": len(sent) - 3, "anthropic": len(sent) - 1, "gemini": len(sent) - 1, "bedrock": len(sent) - 2}
    with pytest.raises(Unreadable):
        read_stream(DIALECTS[provider], played(provider, sent[: min(cut, ends[provider])]), 100)


MEANINGS = {
    "key": (502, "provider_error", False), "rate": (429, "provider_rate_limited", True),
    "overloaded": (503, "provider_overloaded", True), "billing": (503, "provider_quota", False),
}  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "play"),
    [(provider, play) for provider in DIALECTS for play in cassette(provider)["errors"] if play in MEANINGS],
)
def test_an_error_has_one_meaning(provider: str, play: str) -> None:
    status, code, retryable = MEANINGS[play]
    answered, body, *more = cassette(provider)["errors"][play]
    error = client_error(answered, more[0] if more else {}, json.dumps(body).encode())
    assert (error.status, error.code, error.retryable) == (status, code, retryable)
    assert error.provider_code
    assert body.get("error", body)["message"] not in error.message


@pytest.mark.parametrize("provider", ["anthropic", "openai", "bedrock"])
def test_a_prompt_that_is_too_long_has_openais_code(provider: str) -> None:
    answered, body, *more = cassette(provider)["errors"]["too long"]
    error = client_error(answered, more[0] if more else {}, json.dumps(body).encode())
    assert (error.status, error.code) == (400, "context_length_exceeded")
