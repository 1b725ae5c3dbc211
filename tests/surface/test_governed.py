"""Rules of a key on paths whose bodies are forms and files: what breaks one never reaches the provider whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.harness import KEY, Gateway, Upstream, config, echo_upstream, gateway, keys

MODELS = """
[models.ears]
provider = "up"
model = "whisper-of-the-provider"
[models.chat]
provider = "up"
[models.dear]
provider = "up"
"""
REQUEST = """provider = "up"
endpoints = ["inference", "files", "batches"]
[keys.app.request]
max = { output_tokens = 50, n = 2 }
force = { store = false }
deny = ["prompt", "tools.web_search"]
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with echo_upstream(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    own = keys(REQUEST).replace('models = ["up/*", "plain", "embed", "echo"]', 'models = ["ears", "chat"]')
    with gateway(
        tmp_path_factory.mktemp("governed"), config(upstream.url), {"keys.toml": own, "models.toml": MODELS}
    ) as running:
        yield running


@pytest.fixture
def client(governed: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{governed.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_an_alias_in_a_form_becomes_the_providers_model(client: openai.OpenAI, upstream: Upstream) -> None:
    before = len(upstream.seen())
    client.audio.transcriptions.create(model="ears", file=("ü.wav", b"\x00\xffsound" * 5000))
    sent = upstream.seen(before + 1)[-1]
    assert sent["headers"]["content-length"].isdigit()
    body = base64.b64decode(sent["body_base64"])
    assert len(body) == int(sent["headers"]["content-length"])
    assert b'name="model"\r\n\r\nwhisper-of-the-provider\r\n' in body
    assert b"ears" not in body
    assert b"\x00\xffsound" * 5000 in body


def test_a_form_is_held_to_the_rules(client: openai.OpenAI, governed: Gateway, upstream: Upstream) -> None:
    before = len(upstream.seen())
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="ears", file=("a.wav", b"x"), prompt="no")
    assert refused.value.param == "prompt"
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(model="chat", image=("a.png", b"x" * 3_000_000), prompt="no", n=3)
    assert refused.value.code == "parameter_not_allowed"
    with pytest.raises(openai.PermissionDeniedError):
        client.images.edit(model="dear", image=("a.png", b"x"), prompt="")
    assert len(upstream.seen()) == before
    record = governed.record_of(refused.value.request_id or "")
    assert record["gateway.ending"] == "refused"
    assert "request.deny" in record["gateway.rule"]


def lines(**change: object) -> bytes:
    good = {"model": "chat", "max_tokens": 50, "store": False, "messages": []}
    bodies = [good] * 400 + [{**good, **change}] + [good] * 400
    return b"\n".join(
        json.dumps({"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
        for at, body in enumerate(bodies)
    )


def test_the_lines_of_a_batch_are_held_to_the_rules(
    client: openai.OpenAI, governed: Gateway, upstream: Upstream
) -> None:
    client.files.create(file=("batch.jsonl", lines()), purpose="batch")
    before = len(upstream.seen())
    for change, kind in (
        ({"model": "dear"}, openai.PermissionDeniedError),
        ({"model": "ears"}, openai.PermissionDeniedError),
        ({"max_tokens": 51}, openai.BadRequestError),
        ({"store": True}, openai.BadRequestError),
        ({"tools": [{"type": "web_search_preview"}]}, openai.BadRequestError),
    ):
        with pytest.raises(kind) as refused:
            client.files.create(file=("batch.jsonl", lines(**change)), purpose="batch")
        record = governed.record_of(refused.value.request_id or "")
        assert record["gateway.ending"] == "refused"
    assert len(upstream.seen()) == before


def test_responses_cannot_be_stored(client: openai.OpenAI, upstream: Upstream) -> None:
    before = len(upstream.seen())
    client.responses.create(model="chat", input="hello", store=True)
    assert json.loads(upstream.seen(before + 1)[-1]["body"])["store"] is False
