"""Responses: what a client says arrives in the neutral form, what it cannot have is refused by name, and each answer,
whole and streamed, is what the official package reads, event by event, and says the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.shapes.responses import ResponsesMeter
from gateway.stream.filters import credible_usage
from gateway.stream.sse import Event
from gateway.translation.losses import Losses, Untranslatable
from gateway.translation.neutral import (
    Answer,
    AnswerPart,
    Begin,
    Call,
    Conversation,
    Declined,
    Delta,
    Document,
    End,
    Format,
    Grow,
    Image,
    Open,
    Part,
    Result,
    Text,
    Thought,
    Trouble,
    unfold,
)
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from gateway.translation.responses_answer import Writer, write_whole
from tests.translation.test_identity import answers, conversations, names, usages, wire, words

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
HELLO: dict[str, Any] = {"model": "m", "input": "hi"}


def part_said(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image(media_type, data, url):
            return {"type": "input_image", "detail": "auto", "image_url": url or f"data:{media_type};base64,{data}"}
        case Document(media_type, data, name=name):
            named = {"filename": name} if name is not None else {}
            return {"type": "input_file", "file_data": f"data:{media_type};base64,{data}", **named}
    raise AssertionError(part)


def items_said(conversation: Conversation) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [{"role": "developer", "content": text} for text in conversation.system[1:]]
    for turn in conversation.turns:
        if turn.role == "user":
            items.append({"role": "user", "content": [part_said(part) for part in turn.parts]})
        for part in turn.parts:
            match part:
                case Text(text) if turn.role == "assistant":
                    content = [{"type": "output_text", "text": text, "annotations": []}]
                    items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                                  "content": content})  # fmt: skip
                case Call(id=call, name=name, arguments=arguments):
                    items.append({"type": "function_call", "id": "fc_1", "call_id": call, "name": name,
                                  "arguments": arguments, "status": "completed"})  # fmt: skip
                case Result(call_id, parts):
                    output = [part_said(one) for one in parts]
                    items.append({"type": "function_call_output", "call_id": call_id, "output": output})
    return items


def asked(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a client of Responses says it."""
    choice, wanted = conversation.tool_choice, conversation.format
    body: dict[str, Any] = {
        "model": conversation.model, "input": items_said(conversation),
        "instructions": conversation.system[0] if conversation.system else None,
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.schema,
             "strict": tool.strict} for tool in conversation.tools
        ],
        "tool_choice": None if choice is None else {"type": "function", "name": choice.name} if choice.name
        else "required" if choice.mode == "any" else choice.mode,
        "parallel_tool_calls": conversation.parallel, "max_output_tokens": conversation.max_tokens,
        "temperature": conversation.temperature, "top_p": conversation.top_p,
        "reasoning": {"effort": conversation.reasoning.effort, "summary": None} if conversation.reasoning else None,
        "text": {"format": {"type": "json_schema", "name": wanted.name, "schema": wanted.schema}} if wanted else None,
        "user": conversation.user, "stream": conversation.stream, "store": False,
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    return {name: value for name, value in body.items() if value is not None}


def sayable(conversation: Conversation) -> Conversation:
    """Without what Responses has no words for, and with the name that it wants of a schema."""
    wanted = conversation.format
    named = Format(wanted.schema, "answer") if wanted is not None else None
    return msgspec.structs.replace(conversation, stop=(), format=named)


@settings(max_examples=60)
@given(conversation=conversations())
def test_what_a_client_says_is_what_is_read(conversation: Conversation) -> None:
    losses = Losses("other")
    assert CLIENTS["responses"].read(wire(asked(sayable(conversation))), losses) == sayable(conversation)
    assert losses.dropped == []


@pytest.mark.parametrize("provider", ["chat", "messages"])
@settings(max_examples=60)
@given(conversation=conversations())
def test_each_provider_gets_what_was_said(provider: str, conversation: Conversation) -> None:
    expected, translation = sayable(conversation), Translation("responses", provider, 0)
    body = translation.request(msgspec.json.encode(asked(expected)), drop=False)
    got = CLIENTS[provider].read(json.loads(body), Losses(provider))
    if provider == "messages" and expected.format is not None:  # a schema has no name there
        expected = msgspec.structs.replace(expected, format=Format(expected.format.schema))
    assert got == expected
    assert set(translation.dropped) <= {"text.format.name"}


parts = st.one_of(
    st.builds(Text, words), st.builds(Declined, words),
    st.builds(Call, names, names, st.just('{"city":"Köln"}'), st.one_of(st.none(), names)),
    st.builds(Thought, words, st.one_of(st.none(), names)), st.builds(Thought, sealed=names),
)  # fmt: skip
rich = st.builds(
    Answer, names, names, st.lists(parts, max_size=5).map(tuple),
    st.sampled_from(["end", "length", "filter", "tools"]), usage=st.one_of(st.none(), usages()),
)  # fmt: skip


def heard(response: Response) -> list[AnswerPart]:
    """The parts of a response, read by the official package."""
    found: list[AnswerPart] = []
    for item in response.output:
        match item.type:
            case "message":
                for one in item.content:
                    found.append(Text(one.text) if one.type == "output_text" else Declined(one.refusal))
            case "function_call":
                extra = (item.model_extra or {}).get("extra_content", {}).get("google", {})
                found.append(Call(item.call_id, item.name, item.arguments, extra.get("thought_signature")))
            case "reasoning":
                kind, _, kept = (item.encrypted_content or "").partition(":")
                text = "".join(one.text for one in item.summary)
                found.append(Thought(text, kept if kind == "signed" else None, kept if kind == "sealed" else None))
    return found


def streamed(answer: Answer, body: dict[str, Any]) -> list[Event]:
    writer = Writer(7, body)
    return [event for delta in unfold(answer) for event in writer.feed(delta)]


@settings(max_examples=80)
@given(answer=st.one_of(rich, answers()))
def test_an_answer_is_what_the_official_package_reads(answer: Answer) -> None:
    whole = write_whole(answer, 7, HELLO)
    response = Response.model_validate_json(msgspec.json.encode(whole))
    assert heard(response) == list(answer.parts)
    reasons = {"length": "max_output_tokens", "filter": "content_filter"}
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reasons.get(answer.stop)
    assert response.status == ("incomplete" if answer.stop in reasons else "completed")
    assert whole["store"] is False
    told = credible_usage(msgspec.json.encode(whole["usage"])) if whole["usage"] else None
    assert told == answer.usage  # what is charged, the hour's cache included


@settings(max_examples=80)
@given(answer=st.one_of(rich, answers()))
def test_a_stream_says_it_in_order_and_three_times(answer: Answer) -> None:
    events = [json.loads(event.data or b"") for event in streamed(answer, HELLO)]
    for event in events:
        EVENTS.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["response"] == wire(write_whole(answer, 7, HELLO))
    assert events[-1]["type"] == f"response.{events[-1]['response']['status']}"
    deltas: dict[tuple[str, int], str] = {}
    open_items: set[int] = set()
    for event in events:
        kind, index = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert not open_items  # one after the other
            open_items.add(index)
        elif index is not None:
            assert index in open_items
        if kind.endswith(".delta"):
            deltas[kind.removesuffix(".delta"), index] = (
                deltas.get((kind.removesuffix(".delta"), index), "") + event["delta"]
            )
        elif kind == "response.output_item.done":
            open_items.discard(index)
            assert event["item"] == events[-1]["response"]["output"][index]
        elif kind.endswith(".done") and not kind.endswith("_part.done"):
            whole = event.get("text", event.get("arguments", event.get("refusal")))
            assert deltas.get((kind.removesuffix(".done"), index)) == whole
    assert not open_items


@settings(max_examples=40)
@given(answer=rich)
def test_thoughts_and_signatures_come_back_as_they_went_out(answer: Answer) -> None:
    output = wire(write_whole(answer, 0, HELLO))["output"]
    body = {"model": "m", "input": [{"role": "user", "content": "hi"}, *output]}
    turns = CLIENTS["responses"].read(body, Losses("other")).turns
    assert [part for turn in turns[1:] for part in turn.parts] == list(answer.parts)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    writer = Writer(0, HELLO)
    deltas: list[Delta] = [Begin("r", "m"), Open(Call("c", "now", "")), End("tools")]
    *_, last = [json.loads(event.data or b"") for delta in deltas for event in writer.feed(delta)]
    assert last["response"]["output"][0]["arguments"] == "{}"


def test_an_error_in_the_middle_is_a_failed_response_with_what_there_was() -> None:
    writer, meter = Writer(0, HELLO), ResponsesMeter(False)
    deltas: list[Delta] = [Begin("r", "m"), Open(Text("")), Grow("One"), Trouble("overloaded_error")]
    events = [event for delta in deltas for event in writer.feed(delta)]
    last = EVENTS.validate_json(events[-1].data or b"")
    assert last.type == "response.failed"
    assert (last.response.status, last.response.error.code) == ("failed", "server_error")
    assert last.response.output_text == "One"
    for event in events:
        meter.read(event.data or b"")
    assert meter.error
    assert meter.ended


def test_what_was_asked_for_is_repeated() -> None:
    body = {**HELLO, "temperature": 0.5, "metadata": {"a": "b"}, "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    ], "tool_choice": "required", "parallel_tool_calls": False}  # fmt: skip
    translation = Translation("responses", "chat", 7)
    translation.request(msgspec.json.encode(body), drop=False)
    answer = CLIENTS["chat"].write(Answer("r", "m", (Text("x"),), "end"), 0, {})
    response = Response.model_validate_json(translation.whole(msgspec.json.encode(answer)))
    assert (response.temperature, response.metadata, response.tool_choice) == (0.5, {"a": "b"}, "required")
    assert (response.parallel_tool_calls, len(response.tools), response.created_at) == (False, 1, 7)


MESSAGE: dict[str, Any] = {"role": "user", "content": "hi"}
IMAGE = {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"}
CONTENT: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"), ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"tools": [{"type": "web_search"}]}, "tools.type 'web_search'"),
    ({"tools": [{"type": "custom", "name": "x"}]}, "tools.type 'custom'"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ({"input": [MESSAGE, {"type": "item_reference", "id": "msg_1"}]}, "input.type 'item_reference'"),
    ({"input": [MESSAGE, {"type": "web_search_call", "id": "w"}]}, "input.type 'web_search_call'"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}, "input.content.file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, "input.content.file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_sound"}]}]}, "input.content.input_sound"),
    ({"input": [{"role": "system", "content": [IMAGE]}]}, "input.content of a system message (other than text)"),
    ({"input": [MESSAGE, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"}]},
     "input.arguments"),
    ({"input": [MESSAGE, {"type": "function_call_output", "call_id": "c", "output": [IMAGE]}]},
     "input.output (other than text)"),
    ({"input": []}, "input"), ({"input": 3}, "input"), ({"input": [{"role": "robot", "content": "x"}]}, "input.role"),
]  # fmt: skip
PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"), ({"store": True}, "store"), ({"truncation": "auto"}, "truncation"),
    ({"include": ["message.output_text.logprobs"]}, "include"), ({"top_logprobs": 3}, "top_logprobs"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"reasoning": {"effort": "low", "mode": "pro"}}, "reasoning.mode"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format"), ({"max_tokens": 3}, "max_tokens"),
    ({"moderation": {"model": "x"}}, "moderation"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "field"), [*CONTENT, *PARAMETERS])
def test_what_cannot_be_said_is_refused_by_its_own_name(more: dict[str, Any], field: str) -> None:
    provider = "chat" if "other than text" in field else "messages"
    with pytest.raises(Untranslatable) as told:
        Translation("responses", provider, 0).request(msgspec.json.encode({**HELLO, **more}), drop=False)
    assert told.value.field == field


@pytest.mark.parametrize(("more", "field"), PARAMETERS)
def test_a_parameter_is_dropped_and_said_where_policy_lets_it(more: dict[str, Any], field: str) -> None:
    translation = Translation("responses", "messages", 0)
    translation.request(msgspec.json.encode({**HELLO, **more}), drop=True)
    assert translation.dropped == (field,)


@pytest.mark.parametrize(("more", "field"), CONTENT)
def test_content_is_never_dropped(more: dict[str, Any], field: str) -> None:
    provider = "chat" if "other than text" in field else "messages"
    with pytest.raises(Untranslatable, match=r".+"):
        Translation("responses", provider, 0).request(msgspec.json.encode({**HELLO, **more}), drop=True)


def test_hints_fall_and_are_said() -> None:
    hints = {"metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "k", "max_tool_calls": 3,
             "reasoning": {"summary": "auto"}}  # fmt: skip
    translation = Translation("responses", "messages", 0)
    translation.request(msgspec.json.encode({**HELLO, **hints}), drop=False)
    assert set(translation.dropped) == {"metadata", "safety_identifier", "prompt_cache_key", "max_tool_calls",
                                        "reasoning.summary"}  # fmt: skip


def test_a_gemini_request_has_everything() -> None:
    body = {
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 9, "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None},
        ], "tool_choice": "required", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}, IMAGE]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}",
             "extra_content": {"google": {"thought_signature": "sig"}}},
            {"type": "function_call_output", "call_id": "c", "output": "rain"},
        ],
    }  # fmt: skip
    sent = json.loads(Translation("responses", "gemini", 0).request(msgspec.json.encode(body), drop=False))
    assert sent == PROVIDERS["gemini"].write(CLIENTS["responses"].read(body, Losses("x")), Losses("x"))
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert sent["generationConfig"]["maxOutputTokens"] == 9
    assert [content["role"] for content in sent["contents"]] == ["user", "model", "user"]
    assert sent["contents"][1]["parts"][0]["thoughtSignature"] == "sig"
    assert sent["contents"][2]["parts"][0]["functionResponse"]["response"] == {"output": "rain"}
