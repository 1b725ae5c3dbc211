"""OpenAI's chat requests ↔ the neutral form. Pure.

Source: openai-openapi `CreateChatCompletionRequest`. `reasoning_content` and `thinking_blocks` of an assistant's
message are the names that compatible servers and clients use for a model's thoughts.
"""

from __future__ import annotations

from typing import Any

from gateway.translation.choosing import chosen
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
from gateway.translation.unsaid import name_hint, signature_hint

_HINTS = frozenset((
    "metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier",
    "stream_options", "store",
))  # fmt: skip
_IDLE: dict[str, object] = {
    "n": 1, "logprobs": False, "store": False, "modalities": ["text"], "service_tier": "auto", "logit_bias": {},
    "stream_options": {}, "functions": [], "tools": [],
}  # fmt: skip
_PART_HINTS = frozenset(("prompt_cache_breakpoint", "cache_control"))
# Of an answer that comes back as it was told: what it rested on, and what client libraries note beside it.
_MESSAGE_HINTS = _PART_HINTS | {"annotations", "provider_specific_fields"}
_LABELS = ("name", "description", "strict")


def read(body: object, losses: Losses) -> Conversation:
    """Raises Untranslatable."""
    fields = Fields(body, "", losses)
    system, turns = _turns(fields.need("messages", list), losses)
    maximum = fields.take("max_tokens", int)
    newer = fields.take("max_completion_tokens", int)
    losses.names |= {"max_tokens": "max_completion_tokens" if newer is not None else "max_tokens",
                     "format": "response_format", "reasoning": "reasoning_effort",
                     "thinking of earlier turns": "messages.reasoning_content",
                     **{f"format.{name}": f"response_format.json_schema.{name}" for name in _LABELS}}  # fmt: skip
    effort = fields.take("reasoning_effort", str)
    if fields.any("functions"):  # tools, as they were said before there were tools
        losses.content("functions")
    tools = tuple(_tool(one, losses) for one in fields.take("tools", list) or ())
    tools, choice = chosen(fields.any("tool_choice"), tools)
    options = fields.any("stream_options")
    if isinstance(options, dict) and set(options) - {"include_usage", "include_obfuscation"}:
        losses.parameter("stream_options")
    conversation = Conversation(
        model=fields.need("model", str),
        system=system,
        turns=turns,
        tools=tools,
        tool_choice=choice,
        parallel=fields.take("parallel_tool_calls", bool),
        max_tokens=newer if newer is not None else maximum,
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        top_k=fields.take("top_k", int),
        stop=fields.texts("stop"),
        seed=fields.take("seed", int),
        frequency_penalty=fields.take("frequency_penalty", float),
        presence_penalty=fields.take("presence_penalty", float),
        format=_format(fields.take("response_format", dict), losses),
        reasoning=Reasoning(effort) if effort is not None else None,
        verbosity=fields.take("verbosity", str),
        user=fields.take("user", str),
        stream=fields.take("stream", bool) or False,
    )
    fields.rest(_HINTS, _IDLE)
    return conversation


def _turns(messages: list[Any], losses: Losses) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        fields = Fields(message, "messages", losses)
        role = fields.need("role", str)
        if role in ("system", "developer"):
            texts = _texts(fields.any("content"), losses)
            if turns:
                turns.append(Turn("system", texts))
            else:
                system.extend(part.text for part in texts)
        elif role == "user":
            turns.append(Turn("user", _parts(fields.any("content"), losses)))
        elif role == "assistant":
            turns.append(Turn("assistant", _assistant(fields, losses)))
        elif role == "tool":
            result = Result(fields.need("tool_call_id", str), _result(fields.any("content"), losses))
            if turns and turns[-1].role == "tool":
                turns[-1] = Turn("tool", (*turns[-1].parts, result))
            else:
                turns.append(Turn("tool", (result,)))
        else:
            losses.content(f"messages.role {role[:40]!r}")
        if fields.any("name") is not None:
            losses.parameter("messages.name")
        fields.rest(_MESSAGE_HINTS, {"annotations": [], "refusal": "", "tool_calls": []})
    if not turns:
        raise Untranslatable("messages", "'messages' must hold at least one message that is no system message.")
    return tuple(system), tuple(turns)


def _assistant(fields: Fields, losses: Losses) -> tuple[Part, ...]:
    parts: list[Part] = []
    thoughts, plain = fields.take("thinking_blocks", list), fields.take("reasoning_content", str)
    for block in thoughts or ():
        inner = Fields(block, "messages.thinking_blocks", losses)
        kind = inner.need("type", str)
        if kind == "redacted_thinking":
            parts.append(Thought(sealed=inner.need("data", str)))
        elif kind == "thinking":
            parts.append(Thought(inner.take("thinking", str) or "", inner.take("signature", str)))
        else:
            losses.content(f"messages.thinking_blocks.{kind[:40]}")
        inner.rest(_PART_HINTS)
    if plain and not thoughts:
        parts.append(Thought(plain))
    parts.extend(_parts(fields.any("content"), losses))
    if refusal := fields.take("refusal", str):
        parts.append(Declined(refusal))
    calls = fields.take("tool_calls", list) or ()
    parts.extend(_call(Fields(call, "messages.tool_calls", losses), losses) for call in calls)
    return tuple(parts)


def _call(fields: Fields, losses: Losses) -> Call:
    if (kind := fields.take("type", str)) not in (None, "function"):
        losses.content(f"messages.tool_calls.type {str(kind)[:40]!r}")
    function = Fields(fields.need("function", dict), "messages.tool_calls.function", losses)
    fields.any("index")  # of a stream's piece that was put back as it came
    one = Call(fields.need("id", str), function.need("name", str), function.take("arguments", str) or "{}",
               signature_of(fields, losses))  # fmt: skip
    function.rest()
    fields.rest(_MESSAGE_HINTS)
    return one


def signature_of(call: Fields, losses: Losses) -> str | None:
    """What Gemini signed a call with, in the place that Google's own compatible API gives it."""
    extra = Fields(call.take("extra_content", dict) or {}, call.name("extra_content"), losses)
    google = Fields(extra.take("google", dict) or {}, call.name("extra_content.google"), losses)
    signature = google.take("thought_signature", str)
    google.rest()
    extra.rest()
    return signature


def _parts(content: object, losses: Losses) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise Untranslatable("messages.content", "'messages.content' must be a string or an array.")
    return tuple(part for one in content if (part := _part(Fields(one, "messages.content", losses), losses)))


def _part(fields: Fields, losses: Losses) -> Part | None:
    kind = fields.need("type", str)
    part: Part | None = None
    if kind == "text":
        text = fields.need("text", str)
        part = Text(text) if text else None
    elif kind == "refusal":
        part = Declined(fields.need("refusal", str))
    elif kind == "image_url":
        inner = Fields(fields.need("image_url", dict), "messages.content.image_url", losses)
        url, detail = inner.need("url", str), inner.take("detail", str)
        media_type, data = inline(url)
        inner.rest()
        part = Image(media_type, data, None if data is not None else url, None if detail == "auto" else detail)
    elif kind == "input_audio":
        inner = Fields(fields.need("input_audio", dict), "messages.content.input_audio", losses)
        part = Audio(inner.need("format", str), inner.need("data", str))
        inner.rest()
    elif kind == "file":
        inner = Fields(fields.need("file", dict), "messages.content.file", losses)
        if inner.take("file_id", str) is not None:
            losses.content("messages.content.file.file_id")
        media_type, data = inline(inner.need("file_data", str))
        if data is None:
            raise Untranslatable("messages.content.file.file_data", "'file_data' must be a data: URL in base64.")
        part = Document(media_type, data, name=inner.take("filename", str))
        inner.rest()
    else:
        losses.content(f"messages.content.{kind[:40]}")
    fields.rest(_PART_HINTS)
    return part


def _texts(content: object, losses: Losses) -> tuple[Text, ...]:
    parts = _parts(content, losses)
    texts = tuple(part for part in parts if isinstance(part, Text))
    if len(texts) < len(parts):
        losses.content("messages.content of a system message (other than text)")
    return texts


def _result(content: object, losses: Losses) -> tuple[Text | Image | Document, ...]:
    parts = _parts(content, losses)
    kept = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    if len(kept) < len(parts):
        losses.content("messages.content of a tool's result (other than text, images, files)")
    return kept


def inline(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 of a `data:` URL; (None, None) of any other."""
    if not url.startswith("data:"):
        return None, None
    head, _, data = url[5:].partition(",")
    media_type, *flags = head.split(";")
    return (media_type or None, data) if "base64" in flags else (None, None)


def _tool(value: object, losses: Losses) -> Tool:
    fields = Fields(value, "tools", losses)
    if (kind := fields.need("type", str)) != "function":
        losses.content(f"tools.type {kind[:40]!r}")
    inner = Fields(fields.need("function", dict), "tools.function", losses)
    tool = Tool(inner.need("name", str), inner.take("description", str), inner.take("parameters", dict),
                inner.take("strict", bool))  # fmt: skip
    inner.rest()
    fields.rest(_PART_HINTS)
    return tool


def _format(value: dict[str, Any] | None, losses: Losses) -> Format | None:
    if value is None or value.get("type") == "text":
        return None
    if value.get("type") == "json_object":
        return Format()
    if value.get("type") != "json_schema":
        raise Untranslatable("response_format.type", "'response_format.type' must be text, json_object or json_schema.")
    inner = Fields(value.get("json_schema"), "response_format.json_schema", losses)
    wanted = Format(inner.take("schema", dict) or {}, inner.take("name", str), inner.take("description", str),
                    inner.take("strict", bool))  # fmt: skip
    inner.rest()
    return wanted


def write(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """The body of a request. Raises Untranslatable."""
    body: dict[str, Any] = {"model": conversation.model, "messages": list(_messages(conversation, losses))}
    if conversation.tools:
        body["tools"] = [_written_tool(tool) for tool in conversation.tools]
    if (choice := conversation.tool_choice) is not None:
        body["tool_choice"] = _written_choice(choice)
    if conversation.parallel is not None and conversation.tools:
        body["parallel_tool_calls"] = conversation.parallel
    if conversation.max_tokens is not None:
        body["max_completion_tokens"] = conversation.max_tokens
    plain = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "user", "verbosity")
    body |= _said({name: getattr(conversation, name) for name in plain})
    if conversation.top_k is not None:
        losses.parameter("top_k")
    if conversation.stop:
        body["stop"] = list(conversation.stop)
    if (wanted := conversation.format) is not None:
        body["response_format"] = _written_format(wanted)
    if (reasoning := conversation.reasoning) is not None:
        if reasoning.budget is not None:
            losses.hint("budget")
        if (effort := effort_of(reasoning)) is not None:
            body["reasoning_effort"] = effort
        else:  # as much as the model thinks right: its own default there
            losses.hint("reasoning")
    if conversation.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _written_choice(choice: Choice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.mode == "any" else choice.mode


def effort_of(reasoning: Reasoning) -> str | None:
    """OpenAI's word for a budget in tokens."""
    budget = reasoning.budget
    if reasoning.effort is not None or budget is None:
        return reasoning.effort
    return "none" if budget == 0 else "low" if budget < 4096 else "medium" if budget < 16384 else "high"


def _messages(conversation: Conversation, losses: Losses) -> Any:
    for text in conversation.system:
        yield {"role": "system", "content": text}
    for turn in conversation.turns:
        if turn.role == "tool":
            for result in turn.parts:
                if isinstance(result, Result):
                    yield {"role": "tool", "tool_call_id": result.call_id, "content": _result_text(result, losses)}
        elif turn.role == "assistant":
            yield _written_assistant(turn, losses)
        else:
            parts = [_written(part, losses) for part in turn.parts]
            plain = len(parts) == 1 and parts[0]["type"] == "text"
            yield {"role": turn.role, "content": parts[0]["text"] if plain else parts}


def _result_text(result: Result, losses: Losses) -> str | list[dict[str, Any]]:
    if result.is_error:
        losses.hint("messages.content.is_error")
    for part in result.parts:
        if not isinstance(part, Text):
            losses.content("messages.content.tool_result.content (other than text)")
    texts = [part.text for part in result.parts if isinstance(part, Text)]
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts] if texts else ""


def _written_assistant(turn: Turn, losses: Losses) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    texts = [part.text for part in turn.parts if isinstance(part, Text)]
    calls = [part for part in turn.parts if isinstance(part, Call)]
    if any(isinstance(part, Thought) for part in turn.parts):
        losses.hint("thinking of earlier turns")
    if len(texts) == 1:
        message["content"] = texts[0]
    else:
        message["content"] = [{"type": "text", "text": text} for text in texts] if texts else None
    if any(isinstance(part, Image | Document | Audio | Result) for part in turn.parts):
        losses.content("messages.content of an assistant (other than text and tool calls)")
    if declined := [part.text for part in turn.parts if isinstance(part, Declined)]:
        message["refusal"] = "".join(declined)
    for call in calls:
        signature_hint(call, losses)
    if calls:
        message["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in calls
        ]
    return message


def _written(part: Part, losses: Losses) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data, url, detail):
            at = url if data is None else f"data:{media_type or 'image/png'};base64,{data}"
            return {"type": "image_url", "image_url": {"url": at, **({"detail": detail} if detail else {})}}
        case Audio(form, data):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case Document(media_type, data, _, text, name) if data is not None:
            whole = f"data:{media_type or 'application/pdf'};base64,{data}"
            return {"type": "file", "file": {"file_data": whole, **({"filename": name} if name else {})}}
        case Document(text=text) if text is not None:
            name_hint(part, losses)
            return {"type": "text", "text": text}
    losses.content("messages.content.document" if isinstance(part, Document) else "messages.content")
    raise AssertionError  # `content` has raised


def _written_tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": tool.strict}
    return {"type": "function", "function": _said(function)}


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _written_format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name or "answer", "description": wanted.description, "schema": wanted.schema}
    return {"type": "json_schema", "json_schema": _said({**schema, "strict": wanted.strict})}
