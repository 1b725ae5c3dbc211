"""What Gemini signed a call with comes back to it from every client, whole and streamed; to others it says nothing."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stream.sse import Decoder
from gateway.translation.carried import apart, carried
from gateway.translation.losses import Losses
from gateway.translation.neutral import Answer, Call, Conversation, Result, Text, Turn, fold
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from tests.translation.clouds import gemini_answer, gemini_stream

signatures = st.binary(min_size=1).map(lambda raw: base64.b64encode(raw).decode())
HELLO: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "responses": {"input": [{"role": "user", "content": "hi"}]},
}


@given(one=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), signature=signatures)
def test_an_id_carries_a_signature_there_and_back(one: str, signature: str) -> None:
    both = carried(one, signature)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", both), "what Anthropic lets an id be"
    assert apart(both) == (one, signature)


@given(one=st.text())
def test_any_other_id_is_left_as_it_is(one: str) -> None:
    assert apart(one) == (one, None) or "__signed__" in one
    assert carried(one, None) == carried(one, "no base64!") == one


@pytest.mark.parametrize("one", ["__signed__*", "a__signed__b", "a__signed__=A=="])
def test_what_only_looks_like_it_is_an_id(one: str) -> None:
    assert apart(one) == (one, None)


def said_before(client: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """What a client says next: what it was told, as it was told, and the result of the call."""
    if client == "responses":
        call = next(item for item in answer["output"] if item["type"] == "function_call")
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        return {**body, "input": [*body["input"], *answer["output"], result]}
    if client == "chat":
        message = answer["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"}
        return {**body, "messages": [*body["messages"], message, result]}
    block = next(block for block in answer["content"] if block["type"] == "tool_use")
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "rain"}
    turns = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
    return {**body, "messages": [*body["messages"], *turns]}


def streamed(client: str, translation: Translation, answer: Answer) -> dict[str, Any]:
    """The whole that a client makes of the stream."""
    stream = translation.stream()
    events = [event for raw in gemini_stream(answer, 5) for one in Decoder().feed(raw) for event in stream.feed(one)]
    events += stream.end()
    if client == "responses":
        return json.loads(events[-1].data or b"")["response"]  # type: ignore[no-any-return]  # JSON
    if client == "messages":
        blocks: list[dict[str, Any]] = []
        for event in map(json.loads, (one.data or b"" for one in events)):
            if event["type"] == "content_block_start":
                blocks.append(event["content_block"])
            elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
                blocks[-1]["input"] = json.loads(event["delta"]["partial_json"])
        return {"content": blocks}
    chunks = [json.loads(one.data or b"") for one in events if one.data and not one.data.startswith(b"[")]
    calls = [call for chunk in chunks for one in chunk["choices"] for call in one["delta"].get("tool_calls", [])]
    whole = {"id": calls[0]["id"], "type": "function", "extra_content": calls[0]["extra_content"], "function": {
        "name": calls[0]["function"]["name"], "arguments": "".join(call["function"]["arguments"] for call in calls),
    }}  # fmt: skip
    return {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [whole]}}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_a_signature_comes_back(client: str, stream: bool) -> None:
    answer = Answer("r", "gemini-3-pro", (Call("call_1", "weather", '{"city":"Ulm"}', "c2ln/+8="),), "tools")
    translation, body = Translation(client, "gemini", 0), {"model": "gemini-3-pro", **HELLO[client]}
    translation.request(json.dumps(body).encode(), drop=False)
    told = streamed(client, translation, answer) if stream else json.loads(
        translation.whole(json.dumps(gemini_answer(answer)).encode())
    )  # fmt: skip
    following = Translation(client, "gemini", 0)
    sent = json.loads(following.request(json.dumps(said_before(client, body, told)).encode(), drop=False))
    (call,) = sent["contents"][1]["parts"]
    assert call == {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Ulm"}},
                    "thoughtSignature": "c2ln/+8="}  # fmt: skip
    assert sent["contents"][2]["parts"][0]["functionResponse"]["id"] == "call_1"
    assert following.dropped == ()
    for provider in {"chat", "messages", "bedrock"} - {client}:
        other = Translation(client, provider, 0)
        text = other.request(json.dumps(said_before(client, body, told)).encode(), drop=False).decode()
        assert "call_1" in text
        assert "c2ln" not in text
        assert any("extra_content" in one or "signature" in one for one in other.dropped)


@pytest.mark.parametrize(("model", "strict"), [
    ("gemini-3-pro", True), ("models/gemini-3.1-flash", True), ("gemini-10", True), ("gemini-2.5-pro", False),
    ("gemini-flash-latest", False),
])  # fmt: skip
def test_a_call_that_nobody_signed_is_said_to_be_unsigned(model: str, strict: bool) -> None:
    calls = (Call("a", "f", "{}"), Call("b", "f", "{}"))
    results = Turn("tool", (Result("a", (Text("1"),)), Result("b", (Text("2"),))))
    said = Conversation(model, (Turn("user", (Text("hi"),)), Turn("assistant", (Text("so"), *calls)), results))
    parts = PROVIDERS["gemini"].write(said, Losses("gemini"))["contents"][1]["parts"]
    marks = [part.get("thoughtSignature") for part in parts]
    assert marks == [None, "skip_thought_signature_validator" if strict else None, None]


def test_a_stream_and_a_whole_say_the_same_of_a_signed_call() -> None:
    answer = Answer("r", "m", (Call("c", "f", "{}", "c2ln"),), "tools")
    reader = PROVIDERS["gemini"].reader()
    deltas = [delta for raw in gemini_stream(answer, 3) for one in Decoder().feed(raw) for delta in reader.feed(one)]
    assert fold([*deltas, *reader.end()]).parts == answer.parts
