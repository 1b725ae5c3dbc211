"""What looks into a stream as it passes: `feed` an event, get the events that go on; `flush` at the end. Pure.

The order in a relay stands in `stages.py`: the meter (or the cutter, which asks it), the search of what the model
wrote, the restorer; each sees what the one before it let through. What differs from one API shape to another stands in
`gateway/shapes/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from gateway.limits.reservation import Basis, Usage
from gateway.stream.sse import Event
from gateway.tokens.passed import Passed

ABSURD = 1_000_000_000  # tokens; no model has read or written that many in one exchange
BYTES_PER_TOKEN = 4  # of our own count of text that no provider counted; rough, and said so (`basis`)
LONGEST_NAME = 200  # characters of an id or a model's name that go into a record
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # of data that is not what it should be


class StreamFilter(Protocol):
    """One stage."""

    def feed(self, event: Event) -> Iterable[Event]: ...
    def flush(self) -> Iterable[Event]:
        """What was held back, at the end of the stream."""


class Meter:
    """Reads what a stream says of itself: usage, errors, ids, why it ended; counts what passes in case it does not
    say. A shape's own meter says how to `read` an event's data."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.input_tokens: int | None = None  # where a stream said them, and not yet its whole usage
        self.error = False
        self.ended = False  # the stream itself said that it is whole
        self.response_id: str | None = None
        self.model: str | None = None
        self.tier: str | None = None  # the service tier that it says was served
        self.finish_reasons: list[str] = []
        self.flags: list[str] = []
        self.sequence = -1  # the last event's number, where events are numbered
        self.passed = Passed()

    def feed(self, event: Event) -> Iterable[Event]:
        """The event itself, or nothing where the client did not ask for it."""
        return (event,) if event.data is None or self.note(event.data) else ()

    def note(self, data: bytes) -> bool:
        """Take notes of one event's data; whether it goes on to the client."""
        try:
            return self.read(data)
        except UNREADABLE:
            return self.unread(data)

    def unread(self, data: bytes) -> bool:
        """`note` of what cannot be read."""
        if data.startswith(b"[DONE]"):  # is no JSON
            self.ended = True
        else:
            self.flag("unreadable_chunk")
            self.passed.add(data)
        return True

    def read(self, data: bytes) -> bool:
        """`note` of a shape's own events. Raises MsgspecError, UnicodeDecodeError or RecursionError where it cannot be
        read."""
        raise NotImplementedError

    def flush(self) -> Iterable[Event]:
        """Nothing is held back."""
        if not self.ended and not self.error:
            self.flag("no_done")
        return ()

    def output_tokens(self) -> int:
        """Our own rough count of the text that passed."""
        return -(-self.passed.size // BYTES_PER_TOKEN)

    def count(self, text: str | bytes | None) -> None:
        """Text that passes."""
        if text:
            self.passed.add(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))

    def call_it(self, response_id: str | None, model: str | None) -> None:
        """The answer's id and model; the first that are said count."""
        if self.response_id is None and response_id:
            self.response_id, self.model = response_id[:LONGEST_NAME], (model or "")[:LONGEST_NAME] or None

    def finish(self, reason: str | None) -> None:
        """Why a choice ended."""
        if reason:
            self.finish_reasons.append(reason[:LONGEST_NAME])

    def use(self, usage: Usage | None) -> None:
        """What the provider says was used; None: it said something that is not credible."""
        if usage is None:
            self.flag("usage_not_credible")
        else:
            self.usage = usage

    def flag(self, flag: str) -> None:
        """Something odd, for the record."""
        if flag not in self.flags:
            self.flags.append(flag)


_PROMPT = ("prompt_tokens_details", "input_tokens_details")
_REPLY = ("completion_tokens_details", "output_tokens_details")


def credible_usage(raw: bytes) -> Usage | None:
    """OpenAI's `usage` object as a Usage; None where it is not one, negative, absurd or no whole number."""
    try:
        return credible(msgspec.json.decode(raw))
    except msgspec.MsgspecError:
        return None


def credible(usage: Any) -> Usage | None:
    """The same of one that is decoded."""
    if not isinstance(usage, dict):
        return None
    prompt = credible_tokens(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = credible_tokens(usage.get("completion_tokens", usage.get("output_tokens", 0)))
    if prompt is None or completion is None:
        return None
    asked, written = _details(usage, _PROMPT), _details(usage, _REPLY)
    if not asked and not written:
        return Usage(prompt, completion, basis=Basis.PROVIDER)
    cached = min(_detail(asked, "cached_tokens"), prompt)
    kept = min(_detail(asked, "cache_write_tokens"), prompt - cached)
    kinds = asked.get("cache_creation_token_details")  # what a translated answer of Anthropic's says
    return Usage(
        prompt,
        completion,
        cached=cached,
        cache_write=kept,
        reasoning=min(_detail(written, "reasoning_tokens"), completion),
        basis=Basis.PROVIDER,
        audio_input=_detail(asked, "audio_tokens"),
        audio_output=_detail(written, "audio_tokens"),
        image_input=_detail(asked, "image_tokens"),
        image_output=_detail(written, "image_tokens"),
        cache_write_1h=min(_detail(kinds, "ephemeral_1h_input_tokens"), kept) if isinstance(kinds, dict) else 0,
    )


def credible_tokens(value: Any) -> int | None:
    """A number of tokens; None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= ABSURD:
        return None
    return value


def _details(usage: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        details = usage.get(name)
        if isinstance(details, dict):
            return details
    return {}


def _detail(details: dict[str, Any], field: str) -> int:
    return credible_tokens(details[field]) or 0 if field in details else 0
