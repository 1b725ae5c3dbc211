"""The neutral form → Gemini's generateContent. Pure; the model and whether it streams stand in the path.

Source: ai.google.dev/api/generate-content (v1beta), as the models of google-genai 3.4 hold it. A call of Gemini 3's
must come back signed; of one that it did not sign (another maker's, a client's that keeps no signatures) Google lets
that be said: ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.translation.losses import Losses
from gateway.translation.messages_request import arguments_of
from gateway.translation.neutral import (
    Audio,
    Call,
    Conversation,
    Declined,
    Document,
    Image,
    Part,
    Reasoning,
    Result,
    Text,
    Thought,
    Tool,
)
from gateway.translation.unsaid import detail_hint, label_hints, name_hint

_STRICT = re.compile(r"gemini-(?:[3-9]|\d\d)")  # models that refuse a call without a signature
UNSIGNED = "skip_thought_signature_validator"
_MODES = {"auto": "AUTO", "none": "NONE", "any": "ANY", "tool": "ANY"}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
_CONFIG = (
    ("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK"), ("max_tokens", "maxOutputTokens"),
    ("seed", "seed"), ("frequency_penalty", "frequencyPenalty"), ("presence_penalty", "presencePenalty"),
)  # fmt: skip


def write(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """The body of a request. Raises Untranslatable."""
    body: dict[str, Any] = {"contents": list(_contents(conversation, losses))}
    if conversation.system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in conversation.system]}
    if conversation.tools:
        body |= _tools(conversation, losses)
    if config := _config(conversation, losses):
        body["generationConfig"] = config
    return body


def _tools(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    body: dict[str, Any] = {
        "tools": [{"functionDeclarations": [_declaration(tool, losses) for tool in conversation.tools]}]
    }
    if (choice := conversation.tool_choice) is not None:
        calling: dict[str, Any] = {"mode": _MODES[choice.mode]}
        if choice.name is not None:
            calling["allowedFunctionNames"] = [choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    if conversation.parallel is False:
        losses.parameter("parallel" if "parallel" in losses.names else "parallel_tool_calls")
    return body


def _config(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    config: dict[str, Any] = {
        theirs: value for ours, theirs in _CONFIG if (value := getattr(conversation, ours)) is not None
    }
    if conversation.stop:
        config["stopSequences"] = list(conversation.stop)
    if conversation.verbosity is not None:
        losses.parameter("verbosity")
    if (wanted := conversation.format) is not None:
        config["responseMimeType"] = "application/json"
        label_hints(wanted, losses)
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
    if (reasoning := conversation.reasoning) is not None:
        config["thinkingConfig"] = _thinking(reasoning, losses)
    if conversation.user is not None:
        losses.hint("user")
    return config


def _thinking(reasoning: Reasoning, losses: Losses) -> dict[str, Any]:
    effort, budget = reasoning.effort, reasoning.budget
    if effort == "none" or budget == 0:
        return {"thinkingBudget": 0}
    if budget is not None:  # there may be but one of both
        if effort is not None:
            losses.parameter("effort")
        return {"thinkingBudget": budget, "includeThoughts": True}
    level = _LEVELS.get(effort or "")
    if effort is not None and level is None:
        losses.parameter("reasoning")
    elif effort is not None and level != effort.upper():
        losses.hint("reasoning")
    return {"includeThoughts": True, **({"thinkingLevel": level} if level else {})}


def _contents(conversation: Conversation, losses: Losses) -> Iterator[dict[str, Any]]:
    names: dict[str, str] = {}
    strict = _STRICT.match(conversation.model.removeprefix("models/")) is not None
    for turn in conversation.turns:
        names |= {part.id: part.name for part in turn.parts if isinstance(part, Call)}
        if turn.role == "system":
            losses.content("messages.role of instructions behind the first turn")
        parts = [written for part in turn.parts if (written := _written(part, names, losses)) is not None]
        calls = [part for part in parts if "functionCall" in part]
        if calls and strict:  # the first of several stands for all
            calls[0].setdefault("thoughtSignature", UNSIGNED)
        if parts:  # a content without any is refused there
            yield {"role": "model" if turn.role == "assistant" else "user", "parts": parts}


def _written(part: Part, names: dict[str, str], losses: Losses) -> dict[str, Any] | None:
    match part:
        case Text(text) | Declined(text):
            return {"text": text}
        case Document(text=str(text)):
            name_hint(part, losses)
            return {"text": text}
        case Image() | Document():
            return _file(part, losses)
        case Audio(form, data):
            return _blob(f"audio/{form}", data, None)
        case Call(id=one, name=name, arguments=arguments, signature=signature):
            call = {"functionCall": {"id": one, "name": name, "args": arguments_of(arguments, losses)}}
            return {**call, **({"thoughtSignature": signature} if signature else {})}
        case Result():
            return {"functionResponse": _response(part, names, losses)}
        case Thought():
            losses.hint("thinking of earlier turns")
    return None


def _response(result: Result, names: dict[str, str], losses: Losses) -> dict[str, Any]:
    """What a tool gave: texts are its output, pictures and files stand beside it."""
    if result.call_id not in names:
        losses.content("messages.tool_call_id (of no call in the conversation)")
    texts, beside = list[str](), list[dict[str, Any]]()
    for part in result.parts:
        match part:
            case Text(text) | Document(text=str(text)):
                texts.append(text)
            case _:
                beside.append(_file(part, losses))
    response = {"error" if result.is_error else "output": "\n".join(texts)}
    written = {"id": result.call_id, "name": names[result.call_id], "response": response}
    return {**written, "parts": beside} if beside else written


def _file(part: Image | Document, losses: Losses) -> dict[str, Any]:
    if isinstance(part, Image):
        detail_hint(part, losses)
        return _blob(part.media_type or "image/png", part.data, part.url)
    name_hint(part, losses)
    return _blob(part.media_type or "application/pdf", part.data, part.url)


def _blob(media_type: str, data: str | None, url: str | None) -> dict[str, Any]:
    if data is not None:
        return {"inlineData": {"mimeType": media_type, "data": data}}
    return {"fileData": {"mimeType": media_type, "fileUri": url}}


def _declaration(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.strict:
        losses.hint("tools.function.strict")
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.schema is not None:
        written["parametersJsonSchema"] = tool.schema
    return written
