"""The echo model: what it answers. Pure; `echo.py` serves it in the process, `gateway echo` over HTTP.

It repeats the last user message, in every shape that the gateway reads. How it behaves is the model's
name, `echo/<behaviour>`, or a header (docs/providers.md lists both).
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.providers import echo_shapes as shapes

CREATED = 1_700_000_000
DIMENSIONS = 8
WORDS_IN_CHUNK = 3
BYTES = 4  # of a token
_STATUS = re.compile(r"status-(\d{3})")
_CHUNK = re.compile(r"chunk-(\d{1,5})")
_PIECE = re.compile(r"piece-(\d{1,4})")
_PIECES = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How to answer. Times in seconds, `cut` in bytes of the wire."""

    status: int | None = None
    stall: bool = False
    breaks: bool = False
    rubbish: bool = False
    usage: bool = True
    says: object = None  # what stands in the place of the usage's numbers
    bounded: bool = False  # keeps to the maximum of output that it is given
    error_event: bool = False
    delay: float = 0.0  # before the first byte
    gap: float = 0.0  # between two chunks
    cut: int | None = None
    piece: int | None = None  # characters of text in one event; else three words


@dataclass(frozen=True, slots=True)
class Reply:
    """Head, then the parts of the body. `ends` False: the connection breaks after the last part. A part None: nothing
    comes any more, and the connection stays."""

    status: int
    headers: tuple[tuple[str, str], ...]
    parts: Sequence[bytes | None]
    behaviour: Behaviour
    ends: bool = True


def behaviour_of(model: str, headers: Mapping[str, str]) -> Behaviour:
    """By the model's name (`…echo/<behaviour>`) and the x-echo-* headers, lower-case names."""
    name = model.rpartition("/")[2]
    known = {
        "stall": Behaviour(stall=True),
        "break": Behaviour(breaks=True),
        "rubbish": Behaviour(rubbish=True),
        "no-usage": Behaviour(usage=False),
        "usage-negative": Behaviour(says=-5),
        "usage-absurd": Behaviour(says=10**15),
        "usage-large": Behaviour(says=50_000),
        "usage-fraction": Behaviour(says=1.5),
        "usage-text": Behaviour(says="12"),
        "bounded": Behaviour(bounded=True),
        "error-event": Behaviour(error_event=True),
        "slow": Behaviour(delay=1.0, gap=0.05),
    }
    found = known.get(name, Behaviour())
    if match := _STATUS.fullmatch(name):
        found = replace(found, status=int(match[1]))
    if match := _CHUNK.fullmatch(name):
        found = replace(found, cut=max(1, int(match[1])))
    if match := _PIECE.fullmatch(name):
        found = replace(found, piece=max(1, int(match[1])))
    delay, gap = _number(headers, "x-echo-delay-ms"), _number(headers, "x-echo-gap-ms")
    cut, status = _number(headers, "x-echo-chunk"), _number(headers, "x-echo-status")
    return replace(
        found,
        delay=delay / 1000 if delay is not None else found.delay,
        gap=gap / 1000 if gap is not None else found.gap,
        cut=cut or found.cut,
        piece=_number(headers, "x-echo-piece") or found.piece,
        status=status if status is not None and 200 <= status <= 599 else found.status,
    )


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isdigit() and len(text) < 7 else None


def answer(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """The answer to a request; `path` is below /v1, without the query."""
    try:
        asked = msgspec.json.decode(body) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        asked = {}
    if not isinstance(asked, dict):
        asked = {}
    model = asked.get("model") if isinstance(asked.get("model"), str) else "echo"
    behaviour = behaviour_of(str(model), headers)
    if behaviour.stall:
        return Reply(200, (), (None,), behaviour)
    if behaviour.status is not None and behaviour.status >= 400:
        return _error(behaviour, anthropic=path.startswith("/messages"))
    if method == "POST" and path in _SHAPES:
        return _model_answer(path, asked, str(model), behaviour)
    if path == "/models" and method == "GET":
        return _json({"object": "list", "data": [_model("echo")]}, behaviour)
    if path.endswith("/content") and method == "GET":
        return Reply(200, (("content-type", "application/octet-stream"),), (bytes(range(256)) * 64,), behaviour)
    return _json(
        {"id": "echo-1", "object": "echo", "method": method, "path": path, "bytes": len(body),
         "sha256": hashlib.sha256(body).hexdigest()},
        behaviour,
    )  # fmt: skip


def _json(tree: object, behaviour: Behaviour, status: int = 200) -> Reply:
    data = msgspec.json.encode(tree)
    parts: Sequence[bytes] = _cut(data, behaviour.cut) if behaviour.cut else (data,)
    if behaviour.breaks:
        return Reply(status, _JSON_HEAD, (data[: len(data) // 2],), behaviour, ends=False)
    return Reply(status, _JSON_HEAD, parts, behaviour)


_JSON_HEAD = (("content-type", "application/json"), ("x-request-id", "echo-request"))
_SSE_HEAD = (("content-type", "text/event-stream; charset=utf-8"), ("x-request-id", "echo-request"))


def _error(behaviour: Behaviour, *, anthropic: bool) -> Reply:
    status = behaviour.status or 500
    error = {
        "message": f"The echo model was asked to answer {status}.",
        "type": "echo_error",
        "param": None,
        "code": "echo",
    }
    if anthropic:
        kind = "overloaded_error" if status == 529 else "echo_error"
        tree = {"type": "error", "error": {"type": kind, "message": error["message"]}, "request_id": "echo-request"}
        reply = _json(tree, behaviour, status)
    else:
        reply = _json({"error": error}, behaviour, status)
    return replace(reply, headers=(*reply.headers, ("retry-after", "7"))) if status == 429 else reply


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "echo"}


def _model_answer(path: str, asked: dict[str, Any], model: str, behaviour: Behaviour) -> Reply:
    if path == "/embeddings":
        return _json(_embeddings(asked, model, behaviour), behaviour)
    if behaviour.rubbish:
        head = _SSE_HEAD if asked.get("stream") else (("content-type", "text/html"),)
        return Reply(200, head, (b"<html><body>\x00\xff no model lives here</body></html>",), behaviour)
    if path in _COUNTING:
        return _json({"input_tokens": _tokens(shapes.asked_text(asked, last=False))}, behaviour)
    if path in _NAMED:
        return _named(path, asked, model, behaviour)
    chat = path == "/chat/completions"
    text = _last_user(asked) if chat else _prompt(asked)
    text = _bounded(text, asked) if behaviour.bounded else text
    call = _tool_call(asked, text) if chat else None
    written = call["function"]["arguments"] if call is not None else text
    usage = {"prompt_tokens": _tokens(_all_text(asked)), "completion_tokens": _tokens(written)}
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    if behaviour.says is not None:
        usage = dict.fromkeys(usage, behaviour.says)  # type: ignore[arg-type]  # a provider that says no number
    choices = asked.get("n") if isinstance(asked.get("n"), int) and 0 < asked["n"] <= 128 else 1
    kind = "chat.completion" if chat else "text_completion"
    envelope = {"id": "chatcmpl-echo" if chat else "cmpl-echo", "object": kind, "created": CREATED, "model": model}
    if asked.get("stream"):
        events = _stream(envelope, chat, text, call, int(choices or 1), asked, usage, behaviour)
        return _streamed(list(events), behaviour)
    whole: dict[str, Any] = {
        **envelope,
        "choices": [_choice(chat, index, text, call) for index in range(int(choices or 1))],
    }
    if behaviour.usage:
        whole["usage"] = usage
    return _json(whole, behaviour)


def _named(path: str, asked: dict[str, Any], model: str, behaviour: Behaviour) -> Reply:
    """Responses and messages: their events have names."""
    text = shapes.asked_text(asked, last=True)
    text = _bounded(text, asked) if behaviour.bounded else text
    call = shapes.asked_call(asked, text)
    written = shapes.written(call, text)
    usage = {
        "prompt_tokens": _tokens(shapes.asked_text(asked, last=False)),
        "completion_tokens": _tokens(written),
    }
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    told = usage if behaviour.usage else None
    pieces = list(_pieces(written, behaviour.piece))
    if path == "/responses":
        item = shapes.response_item(text, call)
        if not asked.get("stream"):
            return _json(shapes.response(asked, model, [item], told), behaviour)
        events = [_named_event(one) for one in shapes.response_events(asked, model, item, pieces, told)]
    else:
        block = shapes.message_block(text, call)
        if not asked.get("stream"):
            return _json(shapes.message(model, block, told), behaviour)
        events = [_named_event(one) for one in shapes.message_events(model, block, pieces, told)]
    return _streamed(events, behaviour, _NAMED[path])


def _bounded(text: str, asked: dict[str, Any]) -> str:
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    most = next((asked[name] for name in names if isinstance(asked.get(name), int)), None)
    return text if most is None else text.encode()[: BYTES * most].decode("utf-8", "ignore")


def _choice(chat: bool, index: int, text: str, call: dict[str, Any] | None) -> dict[str, Any]:  # noqa: FBT001  # which of two shapes
    if not chat:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
    message: dict[str, Any] = {"role": "assistant", "content": text if call is None else None, "refusal": None}
    if call is not None:
        message["tool_calls"] = [call]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop" if call is None else "tool_calls",
    }


def _stream(
    envelope: dict[str, Any], chat: bool, text: str, call: dict[str, Any] | None, choices: int, asked: dict[str, Any],  # noqa: FBT001  # which of two shapes
    usage: dict[str, int], behaviour: Behaviour,
) -> Iterator[bytes]:  # fmt: skip
    options = asked.get("stream_options")
    include = isinstance(options, dict) and options.get("include_usage") is True and behaviour.usage
    envelope = {**envelope, "object": "chat.completion.chunk" if chat else "text_completion"}

    def event(**fields: Any) -> bytes:
        return _event({**envelope, **fields, **({"usage": None} if include and "usage" not in fields else {})})

    def one(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        if chat:
            return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {"index": index, "text": delta.get("content", ""), "logprobs": None, "finish_reason": finish}

    for index in range(choices):
        if chat:
            yield event(choices=[one(index, {"role": "assistant", "content": "" if call is None else None})])
        written = text if call is None else call["function"]["arguments"]
        for position, piece in enumerate(_pieces(written, behaviour.piece)):
            if call is None:
                yield event(choices=[one(index, {"content": piece})])
                continue
            head = {"index": 0, "id": call["id"], "type": "function"} if position == 0 else {"index": 0}
            function = {"arguments": piece} | ({"name": call["function"]["name"]} if position == 0 else {})
            yield event(choices=[one(index, {"tool_calls": [{**head, "function": function}]})])
        yield event(choices=[one(index, {}, "stop" if call is None else "tool_calls")])
    if include:
        yield event(choices=[], usage=usage)
    yield b"data: [DONE]\n\n"


_FAILED = {"message": "The echo model was asked to fail.", "type": "server_error", "param": None, "code": "echo"}


def _streamed(events: list[bytes], behaviour: Behaviour, error: dict[str, Any] | None = None) -> Reply:
    if behaviour.error_event:
        failed = _event({"error": _FAILED}) if error is None else _named_event(error)
        events = [*events[: len(events) // 2], failed]
    if behaviour.breaks:
        # In the middle of an event: what came whole before it must still reach the client.
        kept = events[: max(2, len(events) // 2)]
        return Reply(200, _SSE_HEAD, (*kept, events[len(kept) - 1][:20]), behaviour, ends=False)
    if behaviour.cut:
        return Reply(200, _SSE_HEAD, _cut(b"".join(events), behaviour.cut), behaviour)
    return Reply(200, _SSE_HEAD, events, behaviour)


def _event(tree: object) -> bytes:
    return b"data: " + msgspec.json.encode(tree) + b"\n\n"


def _named_event(tree: dict[str, Any]) -> bytes:
    return b"event: " + str(tree["type"]).encode() + b"\n" + _event(tree)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _pieces(text: str, size: int | None) -> Iterator[str]:
    if size is not None:
        yield from (text[at : at + size] for at in range(0, len(text), size))
        return
    words = _PIECES.findall(text)
    for at in range(0, len(words), WORDS_IN_CHUNK):
        yield "".join(words[at : at + WORDS_IN_CHUNK])


def _tokens(text: str) -> int:
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // BYTES))


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _last_user(asked: dict[str, Any]) -> str:
    messages = asked.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def _all_text(asked: dict[str, Any]) -> str:
    messages = asked.get("messages")
    if isinstance(messages, list):
        return " ".join(_text_of(message.get("content")) for message in messages if isinstance(message, dict))
    return _prompt(asked)


def _prompt(asked: dict[str, Any]) -> str:
    prompt = asked.get("prompt", asked.get("input", ""))
    if isinstance(prompt, list):
        return " ".join(str(one) for one in prompt)
    return str(prompt)


def _tool_call(asked: dict[str, Any], text: str) -> dict[str, Any] | None:
    """A call of the first tool (or the one that is named) where the choice asks for one: its first property that is a
    string gets the text."""
    tools, choice = asked.get("tools"), asked.get("tool_choice")
    if not isinstance(tools, list) or not tools or not (choice == "required" or isinstance(choice, dict)):
        return None
    functions = [
        tool["function"] for tool in tools if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    function = next((one for one in functions if wanted in (None, one.get("name"))), None)
    if function is None:
        return None
    properties = function.get("parameters", {}).get("properties", {})
    name = next((key for key, value in properties.items() if value.get("type") == "string"), "text")
    arguments = msgspec.json.encode({name: text}).decode()
    return {"id": "call_echo", "type": "function", "function": {"name": function.get("name"), "arguments": arguments}}


def _embeddings(asked: dict[str, Any], model: str, behaviour: Behaviour) -> dict[str, Any]:
    given = asked.get("input", "")
    texts = given if isinstance(given, list) and not (given and isinstance(given[0], int)) else [given]
    vectors = [_vector(str(text)) for text in texts]
    as_text = asked.get("encoding_format") == "base64"
    found: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
    }
    if behaviour.usage:
        used = sum(_tokens(str(text)) for text in texts)
        found["usage"] = {"prompt_tokens": used, "total_tokens": used}
    return found


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return [byte / 128 - 1 for byte in digest[:DIMENSIONS]]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# The shapes whose events have names, each with its error in the middle of a stream.
_NAMED: Mapping[str, dict[str, Any]] = {
    "/responses": {**_FAILED, "type": "error", "sequence_number": 999},
    "/messages": {"type": "error", "error": {"type": "api_error", "message": _FAILED["message"]}},
}  # fmt: skip
_COUNTING = frozenset(("/messages/count_tokens", "/responses/input_tokens"))
_SHAPES = frozenset(("/chat/completions", "/completions", "/embeddings", *_NAMED, *_COUNTING))
