"""Requests of Anthropic's Messages ↔ the neutral form. Pure.

Source: platform.claude.com, API reference "Create a Message" (version 2023-06-01 and the structured outputs and effort
of `output_config`), as the models of anthropic-sdk-python 2.12 hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.translation.carried import apart
from gateway.translation.choosing import needs_tools
from gateway.translation.losses import Fields, Losses, Untranslatable
from gateway.translation.neutral import (
    Audio,
    Call,
    Choice,
    Conversation,
    Declined,
    Document,
    Format,
    Image,
    Part,
    Reasoning,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
)
from gateway.translation.unsaid import OPENAI, detail_hint, label_hints, signature_hint

OUTPUT = 4096  # `max_tokens` must be said there; what is reserved for a chat that says none
_HINTS = frozenset(("cache_control", "diagnostics"))
_IDLE: dict[str, object] = {"service_tier": "auto", "speed": "standard", "tools": []}
_PART_HINTS = frozenset(("cache_control",))
_TEXT_HINTS = frozenset(("cache_control", "citations"))  # what an earlier answer rested on
_KEPT = ("container", "mcp_servers")  # what the provider holds or runs
_EFFORTS = {"minimal": "low"}  # what OpenAI knows and Anthropic does not


def read(body: object, losses: Losses) -> Conversation:
    """Raises Untranslatable."""
    fields = Fields(body, "", losses)
    losses.names |= {
        "stop": "stop_sequences", "format": "output_config.format", "reasoning": "thinking",
        "budget": "thinking.budget_tokens", "effort": "output_config.effort", "user": "metadata.user_id",
        "parallel": "tool_choice.disable_parallel_tool_use", "tools.function.strict": "tools.strict",
        "messages.content.file.filename": "messages.content.title",
        "messages.tool_call_id (of no call in the conversation)":
        "messages.content.tool_use_id (of no call in the conversation)",
        "messages.tool_calls.function.arguments": "messages.content.input",
        "thinking of earlier turns": "messages.content.thinking",
        "messages.tool_calls.extra_content": "messages.content.id (the signature in it)",
    }  # fmt: skip
    for name in _KEPT:
        if fields.any(name):
            losses.content(name)
    system = fields.any("system")
    choice, parallel = _choice(fields.take("tool_choice", dict), losses)
    tools = tuple(_tool(one, losses) for one in fields.take("tools", list) or ())
    needs_tools(choice, tools)
    config = Fields(fields.take("output_config", dict) or {}, "output_config", losses)
    metadata = Fields(fields.take("metadata", dict) or {}, "metadata", losses)
    conversation = Conversation(
        model=fields.need("model", str),
        system=(system,) if isinstance(system, str) else tuple(_texts(system or [], losses)),
        turns=tuple(_turns(fields.need("messages", list), losses)),
        tools=tools,
        tool_choice=choice,
        parallel=parallel,
        max_tokens=fields.take("max_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        top_k=fields.take("top_k", int),
        stop=fields.texts("stop_sequences"),
        format=_format(config.take("format", dict), losses),
        reasoning=_reasoning(fields.take("thinking", dict), config.take("effort", str), losses),
        user=metadata.take("user_id", str),
        stream=fields.take("stream", bool) or False,
    )
    config.rest()
    metadata.rest()
    fields.rest(_HINTS, _IDLE)
    return conversation


def _format(wanted: dict[str, Any] | None, losses: Losses) -> Format | None:
    if wanted is None:
        return None
    fields = Fields(wanted, "output_config.format", losses)
    if fields.need("type", str) != "json_schema":
        raise Untranslatable("output_config.format.type", "'output_config.format.type' must be json_schema.")
    made = Format(fields.take("schema", dict) or {})
    fields.rest()
    return made


def _texts(blocks: object, losses: Losses) -> Iterator[str]:
    if not isinstance(blocks, list):
        raise Untranslatable("system", "'system' must be a string or an array.")
    for block in blocks:
        fields = Fields(block, "system", losses)
        if fields.need("type", str) != "text":
            losses.content("system (other than text)")
        yield fields.need("text", str)
        fields.rest(_TEXT_HINTS)


def _turns(messages: list[Any], losses: Losses) -> Iterator[Turn]:
    for message in messages:
        fields = Fields(message, "messages", losses)
        role, content = fields.need("role", str), fields.any("content")
        fields.rest(_HINTS)
        if role not in ("user", "assistant", "system"):
            raise Untranslatable("messages.role", "'messages.role' must be user, assistant or system.")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            raise Untranslatable("messages.content", "'messages.content' must be a string or an array.")
        parts = tuple(part for one in blocks if (part := _part(Fields(one, "messages.content", losses), losses)))
        results = tuple(part for part in parts if isinstance(part, Result))
        others = tuple(part for part in parts if not isinstance(part, Result))
        if results:
            yield Turn("tool", results)
        if others:
            yield Turn("assistant" if role == "assistant" else "system" if role == "system" else "user", others)


def _part(fields: Fields, losses: Losses) -> Part | None:
    kind = fields.need("type", str)
    part: Part | None = None
    match kind:
        case "text":
            text = fields.need("text", str)
            part = Text(text) if text else None
            fields.rest(_TEXT_HINTS)
            return part
        case "image":
            part = _image(Fields(fields.need("source", dict), "messages.content.source", losses), losses)
        case "document":
            part = _document(Fields(fields.need("source", dict), "messages.content.source", losses),
                             fields.take("title", str), losses)  # fmt: skip
            if (cited := fields.take("citations", dict)) is not None and cited != {"enabled": False}:
                losses.parameter("messages.content.citations")
        case "tool_use":
            arguments = msgspec.json.encode(fields.any("input") or {}).decode()
            one, signature = apart(fields.need("id", str))
            part = Call(one, fields.need("name", str), arguments, signature)
            if (caller := fields.take("caller", dict)) is not None and caller != {"type": "direct"}:
                losses.content("messages.content.caller")
        case "tool_result":
            content = fields.any("content")
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            inner = [_part(Fields(one, "messages.content.content", losses), losses) for one in blocks]
            kept = tuple(one for one in inner if isinstance(one, Text | Image | Document))
            if len(kept) < sum(one is not None for one in inner):
                losses.content("messages.content.content (other than text, images, documents)")
            one, _ = apart(fields.need("tool_use_id", str))
            part = Result(one, kept, fields.take("is_error", bool) or False)
        case "thinking":
            part = Thought(fields.need("thinking", str), fields.take("signature", str))
        case "redacted_thinking":
            part = Thought(sealed=fields.need("data", str))
        case _:
            losses.content(f"messages.content.{kind[:40]}")
    fields.rest(_PART_HINTS)
    return part


def _image(source: Fields, losses: Losses) -> Image:
    kind = source.need("type", str)
    if kind not in ("base64", "url"):
        losses.content(f"messages.content.source.{kind[:40]}")
    if kind == "base64":
        image = Image(source.need("media_type", str), source.need("data", str))
    else:
        image = Image(url=source.need("url", str))
    source.rest()
    return image


def _document(source: Fields, name: str | None, losses: Losses) -> Document:
    kind = source.need("type", str)
    if kind not in ("base64", "text", "url"):
        losses.content(f"messages.content.source.{kind[:40]}")
    if kind == "base64":
        document = Document(source.need("media_type", str), source.need("data", str), name=name)
    elif kind == "text":
        source.any("media_type")  # there is but one
        document = Document("text/plain", text=source.need("data", str), name=name)
    else:
        document = Document(url=source.need("url", str), name=name)
    source.rest()
    return document


def _tool(value: object, losses: Losses) -> Tool:
    fields = Fields(value, "tools", losses)
    if (kind := fields.take("type", str)) not in (None, "custom"):
        losses.content(f"tools.type {str(kind)[:40]!r}")
    tool = Tool(fields.need("name", str), fields.take("description", str), fields.take("input_schema", dict),
                fields.take("strict", bool))  # fmt: skip
    fields.rest(frozenset(("cache_control", "eager_input_streaming", "input_examples")),
                {"allowed_callers": ["direct"], "defer_loading": False})  # fmt: skip
    return tool


def _choice(value: dict[str, Any] | None, losses: Losses) -> tuple[Choice | None, bool | None]:
    if value is None:
        return None, None
    fields = Fields(value, "tool_choice", losses)
    kind, disabled = fields.need("type", str), fields.take("disable_parallel_tool_use", bool)
    parallel = None if disabled is None else not disabled
    name = fields.need("name", str) if kind == "tool" else None
    fields.rest()
    if name is not None:
        return Choice("tool", name), parallel
    if kind not in ("auto", "any", "none"):
        raise Untranslatable("tool_choice.type", "'tool_choice.type' must be auto, any, none or tool.")
    return Choice("any" if kind == "any" else "none" if kind == "none" else "auto"), parallel


def _reasoning(thinking: dict[str, Any] | None, effort: str | None, losses: Losses) -> Reasoning | None:
    if thinking is None:
        return Reasoning(effort) if effort is not None else None
    fields = Fields(thinking, "thinking", losses)
    kind = fields.need("type", str)
    budget = fields.need("budget_tokens", int) if kind == "enabled" else None
    if kind not in ("disabled", "enabled", "adaptive"):
        losses.parameter("thinking.type")
    fields.rest(frozenset(("display",)))  # of thoughts that others show, if at all, as they like
    if kind != "disabled":
        return Reasoning(effort, budget)
    if effort is not None:  # which there is for the words of the answer too
        losses.parameter("output_config.effort")
    return Reasoning("none")


def write(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """The body of a request. Raises Untranslatable."""
    body: dict[str, Any] = {
        "model": conversation.model, "messages": list(_messages(conversation, losses)),
        "max_tokens": OUTPUT if conversation.max_tokens is None else conversation.max_tokens,
    }  # fmt: skip
    if conversation.system:
        texts = [{"type": "text", "text": text} for text in conversation.system]
        body["system"] = texts[0]["text"] if len(texts) == 1 else texts
    if conversation.tools:
        body["tools"] = [_written_tool(tool) for tool in conversation.tools]
    if (choice := _written_choice(conversation)) is not None:
        body["tool_choice"] = choice
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(conversation, name)) is not None:
            body[name] = value
    if conversation.stop:
        body["stop_sequences"] = list(conversation.stop)
    if conversation.user is not None:
        body["metadata"] = {"user_id": conversation.user}
    if conversation.stream:
        body["stream"] = True
    return body | _output(conversation, losses)


def _output(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """How the answer is to look, and how much is to be thought about it."""
    body: dict[str, Any] = {}
    for name in ("seed", "frequency_penalty", "presence_penalty", "verbosity"):
        value = getattr(conversation, name)
        if value is not None and not (value == 0 and name.endswith("penalty")):
            losses.parameter(name)
    config: dict[str, Any] = {}
    if (wanted := conversation.format) is not None:
        if wanted.schema is None:
            losses.parameter("format")
        else:
            label_hints(wanted, losses)
            config["format"] = {"type": "json_schema", "schema": wanted.schema}
    if (reasoning := conversation.reasoning) is not None:
        body["thinking"] = _written_thinking(reasoning)
        if reasoning.effort not in (None, "none"):
            if reasoning.effort in _EFFORTS:
                losses.hint("reasoning")
            config["effort"] = _EFFORTS.get(str(reasoning.effort), reasoning.effort)
    if config:
        body["output_config"] = config
    return body


def _written_thinking(reasoning: Reasoning) -> dict[str, Any]:
    if reasoning.effort == "none" or reasoning.budget == 0:
        return {"type": "disabled"}
    if reasoning.budget is not None:
        return {"type": "enabled", "budget_tokens": reasoning.budget}
    return {"type": "adaptive"}


def _written_choice(conversation: Conversation) -> dict[str, Any] | None:
    choice, parallel = conversation.tool_choice, conversation.parallel
    if not conversation.tools:
        return None
    if choice is None and parallel is None:
        return None
    written: dict[str, Any] = {"type": choice.mode if choice is not None else "auto"}
    if choice is not None and choice.name is not None:
        written["name"] = choice.name
    if parallel is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not parallel
    return written


def _messages(conversation: Conversation, losses: Losses) -> Iterator[dict[str, Any]]:
    """Results of tools and what the user says next are one message there."""
    held: list[dict[str, Any]] = []
    for turn in conversation.turns:
        blocks = [block for part in turn.parts if (block := _written(part, losses)) is not None]
        if turn.role == "tool":
            held.extend(blocks)
            continue
        if turn.role == "user":
            blocks, held = held + blocks, []
        elif held:
            yield {"role": "user", "content": held}
            held = []
        plain = len(blocks) == 1 and blocks[0]["type"] == "text"
        yield {"role": turn.role, "content": blocks[0]["text"] if plain else blocks}
    if held:
        yield {"role": "user", "content": held}


def _written(part: Part, losses: Losses) -> dict[str, Any] | None:
    match part:
        case Text(text) | Declined(text):
            return {"type": "text", "text": text}
        case Image(media_type, data, url):
            detail_hint(part, losses)
            source = {"type": "base64", "media_type": media_type or "image/png", "data": data}
            return {"type": "image", "source": source if data is not None else {"type": "url", "url": url}}
        case Document():
            return _written_document(part)
        case Call(id=one, name=name, arguments=arguments):
            signature_hint(part, losses)
            return {"type": "tool_use", "id": one, "name": name, "input": arguments_of(arguments, losses)}
        case Result(call_id, parts, is_error):
            inner = [_written(one, losses) for one in parts]
            plain = len(inner) == 1 and inner[0] is not None and inner[0]["type"] == "text"
            block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
            block["content"] = inner[0]["text"] if plain and inner[0] is not None else inner
            return {**block, **({"is_error": True} if is_error else {})}
        case Thought(text, signature, sealed):
            if sealed is not None:
                return {"type": "redacted_thinking", "data": sealed}
            if signature is not None and not signature.startswith(OPENAI):
                return {"type": "thinking", "thinking": text, "signature": signature}
            losses.hint("thinking of earlier turns")  # its provider would not take it without a signature
            return None
        case Audio():
            losses.content("messages.content.input_audio")
    return None


def _written_document(part: Document) -> dict[str, Any]:
    if part.data is not None:
        source = {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}
    elif part.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    else:
        source = {"type": "url", "url": part.url or ""}
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def arguments_of(text: str, losses: Losses) -> dict[str, Any]:
    """A call's arguments as an object. Raises Untranslatable."""
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.MsgspecError:
        value = None
    if not isinstance(value, dict):
        at = "messages.tool_calls.function.arguments"
        raise Untranslatable(losses.names.get(at, at), "A tool call's arguments must be a JSON object.")
    return value


def _written_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "input_schema": tool.schema or {"type": "object", "properties": {}}}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written
