"""The official SDK, with nothing but base URL and key changed."""

from __future__ import annotations

import base64
import struct
import urllib.request
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.harness import KEY, Gateway, Upstream

PERSONAL = "Write to ada.lovelace@example.com or call +1 212 555 0142 please."
SECRETS = ("ada.lovelace@example.com", "212 555 0142")


@pytest.fixture
def client(served: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_a_plain_chat_comes_back_with_its_own_words(client: openai.OpenAI, upstream: Upstream) -> None:
    before = len(upstream.seen())
    answer = client.chat.completions.create(model="plain", messages=[{"role": "user", "content": PERSONAL}])
    assert all(secret in (answer.choices[0].message.content or "") for secret in SECRETS)
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    sent = upstream.seen(before + 1)[-1]["body"]
    assert not any(secret in str(sent) for secret in SECRETS)


def test_a_stream_comes_back_with_its_own_words(client: openai.OpenAI, upstream: Upstream) -> None:
    before = len(upstream.seen())
    stream = client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": PERSONAL}], stream=True
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert all(secret in text for secret in SECRETS)
    assert all(chunk.choices for chunk in chunks), "the usage chunk that we asked for is not the client's"
    sent = upstream.seen(before + 1)[-1]["body"]
    assert not any(secret in str(sent) for secret in SECRETS)
    assert "include_usage" in str(sent)


def test_the_usage_chunk_stays_where_the_client_asked_for_it(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="plain",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None


async def test_async_plain_and_streaming(served: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1/", api_key=KEY, max_retries=0) as client:
        answer = await client.chat.completions.create(model="plain", messages=[{"role": "user", "content": PERSONAL}])
        assert SECRETS[0] in (answer.choices[0].message.content or "")
        text = ""
        async for chunk in await client.chat.completions.create(
            model="plain", messages=[{"role": "user", "content": PERSONAL}], stream=True
        ):
            text += chunk.choices[0].delta.content or ""
        assert SECRETS[0] in text


def test_raw_response_shows_our_headers(client: openai.OpenAI, served: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="plain", messages=[{"role": "user", "content": "hello"}]
    )
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.request_id == raw.headers["x-request-id"]
    assert float(raw.headers["x-gateway-cost-usd"]) > 0
    policy, _, rule = raw.headers["x-gateway-decision"].partition(".")
    assert len(policy) == 12
    assert rule.isdigit()
    assert "aiohttp" not in raw.headers["server"]
    record = served.record_of(raw.headers["x-request-id"])
    assert record["gateway.ending"] == "answered"
    assert record["gateway.usage.basis"] == "provider"
    assert f"{record['gateway.charged.cost_usd']:.9f}" == raw.headers["x-gateway-cost-usd"]


def test_tools_arguments_are_restored(client: openai.OpenAI, upstream: Upstream) -> None:
    tools = [
        {
            "type": "function",
            "function": {"name": "send", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}},
        }
    ]
    for stream in (False, True):
        before = len(upstream.seen())
        answer = client.chat.completions.create(  # type: ignore[call-overload]  # the literals, and stream as a variable
            model="plain",
            messages=[{"role": "user", "content": PERSONAL}],
            tools=tools,
            tool_choice="required",
            stream=stream,
        )
        if isinstance(answer, openai.Stream):
            parts = [
                call.function.arguments or ""
                for chunk in answer
                for choice in chunk.choices
                for call in choice.delta.tool_calls or []
                if call.function
            ]
            arguments = "".join(parts)
        else:
            call = (answer.choices[0].message.tool_calls or [])[0]
            assert call.type == "function"
            arguments = call.function.arguments
        assert SECRETS[0] in arguments
        assert SECRETS[0] not in str(upstream.seen(before + 1)[-1]["body"])


def test_legacy_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="plain", prompt=PERSONAL)
    assert SECRETS[0] in answer.choices[0].text
    text = "".join(
        chunk.choices[0].text for chunk in client.completions.create(model="plain", prompt=PERSONAL, stream=True)
    )
    assert SECRETS[0] in text


def test_embeddings_in_both_encodings(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="embed", input=["hello", "world"])
    assert len(one.data) == 2
    plain = client.embeddings.create(model="embed", input="hello", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(one.data[0].embedding, rel=1e-6)
    raw = client.embeddings.with_raw_response.create(model="embed", input="hello", encoding_format="base64")
    text = raw.http_response.json()["data"][0]["embedding"]
    assert struct.unpack("<f", base64.b64decode(text)[:4])[0] == pytest.approx(plain.data[0].embedding[0], rel=1e-6)


def test_models_are_those_that_the_key_may_use(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "plain" in names
    assert "echo" in names
    assert "secret-model" not in names
    assert client.models.retrieve("plain").id == "plain"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing-of-the-kind")


@pytest.mark.parametrize(
    ("model", "key", "error", "code"),
    [
        ("plain", "gw-unknown", openai.AuthenticationError, "invalid_api_key"),
        ("nothing-of-the-kind", KEY, openai.NotFoundError, "model_not_found"),
        ("secret-model", KEY, openai.PermissionDeniedError, "model_not_allowed"),
    ],
)
def test_refusals_raise_the_sdks_own_classes(
    served: Gateway, upstream: Upstream, model: str, key: str, error: type[openai.APIStatusError], code: str
) -> None:
    before = len(upstream.seen())
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=3) as client,
        pytest.raises(error) as caught,
    ):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
    assert caught.value.code == code
    assert caught.value.response.headers["x-should-retry"] == "false"
    body = caught.value.response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(upstream.seen()) == before
    assert served.record_of(caught.value.response.headers["x-request-id"])["gateway.ending"] == "refused"


def test_x_api_key_and_api_key_are_accepted_too(served: Gateway) -> None:
    """As Anthropic's and Azure's SDKs send them."""
    for name in ("x-api-key", "api-key"):
        request = urllib.request.Request(f"{served.url}/v1/models", headers={name: KEY})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200


def test_files_pass_through_as_they_are(client: openai.OpenAI, served: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    content = b'{"a": 1}\n' * 1000
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="gw-open-key-0123456789", max_retries=0) as opened:
        opened.files.create(file=("grüße.jsonl", content), purpose="batch")
        sent = upstream.seen(before + 1)[-1]
        assert (sent["method"], sent["path"]) == ("POST", "/v1/files")
        assert content.decode() in sent["body"]
        assert "grüße.jsonl" in sent["body"]
        assert sent["headers"]["content-length"] == str(len(sent["body"].encode()))
        assert opened.files.content("file-1").read() == bytes(range(256)) * 64
        opened.files.list(extra_query={"limit": 0, "x[]": ["a", "b%"]})
        assert upstream.seen(before + 3)[-1]["query"] == "limit=0&x%5B%5D%5B%5D=a&x%5B%5D%5B%5D=b%25"
    with pytest.raises(openai.PermissionDeniedError):
        client.files.list()
    assert len(upstream.seen()) == before + 3


def test_the_upstream_never_sees_the_clients_credential(client: openai.OpenAI, upstream: Upstream) -> None:
    before = len(upstream.seen())
    client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": "hello"}], extra_headers={"x-gateway-user": "u1"}
    )
    headers = upstream.seen(before + 1)[-1]["headers"]
    text = str(headers)
    assert KEY not in text
    # What is recorded is masked; whose it is, test_dialects looks at.
    assert [name for name, value in headers.items() if "***" in value] == ["authorization"]
    assert "x-gateway-user" not in text.lower()
    assert "stainless" not in text.lower()
