"""One conversation, with tool calls and a picture, from each client's SDK to each provider, whole and streamed: the
same meaning, the provider's own path and credential, the usage in the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from openai.types.responses import Response

from tests.e2e.harness import KEY, Gateway, gateway, key_hash
from tests.providers.entra_office import entra_office
from tests.providers.token_office import token_office
from tests.providers.upstream import Player, cassette, events, frame, playing

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "Compare with jane.roe@example.com"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
        ]},
        {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
        {"role": "user", "content": "And Köln and Ulm?"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA}},
    ],
    "tool_choice": "required", "temperature": 0.5, "max_tokens": 500,
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "Compare with jane.roe@example.com"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Bonn"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_0", "content": "rain"},
            {"type": "text", "text": "And Köln and Ulm?"},
        ]},
    ],
    "tools": [{"name": "weather", "description": "The weather", "input_schema": SCHEMA}],
    "tool_choice": {"type": "any"}, "max_tokens": 500,
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "Compare with jane.roe@example.com"},
            {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"},
        ]},
        {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": '{"city":"Bonn"}'},
        {"type": "function_call_output", "call_id": "call_0", "output": "rain"},
        {"role": "user", "content": "And Köln and Ulm?"},
    ],
    "tools": [
        {"type": "function", "name": "weather", "description": "The weather", "parameters": SCHEMA, "strict": None},
    ],
    "tool_choice": "required", "max_output_tokens": 500,
}  # fmt: skip
DROPS = "gw-drop-key-0123456789"
CALLS = [("weather", {"city": "Köln"}), ("weather", {"city": "Ulm"})]
PROVIDERS = ["openai", "anthropic", "gemini", "azure", "azure-v1", "azure-app", "openai-pro", "bedrock", "vertex"]
TAPES = {"azure": "openai", "azure-v1": "openai", "azure-app": "openai", "openai-pro": "openai", "vertex": "gemini"}
PATHS = {
    "openai": "/v1/chat/completions", "anthropic": "/v1/messages", "azure-v1": "/openai/v1/chat/completions",
    "azure-app": "/openai/v1/chat/completions", "openai-pro": "/v1/responses",
    "azure": "/openai/deployments/some-model/chat/completions?api-version=2024-10-21",
}  # fmt: skip
RESPONSES_PATHS = {
    "azure": "/openai/responses?api-version=2024-10-21", "azure-v1": "/openai/v1/responses",
    "azure-app": "/openai/v1/responses", "openai-pro": "/v1/responses",
}  # fmt: skip
THINKING = ["anthropic", "gemini", "bedrock", "vertex"]
KEYS = {"vertex": "file:account.json"}
LENT = {"UPSTREAM_KEY_ID": "AKIDEXAMPLE", "UPSTREAM_TOKEN": "lent"}  # beside a secret access key of AWS's
CREDENTIALS = {
    "openai": ("authorization", "Bearer upstream-secret-canary"), "anthropic": ("x-api-key", "upstream-secret-canary"),
    "gemini": ("x-goog-api-key", "upstream-secret-canary"), "azure": ("api-key", "upstream-secret-canary"),
    "azure-v1": ("authorization", "Bearer upstream-secret-canary"), "bedrock": ("x-amz-security-token", "lent"),
    "vertex": ("authorization", "Bearer token-1"), "azure-app": ("authorization", "Bearer entra-1"),
    "openai-pro": ("authorization", "Bearer upstream-secret-canary"),
}  # fmt: skip


@dataclass
class Served:
    gateway: Gateway
    players: dict[str, Player]
    before: int = 0  # records of earlier tests

    def chat(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=KEY, max_retries=0)

    def messages(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.gateway.url, api_key=KEY, max_retries=0)

    def record(self, calls: int = 1) -> dict[str, Any]:
        """The record of the last of a test's calls."""
        found: dict[str, Any] = self.gateway.records(self.before + calls)[-1]
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        entra = stack.enter_context(entra_office())
        entra.secret = "upstream-secret-canary"
        players = {name: stack.enter_context(playing(TAPES.get(name, name))) for name in PROVIDERS}
        tables = {
            "openai": f'kind = "openai"\nbase_url = "{players["openai"].url}/v1"\nspeaks = ["chat"]',
            "openai-pro": f'kind = "openai"\nbase_url = "{players["openai-pro"].url}/v1"\nspeaks = ["responses"]',
            "anthropic": f'kind = "anthropic"\nbase_url = "{players["anthropic"].url}/v1"',
            "gemini": f'kind = "gemini"\nbase_url = "{players["gemini"].url}/v1beta"',
            "azure": f'kind = "azure"\nbase_url = "{players["azure"].url}"\napi_version = "2024-10-21"',
            "bedrock": f'kind = "bedrock"\nbase_url = "{players["bedrock"].url}"\nregion = "eu-central-1"\n'
            'access_key_id = "env:UPSTREAM_KEY_ID"\nsession_token = "env:UPSTREAM_TOKEN"',
            "vertex": f'kind = "vertex"\nbase_url = "{players["vertex"].url}/v1"\nregion = "global"\n'
            'project = "my-project"',
            "azure-v1": f'kind = "azure"\nbase_url = "{players["azure-v1"].url}"\nauth = "entra"',
            "azure-app": f'kind = "azure"\nbase_url = "{players["azure-app"].url}"\nauth = "client_secret"\n'
            f'tenant_id = "contoso"\nclient_id = "app-1"\nauthority = "{entra.url}"',
        }
        settings = (
            'schema = 1\n[server]\nport = 0\n[health]\nport = 0\n[secrets]\nmaster = "env:GATEWAY_TEST_MASTER"\n'
            '[policies]\npath = "policies"\n[log]\nformat = "json"\n'
        )
        settings += "".join(
            f'[providers.{name}]\n{table}\napi_key = "{KEYS.get(name, "env:UPSTREAM_KEY")}"\n'
            for name, table in tables.items()
        )
        models = "".join(f'[models."{name}"]\nprovider = "{name}"\nmodel = "some-model"\n' for name in PROVIDERS)
        profile = '[redaction.strict]\nentities = ["EMAIL_ADDRESS"]\naction = "replace"\nunscannable = "allow"\n'
        app = f'[keys.app]\nhash = "{key_hash()}"\nmodels = ["*"]\nredaction = "strict"\n'
        drop = f'[keys.drop]\nhash = "{key_hash(DROPS)}"\nmodels = ["*"]\ndrop_params = true\n'
        policies = {"models.toml": models, "redaction.toml": profile, "keys.toml": app + drop}
        folder = tmp_path_factory.mktemp("dialects")
        office = stack.enter_context(token_office())
        (folder / "account.json").write_text(json.dumps(office.account, indent=2))
        running = stack.enter_context(gateway(folder, settings, policies, env=LENT))
        yield Served(running, players)


@pytest.fixture(autouse=True)
def rewound(served: Served) -> None:
    served.before = len(served.gateway.all_records())
    for player in served.players.values():
        player.play, player.cut, player.raw = "tools", None, None
        player.seen.clear()


def sent(served: Served, provider: str, stream: bool, *, responses: bool = False) -> dict[str, Any]:
    """What the provider got, and that it came as its own clients send it."""
    (request,) = served.players[provider].seen
    paths = {"bedrock": f"/model/some-model/converse{'-stream' if stream else ''}", **PATHS}
    paths |= RESPONSES_PATHS if responses else {}
    if provider == "vertex":
        paths["vertex"] = (
            "/v1/projects/my-project/locations/global/publishers/google/models/some-model:"
            f"{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
        )
    gemini = f"/v1beta/models/some-model:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
    assert request["path"] == paths.get(provider, gemini)
    name, value = CREDENTIALS[provider]
    assert request["headers"][name] == value
    assert KEY not in json.dumps(request)
    assert "jane.roe@example.com" not in json.dumps(request)
    if provider == "anthropic":
        assert request["headers"]["anthropic-version"]
    body: dict[str, Any] = request["body"]
    text = json.dumps(body, ensure_ascii=False)
    assert all(one in text for one in ("Be brief.", PIXEL, "Bonn", "rain", "And Köln and Ulm?", "The weather"))
    return body


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_whole(served: Served, provider: str) -> None:
    with served.chat() as client:
        answer = client.chat.completions.create(model=provider, **CHAT)
    choice = answer.choices[0]
    assert choice.message.content == "I will look at both."
    calls = [one.function for one in choice.message.tool_calls or () if one.type == "function"]
    assert [(one.name, json.loads(one.arguments)) for one in calls] == CALLS
    assert choice.finish_reason == "tool_calls"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (125, 60)
    sent(served, provider, stream=False)
    record = served.record()
    assert (record["gen_ai.usage.input_tokens"], record["gen_ai.usage.output_tokens"]) == (125, 60)
    assert record["gateway.usage.basis"] == "provider"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_streamed(served: Served, provider: str) -> None:
    calls: dict[int, list[str]] = {}
    text, reasons = "", []
    with served.chat() as client, client.chat.completions.create(model=provider, stream=True, **CHAT) as stream:
        for chunk in stream:
            assert chunk.usage is None  # nobody asked for it
            delta = chunk.choices[0].delta
            text += delta.content or ""
            for call in delta.tool_calls or ():
                kept = calls.setdefault(call.index, ["", ""])
                assert call.function is not None
                kept[0] += call.function.name or ""
                kept[1] += call.function.arguments or ""
            reasons.append(chunk.choices[0].finish_reason)
    assert text == "I will look at both."
    assert [(name, json.loads(arguments)) for name, arguments in calls.values()] == CALLS
    assert reasons[-1] == "tool_calls"
    sent(served, provider, stream=True)
    assert served.record()["gen_ai.usage.output_tokens"] == 60


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_whole(served: Served, provider: str) -> None:
    with served.messages() as client:
        answer = client.messages.create(model=provider, **MESSAGES)
    assert [block.text for block in answer.content if block.type == "text"] == ["I will look at both."]
    assert [(block.name, block.input) for block in answer.content if block.type == "tool_use"] == CALLS
    assert answer.stop_reason == "tool_use"
    cached = (answer.usage.cache_read_input_tokens or 0) + (answer.usage.cache_creation_input_tokens or 0)
    assert answer.usage.input_tokens + cached == 125
    sent(served, provider, stream=False)
    assert served.record()["gen_ai.usage.input_tokens"] == 125


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_streamed(served: Served, provider: str) -> None:
    with served.messages() as client, client.messages.stream(model=provider, **MESSAGES) as stream:
        answer = stream.get_final_message()
    assert [block.text for block in answer.content if block.type == "text"] == ["I will look at both."]
    assert [(block.name, block.input) for block in answer.content if block.type == "tool_use"] == CALLS
    assert (answer.stop_reason, answer.usage.output_tokens) == ("tool_use", 60)
    sent(served, provider, stream=True)
    record = served.record()
    assert (record["gen_ai.usage.input_tokens"], record["gen_ai.usage.output_tokens"]) == (125, 60)


def is_the_answer(answer: Response) -> None:
    assert answer.output_text == "I will look at both."
    calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
    assert calls == CALLS
    assert answer.status == "completed"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (125, 60)
    assert answer.usage.input_tokens_details.cached_tokens == 100


@pytest.mark.parametrize("provider", PROVIDERS)
def test_responses_whole(served: Served, provider: str) -> None:
    with served.chat() as client:
        answer = client.responses.create(model=provider, **RESPONSES)
    is_the_answer(answer)
    thoughts = [item.summary[0].text for item in answer.output if item.type == "reasoning"]
    assert thoughts == (["The picture shows a sky."] if provider in THINKING else [])
    sent(served, provider, stream=False, responses=True)
    record = served.record()
    assert (record["gen_ai.usage.input_tokens"], record["gen_ai.usage.output_tokens"]) == (125, 60)
    assert record["gateway.usage.basis"] == "provider"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_responses_streamed(served: Served, provider: str) -> None:
    numbers, text = [], ""
    with served.chat() as client, client.responses.create(model=provider, stream=True, **RESPONSES) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            text += event.delta if event.type == "response.output_text.delta" else ""
    assert text == "I will look at both."
    assert numbers == list(range(len(numbers)))
    assert event.type == "response.completed"
    is_the_answer(event.response)
    sent(served, provider, stream=True, responses=True)
    assert served.record()["gen_ai.usage.output_tokens"] == 60


@pytest.mark.parametrize("provider", PROVIDERS)
def test_responses_gathered_by_the_sdk(served: Served, provider: str) -> None:
    with served.chat() as client, client.responses.stream(model=provider, **RESPONSES) as stream:
        kinds = [event.type for event in stream]
        is_the_answer(stream.get_final_response())
    assert kinds.count("response.function_call_arguments.done") == 2


@pytest.mark.parametrize("provider", PROVIDERS)
def test_responses_with_what_it_said_before(served: Served, provider: str) -> None:
    with served.chat() as client:
        answer = client.responses.create(model=provider, **RESPONSES)
        before = [item.to_dict() for item in answer.output]
        calls = [item.call_id for item in answer.output if item.type == "function_call"]
        outputs = [{"type": "function_call_output", "call_id": call, "output": "sun"} for call in calls]
        served.players[provider].seen.clear()
        more: Any = [*RESPONSES["input"], *before, *outputs]
        client.responses.create(model=provider, **{**RESPONSES, "input": more})
    comes_back(provider, sent(served, provider, stream=False, responses=True))


def comes_back(provider: str, body: dict[str, Any]) -> None:
    """Of the turn before: both results, and what its provider signed, as it signed it."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    assert text.count('"sun"') == 2
    signed = {
        "anthropic": '{"signature": "c2ln", "thinking": "The picture shows a sky.", "type": "thinking"}',
        "bedrock": '{"reasoningText": {"signature": "c2ln", "text": "The picture shows a sky."}}',
        "gemini": '"thoughtSignature": "c2ln"', "vertex": '"thoughtSignature": "c2ln"',
    }  # fmt: skip
    assert signed.get(provider, "") in text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_with_what_it_said_before(served: Served, provider: str) -> None:
    with served.chat() as client:
        message = client.chat.completions.create(model=provider, **CHAT).choices[0].message
        calls = [call.id for call in message.tool_calls or ()]
        results = [{"role": "tool", "tool_call_id": call, "content": "sun"} for call in calls]
        served.players[provider].seen.clear()
        more: Any = [*CHAT["messages"], message.to_dict(), *results]
        client.chat.completions.create(model=provider, **{**CHAT, "messages": more})
    comes_back(provider, sent(served, provider, stream=False))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_with_what_they_said_before(served: Served, provider: str) -> None:
    with served.messages() as client, client.messages.stream(model=provider, **MESSAGES) as stream:
        said = [block.to_dict() for block in stream.get_final_message().content]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "sun"}
               for block in said if block["type"] == "tool_use"]  # fmt: skip
    served.players[provider].seen.clear()
    more: Any = [*MESSAGES["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": results}]
    with served.messages() as client:
        client.messages.create(model=provider, **{**MESSAGES, "messages": more})
    comes_back(provider, sent(served, provider, stream=False))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("play", "status"), [("key", 502), ("rate", 429), ("overloaded", 503)])
def test_errors_in_the_clients_words(served: Served, provider: str, play: str, status: int) -> None:
    served.players[provider].play = play
    with served.chat() as chat, pytest.raises(openai.APIStatusError) as told:
        chat.chat.completions.create(model=provider, messages=[{"role": "user", "content": "hi"}])
    assert told.value.status_code == status
    with served.messages() as messages, pytest.raises(anthropic.APIStatusError) as said:
        messages.messages.create(model=provider, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert said.value.status_code == (529 if status == 503 else status)
    for caught in (told.value, said.value):
        assert caught.response.headers["content-type"] == "application/json"
    assert isinstance(said.value.body, dict)
    kinds = {502: "api_error", 429: "rate_limit_error", 503: "overloaded_error"}
    assert said.value.body["error"]["type"] == kinds[status]
    tape = cassette(TAPES.get(provider, provider))
    answered, body, *more = tape["errors"][play]
    error = body.get("error", body)
    code = (more[0]["x-amzn-errortype"].partition(":")[0] if more
            else error.get("status") or error.get("code") or error["type"])  # fmt: skip
    request_id = next(iter(tape["headers"].values()), None)
    codes = {502: "provider_error", 429: "provider_rate_limited", 503: "provider_overloaded"}
    for number, caught in ((1, told.value), (2, said.value)):
        record = served.gateway.all_records()[served.before + number - 1]
        assert record["gateway.provider.status"] == answered, "what the provider itself said"
        assert record["gateway.provider.error"] == code
        assert record.get("gateway.provider.request_id") == request_id
        assert record["http.response.status_code"] == caught.status_code, "what the client got"
        assert record["gateway.error.code"] == codes[status]
    assert told.value.code == codes[status]


def test_what_cannot_be_said_is_refused_by_name_and_nothing_is_called(served: Served) -> None:
    with served.chat() as client, pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model="anthropic", seed=7, **CHAT)
    assert (told.value.param, told.value.code) == ("seed", "unsupported_parameter")
    for field, value in {"previous_response_id": "resp_1", "background": True, "store": True}.items():
        with served.chat() as client, pytest.raises(openai.BadRequestError) as told:
            client.responses.create(model="anthropic", **{**RESPONSES, field: value})
        assert (told.value.param, told.value.code) == (field, "unsupported_parameter")
    with served.chat() as client, pytest.raises(openai.BadRequestError) as told:
        client.embeddings.create(model="anthropic", input="x")
    assert "embeddings" in told.value.message
    with served.messages() as client, pytest.raises(anthropic.BadRequestError, match="top_k"):
        client.messages.create(model="openai", extra_body={"top_k": 3}, **MESSAGES)
    assert not any(player.seen for player in served.players.values())
    assert served.record(6)["error.type"] == "untranslatable"


def test_a_policy_may_let_parameters_fall(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.gateway.url}/v1", api_key=DROPS, max_retries=0) as client:
        answer = client.chat.completions.with_raw_response.create(model="anthropic", seed=7, **CHAT)
    assert answer.headers["x-gateway-dropped"] == "seed"
    assert served.record()["gateway.dropped"] == ["seed"]
    assert "seed" not in served.players["anthropic"].seen[0]["body"]


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "bedrock"])
def test_a_stream_that_breaks_off_is_an_error(served: Served, provider: str) -> None:
    served.players[provider].cut = 3
    with served.chat() as client, pytest.raises(openai.APIError, match="broke off"):
        for _ in client.chat.completions.create(model=provider, stream=True, **CHAT):
            pass
    assert served.record()["gateway.ending"] == "truncated"
    with served.chat() as client, pytest.raises(openai.APIError, match="broke off"):
        for _ in client.responses.create(model=provider, stream=True, **RESPONSES):
            pass
    assert served.record(2)["gateway.ending"] == "truncated"


COUNTED = "x-gateway-counted-by"


@pytest.mark.parametrize("provider", ["openai", "gemini", "azure"])
def test_a_count_that_the_provider_does_not_offer_is_ours(served: Served, provider: str) -> None:
    asked = {name: MESSAGES[name] for name in ("system", "messages", "tools")}
    with served.messages() as client:
        raw = client.messages.with_raw_response.count_tokens(model=provider, **asked)
        few = raw.parse().input_tokens
        assert raw.headers[COUNTED] == "estimate", "no rank files here"
        long = client.messages.count_tokens(
            model=provider, messages=[{"role": "user", "content": "jane.roe@example.com " + "far more words " * 200}]
        )
    assert 0 < few < 5_000
    assert 600 < long.input_tokens < 3_000
    assert served.players[provider].seen == [], "nobody is asked"
    record = served.record(2)
    assert record["gateway.ending"] == "local"
    assert record["gateway.usage.by"] == "estimate"
    assert record["gateway.flags"] == ["counted_here"]
    assert record["gateway.charged.tokens"] == 0
    assert record["gateway.redaction.spans"] == {"EMAIL_ADDRESS": 1}


def test_where_it_does_offer_it_the_provider_is_asked(served: Served) -> None:
    with served.messages() as client:
        client.messages.with_raw_response.count_tokens(
            model="anthropic", messages=[{"role": "user", "content": "hello"}]
        )
    (request,) = served.players["anthropic"].seen
    assert request["path"] == "/v1/messages/count_tokens"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_responses_count_their_input_too(served: Served, provider: str) -> None:
    with served.chat() as client:
        raw = client.responses.input_tokens.with_raw_response.count(model=provider, input="How long is this?")
        counted = raw.parse()
        assert counted.object == "response.input_tokens"
        assert counted.input_tokens > 4
        assert served.players[provider].seen == []
        with pytest.raises(openai.BadRequestError, match="previous_response_id") as caught:
            client.responses.input_tokens.count(model=provider, input="And?", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


def test_a_count_of_nothing_is_refused_in_the_clients_dialect(served: Served) -> None:
    with served.messages() as client, pytest.raises(anthropic.BadRequestError, match="a list of messages") as caught:
        client.messages.count_tokens(model="openai", messages="hello")  # type: ignore[arg-type]  # that is it
    assert caught.value.response.json()["error"]["type"] == "invalid_request_error"
    assert served.record()["gateway.ending"] == "refused"


@pytest.mark.parametrize(("name", "status"), [("throttlingException", 429), ("validationException", 400)])
def test_an_exception_that_begins_a_stream_of_aws_has_a_status(served: Served, name: str, status: int) -> None:
    served.players["bedrock"].raw = frame(name, {"message": "Not so."}, "exception")
    with served.chat() as client, pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(model="bedrock", stream=True, **CHAT)
    assert told.value.status_code == status
    assert ("Not so." in told.value.message) is (status == 400)
    assert served.record()["gateway.provider.error"] == name


def test_an_exception_in_the_middle_of_a_stream_of_aws_is_an_error(served: Served) -> None:
    failed = frame("modelStreamErrorException", {"message": "canary"}, "exception")
    served.players["bedrock"].raw = b"".join([*events("bedrock", "tools")[:6], failed])
    with served.messages() as client, pytest.raises(anthropic.APIStatusError) as told:
        for _ in client.messages.create(model="bedrock", stream=True, **MESSAGES):
            pass
    assert "canary" not in str(told.value.body)
    assert served.record()["gateway.ending"] == "provider_error"


def test_a_signature_that_does_not_fit_is_refused_without_details(served: Served) -> None:
    player = served.players["bedrock"]
    try:
        player.secret = "another"
        with served.chat() as client, pytest.raises(openai.InternalServerError) as told:
            client.chat.completions.create(model="bedrock", **CHAT)
    finally:
        player.secret = "upstream-secret-canary"
    assert "signature" not in told.value.message
    assert served.record()["gateway.provider.status"] == 403


def test_what_cannot_be_signed_never_reaches_aws(served: Served) -> None:
    client = openai.OpenAI(base_url=f"{served.gateway.url}/v1", api_key=DROPS, max_retries=0)
    with client, pytest.raises(openai.BadRequestError, match="does not offer"):
        client.images.generate(model="bedrock", prompt="a tree")
    assert not served.players["bedrock"].seen


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_an_error_halfway_is_one_to_every_client(served: Served, provider: str) -> None:
    served.players[provider].play = "overloaded halfway"
    with served.chat() as client, pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(model=provider, stream=True, **CHAT):
            pass
    with (
        served.messages() as claude,
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(model=provider, **MESSAGES) as stream,
    ):
        stream.get_final_message()
    with served.chat() as client, client.responses.create(model=provider, stream=True, **RESPONSES) as events:
        *_, last = events
    assert last.type == "response.failed"
    assert last.response.output_text == "One, two"
    assert last.response.error is not None
    assert served.record(3)["gateway.ending"] == "provider_error"
