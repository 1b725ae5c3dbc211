"""A provider that has nothing but Responses: what it answers is read as its official package reads it, whole and
streamed, and what it sealed of its thoughts comes back to it from clients of chat and of Messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseInputItemParam
from pydantic import TypeAdapter

from gateway.stream.sse import Decoder, data_event
from gateway.translation.losses import Losses
from gateway.translation.neutral import Answer, Call, Conversation, Delta, Text, Thought, Trouble, Unreadable, fold
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from gateway.translation.responses_answer import write_whole
from tests.translation.test_identity import conversations, names, usages, wire, words
from tests.translation.test_responses import streamed

ITEMS: TypeAdapter[Any] = TypeAdapter(list[ResponseInputItemParam])
parts = st.one_of(st.builds(Text, words), st.builds(Call, names, names, st.just('{"a":1}')),
                  st.builds(Thought, words, st.one_of(st.none(), names)), st.builds(Thought, sealed=names))  # fmt: skip
said = st.builds(
    Answer, names, names, st.lists(parts, max_size=4).map(tuple), st.sampled_from(["end", "length", "filter"]),
    usage=st.one_of(st.none(), usages()),
)  # fmt: skip


def meant(answer: Answer) -> Answer:
    """With its thoughts sealed as OpenAI seals them: by the item's id and its content."""
    items = write_whole(answer, 0, {})["output"]
    kept: list[Any] = []
    for part, item in zip(answer.parts, items, strict=True):
        if isinstance(part, Thought):
            sealed = item["encrypted_content"]
            kept.append(Thought(part.text, f"openai:{item['id']}:{sealed}" if sealed else None))
        else:
            kept.append(part)
    calls = any(isinstance(part, Call) for part in kept)
    stop = "tools" if calls and answer.stop == "end" else answer.stop
    made: Answer = msgspec.structs.replace(answer, parts=tuple(kept), stop=stop)
    return made


@settings(max_examples=80)
@given(answer=said)
def test_an_answer_is_read_whole_and_streamed(answer: Answer) -> None:
    whole = msgspec.json.encode(write_whole(answer, 0, {"input": "hi"}))
    Response.model_validate_json(whole)
    assert PROVIDERS["responses"].read(whole) == meant(answer)
    reader, raw = PROVIDERS["responses"].reader(), b"".join(event.raw for event in streamed(answer, {"input": "hi"}))
    deltas: list[Delta] = [delta for event in Decoder().feed(raw) for delta in reader.feed(event)]
    assert fold([*deltas, *reader.end()]) == meant(answer)


@settings(max_examples=60)
@given(conversation=conversations())
def test_a_request_is_of_items_that_the_official_package_knows(conversation: Conversation) -> None:
    plain = msgspec.structs.replace(conversation, stop=())
    body = wire(PROVIDERS["responses"].write(plain, Losses("responses")))
    assert len(ITEMS.validate_python(body["input"])) == len(body["input"])
    assert body["store"] is False


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_what_it_sealed_comes_back(client: str) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAAA:x"}  # fmt: skip
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    answer = {**write_whole(Answer("resp_1", "o", (), "end"), 0, {"input": "x"}), "output": [item, call]}
    hello: dict[str, Any] = {"model": "o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99}
    translation = Translation(client, "responses", 0)
    translation.request(json.dumps(hello).encode(), drop=False)
    told = json.loads(translation.whole(json.dumps(answer).encode()))
    message = told["choices"][0]["message"] if client == "chat" else {"role": "assistant", "content": told["content"]}
    more = {**hello, "messages": [*hello["messages"], message]}
    following = Translation(client, "responses", 0)
    sent = json.loads(following.request(json.dumps(more).encode(), drop=False))
    assert sent["input"][1:] == [item, {key: call[key] for key in ("type", "call_id", "name", "arguments")}]
    assert following.dropped == ()
    for provider in {"messages", "bedrock", "gemini"} - {client}:
        other = Translation(client, provider, 0)
        assert b"gAAAA" not in other.request(json.dumps(more).encode(), drop=False)
        assert any("thinking" in one or "reasoning" in one for one in other.dropped)
    assert CLIENTS[client].read(more, Losses("x")).turns[1].parts[0] == Thought("Hm.", "openai:rs_1:gAAAA:x")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_failed_is_no_answer(status: str) -> None:
    whole = {**write_whole(Answer("r", "m", (), "end"), 0, {"input": "x"}), "status": status}
    with pytest.raises(Unreadable):
        PROVIDERS["responses"].read(json.dumps(whole).encode())
    reader = PROVIDERS["responses"].reader()
    failed = {"type": "response.failed", "response": {**whole, "error": {"code": "server_error", "message": "canary"}}}
    (event,) = Decoder().feed(data_event(json.dumps(failed).encode()).raw)
    assert list(reader.feed(event)) == [Trouble("server_error")]
    with pytest.raises(Unreadable):
        list(reader.end())
