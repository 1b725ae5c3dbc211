"""From a client's dialect to a provider's and back: which pairs there are. Pure.

`Translation.request` makes the body that is sent; `whole` and `Stream` make of the provider's answer what the client
reads. Both ends meet in the neutral form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import structs

from gateway.stream.sse import Event
from gateway.translation import (
    bedrock_answer,
    bedrock_request,
    chat_answer,
    chat_request,
    gemini_answer,
    gemini_request,
    messages_answer,
    messages_request,
    responses_answer,
    responses_reading,
    responses_request,
)
from gateway.translation.losses import Losses, Untranslatable
from gateway.translation.neutral import NOTHING_ASKED, Answer, Begin, Conversation, Delta, Trouble

Named = TypeVar("Named", Answer, Begin)
RequestReader = Callable[[object, Losses], Conversation]
RequestWriter = Callable[[Conversation, Losses], dict[str, Any]]


class AnswerReader(Protocol):
    """A provider's stream → deltas. Both raise Unreadable."""

    def feed(self, event: Event) -> Iterator[Delta]: ...
    def end(self) -> Iterator[Delta]: ...


class AnswerWriter(Protocol):
    """Deltas → a client's stream."""

    def feed(self, delta: Delta) -> Iterator[Event]: ...


@dataclass(frozen=True, slots=True)
class ClientSide:
    """A dialect that clients speak. `write` and `writer` take Unix seconds, and what the client asked for."""

    read: RequestReader
    write: Callable[[Answer, int, Mapping[str, Any]], dict[str, Any]]
    writer: Callable[[int, Mapping[str, Any]], AnswerWriter]


@dataclass(frozen=True, slots=True)
class ProviderSide:
    """A dialect that providers speak."""

    write: RequestWriter
    read: Callable[[bytes], Answer]
    reader: Callable[[], AnswerReader]


CLIENTS: dict[str, ClientSide] = {
    "chat": ClientSide(chat_request.read, chat_answer.write_whole, chat_answer.Writer),
    "messages": ClientSide(messages_request.read, messages_answer.write_whole, messages_answer.Writer),
    "responses": ClientSide(responses_request.read, responses_answer.write_whole, responses_answer.Writer),
}
PROVIDERS: dict[str, ProviderSide] = {
    "chat": ProviderSide(chat_request.write, chat_answer.read_whole, chat_answer.Reader),
    "messages": ProviderSide(messages_request.write, messages_answer.read_whole, messages_answer.Reader),
    "bedrock": ProviderSide(bedrock_request.write, bedrock_answer.read_whole, bedrock_answer.Reader),
    "responses": ProviderSide(responses_request.write, responses_reading.read_whole, responses_reading.Reader),
    "gemini": ProviderSide(gemini_request.write, gemini_answer.read_whole, gemini_answer.Reader),
}


class Translation:
    """One exchange's. `created` in Unix seconds, for dialects that date their answers; `name` is the id of an answer
    whose provider gives it none."""

    def __init__(self, client: str, provider: str, created: int, name: str = "") -> None:
        self.dropped: tuple[str, ...] = ()
        self._name, self._model = name, ""
        self.provider = provider
        self._client, self._provider = CLIENTS[client], PROVIDERS[provider]
        self._created = created
        self._asked = NOTHING_ASKED

    def request(self, body: bytes, *, drop: bool) -> bytes:
        """The provider's body. Raises Untranslatable, which names the client's field."""
        losses = Losses(self.provider, drop=drop)
        try:
            value = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Untranslatable("", "The JSON body cannot be read.") from None
        conversation = self._client.read(value, losses)
        self._model = conversation.model
        written = self._provider.write(conversation, losses)
        self._asked = value
        self.dropped = tuple(losses.dropped)
        return msgspec.json.encode(written)

    def whole(self, body: bytes) -> bytes:
        """The client's whole answer. Raises Unreadable."""
        answer = self._named(self._provider.read(body))
        return msgspec.json.encode(self._client.write(answer, self._created, self._asked))

    def stream(self) -> Stream:
        """The client's stream."""
        return Stream(self._provider.reader(), self._client.writer(self._created, self._asked), self._named)

    def _named(self, one: Named) -> Named:
        """With an id and a model, where its provider says none."""
        return structs.replace(one, id=one.id or self._name, model=one.model or self._model)


class Stream:
    """A provider's events → a client's. `end` belongs behind the last one. Both raise Unreadable."""

    def __init__(self, reader: AnswerReader, writer: AnswerWriter, named: Callable[[Begin], Begin]) -> None:
        self._reader, self._writer, self._named = reader, writer, named
        self._broken = False

    def feed(self, event: Event) -> Iterator[Event]:
        """What the client gets for an event; nothing after an error."""
        if self._broken:
            return
        for delta in self._reader.feed(event):
            self._broken = self._broken or isinstance(delta, Trouble)
            yield from self._writer.feed(self._named(delta) if isinstance(delta, Begin) else delta)

    def end(self) -> Iterator[Event]:
        """What ends the client's stream."""
        if not self._broken:
            for delta in self._reader.end():
                yield from self._writer.feed(delta)
