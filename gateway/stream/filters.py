"""What looks into a stream as it passes: `feed` an event, get the events that go on; `flush` at the end. Pure.

The order in a relay is: usage meter, then restorer; each sees what the one before it let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from gateway.limits.reservation import Basis, Usage
from gateway.stream.sse import Event

ABSURD = 1_000_000_000  # tokens; no model has read or written that many in one exchange
BYTES_PER_TOKEN = 4  # of our own count of text that no provider counted; rough, and said so (`basis`)
LONGEST_NAME = 200  # characters of an id or a model's name that go into a record


class StreamFilter(Protocol):
    """One stage."""

    def feed(self, event: Event) -> Iterable[Event]: ...
    def flush(self) -> Iterable[Event]:
        """What was held back, at the end of the stream."""


# msgspec takes no union of Raw and None: what is absent is empty, and null is the four bytes.
_ABSENT = msgspec.Raw(b"")
_NOTHING = (b"", b"null", b"false")


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(_Chunk)


class UsageMeter:
    """Reads what a stream says of itself: usage, errors, ids, why it ended; counts what passes in case it does not
    say. With `strip_usage` the chunk that only we asked for goes no further."""

    def __init__(self, *, strip_usage: bool) -> None:
        self.usage: Usage | None = None
        self.error = False
        self.response_id: str | None = None
        self.model: str | None = None
        self.finish_reasons: list[str] = []
        self.flags: list[str] = []
        self._strip = strip_usage
        self._text = 0
        self._done = False

    def feed(self, event: Event) -> Iterable[Event]:
        """The event itself, or nothing where it is the usage chunk that the client did not ask for."""
        data = event.data
        if data is None:
            return (event,)
        if data.startswith(b"[DONE]"):
            self._done = True
            return (event,)
        try:
            chunk = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._flag("unreadable_chunk")
            self._text += len(data)
            return (event,)
        if self.response_id is None and chunk.id:
            self.response_id, self.model = chunk.id[:LONGEST_NAME], (chunk.model or "")[:LONGEST_NAME] or None
        for choice in chunk.choices or ():
            self._count(choice)
        if bytes(chunk.error) not in _NOTHING:
            self.error = True
        if (usage := bytes(chunk.usage)) not in _NOTHING:
            self._use(usage)
            if self._strip and not chunk.choices and not self.error:
                return ()
        return (event,)

    def flush(self) -> Iterable[Event]:
        """Nothing is held back."""
        if not self._done and not self.error:
            self._flag("no_done")
        return ()

    def output_tokens(self) -> int:
        """Our own count of the text that passed."""
        return -(-self._text // BYTES_PER_TOKEN)

    def _count(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            if delta.content:
                self._text += len(delta.content.encode("utf-8", "surrogatepass"))
            self._text += memoryview(delta.tool_calls).nbytes
        if choice.text:
            self._text += len(choice.text.encode("utf-8", "surrogatepass"))
        if choice.finish_reason:
            self.finish_reasons.append(choice.finish_reason[:LONGEST_NAME])

    def _use(self, raw: bytes) -> None:
        usage = credible_usage(raw)
        if usage is None:
            self._flag("usage_not_credible")
        else:
            self.usage = usage

    def _flag(self, flag: str) -> None:
        if flag not in self.flags:
            self.flags.append(flag)


def credible_usage(raw: bytes) -> Usage | None:
    """OpenAI's `usage` object as a Usage; None where it is not one, negative, absurd or no whole number."""
    try:
        usage = msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return None
    if not isinstance(usage, dict):
        return None
    prompt = _tokens(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _tokens(usage.get("completion_tokens", usage.get("output_tokens", 0)))
    if prompt is None or completion is None:
        return None
    cached = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    written = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cache_write_tokens")
    reasoning = _detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    return Usage(
        prompt,
        completion,
        cached=min(cached, prompt),
        cache_write=min(written, prompt - min(cached, prompt)),
        reasoning=min(reasoning, completion),
        basis=Basis.PROVIDER,
    )


def _tokens(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= ABSURD:
        return None
    return value


def _detail(usage: dict[str, Any], names: tuple[str, ...], field: str) -> int:
    for name in names:
        details = usage.get(name)
        if isinstance(details, dict):
            return _tokens(details.get(field)) or 0
    return 0
