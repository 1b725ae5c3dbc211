"""OpenAI's Responses requests ↔ the neutral form. Pure.

Source: openai-openapi `CreateResponse` and `InputItem`, as the models of openai-python 3.3 hold them. What a provider
would have to keep (an earlier response, a conversation, a file, a stored prompt) and the tools that it runs itself are
content that no other dialect has; that nobody keeps the response is said in it, `store: false`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.translation.chat_request import effort_of, inline, signature_of
from gateway.translation.choosing import chosen
from gateway.translation.losses import Fields, Losses, Untranslatable
from gateway.translation.neutral import (
    Audio,
    Call,
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
from gateway.translation.unsaid import OPENAI, name_hint, signature_hint

# A reasoning item's `encrypted_content` is what a provider wants back with its thoughts: a signature, or the thoughts.
SIGNED, SEALED = "signed:", "sealed:"
_KEPT = ("previous_response_id", "conversation", "prompt")
_HINTS = frozenset((
    "metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier",
    "stream_options", "max_tool_calls",  # which counts the calls of hosted tools
))  # fmt: skip
_IDLE: dict[str, object] = {
    "store": False, "background": False, "truncation": "disabled", "service_tier": "auto", "top_logprobs": 0,
    "include": [], "tools": [], "stream_options": {}, "context_management": [], "metadata": {},
}  # fmt: skip
_PART_HINTS = frozenset(("prompt_cache_breakpoint", "annotations", "logprobs"))
_PART_IDLE: dict[str, object] = {"annotations": [], "logprobs": []}
_TOOL_IDLE: dict[str, object] = {"allowed_callers": ["direct"], "defer_loading": False, "async": False}
_ITEM_IDLE: dict[str, object] = {"caller": {"type": "direct"}, "async": False}
_OURS = ("id", "status")  # of items that come back as they went out; nobody else looks at them
_ITEM_HINTS = frozenset(("phase",))
_NAMES = {
    "max_tokens": "max_output_tokens", "format": "text.format", "reasoning": "reasoning.effort",
    "verbosity": "text.verbosity", "messages.content": "input.content",
    "messages.content.document": "input.content.input_file",
    "messages.content.tool_result.content (other than text)": "input.output (other than text)",
    "messages.content.image_url.detail": "input.content.detail",
    "messages.tool_call_id (of no call in the conversation)": "input.call_id (of no call in the input)",
    "messages.role of instructions behind the first turn": "input.role of instructions behind the first turn",
    "thinking of earlier turns": "input.summary", "tools.function.strict": "tools.strict",
    "messages.tool_calls.function.arguments": "input.arguments",
    "messages.tool_calls.extra_content": "input.extra_content",
    "messages.content.file.filename": "input.content.filename",
    "format.name": "text.format.name", "format.description": "text.format.description",
    "format.strict": "text.format.strict",
}  # fmt: skip


def read(body: object, losses: Losses) -> Conversation:
    """Raises Untranslatable."""
    losses.names |= _NAMES
    fields = Fields(body, "", losses)
    for name in _KEPT:
        if fields.any(name) is not None:
            losses.content(name)
    tools = tuple(_tool(one, losses) for one in fields.take("tools", list) or ())
    tools, choice = chosen(fields.any("tool_choice"), tools)
    system, turns = _turns(fields.any("input"), losses)
    if (instructions := fields.take("instructions", str)) is not None:
        system = (instructions, *system)
    text = Fields(fields.take("text", dict) or {}, "text", losses)
    options = fields.take("stream_options", dict)
    if options is not None and set(options) - {"include_obfuscation"}:
        losses.parameter("stream_options")
    included = fields.take("include", list) or []
    if any(one != "reasoning.encrypted_content" for one in included):  # which is always there
        losses.parameter("include")
    conversation = Conversation(
        model=fields.need("model", str),
        system=system,
        turns=turns,
        tools=tools,
        tool_choice=choice,
        parallel=fields.take("parallel_tool_calls", bool),
        max_tokens=fields.take("max_output_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        format=_format(text.take("format", dict), losses),
        reasoning=_reasoning(fields.take("reasoning", dict), losses),
        verbosity=text.take("verbosity", str),
        user=fields.take("user", str),
        stream=fields.take("stream", bool) or False,
    )
    text.rest()
    fields.rest(_HINTS, _IDLE)
    return conversation


def _turns(said: object, losses: Losses) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    """What one side said, item by item, is one turn; the results of tools are one too."""
    items = [{"role": "user", "content": said}] if isinstance(said, str) else said
    if not isinstance(items, list):
        raise Untranslatable("input", "'input' must be a string or an array.")
    system: list[str] = []
    turns: list[Turn] = []
    for item in items:
        turn = _turn(Fields(item, "input", losses), losses)
        if turn.role == "system" and not turns:
            system.extend(part.text for part in turn.parts if isinstance(part, Text))
        elif turn.role in ("assistant", "tool") and turns and turns[-1].role == turn.role:
            turns[-1] = Turn(turn.role, (*turns[-1].parts, *turn.parts))
        else:
            turns.append(turn)
    if not turns:
        raise Untranslatable("input", "'input' must hold at least one item that is no system message.")
    return tuple(system), tuple(turns)


def _turn(fields: Fields, losses: Losses) -> Turn:
    kind = fields.take("type", str) or "message"
    for name in _OURS:
        fields.any(name)
    match kind:
        case "message":
            turn = _message(fields.need("role", str), fields, losses)
        case "function_call":
            turn = Turn("assistant", (_call(fields, losses),))
        case "function_call_output":
            inner = tuple(_parts(fields.any("output"), "input.output", losses))
            kept = tuple(part for part in inner if isinstance(part, Text | Image | Document))
            if len(kept) < len(inner):
                losses.content("input.output (other than text, images, files)")
            turn = Turn("tool", (Result(fields.need("call_id", str), kept),))
            fields.any("name")  # the call's, which it has itself
        case "reasoning":
            turn = Turn("assistant", tuple(_thoughts(fields, losses)))
        case _:
            losses.content(f"input.type {kind[:40]!r}")
            raise AssertionError  # `content` has raised
    fields.rest(_ITEM_HINTS, _ITEM_IDLE)
    return turn


def _message(role: str, fields: Fields, losses: Losses) -> Turn:
    parts = tuple(_parts(fields.any("content"), "input.content", losses))
    if role in ("system", "developer"):
        if not all(isinstance(part, Text) for part in parts):
            losses.content("input.content of a system message (other than text)")
        return Turn("system", parts)
    if role not in ("user", "assistant"):
        raise Untranslatable("input.role", "'input.role' must be user, assistant, system or developer.")
    return Turn("assistant" if role == "assistant" else "user", parts)


def _call(fields: Fields, losses: Losses) -> Call:
    return Call(fields.need("call_id", str), fields.need("name", str), fields.take("arguments", str) or "{}",
                signature_of(fields, losses))  # fmt: skip


def _thoughts(fields: Fields, losses: Losses) -> Iterator[Thought]:
    texts = [*(fields.take("summary", list) or ()), *(fields.take("content", list) or ())]
    text = "".join(Fields(one, "input.summary", losses).need("text", str) for one in texts)
    sealed = fields.take("encrypted_content", str) or ""
    if sealed.startswith(SEALED):
        yield Thought(sealed=sealed.removeprefix(SEALED))
    elif sealed.startswith(SIGNED):
        yield Thought(text, sealed.removeprefix(SIGNED))
    else:
        if sealed:  # another provider's, which alone can read it
            losses.hint("input.encrypted_content")
        if text:
            yield Thought(text)


def _parts(content: object, at: str, losses: Losses) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    if not isinstance(content, list):
        raise Untranslatable(at, f"'{at}' must be a string or an array.")
    for one in content:
        fields = Fields(one, at, losses)
        kind = fields.need("type", str)
        match kind:
            case "input_text" | "output_text":
                if text := fields.need("text", str):
                    yield Text(text)
            case "refusal":
                yield Declined(fields.need("refusal", str))
            case "input_image":
                yield _image(fields, at, losses)
            case "input_file":
                yield _file(fields, at, losses)
            case _:
                losses.content(f"{at}.{kind[:40]}")
        fields.rest(_PART_HINTS, _PART_IDLE)


def _image(fields: Fields, at: str, losses: Losses) -> Image:
    if fields.take("file_id", str) is not None:
        losses.content(f"{at}.file_id")
    url, detail = fields.need("image_url", str), fields.take("detail", str)
    media_type, data = inline(url)
    return Image(media_type, data, None if data is not None else url, None if detail == "auto" else detail)


def _file(fields: Fields, at: str, losses: Losses) -> Document:
    if fields.take("file_id", str) is not None:
        losses.content(f"{at}.file_id")
    name, url, whole = fields.take("filename", str), fields.take("file_url", str), fields.take("file_data", str)
    if fields.take("detail", str) not in (None, "auto"):
        losses.hint(f"{at}.detail")
    if url is not None:
        if whole is not None:
            raise Untranslatable(f"{at}.file_data", "'file_data' and 'file_url' are two files.")
        return Document(url=url, name=name)
    media_type, data = inline(whole or "")
    if data is None:
        raise Untranslatable(f"{at}.file_data", "'file_data' must be a data: URL in base64.")
    return Document(media_type, data, name=name)


def _tool(value: object, losses: Losses) -> Tool:
    fields = Fields(value, "tools", losses)
    if (kind := fields.need("type", str)) != "function":
        losses.content(f"tools.type {kind[:40]!r}")
    tool = Tool(fields.need("name", str), fields.take("description", str), fields.take("parameters", dict),
                fields.take("strict", bool))  # fmt: skip
    fields.rest(frozenset(("output_schema",)), _TOOL_IDLE)
    return tool


def _format(value: dict[str, Any] | None, losses: Losses) -> Format | None:
    if value is None:
        return None
    fields = Fields(value, "text.format", losses)
    kind = fields.need("type", str)
    if kind not in ("text", "json_object", "json_schema"):
        raise Untranslatable("text.format.type", "'text.format.type' must be text, json_object or json_schema.")
    wanted = None if kind == "text" else Format()
    if kind == "json_schema":
        wanted = Format(fields.take("schema", dict) or {}, fields.take("name", str), fields.take("description", str),
                        fields.take("strict", bool))  # fmt: skip
    fields.rest()
    return wanted


def _reasoning(value: dict[str, Any] | None, losses: Losses) -> Reasoning | None:
    if value is None:
        return None
    fields = Fields(value, "reasoning", losses)
    effort = fields.take("effort", str)
    fields.rest(frozenset(("summary", "generate_summary")), {"mode": "standard", "context": "auto"})
    return Reasoning(effort) if effort is not None else None


def thought_signature(item: dict[str, Any]) -> str | None:
    """What OpenAI wants back with a reasoning item, as one text; None where it sealed nothing."""
    sealed = item.get("encrypted_content")
    return f"{OPENAI}{item['id']}:{sealed}" if sealed else None


def write(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """The body of a request that nobody keeps. Raises Untranslatable."""
    body: dict[str, Any] = {
        "model": conversation.model, "store": False, "include": ["reasoning.encrypted_content"],
        "input": [
            *({"role": "developer", "content": text} for text in conversation.system),
            *(item for turn in conversation.turns for item in _written_items(turn, losses)),
        ],
    }  # fmt: skip
    if conversation.tools:
        body["tools"] = [_written_tool(tool) for tool in conversation.tools]
    if (choice := conversation.tool_choice) is not None:
        named = {"type": "function", "name": choice.name}
        body["tool_choice"] = named if choice.mode == "tool" else "required" if choice.mode == "any" else choice.mode
    said = {
        "parallel_tool_calls": conversation.parallel if conversation.tools else None,
        "max_output_tokens": conversation.max_tokens, "temperature": conversation.temperature,
        "top_p": conversation.top_p, "user": conversation.user, "stream": conversation.stream or None,
    }  # fmt: skip
    body |= {name: value for name, value in said.items() if value is not None}
    for name in ("top_k", "stop", "seed", "frequency_penalty", "presence_penalty"):
        value = getattr(conversation, name)
        if value not in (None, ()) and not (value == 0 and name.endswith("penalty")):
            losses.parameter(name)
    return body | _written_output(conversation, losses)


def _written_output(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    body, text = dict[str, Any](), dict[str, Any]()
    if (wanted := conversation.format) is not None:
        schema = {"name": wanted.name or "answer", "description": wanted.description, "schema": wanted.schema,
                  "strict": wanted.strict}  # fmt: skip
        text["format"] = {"type": "json_object"} if wanted.schema is None else {
            "type": "json_schema", **{name: value for name, value in schema.items() if value is not None},
        }  # fmt: skip
    if conversation.verbosity is not None:
        text["verbosity"] = conversation.verbosity
    if text:
        body["text"] = text
    if (reasoning := conversation.reasoning) is not None:
        if reasoning.budget is not None:
            losses.hint("budget")
        if (effort := effort_of(reasoning)) is not None:
            body["reasoning"] = {"effort": effort}
        else:
            losses.hint("reasoning")
    return body


def _written_tool(tool: Tool) -> dict[str, Any]:
    """Not strict where nobody says so: here that must be said."""
    described = {"description": tool.description} if tool.description is not None else {}
    return {"type": "function", "name": tool.name, **described, "strict": tool.strict or False,
            "parameters": tool.schema or {"type": "object", "properties": {}}}  # fmt: skip


def _written_items(turn: Turn, losses: Losses) -> Iterator[dict[str, Any]]:
    if turn.role in ("user", "system"):
        content = [_written_part(part, losses) for part in turn.parts]
        yield {"role": "developer" if turn.role == "system" else "user", "content": content}
        return
    for part in turn.parts:
        match part:
            case Text(text) | Declined(text):
                yield {"role": "assistant", "content": text}
            case Call(id=one, name=name, arguments=arguments):
                signature_hint(part, losses)
                yield {"type": "function_call", "call_id": one, "name": name, "arguments": arguments}
            case Result(call_id, parts, is_error):
                if is_error:
                    losses.hint("messages.content.is_error")
                texts = [one.text for one in parts if isinstance(one, Text)]
                plain = "".join(texts) if len(texts) == len(parts) <= 1 else None
                output = plain if plain is not None else [_written_part(one, losses) for one in parts]
                yield {"type": "function_call_output", "call_id": call_id, "output": output}
            case Thought(text, signature):
                one, _, sealed = (signature or "").removeprefix(OPENAI).partition(":")
                if signature is None or not signature.startswith(OPENAI):
                    losses.hint("thinking of earlier turns")  # its provider alone could read it
                    continue
                summary = [{"type": "summary_text", "text": text}] if text else []
                yield {"type": "reasoning", "id": one, "summary": summary, "encrypted_content": sealed}
            case _:
                losses.content("messages.content of an assistant (other than text and tool calls)")


def _written_part(part: Part, losses: Losses) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image(media_type, data, url, detail):
            at = url if data is None else f"data:{media_type or 'image/png'};base64,{data}"
            return {"type": "input_image", "image_url": at, "detail": detail or "auto"}
        case Document(text=str(text)):
            name_hint(part, losses)
            return {"type": "input_text", "text": text}
        case Document(media_type, data, url, name=name):
            named = {"filename": name} if name is not None else {}
            if data is None:
                return {"type": "input_file", "file_url": url, **named}
            whole = f"data:{media_type or 'application/pdf'};base64,{data}"
            return {"type": "input_file", "file_data": whole, **named}
    losses.content("messages.content.input_audio" if isinstance(part, Audio) else "messages.content")
    raise AssertionError  # `content` has raised
