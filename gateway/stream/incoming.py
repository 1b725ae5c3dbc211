"""A provider's stream: bytes → the events that the client is to get, translated where need be. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import ProviderBroken
from gateway.stream.sse import Decoder, Event, TooLong
from gateway.translation.neutral import Unreadable
from gateway.translation.pairs import Translation


class Incoming:
    """What it does raises ProviderBroken."""

    def __init__(self, decoder: Decoder, translation: Translation | None) -> None:
        self.decoder = decoder
        self._stream = translation.stream() if translation is not None else None
        # The data of the events that some bytes are, where they need no translation and nothing else is in them.
        self.plain = decoder.plain if translation is None else _never

    def feed(self, data: bytes) -> Sequence[Event]:
        """The events that `data` completes."""
        events = decoded(self.decoder, data)
        return events if self._stream is None else self.translated(events)

    def translated(self, events: Sequence[Event]) -> Sequence[Event]:
        """What a provider's events are to the client."""
        if (stream := self._stream) is None:
            return events
        try:
            return [out for event in events for out in stream.feed(event)]
        except Unreadable as error:
            raise ProviderBroken(str(error)) from None

    def finish(self) -> Sequence[Event]:
        """What ends the stream."""
        events = self.translated(self.decoder.finish())
        if (stream := self._stream) is None:
            return events
        try:
            return [*events, *stream.end()]
        except Unreadable as error:
            raise ProviderBroken(str(error)) from None


def _never(_: bytes) -> None:
    """What needs a translation is not plain."""


def decoded(decoder: Decoder, data: bytes) -> Sequence[Event]:
    """The events that `data` completes, as the provider sent them. Raises ProviderBroken."""
    try:
        return decoder.feed(data)
    except TooLong as error:
        raise ProviderBroken(str(error)) from None
