"""Responses and Anthropic's Messages, with the official SDKs, plain and streamed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.e2e.harness import KEY, Gateway, Upstream

PERSONAL = "Write to ada.lovelace@example.com or call +1 212 555 0142 please."
SECRETS = ("ada.lovelace@example.com", "212 555 0142")
SCHEMA: Any = {"type": "object", "properties": {"to": {"type": "string"}}}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@pytest.fixture
def oai(served: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def ant(served: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0) as made:
        yield made


def clean(upstream: Upstream, before: int) -> dict[str, Any]:
    """What the upstream received last: nothing personal in it."""
    sent = upstream.seen(before + 1)[-1]
    assert not any(secret in json.dumps(sent) for secret in SECRETS)
    return sent


def test_a_response_comes_back_with_its_own_words(oai: openai.OpenAI, served: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    raw = oai.responses.with_raw_response.create(model="plain", instructions="Be kind.", input=PERSONAL)
    answer = raw.parse()
    assert answer.output_text == PERSONAL
    assert "<EMAIL_ADDRESS_" in clean(upstream, before)["body"]
    record = served.record_of(raw.headers["x-request-id"])
    assert record["gateway.endpoint"] == "responses"
    assert record["gen_ai.operation.name"] == "chat"
    assert record["gen_ai.response.id"] == "resp_echo"
    assert record["gen_ai.response.finish_reasons"] == ["completed"]
    assert record["gateway.usage.basis"] == "provider"
    assert record["gateway.redaction.spans"] == {"EMAIL_ADDRESS": 1, "PHONE_NUMBER": 1}


def test_a_streamed_response_repeats_its_words_three_times(
    oai: openai.OpenAI, served: Gateway, upstream: Upstream
) -> None:
    before = len(upstream.seen())
    stream = oai.responses.create(model="up/echo/chunk-7", input=PERSONAL, stream=True)
    events = list(stream)
    clean(upstream, before)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == PERSONAL
    assert [event.text for event in events if event.type == "response.output_text.done"] == [PERSONAL]
    assert [event.response.output_text for event in events if event.type == "response.completed"] == [PERSONAL]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    record = served.record_of(stream.response.headers["x-request-id"])
    assert record["gateway.usage.basis"] == "provider"


def test_a_message_comes_back_with_its_own_words(ant: anthropic.Anthropic, served: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    raw = ant.messages.with_raw_response.create(
        model="plain", max_tokens=100, system="Be kind.", messages=[{"role": "user", "content": PERSONAL}]
    )
    (block,) = raw.parse().content
    assert block.type == "text"
    assert block.text == PERSONAL
    sent = clean(upstream, before)
    assert sent["headers"]["anthropic-version"] == raw.http_request.headers["anthropic-version"]
    assert KEY not in json.dumps(sent["headers"])
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    record = served.record_of(raw.headers["request-id"])
    assert record["gateway.endpoint"] == "messages"
    assert record["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert record["gateway.usage.basis"] == "provider"


def test_a_streamed_message_comes_back_with_its_own_words(
    ant: anthropic.Anthropic, served: Gateway, upstream: Upstream
) -> None:
    before = len(upstream.seen())
    with ant.messages.stream(
        model="up/echo/chunk-5", max_tokens=100, messages=[{"role": "user", "content": PERSONAL}]
    ) as stream:
        assert "".join(stream.text_stream) == PERSONAL
        final = stream.get_final_message()
        record = served.record_of(stream.response.headers["request-id"])
    assert final.usage.output_tokens > 1
    clean(upstream, before)
    assert record["gen_ai.usage.output_tokens"] == final.usage.output_tokens
    assert record["gen_ai.usage.input_tokens"] == final.usage.input_tokens


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
@pytest.mark.parametrize("cut", ["piece", "chunk"])
def test_tool_arguments_come_back(
    oai: openai.OpenAI, ant: anthropic.Anthropic, upstream: Upstream, cut: str, size: int
) -> None:
    model, before = f"up/echo/{cut}-{size}", len(upstream.seen())
    tools: Any = [{"type": "function", "name": "send", "parameters": SCHEMA}]
    events = list(oai.responses.create(model=model, input=PERSONAL, tools=tools, tool_choice="required", stream=True))
    written = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert json.loads(written) == {"to": PERSONAL}
    (whole,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert json.loads(whole.arguments) == {"to": PERSONAL}
    with ant.messages.stream(
        model=model, max_tokens=100, messages=[{"role": "user", "content": PERSONAL}],
        tools=[{"name": "send", "input_schema": SCHEMA}], tool_choice={"type": "any"},
    ) as stream:  # fmt: skip
        (block,) = stream.get_final_message().content
    assert block.type == "tool_use"
    assert block.input == {"to": PERSONAL}
    clean(upstream, before + 1)


LONG = " ".join(
    f"{number}: mail person{number}@example.com, or call +1 212 555 {number:04}." for number in range(1, 25)
)


@pytest.mark.parametrize("cut", ["piece", "chunk"])
def test_long_streams_cut_at_random(oai: openai.OpenAI, ant: anthropic.Anthropic, upstream: Upstream, cut: str) -> None:
    chance = random.Random(cut)
    for size in chance.sample(range(1, 60), k=6):
        model, before = f"up/echo/{cut}-{size}", len(upstream.seen())
        said: Any = [{"role": "user", "content": LONG}]
        chunks = oai.chat.completions.create(model=model, messages=said, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == LONG, size
        texts = oai.completions.create(model=model, prompt=LONG, stream=True)
        assert "".join(chunk.choices[0].text for chunk in texts) == LONG, size
        events = list(oai.responses.create(model=model, input=said, stream=True))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == LONG, size
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text == LONG
        with ant.messages.stream(model=model, max_tokens=9, messages=said) as stream:
            assert "".join(stream.text_stream) == LONG, size
        sent = json.dumps(upstream.seen(before + 4)[before:])
        assert "@example.com" not in sent
        assert "212 555" not in sent


def test_counting_tokens_costs_nothing(ant: anthropic.Anthropic, served: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    raw = ant.messages.with_raw_response.count_tokens(model="plain", messages=[{"role": "user", "content": PERSONAL}])
    assert raw.parse().input_tokens > 0
    clean(upstream, before)
    assert served.record_of(raw.headers["request-id"])["gateway.charged.tokens"] == 0


@pytest.mark.parametrize(
    ("model", "key", "error", "kind"),
    [
        ("plain", "gw-unknown", anthropic.AuthenticationError, "authentication_error"),
        ("nothing-of-the-kind", KEY, anthropic.NotFoundError, "not_found_error"),
        ("secret-model", KEY, anthropic.PermissionDeniedError, "permission_error"),
        ("up/echo/status-400", KEY, anthropic.BadRequestError, "invalid_request_error"),
        ("up/echo/status-429", KEY, anthropic.RateLimitError, "rate_limit_error"),
        ("up/echo/status-529", KEY, anthropic.APIStatusError, "overloaded_error"),
        ("up/echo/status-500", KEY, anthropic.InternalServerError, "api_error"),
    ],
)
def test_errors_are_anthropics_own(
    served: Gateway, model: str, key: str, error: type[anthropic.APIStatusError], kind: str
) -> None:
    with (
        anthropic.Anthropic(base_url=served.url, api_key=key, max_retries=0) as client,
        pytest.raises(error) as caught,
    ):
        client.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": "hello"}])
    body = caught.value.response.json()
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert body["error"]["type"] == kind
    assert body["request_id"] == caught.value.response.headers["request-id"] == caught.value.request_id
    if kind == "overloaded_error":
        assert caught.value.status_code == 529


async def events_of(
    served: Gateway, path: str, model: str, **more: Any
) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """Name and data of each event, and the record."""
    body = {"model": model, "stream": True, **more}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}{path}", json=body, headers=HEADERS) as answer,
    ):
        assert answer.status == 200
        parts = [part.split("\n") for part in (await answer.text()).split("\n\n") if part]
    events = [(part[0].removeprefix("event: "), json.loads(part[1].removeprefix("data: "))) for part in parts]
    return events, await asyncio.to_thread(served.record_of, answer.headers["x-request-id"])


async def test_a_stream_that_breaks_ends_with_an_error_of_its_dialect(served: Gateway) -> None:
    ask: dict[str, Any] = {"input": PERSONAL}
    events, record = await events_of(served, "/v1/responses", "up/echo/break", **ask)
    assert (record["gateway.ending"], record["gateway.usage.basis"]) == ("truncated", "counted")
    name, last = events[-1]
    assert (name, last["type"], last["code"], last["error"]["code"]) == (
        "error", "error", "provider_broken", "provider_broken",
    )  # fmt: skip
    numbers = [event["sequence_number"] for _, event in events]
    assert numbers == list(range(len(events)))
    ask = {"messages": [{"role": "user", "content": PERSONAL}], "max_tokens": 9}
    events, record = await events_of(served, "/v1/messages", "up/echo/break", **ask)
    name, last = events[-1]
    assert (name, last["type"], last["error"]["type"]) == ("error", "error", "api_error")
    assert (record["gateway.ending"], record["gateway.usage.basis"]) == ("truncated", "counted")


def test_sdks_raise_on_an_error_in_mid_stream(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    with pytest.raises(openai.APIError, match="broke off"):
        list(oai.responses.create(model="up/echo/break", input=PERSONAL, stream=True))
    with (
        pytest.raises(anthropic.APIStatusError, match="broke off"),
        ant.messages.stream(
            model="up/echo/break", max_tokens=9, messages=[{"role": "user", "content": PERSONAL}]
        ) as stream,
    ):
        list(stream.text_stream)
