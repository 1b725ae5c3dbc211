"""Paths that lead nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints import HOT, NAMES, find
from gateway.errors import Reason, Rule
from gateway.unserved import slip, unserved

RULE = Rule(1, "keys.bot.endpoints", "keys.toml", 3)


@pytest.mark.parametrize(("path", "meant"), [
    ("/v1/v1/messages", "/v1/messages? /v1 is in it twice: this client's base URL ends before /v1."),
    ("/v1/v1/chat/completions", "/v1/chat/completions? /v1 is in it twice: this client's base URL ends before /v1."),
    ("/v1/v1/files/file-1", "/v1/files/file-1? /v1 is in it twice: this client's base URL ends before /v1."),
    ("/chat/completions", "/v1/chat/completions? This client's base URL ends in /v1."),
    ("/models", "/v1/models? This client's base URL ends in /v1."),
    ("/openai/v1/chat/completions", "/v1/chat/completions?"),
    ("/v1//chat/completions", "/v1/chat/completions?"),
    ("/gateway/v1/keys", "/gateway/v1/key?"),
])  # fmt: skip
def test_what_is_outside_is_unknown_and_what_was_meant_is_said(path: str, meant: str) -> None:
    assert find("POST", path) is None
    refusal = unserved("POST", path)
    assert refusal.reason is Reason.UNKNOWN_PATH
    assert refusal.message == f"Unknown request URL: POST {path}, did you mean {meant}"


@pytest.mark.parametrize(
    "path", ["/", "", "/favicon.ico", "/v1", "/v1/", "/v1/../etc/passwd", "/v1/v1/nothing/such", "*"]
)
def test_where_nothing_is_near_nothing_is_guessed(path: str) -> None:
    assert unserved("GET", path).message == f"Unknown request URL: GET {path}."


@pytest.mark.parametrize(("method", "path", "meant"), [
    ("POST", "/v1/chat/completion", "/v1/chat/completions"),
    ("GET", "/v1/chat/completion", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions%20", "/v1/chat/completions"),
    ("POST", "/v1/chat", "/v1/chat/completions"),
    ("POST", "/v1/embedding", "/v1/embeddings"),
    ("POST", "/v1/message", "/v1/messages"),
    ("GET", "/v1/messages", "POST /v1/messages"),
    ("PUT", "/v1/chat/completions", "POST /v1/chat/completions"),
    ("GET", "/v1/embeddings/", "POST /v1/embeddings"),
    ("POST", "/v1/image/generations", "/v1/images"),
    ("GET", "/v1/file", "/v1/files"),
])  # fmt: skip
def test_what_is_nearly_ours_is_a_slip(method: str, path: str, meant: str) -> None:
    endpoint = find(method, path)
    assert endpoint is not None
    refusal = slip(endpoint, RULE)
    assert refusal is not None
    assert (refusal.reason, refusal.rule) == (Reason.UNKNOWN_PATH, RULE)
    assert refusal.message == f"Unknown request URL: {method} {path}, did you mean {meant}?"


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/v1/chat/completions"), ("POST", "/v1/chat/completions/abc"), ("GET", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"), ("POST", "/v1/messages/batches"), ("GET", "/v1/files"),
    ("POST", "/v1/rerank"), ("POST", "/v1/ocr"), ("POST", "/v1/complete"), ("GET", "/v1/agents/7"),
    ("POST", "/v1/vector_stores/vs_1/search"), ("POST", "/v1/fine_tuning/jobs"), ("DELETE", "/v1/models/ft:1"),
])  # fmt: skip
def test_what_there_is_and_what_may_come_is_policys_to_open(method: str, path: str) -> None:
    endpoint = find(method, path)
    assert endpoint is not None
    assert slip(endpoint, RULE) is None


@given(st.sampled_from(sorted(HOT)))
def test_no_path_of_ours_is_a_slip(path: str) -> None:
    endpoint = find("POST", f"/v1{path}")
    assert endpoint is not None
    assert slip(endpoint, RULE) is None


@given(st.text(max_size=30), st.sampled_from(["GET", "POST", "DELETE"]))
def test_any_path_gets_an_answer(path: str, method: str) -> None:
    endpoint = find(method, f"/v1/{path}")
    refusal = unserved(method, f"/v1/{path}") if endpoint is None else slip(endpoint, RULE)
    assert refusal is None or refusal.message.startswith("Unknown request URL: ")
    assert endpoint is None or endpoint.name in NAMES | {"key"}
