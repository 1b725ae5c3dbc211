"""The neutral form → Bedrock's Converse. Pure; the model and whether it streams stand in the path.

Source: docs.aws.amazon.com, "API_runtime_Converse", as the service model bedrock-runtime of botocore 1.44 holds it.
What Converse has no field for, makers take in `additionalModelRequestFields`: here Anthropic's thinking and `top_k`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

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
from gateway.translation.unsaid import OPENAI, detail_hint, label_hints, signature_hint

_CONFIG = (("max_tokens", "maxTokens"), ("temperature", "temperature"), ("top_p", "topP"))
_IMAGES = frozenset(("png", "jpeg", "gif", "webp"))
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt", "text/markdown": "md",
    "application/msword": "doc", "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_NAMELESS = re.compile(r"[^A-Za-z0-9\-()\[\]]+")  # what a document's name may not hold there
_ANTHROPIC = "anthropic."  # in the ids of its models, behind a region or not


def write(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """The body of a request. Raises Untranslatable."""
    body: dict[str, Any] = {"messages": _messages(conversation, losses)}
    if conversation.system:
        body["system"] = [{"text": text} for text in conversation.system]
    if conversation.tools:
        body |= _tools(conversation, losses)
    config: dict[str, Any] = {
        theirs: value for ours, theirs in _CONFIG if (value := getattr(conversation, ours)) is not None
    }
    if conversation.stop:
        config["stopSequences"] = list(conversation.stop)
    if config:
        body["inferenceConfig"] = config
    return body | _output(conversation, losses)


def _tools(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "none":
        used = any(isinstance(part, Call | Result) for turn in conversation.turns for part in turn.parts)
        if not used:
            return {}  # a model that has no tools calls none
        losses.parameter("tool_choice")  # there is no such choice, and calls of before need their tools
    if conversation.parallel is False:
        losses.parameter("parallel" if "parallel" in losses.names else "parallel_tool_calls")
    config: dict[str, Any] = {"tools": [{"toolSpec": _tool(tool)} for tool in conversation.tools]}
    if choice is not None and choice.mode != "none":
        config["toolChoice"] = {choice.mode: {"name": choice.name} if choice.mode == "tool" else {}}
    return {"toolConfig": config}


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": tool.name, "inputSchema": {"json": tool.schema or {"type": "object", "properties": {}}},
    }  # fmt: skip
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _output(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """How the answer is to look, and what is for one maker's models alone."""
    body: dict[str, Any] = {}
    for name in ("seed", "frequency_penalty", "presence_penalty", "verbosity"):
        value = getattr(conversation, name)
        if value is not None and not (value == 0 and name.endswith("penalty")):
            losses.parameter(name)
    if (wanted := conversation.format) is not None:
        if wanted.schema is None:
            losses.parameter("format")
        else:
            schema = {"schema": msgspec.json.encode(wanted.schema).decode()}
            label_hints(wanted, losses, "name", "description")
            schema |= {key: text for key in ("name", "description") if (text := getattr(wanted, key))}
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
    if conversation.user is not None:
        losses.hint("user")
    if own := _own(conversation, losses):
        body["additionalModelRequestFields"] = own
    return body


def _own(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    """What one maker's models take alone."""
    anthropic, own = _ANTHROPIC in conversation.model, dict[str, Any]()
    if conversation.top_k is not None:
        if anthropic:
            own["top_k"] = conversation.top_k
        else:
            losses.parameter("top_k")
    if (reasoning := conversation.reasoning) is not None:
        if anthropic:
            own |= _thinking(reasoning, losses)
        else:
            losses.parameter("reasoning" if "reasoning" in losses.names else "reasoning_effort")
    return own


def _thinking(reasoning: Reasoning, losses: Losses) -> dict[str, Any]:
    """As Anthropic's Messages say it."""
    effort, budget = reasoning.effort, reasoning.budget
    if effort == "none" or budget == 0:
        return {"thinking": {"type": "disabled"}}
    if effort == "minimal":
        losses.hint("reasoning")
        effort = "low"
    thinking = {"type": "adaptive"} if budget is None else {"type": "enabled", "budget_tokens": budget}
    return {"thinking": thinking, **({"output_config": {"effort": effort}} if effort else {})}


def _messages(conversation: Conversation, losses: Losses) -> list[dict[str, Any]]:
    """Roles take turns there: what one of them says in a row is one message."""
    messages: list[dict[str, Any]] = []
    names = _Names()
    for turn in conversation.turns:
        if turn.role == "system":
            losses.content("messages.role of instructions behind the first turn")
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = [block for part in turn.parts if (block := _block(part, names, losses)) is not None]
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"].extend(blocks)
        elif blocks:
            messages.append({"role": role, "content": blocks})
    return messages


class _Names:
    """Documents have names there, each its own."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, document: Document) -> str:
        """A name that may stand there."""
        plain = _NAMELESS.sub(" ", document.name or "").strip()[:150] or "document"
        name, number = plain, 1
        while name in self._given:
            number += 1
            name = f"{plain} {number}"
        self._given.add(name)
        return name


def _block(part: Part, names: _Names, losses: Losses) -> dict[str, Any] | None:
    match part:
        case Text(text) | Declined(text):
            return {"text": text} if text else None
        case Image():
            return {"image": _image(part, losses)}
        case Document():
            return {"document": _document(part, names, losses)}
        case Audio(form, data):
            return {"audio": {"format": form, "source": {"bytes": data}}}
        case Call(id=one, name=name, arguments=arguments):
            signature_hint(part, losses)
            return {"toolUse": {"toolUseId": one, "name": name, "input": arguments_of(arguments, losses)}}
        case Result(call_id, parts, is_error):
            inner = [block for one in parts if (block := _block(one, names, losses)) is not None]
            result: dict[str, Any] = {"toolUseId": call_id, "content": inner or [{"text": " "}]}  # one is needed
            return {"toolResult": {**result, **({"status": "error"} if is_error else {})}}
        case Thought(text, signature, sealed):
            return _thought(text, signature, sealed, losses)
    return None


def _thought(text: str, signature: str | None, sealed: str | None, losses: Losses) -> dict[str, Any] | None:
    if sealed is not None:
        return {"reasoningContent": {"redactedContent": sealed}}
    if signature is not None and not signature.startswith(OPENAI):
        return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
    losses.hint("thinking of earlier turns")  # its provider would not take it without a signature
    return None


def _source(part: Image | Document, what: str, losses: Losses) -> dict[str, Any]:
    if part.data is not None:
        return {"bytes": part.data}
    if not (part.url or "").startswith("s3://"):
        losses.content(f"messages.content ({what} at an address other than s3://)")
    return {"s3Location": {"uri": part.url}}


def _image(part: Image, losses: Losses) -> dict[str, Any]:
    detail_hint(part, losses)
    form = (part.media_type or "image/png").removeprefix("image/").replace("jpg", "jpeg")
    if form not in _IMAGES:
        losses.content("messages.content (an image other than png, jpeg, gif, webp)")
    return {"format": form, "source": _source(part, "an image", losses)}


def _document(part: Document, names: _Names, losses: Losses) -> dict[str, Any]:
    if part.text is not None:
        return {"format": "txt", "name": names.of(part), "source": {"text": part.text}}
    form = _DOCUMENTS.get(part.media_type or "application/pdf")
    if form is None:
        losses.content("messages.content (a document of this media type)")
    return {"format": form, "name": names.of(part), "source": _source(part, "a document", losses)}
