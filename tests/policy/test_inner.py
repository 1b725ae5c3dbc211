"""What a body holds inside is held to the rules of a request: batches, their files, sessions, tools, forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.endpoints import find
from gateway.errors import Reason, Refusal
from gateway.policy.decide import form_guard
from gateway.policy.permit import Permit
from tests.policy.test_decide import ask, decided, permitted

MODELS = """
[models.chat]
provider = "up"
model = "chat"
[models.alias]
provider = "up"
model = "gpt"
[models.dear]
provider = "up"
model = "dear"
[models.elsewhere]
provider = "other"
model = "elsewhere"
"""
KEY = """
[keys.bot]
models = ["chat", "alias", "elsewhere"]
endpoints = ["*"]
provider = "up"
[keys.bot.request]
max = { output_tokens = 100, n = 2 }
force = { service_tier = "flex" }
deny = ["tools.web_search", "thinking"]
"""
GOOD: dict[str, Any] = {"model": "chat", "max_tokens": 100, "service_tier": "flex", "messages": []}
# What is done to a good request, and the reason for which it is refused (None: it is not).
CHANGES: list[tuple[dict[str, Any], Reason | None]] = [
    ({}, None),
    ({"n": 2}, None),
    ({"model": "nobody"}, Reason.UNKNOWN_MODEL),
    ({"model": "dear"}, Reason.MODEL_NOT_ALLOWED),
    ({"model": "alias"}, Reason.MODEL_NOT_ALLOWED),  # the provider knows it by another name
    ({"model": "elsewhere"}, Reason.MODEL_NOT_ALLOWED),  # another provider's
    ({"max_tokens": 101}, Reason.PARAMETER_NOT_ALLOWED),
    ({"max_tokens": None}, Reason.PARAMETER_NOT_ALLOWED),  # it cannot be set in there
    ({"n": 3}, Reason.PARAMETER_NOT_ALLOWED),
    ({"service_tier": "priority"}, Reason.PARAMETER_NOT_ALLOWED),
    ({"thinking": {"type": "enabled"}}, Reason.PARAMETER_NOT_ALLOWED),
    ({"tools": [{"type": "web_search_20250305"}]}, Reason.PARAMETER_NOT_ALLOWED),
    ({"tools": [{"type": "image_generation", "model": "dear"}]}, Reason.MODEL_NOT_ALLOWED),
    ({"tools": [{"type": "image_generation", "model": "chat"}]}, None),
]


def verdict(found: Permit | Refusal | None) -> Reason | None:
    return found.reason if isinstance(found, Refusal) else None


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_the_requests_of_a_message_batch(change: dict[str, Any], reason: Reason | None) -> None:
    requests = [{"custom_id": "a", "params": GOOD}, {"custom_id": "b", "params": {**GOOD, **change}}]
    found = decided(KEY, ask("/messages/batches", {"requests": requests}), models=MODELS)
    assert verdict(found) is reason, found


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_the_lines_of_a_batch_file(change: dict[str, Any], reason: Reason | None) -> None:
    guard = form_guard(permitted(KEY, ask("/files"), models=MODELS), 0)
    body = {**GOOD, **change}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    assert guard.field("purpose", "batch") is None
    assert verdict(guard.line(json.dumps(line).encode())) is reason


def test_a_forced_parameter_must_be_in_a_line_whose_endpoint_takes_it() -> None:
    guard = form_guard(permitted(KEY, ask("/files"), models=MODELS), 0)
    body = {name: value for name, value in GOOD.items() if name != "service_tier"}
    for url, reason in (
        ("/v1/chat/completions", Reason.PARAMETER_NOT_ALLOWED),
        ("/v1/responses", Reason.PARAMETER_NOT_ALLOWED),
        ("/v1/something/new", None),
    ):
        line = json.dumps({"url": url, "body": body | {"max_output_tokens": 5}}).encode()
        assert verdict(guard.line(line)) is reason


def test_other_files_are_not_batches() -> None:
    permit = permitted(KEY, ask("/files"), models=MODELS)
    line = b'{"messages": [{"role": "user", "content": "{"}]}'
    assert form_guard(permit, 0).line(line) is None
    fine_tuning = form_guard(permit, 0)
    assert fine_tuning.field("purpose", "fine-tune") is None
    assert fine_tuning.line(b'{"url": "/v1/chat/completions", "body": {"model": "dear"}}') is None


def test_a_purpose_that_comes_last_or_twice_opens_no_door() -> None:
    permit = permitted(KEY, ask("/files"), models=MODELS)
    late = form_guard(permit, 0)
    assert verdict(late.line(b'{"url": "/v1/chat/completions", "body": {"model": "dear"}}')) is Reason.MODEL_NOT_ALLOWED
    unread = form_guard(permit, 0)
    assert unread.line(b'{"url": "/v1/x", "body": {"model": "chat"}, "b\\u006fdy": {"model": "dear"}}') is None
    assert verdict(unread.field("purpose", "batch")) is Reason.BAD_REQUEST
    twice = form_guard(permit, 0)
    assert twice.field("purpose", "assistants") is None
    assert verdict(twice.field("purpose", "batch")) is Reason.BAD_REQUEST


def test_a_batch_file_in_parts_is_refused() -> None:
    assert verdict(decided(KEY, ask("/uploads", {"purpose": "batch"}), models=MODELS)) is Reason.PARAMETER_NOT_ALLOWED
    assert verdict(decided(KEY, ask("/uploads", {"purpose": "assistants"}), models=MODELS)) is None


@pytest.mark.parametrize("path", ["/realtime/client_secrets", "/images/generations", "/threads/runs", "/moderations"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": "chat", "n": 3}, Reason.PARAMETER_NOT_ALLOWED),
        ({"model": "chat", "thinking": {}}, Reason.PARAMETER_NOT_ALLOWED),
        ({"model": "chat", "tools": [{"type": "web_search"}]}, Reason.PARAMETER_NOT_ALLOWED),
        ({"model": "dear"}, Reason.MODEL_NOT_ALLOWED),
        ({"model": "chat", "n": 2}, None),
    ],
)
def test_rules_hold_on_paths_that_are_not_seen(path: str, body: dict[str, Any], reason: Reason | None) -> None:
    assert verdict(decided(KEY, ask(path, body), models=MODELS)) is reason


def test_what_is_forced_is_set_where_the_caller_set_it() -> None:
    permit = permitted(KEY, ask("/images/generations", {"model": "chat", "service_tier": "auto"}), models=MODELS)
    assert permit.edits == (("service_tier", "flex"),)
    assert permitted(KEY, ask("/images/generations", {"model": "chat"}), models=MODELS).edits == ()


def test_a_session_names_its_model_inside() -> None:
    body = {"session": {"type": "realtime", "model": "dear"}}
    assert verdict(decided(KEY, ask("/realtime/client_secrets", body), models=MODELS)) is Reason.MODEL_NOT_ALLOWED
    body["session"]["model"] = "chat"
    assert verdict(decided(KEY, ask("/realtime/client_secrets", body), models=MODELS)) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("n", "2", None),
        ("n", "3", Reason.PARAMETER_NOT_ALLOWED),
        ("n", "many", Reason.PARAMETER_NOT_ALLOWED),
        ("service_tier", "flex", None),
        ("service_tier", "auto", Reason.PARAMETER_NOT_ALLOWED),
        ("thinking", "on", Reason.PARAMETER_NOT_ALLOWED),
        ("thinking[]", "on", Reason.PARAMETER_NOT_ALLOWED),
        ("prompt", "3", None),
    ],
)
def test_the_fields_of_a_form(name: str, value: str, reason: Reason | None) -> None:
    guard = form_guard(permitted(KEY, ask("/images/edits"), models=MODELS), 0)
    assert verdict(guard.field(name, value)) is reason


def test_deleting_a_model_is_no_inference() -> None:
    endpoint = find("DELETE", "/v1/models/ft:gpt:acme")
    assert endpoint is not None
    assert endpoint.name == "fine_tuning"
    assert not endpoint.inference
