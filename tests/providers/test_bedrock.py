"""Kind bedrock: answers and requests are what botocore's own service model says; signatures are what it makes of what
was sent; frames are read however they are cut, and a broken one is no answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from gateway.errors import ProviderBroken
from gateway.providers.aws_signature import signed_headers
from gateway.providers.credentials import lines_of
from gateway.providers.errors import client_error
from gateway.stream.sse import Decoder
from gateway.translation.losses import Untranslatable
from gateway.translation.neutral import Unreadable
from gateway.translation.pairs import PROVIDERS, Translation
from tests.e2e.test_dialects import CHAT, MESSAGES
from tests.providers.frames import through_frames
from tests.providers.upstream import badly_signed, cassette, events, frame
from tests.translation.clouds import MODEL, fits

TAPE = cassette("bedrock")
CLAUDE = "eu.anthropic.claude-sonnet-5-v1:0"
NOVA = "amazon.nova-pro-v1:0"


def request(client: str, asked: dict[str, Any], model: str = CLAUDE) -> dict[str, Any]:
    body = Translation(client, "bedrock", 7).request(json.dumps({"model": model, **asked}).encode(), drop=False)
    written: dict[str, Any] = json.loads(body)
    fits("ConverseRequest", {"modelId": model, **written})
    return written


@pytest.mark.parametrize("name", TAPE["whole"])
def test_an_answer_is_what_the_service_model_says(name: str) -> None:
    fits("ConverseResponse", TAPE["whole"][name])


@pytest.mark.parametrize("name", TAPE["streams"])
def test_an_event_is_what_the_service_model_says(name: str) -> None:
    for event in TAPE["streams"][name]:
        fits("ConverseStreamOutput", event)


def test_a_field_that_nobody_knows_is_noticed() -> None:
    with pytest.raises(AssertionError, match="modell"):
        fits("ConverseResponse", {**TAPE["whole"]["tools"], "modell": "x"})


def test_every_kind_of_event_exception_and_error_is_in_the_cassette() -> None:
    members = set(MODEL.shape_for("ConverseStreamOutput").members)
    played = {name for stream in TAPE["streams"].values() for event in stream for name in event}
    assert played | set(TAPE["exceptions"]) == members
    told = {more["x-amzn-errortype"].partition(":")[0] for _, _, more in TAPE["errors"].values()}
    errors = {shape.name for shape in MODEL.operation_model("Converse").error_shapes}
    assert errors - told == {"AccessDeniedException", "InternalServerException", "ResourceNotFoundException"}


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize(("client", "asked"), [("chat", CHAT), ("messages", MESSAGES)])
def test_a_request_is_what_the_service_model_says(client: str, asked: dict[str, Any], model: str) -> None:
    written = request(client, asked, model)
    assert [message["role"] for message in written["messages"]] == ["user", "assistant", "user"]
    assert written["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "call_0", "content": [{"text": "rain"}]}}, {"text": "And Köln and Ulm?"},
    ]  # fmt: skip
    assert written["system"] == [{"text": "Be brief."}]
    assert written["toolConfig"]["toolChoice"] == {"any": {}}
    assert written["inferenceConfig"]["maxTokens"] == 500


PDF = {"type": "document", "title": "a/b: report", "source": {
    "type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}  # fmt: skip


def test_all_that_converse_has_words_for_is_said() -> None:
    said = request("messages", {
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "messages": [
            {"role": "user", "content": [PDF, PDF, {"type": "text", "text": "Read."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "c2VhbGVk"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": []},
            ]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f"},
    })  # fmt: skip
    documents = [block["document"]["name"] for block in said["messages"][0]["content"] if "document" in block]
    assert documents == ["a b report", "a b report 2"]
    assert said["messages"][1]["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
    ]
    assert said["messages"][2]["content"][0]["toolResult"]["status"] == "error"
    assert said["toolConfig"]["toolChoice"] == {"tool": {"name": "f"}}
    assert said["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]}
    assert said["additionalModelRequestFields"] == {
        "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 2000},
    }  # fmt: skip
    schema = said["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
    assert json.loads(schema) == {"type": "object"}


HI = {"messages": [{"role": "user", "content": "hi"}]}
WEB = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({**HI, "seed": 1}, "seed"),
        ({**HI, "reasoning_effort": "low"}, "reasoning_effort"),
        ({**HI, "response_format": {"type": "json_object"}}, "response_format"),
        ({**HI, "parallel_tool_calls": False, "tools": TOOLS}, "parallel_tool_calls"),
        ({**CHAT, "tool_choice": "none"}, "tool_choice"),
        (
            {"messages": [{"role": "user", "content": WEB}]},
            "messages.content (an image at an address other than s3://)",
        ),
    ],
)
def test_what_converse_has_no_words_for_is_refused_by_name(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(Untranslatable) as told:
        request("chat", asked, NOVA)
    assert told.value.field == field


def test_no_tools_are_sent_where_none_may_be_called() -> None:
    assert "toolConfig" not in request("chat", {**HI, "tools": TOOLS, "tool_choice": "none"})


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_malformed_output_is_no_answer(reason: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDERS["bedrock"].read(json.dumps({**TAPE["whole"]["tools"], "stopReason": reason}).encode())


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_frames_are_read_however_they_are_cut(size: int) -> None:
    out = asyncio.run(through_frames(b"".join(events("bedrock", "tools")), size))
    read = [(event.name, json.loads(event.data or b"")) for event in Decoder().feed(out)]
    assert read == [one for event in TAPE["streams"]["tools"] for one in event.items()]


@pytest.mark.parametrize("at", [0, 9, 14, 40, 150])  # lengths, their sum, headers, payload
def test_a_broken_frame_is_no_event(at: int) -> None:
    raw = b"".join(events("bedrock", "tools"))
    with pytest.raises(ProviderBroken):
        asyncio.run(through_frames(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], 100))


def test_a_stream_that_ends_within_a_frame_has_broken_off() -> None:
    with pytest.raises(ProviderBroken, match="broke off"):
        asyncio.run(through_frames(b"".join(events("bedrock", "tools"))[:-1], 100))


@pytest.mark.parametrize("name", TAPE["exceptions"])
def test_an_exception_in_a_stream_is_an_error_with_its_name(name: str) -> None:
    raw = asyncio.run(through_frames(frame(name, {"message": TAPE["exceptions"][name]}, "exception"), 7))
    (event,) = Decoder().feed(raw)
    assert event.data is not None
    error = client_error(200, {}, event.data)
    told = {"throttlingException": 429, "validationException": 400, "serviceUnavailableException": 503}
    assert error.status == told.get(name, 502)
    assert error.provider_code == name
    assert (error.message == TAPE["exceptions"][name]) is (name == "validationException")
    assert error.retryable is (name != "validationException")


@pytest.mark.parametrize(("play", "status"), [("argument", 400), ("timeout", 504), ("model", 502), ("not ready", 429)])
def test_an_error_of_aws_has_its_meaning(play: str, status: int) -> None:
    answered, body, headers = TAPE["errors"][play]
    error = client_error(answered, headers, json.dumps(body).encode())
    assert error.status == status
    assert error.provider_code == headers["x-amzn-errortype"].partition(":")[0]
    assert (error.message == body["message"]) is (status == 400)


URL = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/arn%3Aaws%3Abedrock%2Fx/converse"


@pytest.mark.parametrize("token", [None, "lent"])
def test_a_signature_is_what_botocore_makes_of_what_was_sent(token: str | None) -> None:
    secret = lines_of("AKIDEXAMPLE", "hidden", token)
    own = dict(signed_headers("POST", URL, b"{}", secret, "eu-central-1"))
    assert own.get("x-amz-security-token") == token
    sent = {**own, "content-type": "application/json", "host": "bedrock-runtime.eu-central-1.amazonaws.com"}
    assert badly_signed("POST", URL, sent, b"{}", "hidden") is None
    assert badly_signed("POST", URL, sent, b"{ }", "hidden") == "another signature"
    assert badly_signed("POST", URL + "-stream", sent, b"{}", "hidden") == "another signature"
    assert badly_signed("POST", URL, sent, b"{}", "other") == "another signature"
    assert "hidden" not in str(own)


def test_a_key_of_bedrocks_own_is_a_bearer() -> None:
    assert signed_headers("POST", URL, b"{}", "key", "eu-central-1") == [("authorization", "Bearer key")]


def test_nothing_of_a_cloud_is_imported_before_it_is_needed() -> None:
    roots = "{one.partition('.')[0] for one in sys.modules}"
    code = f"import sys, gateway.app; print(sorted({roots} & {{'botocore', 'google'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
