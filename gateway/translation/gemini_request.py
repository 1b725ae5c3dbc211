"""The neutral form → Gemini's generateContent. Pure; the model and whether it streams stand in the path.

Source: ai.google.dev/api/generate-content (v1beta), as the models of google-genai 3.4 hold it.
"""

from __future__ import annotations

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
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
    if (reasoning := conversation.reasoning) is not None:
        config["thinkingConfig"] = _thinking(reasoning)
    if conversation.user is not None:
        losses.hint(losses.names.get("user", "user"))
    return config


def _thinking(reasoning: Reasoning) -> dict[str, Any]:
    if reasoning.effort == "none" or reasoning.budget == 0:
        return {"thinkingBudget": 0}
    if reasoning.budget is not None:
        return {"thinkingBudget": reasoning.budget, "includeThoughts": True}
    level = _LEVELS.get(reasoning.effort or "")
    return {"includeThoughts": True, **({"thinkingLevel": level} if level else {})}


def _contents(conversation: Conversation, losses: Losses) -> Iterator[dict[str, Any]]:
    names: dict[str, str] = {}
    for turn in conversation.turns:
        names |= {part.id: part.name for part in turn.parts if isinstance(part, Call)}
        if turn.role == "system":
            losses.content("messages.role 'system' behind the first turn")
        parts = [written for part in turn.parts if (written := _written(part, names, losses)) is not None]
        yield {"role": "model" if turn.role == "assistant" else "user", "parts": parts}


def _written(  # noqa: C901  # one case for each kind of part
    part: Part, names: dict[str, str], losses: Losses
) -> dict[str, Any] | None:
    match part:
        case Text(text) | Declined(text):
            return {"text": text}
        case Image(media_type, data, url, detail):
            if detail is not None:
                losses.hint("messages.content.image_url.detail")
            return _blob(media_type or "image/png", data, url)
        case Document(media_type, data, url, text):
            if text is not None:
                return {"text": text}
            return _blob(media_type or "application/pdf", data, url)
        case Audio(form, data):
            return _blob(f"audio/{form}", data, None)
        case Call(id=one, name=name, arguments=arguments, signature=signature):
            call = {"functionCall": {"id": one, "name": name, "args": arguments_of(arguments, losses)}}
            return {**call, **({"thoughtSignature": signature} if signature else {})}
        case Result(call_id, parts, is_error):
            for inner in parts:
                if not isinstance(inner, Text):
                    losses.content("messages.content.tool_result.content (other than text)")
            text = "\n".join(inner.text for inner in parts if isinstance(inner, Text))
            if call_id not in names:
                losses.content("messages.tool_call_id (of no call in the conversation)")
            response = {"error" if is_error else "output": text}
            return {"functionResponse": {"id": call_id, "name": names[call_id], "response": response}}
        case Thought():
            losses.hint("thinking of earlier turns")
    return None


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
