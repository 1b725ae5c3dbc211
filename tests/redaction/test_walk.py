"""Everywhere text travels in a request, and what is no text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.errors import Reason, Refusal
from gateway.redaction.placeholders import LOOKS_LIKE
from gateway.redaction.restore import restore_body
from tests.redaction.redacting import EMAILS, Emails, permit_of, redact, redaction


class Texts:
    """Makes a new address for each place, so that a place that is left out is told by its number."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def __call__(self) -> str:
        self.all.append(f"person{len(self.all)}@example.com")
        return self.all[-1]


def chat(t: Texts) -> dict[str, Any]:
    return {
        "model": "m", "user": t(), "metadata": {"id": t(), "ticket": t()}, "safety_identifier": t(), "stop": [t()],
        "prediction": {"type": "content", "content": t()},
        "messages": [
            {"role": "system", "content": t()}, {"role": "developer", "content": [{"type": "text", "text": t()}]},
            {"role": "user", "name": t(), "content": [{"type": "text", "text": t()}, {"type": "text", "text": t()}]},
            {"role": "assistant", "content": None, "refusal": t(), "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": json.dumps(
                    {"to": t(), "deep": [{"cc": t()}, [t()]], "phone": 49301234567, t(): 1})}},
                {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": t()}},
                {"id": "call_3", "type": "function", "function": {"name": "f", "arguments": f"no json {t()}"}}]},
            {"role": "assistant", "function_call": {"name": "f", "arguments": json.dumps({"to": t()})}},
            {"role": "tool", "tool_call_id": "call_1", "content": t()},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": t()}]},
            {"role": "function", "name": "f", "content": t()},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": t(), "parameters": {
            "type": "object", "properties": {"to": {"type": "string", "description": t(), "enum": [t()],
                                                    "default": t()}}}}}],
        "functions": [{"name": "f", "description": t()}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "description": t(), "schema": {
            "type": "object", "properties": {"a": {"description": t()}}}}},
        "web_search_options": {"user_location": {"approximate": {"city": t()}}}, "tomorrow": {"deep": [t()]},
    }  # fmt: skip


def responses(t: Texts) -> dict[str, Any]:
    return {
        "model": "m", "instructions": t(), "user": t(), "metadata": {"type": t()}, "safety_identifier": t(),
        "prompt": {"id": "pmpt_1", "variables": {"id": t(), "part": {"type": "input_text", "text": t()}}},
        "text": {"format": {"type": "json_schema", "name": "x", "description": t(), "schema": {"description": t()}}},
        "input": [
            {"role": "user", "content": t()},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": t()}]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": t(), "annotations": [{"type": "url_citation", "title": t()}]},
                {"type": "refusal", "refusal": t()}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": t()}],
             "content": [{"type": "reasoning_text", "text": t()}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f",
             "arguments": json.dumps({"a": t(), "b": 123456789})},
            {"type": "function_call_output", "call_id": "c", "output": t()},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": t()}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": t()},
            {"type": "custom_tool_call_output", "call_id": "c", "output": t()},
            {"type": "mcp_call", "id": "m", "name": "f", "server_label": "s", "arguments": json.dumps({"a": t()}),
             "output": t()},
            {"type": "local_shell_call", "action": {"type": "exec", "command": [t()], "env": {"A": t()}}},
            {"type": "local_shell_call_output", "output": t()},
            {"type": "web_search_call", "action": {"type": "search", "query": t()}},
            {"type": "file_search_call", "queries": [t()], "results": [{"text": t()}]},
            {"type": "code_interpreter_call", "code": t(), "outputs": [{"type": "logs", "logs": t()}]},
            {"type": "mcp_list_tools", "tools": [{"name": "f", "description": t(), "input_schema": {"x": t()}}]},
            {"type": "tomorrow", "words": t()},
        ],
        "tools": [{"type": "function", "name": "f", "description": t(), "parameters": {"description": t()}},
                  {"type": "web_search", "user_location": {"type": "approximate", "city": t()}}],
    }  # fmt: skip


def messages(t: Texts) -> dict[str, Any]:
    return {
        "model": "m", "max_tokens": 9, "metadata": {"user_id": t()}, "stop_sequences": [t()],
        "system": [{"type": "text", "text": t(), "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": t()},
            {"role": "user", "content": [
                {"type": "text", "text": t()},
                {"type": "document", "title": t(), "context": t(),
                 "source": {"type": "text", "media_type": "text/plain", "data": t()}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": t()}]}},
                {"type": "search_result", "source": t(), "title": t(), "content": [{"type": "text", "text": t()}]}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": t(), "signature": "c2ln"},
                {"type": "text", "text": t(), "citations": [{"type": "char_location", "cited_text": t()}]},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"id": t(), "deep": [t(), {"x": t()}],
                                                                              t(): 3, "phone": 4930123456}},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": t()}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": t()},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": t()}]},
                {"type": "tomorrow", "words": t()}]},
        ],
        "tools": [{"name": "f", "description": t(), "input_schema": {"type": "object", "description": t()}}],
    }  # fmt: skip


BODIES: dict[str, Callable[[Texts], dict[str, Any]]] = {
    "/v1/chat/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/v1/messages/count_tokens": lambda t: {
        "model": "m",
        "system": t(),
        "messages": [{"role": "user", "content": t()}],
    },
    "/v1/responses/input_tokens": lambda t: {"model": "m", "instructions": t(), "input": t()},
    "/v1/completions": lambda t: {"model": "m", "prompt": [t(), t()], "suffix": t(), "user": t()},
    "/v1/embeddings": lambda t: {"model": "m", "input": [t(), t()], "user": t()},
}


@pytest.mark.parametrize("path", sorted(BODIES))
async def test_no_text_is_left_out_and_every_one_comes_back(path: str) -> None:
    texts = Texts()
    body = BODIES[path](texts)
    safe = await redact(path, body)
    assert safe.body is not None
    assert [text for text in texts.all if text in safe.body.decode()] == []
    assert b"49301234567" not in safe.body
    assert b"123456789" not in safe.body
    assert safe.coverage is not None
    assert safe.coverage.unscanned == ()
    assert safe.coverage.spans["EMAIL_ADDRESS"] >= len(texts.all)
    back = json.loads(restore_body(safe.body, safe.restore))
    assert as_text(back) == as_text(body), "a number in a tool call's arguments may have become its digits"
    assert list(json.loads(safe.body)) == list(body)


def as_text(node: Any) -> Any:
    """A body whose tool calls' arguments are trees, their numbers texts."""
    if isinstance(node, dict):
        return {name: as_text(_opened(one) if name == "arguments" else one) for name, one in node.items()}
    if isinstance(node, list):
        return [as_text(one) for one in node]
    return str(node) if isinstance(node, int) and not isinstance(node, bool) and node > 10**6 else node


def _opened(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


SEALED = "person@example.com"


@pytest.mark.parametrize(
    ("path", "part", "kinds"),
    [
        ("/v1/chat/completions", {"type": "image_url", "image_url": {"url": SEALED}}, ("image",)),
        ("/v1/chat/completions", {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, ("audio",)),
        ("/v1/chat/completions", {"type": "file", "file": {"file_data": SEALED}}, ("file",)),
        ("/v1/responses", {"type": "input_image", "image_url": SEALED, "detail": "auto"}, ("image",)),
        ("/v1/responses", {"type": "input_file", "file_id": "file-1"}, ("file",)),
        ("/v1/responses", {"type": "input_file", "file_url": SEALED}, ("file",)),
        ("/v1/messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
         ("image",)),
        ("/v1/messages", {"type": "document", "source": {"type": "base64", "data": "AA"}}, ("file",)),
        ("/v1/messages", {"type": "document", "source": {"type": "file", "file_id": "file_1"}}, ("file",)),
        ("/v1/messages", {"type": "image", "source": {"type": "url", "url": SEALED}}, ("image",)),
        ("/v1/messages", {"type": "redacted_thinking", "data": SEALED}, ()),
        ("/v1/responses", {"type": "reasoning", "encrypted_content": SEALED}, ()),
    ],
)  # fmt: skip
async def test_what_cannot_be_scanned_follows_the_profile_and_is_named(
    path: str, part: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    said = {"role": "user", "content": [part, {"type": "text", "text": "ada@example.com"}]}
    body = {"model": "m", "input" if "responses" in path else "messages": [said]}
    safe = await redact(path, body)
    assert safe.body is not None
    assert safe.coverage is not None
    assert safe.coverage.unscanned == kinds
    assert b"ada@" not in safe.body
    assert msgspec.json.encode(part) in safe.body, "what cannot be read is not changed"
    denied = await redaction().redact(permit_of(path, body, replace(EMAILS, unscannable="deny")))
    if kinds:
        assert isinstance(denied, Refusal)
        assert denied.reason is Reason.UNSCANNABLE
        assert kinds[0] in denied.message
    else:
        assert not isinstance(denied, Refusal)


@pytest.mark.parametrize(
    "body", [{"model": "m", "input": [1, 2, 3]}, {"model": "m", "input": [[1, 2], [3]]}], ids=["one", "many"]
)
async def test_token_arrays_are_named(body: dict[str, Any]) -> None:
    safe = await redact("/v1/embeddings", body)
    assert safe.coverage is not None
    assert safe.coverage.unscanned == ("tokens",)


async def test_a_files_name_is_text_and_its_content_is_not() -> None:
    part = {"type": "file", "file": {"filename": "ada@example.com.pdf", "file_data": "data:application/pdf;base64,AA"}}
    safe = await redact("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [part]}]})
    assert safe.body is not None
    assert b"ada@" not in safe.body


async def test_text_that_looks_like_a_placeholder_is_escaped() -> None:
    said = "what is <EMAIL_ADDRESS_00000000>, and ada@example.com?"
    safe = await redact(
        "/v1/messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": said}]}
    )
    sent = json.loads(safe.body or b"")["messages"][0]["content"]
    assert "EMAIL_ADDRESS_00000000" not in sent
    assert len(LOOKS_LIKE.findall(sent)) == 2
    assert restore_body(sent.encode(), safe.restore).decode() == said


async def test_a_conversation_that_is_sent_again_is_searched_once() -> None:
    analyzer = Emails()
    redactor = redaction(analyzer)
    turn, hits = [{"role": "user", "content": "I am ada@example.com"}], []
    for _ in range(3):
        turn = [*turn, {"role": "user", "content": f"turn {len(turn)} x@example.com"}]
        safe = await redactor.redact(permit_of("/v1/messages", {"model": "m", "max_tokens": 1, "messages": turn}))
        assert not isinstance(safe, Refusal)
        assert safe.coverage is not None
        hits.append(safe.coverage.cache_hits)
    assert hits == [0, 2, 3]
    assert len(analyzer.seen) == 4


async def test_what_a_model_thought_goes_back_as_it_was_written() -> None:
    """Its signature is over the provider's own words, placeholders included."""
    said = {"role": "user", "content": "I am ada@example.com"}
    first = await redact("/v1/messages", {"model": "m", "max_tokens": 1, "messages": [said]})
    (placeholder,) = first.restore
    thought = (
        f"They are {placeholder}, or ada@example.com<{placeholder}>; not <EMAIL_ADDRESS_00000000>. x{placeholder}y"
    )
    thought = thought.replace("ada@example.com", "someone")
    block = {"type": "thinking", "thinking": thought, "signature": "c2ln"}
    shown = json.loads(restore_body(json.dumps(block).encode(), first.restore))
    assert "xada@example.comy" in shown["thinking"]
    again = {"model": "m", "max_tokens": 1, "messages": [said, {"role": "assistant", "content": [shown]}, said]}
    second = await redact("/v1/messages", again)
    assert json.loads(second.body or b"")["messages"][1]["content"][0] == block


async def test_the_record_says_what_was_looked_for() -> None:
    for text in ("nothing here", "I am ada@example.com"):
        safe = await redact("/v1/embeddings", {"model": "m", "input": text})
        assert safe.coverage is not None
        assert safe.coverage.recognizers == ("EMAIL_ADDRESS", "PHONE_NUMBER")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images/generations", {"model": "m", "prompt": "a card for ada@example.com"}),
        ("/v1/moderations", {"model": "m", "input": ["ada@example.com", {"type": "text", "text": "ada@example.com"}]}),
        ("/v1/audio/speech", {"model": "m", "input": "ada@example.com", "instructions": "like ada@example.com"}),
        ("/v1/conversations", {"items": [{"role": "user", "content": "ada@x.org"}], "metadata": {"id": "ada@x.org"}}),
        ("/v1/threads/thread_1/messages", {"role": "user", "content": "ada@example.com"}),
        ("/v1/batches", {"input_file_id": "file-123456789", "metadata": {"of": "ada@example.com"}}),
        ("/v1/vector_stores/vs_1/search", {"query": "ada@example.com"}),
        ("/v1/messages/batches", {"requests": [{"custom_id": "ada@x.org", "params": {"model": "m", "messages": [
            {"role": "user", "content": "ada@example.com"}]}}]}),
        ("/v1/tomorrow", {"words": "ada@example.com"}),
    ],
)  # fmt: skip
async def test_words_on_paths_that_are_not_metered_do_not_leave_either(path: str, body: dict[str, Any]) -> None:
    safe = await redact(path, body)
    assert b"ada@" not in (safe.body or b"")
    assert safe.coverage is not None
    assert safe.coverage.unscanned == ()
    assert restore_body(safe.body or b"", safe.restore) == msgspec.json.encode(body)
    assert b"file-" not in msgspec.json.encode(body) or b"file-123456789" in (safe.body or b"")


async def test_what_nobody_looks_into_is_named() -> None:
    safe = await redact("/v1/tomorrow", b'["ada@example.com"]')
    assert safe.coverage is not None
    assert safe.coverage.unscanned == ("body",)
