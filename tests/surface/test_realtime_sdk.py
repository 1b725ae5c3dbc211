"""Realtime as OpenAI's own package drives it (`client.realtime.connect`, sync and async) through the gateway.

Every event of the fake upstream is one that the package knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.e2e.harness import KEY, Gateway, config, gateway, keys
from tests.providers.entra_office import Entra, entra_office
from tests.surface.recorder import spoken

MODELS = """
[models.voice]
provider = "up"
model = "gpt-realtime of the provider"
[models.claude]
provider = "claude"
model = "claude-sonnet-5"
[models.echo]
provider = "echo"
[models.azure]
provider = "azure"
model = "my-realtime"
[models.cloud]
provider = "cloud"
[[prices]]
provider = "up"
model = "*"
input = 1
output = 2
"""
OPEN = """endpoints = ["inference", "realtime"]
[keys.app.request]
max = { max_output_tokens = 50 }
"""
OTHERS = """
[providers.claude]
kind = "anthropic"
base_url = "{up}/v1"
api_key = "env:UPSTREAM_KEY"
[providers.azure]
kind = "azure"
base_url = "{up}"
api_version = "2025-04-01-preview"
auth = "client_secret"
tenant_id = "t"
client_id = "c"
authority = "{entra}"
api_key = "env:UPSTREAM_KEY"
[providers.cloud]
kind = "bedrock"
base_url = "{up}"
region = "eu-central-1"
api_key = "env:UPSTREAM_KEY"
"""
EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
WORDS = "It rains in Köln ."


@pytest.fixture(scope="module")
def entra() -> Iterator[Entra]:
    with entra_office() as office:
        office.secret = "upstream-secret-canary"
        yield office


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory, recorder: str, entra: Entra) -> Iterator[Gateway]:
    own = keys(OPEN).replace('models = ["up/*", "plain", "embed", "echo"]', 'models = ["*"]')
    settings = config(recorder, extra=OTHERS.replace("{up}", recorder).replace("{entra}", entra.url))
    policies = {"keys.toml": own, "models.toml": MODELS}
    with gateway(tmp_path_factory.mktemp("realtime-sdk"), settings, policies) as running:
        yield running


def client(talking: Gateway, key: str = KEY) -> openai.OpenAI:
    address = talking.url.replace("http:", "ws:") + "/v1"
    return openai.OpenAI(base_url=f"{talking.url}/v1", websocket_base_url=address, api_key=key, max_retries=0)


def said_in_full(events: list[Any]) -> str:
    assert [event.type for event in events] == [one["type"] for one in spoken(ASKED)]
    assert events[-1].response.usage.total_tokens == 7
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


ASKED: dict[str, Any] = {
    "type": "response.create", "response": {"output_modalities": ["text"], "instructions": WORDS},
}  # fmt: skip


def test_the_upstream_says_what_the_package_knows() -> None:
    for event in spoken(ASKED):
        EVENT.validate_python(event)


def test_a_conversation_by_the_sync_client(talking: Gateway) -> None:
    before = len(talking.all_records())
    with client(talking) as openai_client, openai_client.realtime.connect(model="voice") as session:
        assert session.recv().type == "session.created"
        session.session.update(session={"type": "realtime", "instructions": "Be brief."})
        updated: Any = session.recv()
        assert updated.session["instructions"] == "Be brief.", "the echo of what arrived"
        session.response.create(response=ASKED["response"])
        events = []
        for event in session:
            events.append(event)
            if event.type == "response.done":
                break
    assert said_in_full(events) == WORDS
    record = talking.records(before + 1)[-1]
    assert record["http.response.status_code"] == 101
    assert (record["gen_ai.usage.input_tokens"], record["gen_ai.usage.output_tokens"]) == (4, 3)
    assert record["gateway.charged.nano_usd"] == 10_000
    assert record["gen_ai.request.model"] == "voice"


async def test_two_conversations_at_once_by_the_async_client(talking: Gateway) -> None:
    address = talking.url.replace("http:", "ws:") + "/v1"

    async def talk(words: str) -> str:
        text = ""
        async with openai_client.realtime.connect(model="voice") as session:
            first: Any = await session.recv()
            assert first.type == "session.created"
            assert KEY not in str(first)
            await session.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}
            )
            echoed: Any = await session.recv()
            assert echoed.item["content"][0]["text"] == words, "the echo of what arrived"
            await session.input_audio_buffer.append(audio="AAAA" * 10_000)
            heard: Any = await session.recv()
            assert len(heard.audio) == 40_000
            await session.response.create(response={"output_modalities": ["text"], "instructions": words})
            async for event in session:
                if event.type == "response.output_text.delta":
                    text += event.delta
                elif event.type == "response.done":
                    break
        return text

    openai_client = openai.AsyncOpenAI(
        base_url=f"{talking.url}/v1", websocket_base_url=address, api_key=KEY, max_retries=0
    )
    async with openai_client:
        assert tuple(await asyncio.gather(talk("one two three"), talk("eins zwei"))) == ("one two three", "eins zwei")


def test_a_rule_holds_inside_and_the_session_goes_on(talking: Gateway) -> None:
    with client(talking) as openai_client, openai_client.realtime.connect(model="voice") as session:
        session.recv()
        session.response.create(response=cast("Any", {**ASKED["response"], "max_output_tokens": 51}))
        refused: Any = session.recv()
        assert refused.type == "error"
        assert refused.error.param == "max_output_tokens"
        session.response.create(response=cast("Any", {**ASKED["response"], "max_output_tokens": 50}))
        assert session.recv().type == "response.created"


def test_azure_is_told_its_deployment_and_a_token_that_was_got_for_it(talking: Gateway, entra: Entra) -> None:
    with client(talking) as openai_client, openai_client.realtime.connect(model="azure") as session:
        first: Any = session.recv()
    assert first.seen["path"] == "/openai/realtime"
    assert first.seen["query"] == "deployment=my-realtime&api-version=2025-04-01-preview"
    assert first.seen["authorization"] == "Bearer entra-1"


def test_the_providers_end_is_the_clients(talking: Gateway) -> None:
    with client(talking) as openai_client, openai_client.realtime.connect(model="voice") as session:
        session.recv()
        session.send({"type": "bye"})  # type: ignore[arg-type]  # no event of OpenAI's
        with pytest.raises((ConnectionClosedError, openai.OpenAIError)) as ended:
            session.recv()
    assert "4001" in str(ended.value)


@pytest.mark.parametrize(("model", "key", "status"), [
    ("claude", KEY, 400), ("echo", KEY, 400), ("cloud", KEY, 400), ("unheard-of", KEY, 404), ("voice", "wrong", 401),
])  # fmt: skip
def test_what_is_refused_is_refused_before_it_opens(talking: Gateway, model: str, key: str, status: int) -> None:
    before = len(talking.all_records())
    with client(talking, key) as openai_client, pytest.raises(InvalidStatus) as told:
        openai_client.realtime.connect(model=model).enter()
    assert told.value.response.status_code == status
    if status == 400:
        assert "offers no realtime sessions" in (told.value.response.body or b"").decode()
        record = talking.records(before + 1)[-1]
        assert record["gateway.ending"] == "refused"
        assert record["error.type"] == "untranslatable"
