"""A conversation that the provider keeps: each turn may come to another process, and its values come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
import redis as redis_library

from gateway.providers import echo_shapes
from tests.e2e.harness import KEY, MODELS, REDACTION, config, echo_upstream, gateway, keys
from tests.redis_server import RedisServer

PATIENT = "[store]\ncall_seconds = 10\n"  # by default 50 ms of silence are an outage, which a busy machine exceeds


class Provider:
    """An upstream with a memory: it answers with everything that was said in a conversation."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.stored: dict[str, tuple[bytes, bytes]] = {}  # response id → its body, its events
        self.bodies: list[str] = []

    def answer(self, body: bytes) -> tuple[str, bytes]:
        self.bodies.append(body.decode())
        asked = json.loads(body)
        text = f"{self.said.get(asked.get('previous_response_id'), '')} {asked['input']}".strip()
        response_id = f"resp_{len(self.bodies)}"
        self.said[response_id] = text
        item = echo_shapes.response_item(text, None)
        whole = json.dumps({**echo_shapes.response(asked, "m", [item], None), "id": response_id}).encode()
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        trees = [*echo_shapes.response_events(asked, "m", item, pieces, None)]
        for tree in trees:
            if "response" in tree:
                tree["response"]["id"] = response_id
        events = b"".join(f"event: {tree['type']}\ndata: {json.dumps(tree)}\n\n".encode() for tree in trees)
        self.stored[response_id] = whole, events
        return ("text/event-stream", events) if asked.get("stream") else ("application/json", whole)

    def fetch(self, path: str) -> tuple[str, bytes]:
        """GET of a stored response, as a body or as a stream."""
        name, _, query = path.removeprefix("/v1/responses/").partition("?")
        whole, events = self.stored[name]
        return ("text/event-stream", events) if "stream=true" in query else ("application/json", whole)


@contextmanager
def remembering() -> Iterator[tuple[Provider, str]]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._send(*provider.answer(self.rfile.read(int(self.headers["content-length"]))))

        def do_GET(self) -> None:
            self._send(*provider.fetch(self.path))

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield provider, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_turns_that_come_to_different_processes(tmp_path: Path, redis: RedisServer) -> None:
    other = "gw-other-tenant-0123456789"
    policies = {
        "keys.toml": "[tenants.other]\n"
        + keys('redaction = "strict"\nendpoints = ["inference", "stored_responses"]\nprovider = "up"')
        + keys('redaction = "strict"\ntenant = "other"', secret=other, name="other"),
        "models.toml": MODELS,
        "redaction.toml": REDACTION,
    }  # fmt: skip
    with ExitStack() as stack:
        provider, url = stack.enter_context(remembering())
        clients = []
        for name in ("one", "two"):
            settings = config(url, store=redis.url).replace("[store]\n", PATIENT)
            running = stack.enter_context(gateway(tmp_path / name, settings, policies))
            client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0)
            clients.append(stack.enter_context(client))
        one, two = clients
        first = one.responses.create(model="plain", input="I am ada@example.com.")
        assert first.output_text == "I am ada@example.com."
        events = list(
            two.responses.create(
                model="plain", input="And bob@example.com.", previous_response_id=first.id, stream=True
            )
        )
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == "I am ada@example.com. And bob@example.com."
        assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == (
            "I am ada@example.com. And bob@example.com."
        )
        third = one.responses.create(model="plain", input="Who am I?", previous_response_id=last.response.id)
        assert third.output_text == "I am ada@example.com. And bob@example.com. Who am I?"
        for client in clients:  # what the provider kept comes back in the client's own words, too
            assert client.responses.retrieve(third.id).output_text == third.output_text
            again = list(client.responses.retrieve(last.response.id, stream=True))
            assert "".join(one.delta for one in again if one.type == "response.output_text.delta") == (
                last.response.output_text
            )
        record = next(one for one in running.records(1) if one["gateway.endpoint"] == "responses")
        assert record["gateway.redaction.recalled"] == 1
        with pytest.raises(openai.NotFoundError):  # another tenant's, of which it is not even told
            two.with_options(api_key=other).responses.create(
                model="plain", input="Who are they?", previous_response_id=third.id
            )
    assert not any("ada@" in body or "bob@" in body for body in provider.bodies)
    with redis_library.Redis.from_url(redis.url) as store:
        names = list(store.scan_iter("q:*:k:*"))
        assert len(names) == 3
        for name in names:
            assert b"resp_" not in name
            assert b"example.com" not in (store.get(name) or b"")
            assert 29 * 86_400 < store.ttl(name) <= 30 * 86_400


@pytest.mark.parametrize("stream", [False, True])
def test_of_a_translated_response_nothing_is_kept(tmp_path: Path, redis: RedisServer, stream: bool) -> None:
    """Nobody keeps it, so nothing can continue it."""
    policies = {"keys.toml": keys('redaction = "strict"'), "models.toml": MODELS, "redaction.toml": REDACTION}
    with echo_upstream(tmp_path) as upstream:
        settings = config(upstream.url, store=redis.url).replace('["chat", "responses", "messages"]', '["chat"]')
        settings = settings.replace("[store]\n", PATIENT)
        with gateway(tmp_path / "one", settings, policies) as running:
            with openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0) as client:
                answer: Any = client.responses.create(model="plain", input="I am ada@example.com.", stream=stream)
                last = list(answer)[-1].response if stream else answer
                assert last.output_text == "I am ada@example.com."
            assert running.records(1)[0]["gateway.redaction.spans"] == {"EMAIL_ADDRESS": 1}
        assert "ada@" not in json.dumps(upstream.seen(1))
    with redis_library.Redis.from_url(redis.url) as store:
        assert list(store.scan_iter("q:*:k:*")) == []
