"""Nothing that a client can say is lost without a word: for each field, part, tool and item that the types of its
official SDK have, towards each provider: it is in the body that is sent, or it is refused by its name, or it is named
among what was dropped. What says nothing is listed here, with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from anthropic.types import message_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from typing_extensions import get_type_hints

from gateway.translation.losses import Losses, Untranslatable
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from tests.translation.sdk_types import MARK, NUMBER, ways

TYPES: dict[str, Any] = {
    "chat": completion_create_params.CompletionCreateParamsNonStreaming,
    "messages": message_create_params.MessageCreateParamsNonStreaming,
    "responses": response_create_params.ResponseCreateParamsNonStreaming,
}
SCHEMA = {"type": "object", "properties": {}}
BASES: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    },
    "messages": {
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0", "name": "f", "input": {}}]},
        ],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
    },
    "responses": {
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    },
}  # fmt: skip
# What says nothing that an answer could depend on: the field, what it says, and why nobody need be told.
SAYS_NOTHING: dict[tuple[str, str], str] = {
    **dict.fromkeys((
        ("logprobs", "False"), ("modalities", "text"), ("service_tier", "auto"), ("store", "False"),
        ("messages.content.image_url.detail", "auto"), ("input.content.detail", "auto"), ("speed", "standard"),
        ("messages.content.is_error", "False"), ("background", "False"), ("reasoning.context", "auto"),
        ("reasoning.mode", "standard"), ("truncation", "disabled"), ("tools.allowed_callers", "direct"),
        ("tools.defer_loading", "False"), ("tools.async", "False"), ("input.async", "False"),
        ("parallel_tool_calls", "True"), ("tool_choice.disable_parallel_tool_use", "False"),
    ), "it is so anyway"),
    **dict.fromkeys((
        ("response_format.json_schema.strict", "True"), ("text.format.strict", "True"),
        ("tools.function.strict", "False"), ("tools.strict", "False"),
    ), "it is so anyway with that provider"),
    **dict.fromkeys((
        ("stream_options.include_usage", "True"), ("stream_options.include_usage", "False"),
    ), "of the stream that the gateway writes"),
    **dict.fromkeys((
        ("stream_options.include_obfuscation", "True"), ("stream_options.include_obfuscation", "False"),
    ), "noise that hides lengths on the wire; a local matter of OpenAI's"),
    **dict.fromkeys((
        ("input.id", MARK), ("input.status", "completed"), ("input.status", "in_progress"),
        ("input.status", "incomplete"),
    ), "as the provider said it of its own item; nobody else looks at it"),
    ("include", "reasoning.encrypted_content"): "it is always there",
}  # fmt: skip
PAIRS = [(client, provider) for client in CLIENTS for provider in PROVIDERS if client != provider]


OF_NO_CALL = tuple(
    f"{name} (of no call in the {what})"
    for name in ("tool_call_id", "tool_use_id", "call_id")
    for what in ("conversation", "input")
)  # what stands there stands before its call
# What stands in the conversation and says how it is to be taken.
NO_CONTENT = {("messages", "name"), *(("messages", *at, "citations", "enabled") for at in (
    ("content",), ("content", "content"),
))}  # fmt: skip
Said = tuple[tuple[str, ...], dict[str, Any]]  # a path, and the body that says something there


def bodies(client: str) -> Iterator[Said]:
    base = {"model": "anthropic.m", **BASES[client]}  # whose models Bedrock takes the most for
    for field, hint in get_type_hints(TYPES[client]).items():
        for path, value in ways(hint, field):
            listed = isinstance(value, list) and isinstance(base.get(field), list)
            yield (field, *path), {**base, field: [*base[field], *value] if listed else value}
            if listed and field in ("messages", "input"):  # at the beginning too
                yield (field, *path), {**base, field: [*value, *base[field]]}


def named(name: str, path: tuple[str, ...], body: Any) -> bool:
    """Whether a name that was told is this field's, or that of the part it stands in."""
    if name.endswith(OF_NO_CALL):
        return True
    steps, _, more = name.partition(" ")
    (first, *inner), text = steps.split("."), msgspec.json.encode(body).decode()
    known = {*re.findall(r'"(?:type|role)":"(\w+)"', text), *path, "type", "role"}
    quoted = re.findall(r"'(\w+)'", more)
    return first == path[0] and all(step in known for step in inner) and all(one in text for one in quoted)


def without(body: Any, path: tuple[str, ...]) -> Any:
    """The same, but for the leaf."""
    if isinstance(body, list):
        return [without(one, path) for one in body]
    if not isinstance(body, dict) or not path:
        return body
    if len(path) == 1:
        return {key: value for key, value in body.items() if key != path[0]}
    return {key: without(value, path[1:]) if key == path[0] else value for key, value in body.items()}


def leaves(value: Any, path: tuple[str, ...]) -> set[str]:
    """What stands at a path."""
    if isinstance(value, list):
        return set().union(*(leaves(one, path) for one in value))
    if not path:
        return {str(value)}
    return leaves(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else set()


def sent(client: str, provider: str, body: Any, drop: bool = False) -> tuple[bytes, tuple[str, ...]]:
    translation = Translation(client, provider, 0)
    return translation.request(msgspec.json.encode(body), drop=drop), translation.dropped


def fate(client: str, provider: str, path: tuple[str, ...], body: Any, drop: bool = False) -> str:
    """What becomes of what is said there."""
    try:
        written, dropped = sent(client, provider, body, drop)
    except Untranslatable as told:
        return "refused" if named(told.field, path, body) else f"refused as {told.field}"
    if any(named(one, path, body) for one in dropped):
        return "dropped"
    if MARK.encode() in written or str(NUMBER).encode() in written:
        return "sent"
    try:
        if sent(client, provider, without(body, path), drop)[0] != written:
            return "sent"
    except Untranslatable:
        return "sent"  # it cannot be left out
    return "says nothing" if any((".".join(path), one) in SAYS_NOTHING for one in leaves(body, path)) else "lost"


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_what_is_said_arrives_or_is_named(client: str, provider: str) -> None:
    fates = {
        (".".join(path), *sorted(leaves(body, path))): fate(client, provider, path, body)
        for path, body in bodies(client)
    }  # where it may stand at two places, the one that counts is the beginning
    counts = Counter(fates.values())
    assert {said: found for said, found in fates.items() if found == "lost" or " as " in found} == {}
    assert counts["sent"] > 30, "the types were read"
    assert counts["refused"] > 50
    assert counts["dropped"] >= 10


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_no_policy_drops_what_stands_in_the_conversation(client: str, provider: str) -> None:
    for path, body in bodies(client):
        if path[0] in ("messages", "input", "system", "functions") and path not in NO_CONTENT:
            plainly, dropping = (fate(client, provider, path, body, drop) for drop in (False, True))
            assert dropping == plainly, path


PARTS: dict[str, Any] = {
    "image_url": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{MARK}"}},
    "input_audio": {"type": "input_audio", "input_audio": {"data": MARK, "format": "wav"}},
    "file": {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{MARK}"}},
    "refusal": {"type": "refusal", "refusal": MARK},
    "text": {"type": "text", "text": MARK},
}


@pytest.mark.parametrize("provider", [provider for client, provider in PAIRS if client == "chat"])
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first", [True, False])
def test_a_part_is_lost_in_no_role(provider: str, role: str, part: str, first: bool) -> None:
    """Also where the types of the SDK have no such part: clients send them."""
    said = {"role": role, "content": [PARTS[part]], **({"tool_call_id": "call_0"} if role == "tool" else {})}
    before = BASES["chat"]["messages"]
    body = {**BASES["chat"], "model": "m", "messages": [said, *before] if first else [*before, said]}
    for drop in (False, True):
        try:
            assert MARK.encode() in sent("chat", provider, body, drop)[0]
        except Untranslatable as told:
            assert told.field.startswith("messages.")  # noqa: PT017  # either is right


@pytest.mark.parametrize("provider", [provider for client, provider in PAIRS if client == "chat"])
def test_what_libraries_note_beside_an_answer_is_dropped_and_said(provider: str) -> None:
    """LiteLLM puts its notes back as they came; OpenAI's package the citations of an answer."""
    note = {"provider_specific_fields": {"a": MARK}}
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}, **note}
    said = {
        "role": "assistant",
        "content": "x",
        "tool_calls": [call],
        "annotations": [{"type": "url_citation"}],
        **note,
    }
    body = {**BASES["chat"], "model": "m", "messages": [*BASES["chat"]["messages"][:1], said]}
    written, dropped = sent("chat", provider, body)
    assert MARK.encode() not in written
    assert set(dropped) == {
        "messages.tool_calls.provider_specific_fields", "messages.provider_specific_fields", "messages.annotations",
    }  # fmt: skip


def test_what_is_lost_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Losses, "drop", lambda *_: None)
    fates = {fate("chat", "messages", path, body) for path, body in bodies("chat")}
    assert "lost" in fates


ALLOWED: dict[str, Any] = {
    "chat": {"type": "allowed_tools", "allowed_tools": {
        "mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}],
    }},
    "responses": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
}  # fmt: skip


@pytest.mark.parametrize(("client", "provider"), [pair for pair in PAIRS if pair[0] in ALLOWED])
def test_of_allowed_tools_the_provider_is_told_of_no_others(client: str, provider: str) -> None:
    tools = [{"name": name, "parameters": SCHEMA} for name in ("f", "g", "h")]
    said = [{"type": "function", **({"function": tool} if client == "chat" else tool)} for tool in tools]
    body = {"model": "m", **BASES[client], "tools": said, "tool_choice": ALLOWED[client]}
    others = {**body, "tools": said[1:2], "tool_choice": "required"}
    assert sent(client, provider, body) == sent(client, provider, others)
    with pytest.raises(Untranslatable, match="allowed_tools"):
        sent(client, provider, {**body, "tools": said[:1]})


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_call_must_have_a_tool(client: str, provider: str) -> None:
    must: Any = {"type": "any"} if client == "messages" else "required"
    with pytest.raises(Untranslatable) as told:
        sent(client, provider, {"model": "m", **BASES[client], "tools": [], "tool_choice": must})
    assert told.value.field == "tool_choice"
