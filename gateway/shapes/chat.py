"""Chat completions, and the older completions and embeddings beside them. Pure.

Source: openai-openapi `CreateChatCompletionStreamResponse`. A stream ends with `[DONE]`, though not every server says
it; its usage comes in a chunk without choices, if it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec

from gateway.dialects import OPENAI
from gateway.errors import Wire
from gateway.limits.reservation import Usage
from gateway.providers.errors import is_error_body
from gateway.shapes.shape import Key, Piece, Said, Shape, short, tier_of
from gateway.stream.filters import ABSURD, LONGEST_NAME, Meter, credible, credible_usage
from gateway.stream.sse import Event, data_event

CHAT_OUTPUT = 4096  # tokens that may come where a chat names no maximum
COMPLETION_OUTPUT = 16  # the default of `max_tokens` of OpenAI's /v1/completions

# msgspec takes no union of Raw and None: what is absent is empty, and null is the four bytes.
_ABSENT = msgspec.Raw(b"")
_NULL = msgspec.Raw(b"null")
_NOTHING = (b"", b"null", b"false")


class _Part(msgspec.Struct, gc=False):
    """A part of content that some compatible servers (Mistral's) write in place of text: text, or thinking in parts of
    its own."""

    text: str | None = None
    thinking: str | list[_Part] | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same, of other servers; some write both
    refusal: str | None = None
    tool_calls: msgspec.Raw = _ABSENT


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function = msgspec.field(default_factory=_Function)


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT


class _Ended(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Whole(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Ended] | None = None
    usage: Any = None
    service_tier: msgspec.Raw = _ABSENT


class _Usage(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT


# An answer as it mostly comes. What is not of these types takes the long way.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=ABSURD)]


class _Parts(msgspec.Struct, gc=False):
    """Parts of a usage, of which there mostly are none."""

    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0
    image_tokens: _Count = 0
    cache_creation_token_details: None = None


_NO_PARTS = _Parts()
_NONE = (None, _NO_PARTS)


class _PlainUsage(msgspec.Struct):
    prompt_tokens: _Count
    completion_tokens: _Count = 0
    prompt_tokens_details: _Parts | None = None
    completion_tokens_details: _Parts | None = None
    input_tokens: None = None
    output_tokens: None = None
    input_tokens_details: None = None
    output_tokens_details: None = None

    def in_parts(self) -> Usage:
        """As `credible` says it of one that is not typed."""
        asked, written = self.prompt_tokens_details or _NO_PARTS, self.completion_tokens_details or _NO_PARTS
        cached = min(asked.cached_tokens, self.prompt_tokens)
        return Usage(
            self.prompt_tokens, self.completion_tokens, cached,
            min(asked.cache_write_tokens, self.prompt_tokens - cached),
            min(written.reasoning_tokens, self.completion_tokens),
            audio_input=asked.audio_tokens, audio_output=written.audio_tokens,
            image_input=asked.image_tokens, image_output=written.image_tokens,
        )  # fmt: skip


class _PlainEnded(msgspec.Struct, gc=False):
    finish_reason: _Name | None = None


class _Plain(msgspec.Struct):
    usage: _PlainUsage
    id: _Name | None = None
    model: _Name | None = None
    choices: list[_PlainEnded] | None = None
    error: None = None
    service_tier: _Name | None = None


_chunk = msgspec.json.Decoder(_Chunk)
_plain = msgspec.json.Decoder(_Plain)
_calls = msgspec.json.Decoder(list[_Call] | None)
_whole = msgspec.json.Decoder(_Whole)
_usage = msgspec.json.Decoder(_Usage)


class ChatMeter(Meter):
    """The meter of chats and completions. With `strip_usage` the usage chunk goes no further."""

    def __init__(self, strip_usage: bool) -> None:  # noqa: FBT001  # called through the table
        super().__init__()
        self._strip = strip_usage

    def read(self, data: bytes) -> bool:
        """One chunk."""
        chunk, pieces = _chunk.decode(data), self.passed.pieces
        if self.response_id is None:
            self.call_it(chunk.id, chunk.model)
        for choice in chunk.choices or ():
            if (delta := choice.delta) is not None:
                if (content := delta.content) and type(content) is str:
                    pieces.append(content)  # msgspec gives no lone surrogates
                    if len(pieces) > self.passed.waiting:
                        self.passed.gather()
                elif content:
                    self._count_parts(content)
                if other := delta.reasoning_content or delta.reasoning or delta.refusal:
                    self.count(other)
                if delta.tool_calls is not _ABSENT:
                    self._count_calls(bytes(delta.tool_calls))
            if choice.text:
                self.count(choice.text)
            if choice.finish_reason:
                self.finish(choice.finish_reason)
        if chunk.error is not _ABSENT and bytes(chunk.error) not in _NOTHING:
            self.error = True
        usage = chunk.usage
        return True if usage is _ABSENT or usage == _NULL else self._used(chunk)  # as it mostly is

    def _used(self, chunk: _Chunk) -> bool:
        if (told := bytes(chunk.usage)) in _NOTHING:
            return True
        self.use(credible_usage(told))
        self.tier = tier_of(bytes(chunk.service_tier)) or self.tier
        return not self._strip or bool(chunk.choices) or self.error

    def _count_parts(self, parts: str | list[_Part] | None) -> None:
        if isinstance(parts, str):
            self.count(parts)
            return
        for part in parts or ():
            self.count(part.text)
            self._count_parts(part.thinking)

    def _count_calls(self, raw: bytes) -> None:
        """What a model wrote of its tool calls: their names and arguments."""
        if not raw:
            return
        try:
            for call in _calls.decode(raw) or ():
                self.count(call.function.name)
                self.count(call.function.arguments)
        except msgspec.MsgspecError:
            self.count(raw)  # of another shape: all of it, then


def said(body: bytes) -> Said:
    """What a whole answer says of itself; of one that is not as expected, its usage at most."""
    try:
        plain = _plain.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _said(body)
    told, choices = plain.usage, plain.choices
    if told.prompt_tokens_details in _NONE and told.completion_tokens_details in _NONE:
        usage = Usage(told.prompt_tokens, told.completion_tokens)
    else:
        usage = told.in_parts()
    if choices is not None and len(choices) == 1 and (reason := choices[0].finish_reason) is not None:
        reasons: tuple[str, ...] = (reason,)  # as they mostly come
    else:
        reasons = tuple([one.finish_reason for one in choices or () if one.finish_reason is not None])
    return Said(usage, plain.id, plain.model, reasons, plain.service_tier, is_object=True, is_sound=True)


def _said(body: bytes) -> Said:
    try:
        whole = _whole.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            return Said(credible_usage(bytes(_usage.decode(body).usage)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Said()
    reasons = tuple(reason for one in whole.choices or () if (reason := short(one.finish_reason)) is not None)
    return Said(
        credible(whole.usage), short(whole.id), short(whole.model), reasons, tier_of(bytes(whole.service_tier)),
        is_object=True,
    )  # fmt: skip


def stream_error(wire: Wire, message: str, request_id: str, _meter: Meter) -> Event:
    """An error for a stream whose status can no longer change."""
    return data_event(OPENAI.envelope(wire, message, None, request_id))


_FUNCTION_CALL = -1  # the run of the older `function_call`, which has no index


_THINKING = "content.thinking"  # the run of what is thought in parts of content
_IN_PARTS = "[]."  # in the names of runs of parts: their field before it, what holds their words behind it
_WORDED = ("text", "thinking", "summary")


class ChatRuns:
    """Runs are keyed by choice, field and tool call. `completions`: text stands in the choice itself. Parts of content
    (Mistral's) are of the same run as content that is text, their thinking of another; parts of another field, as
    OpenRouter's `reasoning_details`, are runs by that field, their words' name and their index."""

    def __init__(self, *, completions: bool = False) -> None:
        self._completions = completions
        self._envelope: dict[str, Any] = {}
        self._thought = False
        self._spoke: set[int] = set()  # choices that thought in parts, and have an answer's text in the last chunk

    def pieces(self, chunk: dict[str, Any]) -> list[Piece]:
        """Every text of every choice's delta, those of one run as one."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return []
        self._envelope = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
        self._spoke = set()
        found: dict[Key, Piece] = {}
        for choice in choices:
            for piece in self._choice(choice) if isinstance(choice, dict) else ():
                first = found.setdefault(piece.key, piece)
                if first is not piece:
                    first.owner[first.field] += piece.owner[piece.field]
                    piece.owner[piece.field] = ""
        self._thought = self._thought or any(key[1] == _THINKING for key in found)
        if self._thought:
            self._spoke = {key[0] for key, piece in found.items() if key[1] == "content" and piece.owner[piece.field]}
        return list(found.values())

    def _choice(self, choice: dict[str, Any]) -> Iterable[Piece]:
        index = _index(choice)
        fields = choice if self._completions else choice.get("delta")
        if not isinstance(fields, dict):
            return
        for name in ("text",) if self._completions else tuple(fields):
            value = fields.get(name)
            if isinstance(value, str) and name != "role":
                yield Piece((index, name, 0), fields, name)
            elif isinstance(value, list) and name != "tool_calls":
                yield from _parts(index, name, value)
        audio = fields.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
            yield Piece((index, "transcript", 0), audio, "transcript")
        for call, owner, name in _arguments(fields):
            yield Piece((index, name, call), owner, name, name == "arguments")

    def ends(self, chunk: dict[str, Any]) -> Callable[[Key], bool] | None:
        """A choice that says why it finished, and an error. What was thought ends where the answer begins."""
        if chunk.get("error"):
            return lambda _: True
        choices = chunk.get("choices")
        ended = {
            _index(choice)
            for choice in (choices if isinstance(choices, list) else ())
            if isinstance(choice, dict) and choice.get("finish_reason") is not None
        }
        spoke = self._spoke
        return (lambda key: key[0] in ended or (key[1] == _THINKING and key[0] in spoke)) if ended or spoke else None

    def more(self, piece: Piece, text: str) -> Event:
        """A chunk with one more delta."""
        index, name, call = piece.key
        choice: dict[str, Any] = {"index": index, "finish_reason": None}
        if self._completions:
            choice["text"] = text
        elif name == _THINKING:
            thought = text if piece.field == "thinking" else [{"type": "text", "text": text}]
            choice["delta"] = {"content": [{"type": "thinking", "thinking": thought}]}
        elif _IN_PARTS in name:
            part = {key: piece.owner[key] for key in ("type", "index", "format") if key in piece.owner}
            choice["delta"] = {name.partition(_IN_PARTS)[0]: [{**part, piece.field: text}]}
        elif name == "transcript":
            choice["delta"] = {"audio": {"transcript": text}}
        elif name not in ("arguments", "input"):
            choice["delta"] = {name: text}
        elif call == _FUNCTION_CALL:
            choice["delta"] = {"function_call": {"arguments": text}}
        else:
            kind = "custom" if name == "input" else "function"
            choice["delta"] = {"tool_calls": [{"index": call, kind: {name: text}}]}
        return data_event(msgspec.json.encode({**self._envelope, "choices": [choice]}))

    def renumber(self, chunk: dict[str, Any]) -> bool:
        """Chunks have no numbers."""
        return False


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index", 0)
    return index if isinstance(index, int) else 0


def _parts(index: int, name: str, parts: list[Any]) -> Iterable[Piece]:
    """Every text of a field that is a list of parts."""
    for part in parts:
        for field in _WORDED if isinstance(part, dict) else ():
            run, number = f"{name}{_IN_PARTS}{field}", _index(part)
            if name == "content":
                run, number = "content" if field == "text" else _THINKING, 0
            value = part.get(field)
            if isinstance(value, str):
                yield Piece((index, run, number), part, field)
                continue
            for inner in value if isinstance(value, list) else ():
                if isinstance(inner, dict) and isinstance(inner.get("text"), str):
                    yield Piece((index, run, number), inner, "text")


def _arguments(delta: dict[str, Any]) -> Iterable[tuple[int, dict[str, Any], str]]:
    """Every piece of a tool call's arguments in a delta: the call's index, the object that holds it, its name there."""
    older = delta.get("function_call")
    if isinstance(older, dict) and isinstance(older.get("arguments"), str):
        yield _FUNCTION_CALL, older, "arguments"
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        for kind, name in (("function", "arguments"), ("custom", "input")):
            part = call.get(kind)
            if isinstance(part, dict) and isinstance(part.get(name), str):
                yield _index(call), part, name


CHAT = Shape(
    "chat", OPENAI, "chat", ("max_completion_tokens", "max_tokens"), CHAT_OUTPUT,
    whole=said, is_error=is_error_body, meter=ChatMeter, runs=ChatRuns, stream_error=stream_error,
    texts=frozenset((b"choices",)), asks_usage=True, format=("response_format",),
)  # fmt: skip
# Both are frozen at OpenAI (API reference, Completions and Embeddings); chat and responses take what is new.
COMPLETIONS = Shape(
    "completions", OPENAI, "text_completion", ("max_tokens", "max_completion_tokens"), COMPLETION_OUTPUT,
    whole=said, is_error=is_error_body, meter=ChatMeter, runs=lambda: ChatRuns(completions=True),
    stream_error=stream_error, texts=frozenset((b"choices",)), asks_usage=True,
    takes=frozenset((
        "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty",
        "seed", "stop", "suffix", "temperature", "top_p", "user",
    )),
)  # fmt: skip
EMBEDDINGS = Shape(
    "embeddings", OPENAI, "embeddings", (), 0,
    whole=said, is_error=is_error_body, meter=ChatMeter, runs=ChatRuns, stream_error=stream_error,
    texts=frozenset((b"choices",)),
    takes=frozenset(("dimensions", "encoding_format", "user")),
)  # fmt: skip
