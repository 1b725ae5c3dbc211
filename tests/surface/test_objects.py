"""Objects stay with the tenant that made them, on a credential that two tenants share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.harness import Gateway, config, gateway, key_hash

SECRETS = {"acme": "gw-key-of-acme-0123456789", "globex": "gw-key-of-globex-0123456789", "open": "gw-open-0123456789"}
MODELS = '[models."*"]\nprovider = "up"\n'


def policies() -> dict[str, str]:
    tables = [
        f'[keys.{name}]\nhash = "{key_hash(secret)}"\nmodels = ["*"]\nendpoints = ["*"]\nprovider = "up"\n'
        f'tenant = "{name}"\n' + ('unknown_objects = "allow"\n' if name == "open" else "")
        for name, secret in SECRETS.items()
    ]
    tenants = "".join(f"[tenants.{name}]\n" for name in SECRETS)
    return {"keys.toml": tenants + "".join(tables), "models.toml": MODELS}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, recorder: str) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("objects"), config(recorder), policies()) as running:
        yield running


@pytest.fixture
def clients(shared: Gateway) -> Iterator[dict[str, openai.OpenAI]]:
    made = {
        name: openai.OpenAI(base_url=f"{shared.url}/v1", api_key=secret, max_retries=0)
        for name, secret in SECRETS.items()
    }
    yield made
    for one in made.values():
        one.close()


def make(client: openai.OpenAI, **wished: Any) -> None:
    client.conversations.create(metadata={"wished": wished})  # type: ignore[dict-item]  # a word to the recorder


def test_anothers_object_does_not_exist(clients: dict[str, openai.OpenAI], shared: Gateway) -> None:
    make(clients["acme"], id="conv_A1")
    clients["acme"].conversations.retrieve("conv_A1")
    for name in ("globex", "open"):
        one = clients[name]
        calls: list[Callable[[], object]] = [
            partial(one.conversations.retrieve, "conv_A1"),
            partial(one.conversations.delete, "conv_A1"),
            partial(one.responses.create, model="m", input="x", conversation="conv_A1"),
            partial(one.responses.create, model="m", input="x", conversation={"id": "conv_A1"}),
        ]
        for call in calls:
            with pytest.raises(openai.NotFoundError) as refused:
                call()
            assert "conv_A1" in str(refused.value)
    record = shared.record_of(refused.value.request_id or "")
    assert (record["error.type"], record["gateway.error.code"]) == ("unknown_object", "object_not_found")
    assert "gateway.provider.status" not in record


def test_objects_never_seen(clients: dict[str, openai.OpenAI]) -> None:
    with pytest.raises(openai.NotFoundError):  # the credential is shared: it may be anybody's
        clients["acme"].files.retrieve("file-never1")
    clients["open"].files.retrieve("file-never1")


def test_what_came_of_an_object_is_the_tenants_too(clients: dict[str, openai.OpenAI]) -> None:
    make(clients["acme"], id="batch_A2", output_file_id="file-A2")
    clients["acme"].files.content("file-A2")
    with pytest.raises(openai.NotFoundError):
        clients["open"].files.content("file-A2")


def test_a_streamed_response_is_the_tenants(clients: dict[str, openai.OpenAI]) -> None:
    for _ in clients["globex"].responses.create(model="m", input="x", stream=True):
        pass
    clients["globex"].responses.retrieve("obj_1")
    with pytest.raises(openai.NotFoundError):
        clients["acme"].responses.create(model="m", input="x", previous_response_id="obj_1")


def test_a_list_shows_ones_own(clients: dict[str, openai.OpenAI]) -> None:
    make(clients["acme"], id="file-A3")
    make(clients["globex"], id="file-G3")
    shown = {
        name: [one.id for one in client.files.list(extra_query={"ids": "file-A3,file-G3,file-U3"}).data]
        for name, client in clients.items()
    }
    assert shown == {"acme": ["file-A3"], "globex": ["file-G3"], "open": ["file-U3"]}


def test_the_results_of_a_message_batch_are_asked_of_the_gateway(shared: Gateway) -> None:
    with anthropic.Anthropic(base_url=shared.url, api_key=SECRETS["open"], max_retries=0) as client:
        wished = {"id": "msgbatch_1", "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}
        batch = client.messages.batches.create(requests=[], extra_body={"metadata": {"wished": wished}})
        assert batch.results_url == "/v1/messages/batches/msgbatch_1/results"
        assert client.get(batch.results_url, cast_to=object) is not None
    with anthropic.Anthropic(base_url=shared.url, api_key=SECRETS["acme"], max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError) as refused:
            client.messages.batches.retrieve("msgbatch_1")
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["error"]["type"] == "not_found_error"
