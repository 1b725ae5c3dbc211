"""The neutral form: what a conversation, an answer and a stream mean, whatever the dialect. Pure.

A dialect's request file reads and writes a Conversation; its answer file reads and writes an Answer, and the Deltas of
a stream. A whole answer and a stream of it say the same: `fold` makes one of the other, `unfold` the way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from msgspec import structs

from gateway.limits.reservation import Usage

NOTHING_ASKED: Mapping[str, Any] = MappingProxyType({})
Stop = Literal["end", "length", "tools", "sequence", "filter", "pause"]


class Text(msgspec.Struct, frozen=True):
    text: str


class Image(msgspec.Struct, frozen=True):
    """Inline (`data` in base64, with its media type) or at a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None


class Document(msgspec.Struct, frozen=True):
    """As an image; `text` where it is plain text."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    text: str | None = None
    name: str | None = None


class Audio(msgspec.Struct, frozen=True):
    """`format` as OpenAI names it: wav, mp3."""

    format: str
    data: str


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is the text of a JSON object; `signature` is what its provider wants back with it."""

    id: str
    name: str
    arguments: str
    signature: str | None = None


class Result(msgspec.Struct, frozen=True):
    call_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False


class Thought(msgspec.Struct, frozen=True):
    """What a model thought. `sealed`: only its provider can read it."""

    text: str = ""
    signature: str | None = None
    sealed: str | None = None


class Declined(msgspec.Struct, frozen=True):
    """A model's words for not answering."""

    text: str


Part = Text | Image | Document | Audio | Call | Result | Thought | Declined
AnswerPart = Text | Call | Thought | Declined


class Turn(msgspec.Struct, frozen=True):
    """`tool` holds the results of calls; `system` stands in the middle of a conversation."""

    role: Literal["user", "assistant", "tool", "system"]
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Choice(msgspec.Struct, frozen=True):
    """Which tool must be called; `name` with mode `tool`."""

    mode: Literal["auto", "none", "any", "tool"]
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """Structured output. Without a schema: any JSON object."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """`effort` as OpenAI names it, `none` for off; or a `budget` in tokens."""

    effort: str | None = None
    budget: int | None = None


class Conversation(msgspec.Struct, frozen=True):
    """A request. None: not said, the model's own default."""

    model: str
    turns: tuple[Turn, ...]
    system: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Choice | None = None
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    format: Format | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    user: str | None = None
    stream: bool = False


class Answer(msgspec.Struct, frozen=True):
    """`sequence` is the stop sequence that ended it, where the provider says which."""

    id: str
    model: str
    parts: tuple[AnswerPart, ...]
    stop: Stop
    sequence: str | None = None
    usage: Usage | None = None


class Begin(msgspec.Struct, frozen=True):
    id: str
    model: str
    usage: Usage | None = None


class Open(msgspec.Struct, frozen=True):
    """A part begins, empty but for its names. Parts come one after the other."""

    part: AnswerPart


class Grow(msgspec.Struct, frozen=True):
    """More of the open part: of its text, or of a call's arguments."""

    text: str


class Sign(msgspec.Struct, frozen=True):
    """The open part's signature."""

    signature: str


class End(msgspec.Struct, frozen=True):
    stop: Stop
    sequence: str | None = None
    usage: Usage | None = None


class Trouble(msgspec.Struct, frozen=True):
    """An error in the middle of a stream."""

    kind: str | None = None


Delta = Begin | Open | Grow | Sign | End | Trouble


class Unreadable(ValueError):
    """A provider's answer that is none. Never says what it holds."""


def fold(deltas: Iterable[Delta]) -> Answer:
    """The whole answer of a stream. Raises Unreadable where it has no beginning or no end."""
    begin: Begin | None = None
    end: End | None = None
    parts: list[AnswerPart] = []
    for delta in deltas:
        match delta:
            case Begin():
                begin = delta
            case Open(part):
                parts.append(part)
            case Grow(text):
                parts[-1] = grown(parts[-1], text)
            case Sign(signature):
                last = parts[-1]
                if isinstance(last, Thought | Call):
                    parts[-1] = structs.replace(last, signature=signature)
            case End():
                end = delta
            case Trouble():
                raise Unreadable("an error")
    if begin is None or end is None:
        raise Unreadable("no beginning or no end")
    return Answer(begin.id, begin.model, tuple(parts), end.stop, end.sequence, end.usage or begin.usage)


def unfold(answer: Answer) -> Iterator[Delta]:
    """A stream of a whole answer."""
    yield Begin(answer.id, answer.model, answer.usage)
    for part in answer.parts:
        match part:
            case Call(arguments=arguments, signature=signature):
                yield Open(structs.replace(part, arguments="", signature=None))
                yield Grow(arguments)
            case Thought(text=text, signature=signature):
                yield Open(structs.replace(part, text="", signature=None))
                if text:
                    yield Grow(text)
            case Text(text) | Declined(text):
                signature = None
                yield Open(type(part)(""))
                yield Grow(text)
        if signature is not None:
            yield Sign(signature)
    yield End(answer.stop, answer.sequence, answer.usage)


def grown(part: AnswerPart, text: str) -> AnswerPart:
    """A part with more of its text, or of its arguments."""
    if isinstance(part, Call):
        return structs.replace(part, arguments=part.arguments + text)
    return structs.replace(part, text=part.text + text)
