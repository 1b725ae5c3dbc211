"""The other side of Gemini's and of Bedrock's dialect: what a request says, read by the official packages
(google-genai's models, botocore's service model), and answers as they give them. The gateway has no such side: it
writes requests in these dialects and reads answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from google.genai import types as genai

from gateway.limits.reservation import Usage
from gateway.translation.neutral import (
    Answer,
    AnswerPart,
    Audio,
    Begin,
    Call,
    Choice,
    Conversation,
    Delta,
    Document,
    End,
    Format,
    Grow,
    Image,
    Open,
    Reasoning,
    Result,
    Sign,
    Text,
    Thought,
    Tool,
    Turn,
)

MODEL = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


def fits(shape: str, value: object) -> None:
    """Every field is known to the service model, has its type and is there where it must be."""
    report = ParamValidator().validate(value, MODEL.shape_for(shape))
    assert not report.has_errors(), report.generate_report()


def _b64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# Gemini


def read_gemini(body: dict[str, Any]) -> Conversation:
    """A request. Fails where google-genai knows a field not, or has another type for it."""
    config = genai.GenerationConfig.model_validate(body.get("generationConfig", {}))
    tools = [genai.Tool.model_validate(tool) for tool in body.get("tools", [])]
    calling = genai.ToolConfig.model_validate(body.get("toolConfig", {})).function_calling_config
    system = genai.Content.model_validate(body.get("systemInstruction", {"parts": []}))
    known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
    assert set(body) <= known
    wanted = None
    if config.response_mime_type is not None:
        assert config.response_mime_type == "application/json"
        schema: Any = config.response_json_schema
        wanted = Format(schema)
    return Conversation(
        model="", turns=tuple(_gemini_turn(genai.Content.model_validate(one)) for one in body["contents"]),
        system=tuple(part.text or "" for part in system.parts or ()),
        tools=tuple(_declared(one) for tool in tools for one in tool.function_declarations or ()),
        tool_choice=_gemini_choice(calling), max_tokens=config.max_output_tokens, temperature=config.temperature,
        top_p=config.top_p, top_k=None if config.top_k is None else int(config.top_k),
        stop=tuple(config.stop_sequences or ()), seed=config.seed, frequency_penalty=config.frequency_penalty,
        presence_penalty=config.presence_penalty, format=wanted, reasoning=_gemini_reasoning(config.thinking_config),
    )  # fmt: skip


def _declared(one: genai.FunctionDeclaration) -> Tool:
    schema: Any = one.parameters_json_schema
    return Tool(one.name or "", one.description, schema)


def _gemini_choice(calling: genai.FunctionCallingConfig | None) -> Choice | None:
    if calling is None or calling.mode is None:
        return None
    if calling.allowed_function_names:
        return Choice("tool", calling.allowed_function_names[0])
    modes: dict[str, Any] = {"AUTO": "auto", "ANY": "any", "NONE": "none"}
    return Choice(modes[calling.mode.value])


def _gemini_reasoning(thinking: genai.ThinkingConfig | None) -> Reasoning | None:
    if thinking is None:
        return None
    if thinking.thinking_budget is not None:
        return Reasoning("none") if thinking.thinking_budget == 0 else Reasoning(budget=thinking.thinking_budget)
    return Reasoning(thinking.thinking_level.value.lower() if thinking.thinking_level else None)


def _gemini_turn(content: genai.Content) -> Turn:
    parts = tuple(_gemini_part(part) for part in content.parts or ())
    if content.role == "model":
        return Turn("assistant", parts)
    return Turn("tool" if all(isinstance(part, Result) for part in parts) else "user", parts)


def _gemini_part(part: genai.Part) -> Any:
    if part.function_call is not None:
        call, signature = part.function_call, part.thought_signature
        signed = _b64(signature) if signature else None
        return Call(call.id or "", call.name or "", _json(call.args), signed)
    if (found := part.function_response) is not None:
        told = found.response or {}
        texts = (Text(told.get("error", told.get("output", ""))),)
        files = tuple(_gemini_file(one.inline_data, one.file_data) for one in found.parts or ())
        return Result(found.id or "", (*texts, *files), "error" in told)
    if part.inline_data is not None or part.file_data is not None:
        return _gemini_file(part.inline_data, part.file_data)
    return Text(part.text or "")


def _gemini_file(inline: Any, at: Any) -> Any:
    kind: str = (inline or at).mime_type
    data, url = (_b64(inline.data), None) if inline is not None else (None, at.file_uri)
    if kind.startswith("audio/"):
        return Audio(kind.removeprefix("audio/"), data or "")
    if kind.startswith("image/"):
        return Image(kind if url is None else None, data, url)
    return Document(kind if url is None else None, data, url)


def gemini_answer(answer: Answer) -> dict[str, Any]:
    """An answer, as google-genai knows it."""
    whole = {**_gemini_chunk([_gemini_written(part) for part in answer.parts], answer), **_gemini_end(answer)}
    whole["candidates"][0]["finishReason"] = _FINISH[answer.stop]
    genai.GenerateContentResponse.model_validate(whole)
    return whole


def gemini_stream(answer: Answer, size: int) -> Iterator[bytes]:
    """The same in pieces of so many characters; calls come whole."""
    for part in answer.parts:
        written = _gemini_written(part)
        text = written.get("text")
        cuts = [text[at : at + size] for at in range(0, len(text), size)] if text else [None]
        for cut in cuts:
            chunk = _gemini_chunk([written if cut is None else {**written, "text": cut}], answer)
            genai.GenerateContentResponse.model_validate(chunk)
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    last = {**_gemini_chunk([], answer), **_gemini_end(answer)}
    last["candidates"][0]["finishReason"] = _FINISH[answer.stop]
    yield b"data: " + json.dumps(last).encode() + b"\n\n"


_FINISH = {"end": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}


def _gemini_chunk(parts: list[dict[str, Any]], answer: Answer) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    return {"candidates": [candidate], "responseId": answer.id, "modelVersion": answer.model}


def _gemini_end(answer: Answer) -> dict[str, Any]:
    usage = answer.usage or Usage()
    return {"usageMetadata": {
        "promptTokenCount": usage.input_tokens, "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning, "thoughtsTokenCount": usage.reasoning,
    }}  # fmt: skip


def _gemini_written(part: AnswerPart) -> dict[str, Any]:
    match part:
        case Call(id=one, name=name, arguments=arguments, signature=signature):
            call = {"functionCall": {"id": one, "name": name, "args": json.loads(arguments)}}
            return {**call, **({"thoughtSignature": signature} if signature else {})}
        case Thought(text=text):
            return {"text": text, "thought": True}
    return {"text": part.text}


# Bedrock


def read_bedrock(body: dict[str, Any], model: str) -> Conversation:
    """A request. Fails where botocore's service model knows a field not, or has another type for it."""
    fits("ConverseRequest", {"modelId": model, **body})
    config, own = body.get("inferenceConfig", {}), body.get("additionalModelRequestFields", {})
    tools = body.get("toolConfig", {})
    form = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    wanted = Format(json.loads(form["schema"]), form.get("name"), form.get("description")) if form else None
    chosen: dict[str, Any] = tools.get("toolChoice", {})
    mode: Any = next(iter(chosen), None)
    specs = [tool["toolSpec"] for tool in tools.get("tools", [])]
    return Conversation(
        model=model, turns=tuple(turn for message in body["messages"] for turn in _bedrock_turns(message)),
        system=tuple(block["text"] for block in body.get("system", [])),
        tools=tuple(Tool(one["name"], one.get("description"), one["inputSchema"]["json"], one.get("strict"))
                    for one in specs),
        tool_choice=Choice(mode, chosen[mode].get("name")) if mode else None, max_tokens=config.get("maxTokens"),
        temperature=config.get("temperature"), top_p=config.get("topP"), top_k=own.get("top_k"),
        stop=tuple(config.get("stopSequences", ())), format=wanted, reasoning=_bedrock_reasoning(own),
    )  # fmt: skip


def _bedrock_reasoning(own: dict[str, Any]) -> Reasoning | None:
    thinking: dict[str, Any] | None = own.get("thinking")
    if thinking is None or thinking["type"] == "disabled":
        return Reasoning("none") if thinking is not None else None
    return Reasoning(own.get("output_config", {}).get("effort"), thinking.get("budget_tokens"))


def _bedrock_turns(message: dict[str, Any]) -> Iterator[Turn]:
    parts = tuple(_bedrock_part(block) for block in message["content"])
    if message["role"] == "assistant":
        yield Turn("assistant", parts)
        return
    for role, some in (
        ("tool", tuple(part for part in parts if isinstance(part, Result))),
        ("user", tuple(part for part in parts if not isinstance(part, Result))),
    ):
        if some:
            yield Turn(role, some)  # type: ignore[arg-type]  # one of two


def _bedrock_part(block: dict[str, Any]) -> Any:
    match block:
        case {"text": text}:
            return Text(text)
        case {"image": {"format": form, "source": {"bytes": data}}}:
            return Image(f"image/{form}", data)
        case {"document": {"format": "pdf", "source": {"bytes": data}}}:
            return Document("application/pdf", data)
        case {"audio": {"format": form, "source": {"bytes": data}}}:
            return Audio(form, data)
        case {"toolUse": {"toolUseId": one, "name": name, "input": value}}:
            return Call(one, name, _json(value))
        case {"toolResult": {"toolUseId": one, "content": content, **more}}:
            return Result(one, tuple(_bedrock_part(inner) for inner in content), more.get("status") == "error")
        case {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}:
            return Thought(text, signature)
        case {"reasoningContent": {"redactedContent": sealed}}:
            return Thought(sealed=sealed)
    raise AssertionError(block)


_REASONS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "filter": "content_filtered"}


def _bedrock_usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage or Usage()
    return {
        "inputTokens": usage.input_tokens - usage.cached - usage.cache_write, "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens, "cacheReadInputTokens": usage.cached,
        "cacheWriteInputTokens": usage.cache_write,
    }  # fmt: skip


def bedrock_answer(answer: Answer) -> dict[str, Any]:
    """An answer, as botocore knows it."""
    blocks = [_bedrock_written(part) for part in answer.parts]
    whole = {
        "output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": _REASONS[answer.stop],
        "usage": _bedrock_usage(answer), "metrics": {"latencyMs": 1},
    }  # fmt: skip
    fits("ConverseResponse", whole)
    return whole


def _bedrock_written(part: AnswerPart) -> dict[str, Any]:
    match part:
        case Call(id=one, name=name, arguments=arguments):
            return {"toolUse": {"toolUseId": one, "name": name, "input": json.loads(arguments)}}
        case Thought(text, signature, sealed):
            if sealed is not None:
                return {"reasoningContent": {"redactedContent": sealed}}
            plain = {"text": text, **({"signature": signature} if signature else {})}
            return {"reasoningContent": {"reasoningText": plain}}
    return {"text": part.text}


def bedrock_stream(deltas: Iterator[Delta]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, by name."""
    at, is_call, is_thought = -1, False, False
    for delta in deltas:
        match delta:
            case Begin():
                yield "messageStart", {"role": "assistant"}
            case Open(part):
                if at >= 0:
                    yield "contentBlockStop", {"contentBlockIndex": at}
                at, is_call, is_thought = at + 1, isinstance(part, Call), isinstance(part, Thought)
                if isinstance(part, Call):
                    start = {"toolUse": {"toolUseId": part.id, "name": part.name}}
                    yield "contentBlockStart", {"contentBlockIndex": at, "start": start}
                elif isinstance(part, Thought) and part.sealed is not None:
                    sealed = {"reasoningContent": {"redactedContent": part.sealed}}
                    yield "contentBlockDelta", {"contentBlockIndex": at, "delta": sealed}
            case Grow(text):
                grown = {"toolUse": {"input": text}} if is_call else (
                    {"reasoningContent": {"text": text}} if is_thought else {"text": text}
                )  # fmt: skip
                yield "contentBlockDelta", {"contentBlockIndex": at, "delta": grown}
            case Sign(signature):
                signed = {"reasoningContent": {"signature": signature}}
                yield "contentBlockDelta", {"contentBlockIndex": at, "delta": signed}
            case End(stop=stop, usage=usage):
                if at >= 0:
                    yield "contentBlockStop", {"contentBlockIndex": at}
                yield "messageStop", {"stopReason": _REASONS[stop]}
                told = _bedrock_usage(Answer("", "", (), stop, usage=usage))
                yield "metadata", {"usage": told, "metrics": {"latencyMs": 1}}
