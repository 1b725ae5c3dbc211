"""Batches under a redaction profile: what is found in one does not leave, and what was replaced comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.harness import KEY, REDACTION, Gateway, config, gateway, keys

PERSON = "ada.lovelace@example.com"
MODELS = '[models.m]\nprovider = "up"\n[models.echo]\nprovider = "echo"\n'


class Provider(ThreadingHTTPServer):
    """Keeps files and batches, and answers each request of a batch with the text that it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.received: list[tuple[str, bytes]] = []
        self.requests: list[dict[str, Any]] = []


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        body = self._body()
        self.server.received.append((self.path, body))
        if self.path.endswith("/batches"):
            self.server.requests = json.loads(body)["requests"]
            self._send("application/json", _BATCH)
            return
        self._send("application/json", {"id": "file-1", "object": "file"})

    def do_GET(self) -> None:
        if not self.path.endswith("/results"):
            self._send("application/json", _BATCH)
            return
        lines = [
            {"custom_id": one["custom_id"], "result": {"type": "succeeded", "message": {
                "content": [{"type": "text", "text": "You said: " + one["params"]["messages"][0]["content"]}]}}}
            for one in self.server.requests
        ]  # fmt: skip
        self._send("application/x-jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _send(self, kind: str, what: Any) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


_BATCH = {
    "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended", "created_at": "2026-11-24T00:00:00Z",
    "expires_at": "2026-11-25T00:00:00Z", "ended_at": None, "archived_at": None, "cancel_initiated_at": None,
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def redacting(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Gateway]:
    body = 'provider = "up"\nredaction = "strict"\nendpoints = ["inference", "files", "message_batches"]'
    own = keys(body).replace('models = ["up/*", "plain", "embed", "echo"]', 'models = ["m"]')
    policies = {"keys.toml": own, "models.toml": MODELS, "redaction.toml": REDACTION}
    url = f"http://127.0.0.1:{provider.server_address[1]}"
    with gateway(tmp_path_factory.mktemp("batches"), config(url), policies) as running:
        yield running


def file_of(*contents: str) -> bytes:
    return b"\n".join(
        json.dumps({"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions",
                    "body": {"model": "m", "messages": [{"role": "user", "content": content}]}}).encode()
        for at, content in enumerate(contents)
    )  # fmt: skip


def test_a_file_with_personal_data_is_refused_and_says_so(redacting: Gateway, provider: Provider) -> None:
    with openai.OpenAI(base_url=f"{redacting.url}/v1", api_key=KEY, max_retries=0) as client:
        client.files.create(file=("clean.jsonl", file_of("hello", "hello")), purpose="batch")
        assert len(provider.received) == 1
        with pytest.raises(openai.BadRequestError) as refused:
            client.files.create(
                file=("b.jsonl", file_of(*["hello"] * 3000, f"ask {PERSON}", *["x"] * 9)), purpose="batch"
            )  # fmt: skip
    assert refused.value.code == "content_policy_violation"
    assert "EMAIL_ADDRESS" in refused.value.message
    for _, body in provider.received[1:]:  # what it got of the second form, if it looked at that at all
        assert PERSON.encode() not in body
        assert not body.rstrip().endswith(b"--"), "it got no whole form"
    record = redacting.record_of(refused.value.response.headers["x-request-id"])
    assert record["gateway.redaction.spans"] == {"EMAIL_ADDRESS": 1}
    assert record["gateway.redaction.parts"] >= 3001
    assert record["gateway.rule"].endswith("redaction.toml:2 (redaction.strict)")
    assert PERSON not in json.dumps(redacting.records())


def test_a_message_batch_is_redacted_and_its_results_restored(redacting: Gateway, provider: Provider) -> None:
    with anthropic.Anthropic(base_url=redacting.url, api_key=KEY, max_retries=0) as client:
        params: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": f"I am {PERSON}."}]}
        batch = client.messages.batches.create(requests=[{"custom_id": f"of {PERSON}", "params": params}])
        assert PERSON.encode() not in provider.received[-1][1]
        (result,) = client.messages.batches.results(batch.id)
    assert result.custom_id == f"of {PERSON}"
    assert result.result.type == "succeeded"
    assert result.result.message.content[0].text == f"You said: I am {PERSON}."  # type: ignore[union-attr]  # it is text


def test_a_file_that_is_no_text_passes_and_the_record_names_it(redacting: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 1000)
    with openai.OpenAI(base_url=f"{redacting.url}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.files.with_raw_response.create(file=tmp_path / "a.bin", purpose="user_data")
    record = redacting.record_of(answer.headers["x-request-id"])
    assert record["gateway.redaction.unscanned"] == ["file"]
