"""What a stream and a whole answer say of themselves, in each shape."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.errors import Failure
from gateway.limits.reservation import Usage
from gateway.shapes.table import SHAPES
from gateway.stream.filters import Meter
from gateway.stream.sse import Event, data_event

ANTHROPIC = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}


def metered(shape: str, *chunks: dict[str, Any]) -> Meter:
    meter = SHAPES[shape].meter(True)
    for chunk in chunks:
        list(meter.feed(data_event(msgspec.json.encode(chunk))))
    list(meter.flush())
    return meter


def test_anthropic_says_input_at_the_start_and_output_at_the_end() -> None:
    start = {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "m", "usage": {**ANTHROPIC, "output_tokens": 1}},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 40}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 11}}
    whole = metered("messages", start, delta, end, {"type": "message_stop"})
    assert whole.usage == Usage(125, 11, cached=100, cache_write=20)
    assert (whole.response_id, whole.model, whole.finish_reasons, whole.flags) == ("msg_1", "m", ["end_turn"], [])
    broken = metered("messages", start, delta)
    assert broken.usage is None, "the 1 of the start is no count of the output"
    assert (broken.input_tokens, broken.output_tokens()) == (125, 10)
    assert broken.flags == ["no_done"]
    later = {**end, "usage": {"input_tokens": 7, "cache_read_input_tokens": None, "output_tokens": 12}}
    assert metered("messages", start, later).usage == Usage(127, 12, cached=100, cache_write=20)


@pytest.mark.parametrize("usage", [{"input_tokens": -1}, {"input_tokens": "5"}, {"output_tokens": 1 << 40}])
def test_what_is_not_credible_is_not_believed(usage: dict[str, Any]) -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    meter = metered("messages", {**end, "usage": {"input_tokens": 1, "output_tokens": 1, **usage}})
    assert (meter.usage, meter.flags) == (None, ["usage_not_credible", "no_done"])


def test_responses_say_their_usage_in_the_terminal_event_alone() -> None:
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 6,
             "output_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "incomplete", "error": None,
                "incomplete_details": {"reason": "max_output_tokens"}}  # fmt: skip
    created = {"type": "response.created", "sequence_number": 0, "response": {**response, "usage": None}}
    end = {"type": "response.incomplete", "sequence_number": 7, "response": {**response, "usage": usage}}
    meter = metered("responses", created, end)
    assert meter.usage == Usage(9, 6, cached=4, reasoning=2)
    assert (meter.response_id, meter.finish_reasons, meter.sequence) == ("resp_1", ["max_output_tokens"], 7)
    assert (meter.error, meter.flags) == (False, [])
    said = SHAPES["responses"].whole(msgspec.json.encode({**response, "usage": usage}))
    assert (said.usage, said.response_id, said.finish_reasons) == (meter.usage, "resp_1", ("max_output_tokens",))
    assert SHAPES["responses"].whole(msgspec.json.encode({**response, "status": "queued"})).pending


def test_a_response_that_failed_is_an_answer_and_an_error_event_is_none() -> None:
    shape = SHAPES["responses"]
    failed = {"id": "resp_1", "object": "response", "status": "failed", "error": {"code": "x", "message": "y"}}
    assert not shape.is_error(msgspec.json.encode(failed))
    assert not shape.is_error(msgspec.json.encode({"type": "response.created", "response": {"error": None}}))
    assert shape.is_error(b'{"type":"error","code":"x","message":"y","param":null,"sequence_number":1}')
    assert shape.is_error(b'{"error":{"message":"y"}}')
    assert metered("responses", {"type": "response.failed", "response": failed}).error


@pytest.mark.parametrize("shape", ["chat", "completions", "responses", "messages"])
def test_an_error_in_a_stream_is_one_to_its_own_meter(shape: str) -> None:
    meter = SHAPES[shape].meter(False)
    event = SHAPES[shape].stream_error(Failure.wire, "words", "req_1", meter)
    assert isinstance(event, Event)
    assert event.raw.endswith(b"\n\n")
    list(meter.feed(event))
    assert meter.error


def test_a_whole_message() -> None:
    body = {"id": "msg_1", "model": "m", "stop_reason": "max_tokens", "usage": {**ANTHROPIC, "output_tokens": 3}}
    said = SHAPES["messages"].whole(msgspec.json.encode(body))
    assert said.usage == Usage(125, 3, cached=100, cache_write=20)
    assert (said.response_id, said.finish_reasons) == ("msg_1", ("max_tokens",))


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b'{"usage": 1}', b'{"choices": 1}', b"\xff", b'{"id": 1}']
)
def test_rubbish_says_nothing(shape: str, body: bytes) -> None:
    assert SHAPES[shape].whole(body).usage is None
    assert not SHAPES[shape].is_error(body)
    list(SHAPES[shape].meter(True).feed(data_event(body)))


TIERED: dict[str, dict[str, Any]] = {
    "chat": {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    "responses": {"id": "r", "object": "response", "status": "completed", "usage": {
        "input_tokens": 1, "output_tokens": 1}},
    "messages": {"id": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}},
}  # fmt: skip


@pytest.mark.parametrize("shape", TIERED)
@pytest.mark.parametrize(("tier", "told"), [("priority", "priority"), (None, None), (7, None), (["x"], None)])
def test_the_tier_that_was_served_is_read(shape: str, tier: Any, told: str | None) -> None:
    whole = TIERED[shape]
    if shape == "messages":
        whole = {**whole, "usage": {**whole["usage"], "service_tier": tier}}
        start = {"type": "message_start", "message": whole}
        chunks = [start, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}]
    else:
        whole = {**whole, "service_tier": tier}
        chunks = [whole if shape == "chat" else {"type": "response.completed", "response": whole}]
    said = SHAPES[shape].whole(msgspec.json.encode(whole))
    assert (said.tier, said.usage is not None) == (told, True)
    meter = metered(shape, *chunks)
    assert (meter.tier, meter.usage is not None) == (told, True)
