"""relay_opaque: an answer that nobody meters, on its way to the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.errors import ClientGone, Failure, ProviderBroken
from gateway.exchange import Ending, Exchange, Phase
from gateway.fields import lines_of
from gateway.ports import Clock, Head, Reply, Upstream
from gateway.redaction.restore import RestoreFilter, restore_body
from gateway.redaction.safe import SafeRequest
from gateway.shapes.responses import RESPONSES
from gateway.stream.sse import Decoder, Event, TooLong

if TYPE_CHECKING:
    from gateway.stream.relay import Answer

LARGEST_ANSWER = 64 << 20  # bytes of a whole answer that are held to be restored and metered
# What passes of a provider's headers: the rest is its own business (cookies, its ids, its limits, hop-by-hop fields).
PASSED = ("content-type", "openai-processing-ms", "openai-version")
PASSED_OPAQUE = (*PASSED, "content-encoding", "content-disposition", "content-length", "cache-control", "location",
                 "accept-ranges", "content-range", "etag", "last-modified")  # fmt: skip

# The content type of nearly every answer, as the line that it becomes.
_USUAL = {kind: f"content-type: {kind}\r\n" for kind in (
    "application/json", "application/json; charset=utf-8", "text/event-stream", "text/event-stream; charset=utf-8",
)}  # fmt: skip
_BESIDE = frozenset(PASSED[1:])

LINES = frozenset(("application/x-jsonl", "application/jsonl", "application/x-ndjson", "application/jsonlines"))


async def relay_opaque(exchange: Exchange, answer: Answer, reply: Reply, clock: Clock) -> None:
    """Bring the answer to the client, as it came unless something in it must be seen or restored. Raises as `relay`."""
    upstream, safe = answer.upstream, answer.safe
    looked_at = answer.see is not None or safe.restore or safe.keep is not None
    if looked_at and exchange.method != "HEAD" and is_json(upstream.headers):
        body = await _seen(answer, await read_whole(upstream, LARGEST_ANSWER))
        exchange.enter(Phase.RELAYING)
        exchange.first_byte = clock.monotonic()
        exchange.ending, exchange.status = Ending.ANSWERED, upstream.status
        await reply.send(Head(upstream.status, tuple(_anew(upstream)), answer.lines), body)
        return
    restoring = _restoring(safe, upstream) if safe.restore else None
    first = await upstream.chunk()
    exchange.enter(Phase.RELAYING)
    exchange.first_byte = clock.monotonic()
    exchange.status = upstream.status
    headers = passed(upstream, PASSED_OPAQUE) if restoring is None else _anew(upstream)
    await reply.begin(Head(upstream.status, tuple(headers), answer.lines))
    try:
        data = first
        while data:
            if passing := data if restoring is None else restoring.feed(data):
                await reply.write(passing)
            data = await upstream.chunk()
        if restoring is not None and (rest := restoring.finish()):
            await reply.write(rest)
    except Failure as failure:
        if isinstance(failure, ClientGone):
            raise
        exchange.ending, exchange.failure = Ending.TRUNCATED, failure
        reply.abort()
        return
    exchange.ending = Ending.ANSWERED
    await reply.end()


def _anew(upstream: Upstream) -> list[tuple[str, str]]:
    """The headers of a body that is another one now."""
    return [one for one in passed(upstream, PASSED_OPAQUE) if one[0] != "content-length"]


async def _seen(answer: Answer, body: bytes) -> bytes:
    """A JSON answer that nobody meters, as the client sees it. Raises what `see` raises."""
    safe = answer.safe
    if safe.keep is not None and (response_id := RESPONSES.whole(body).response_id) is not None:
        await safe.keep.under(response_id)
    if safe.restore:
        body = restore_body(body, safe.restore)
    return await answer.see(body) if answer.see is not None else body


def _restoring(safe: SafeRequest, upstream: Upstream) -> _Restoring | RestoringLines | None:
    """What restores in an answer that passes. None: nothing that is known can."""
    if is_stream(upstream.headers):
        return _Restoring(safe)
    kind = upstream.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoded = upstream.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    return RestoringLines(safe.restore) if kind in LINES and not encoded else None


class RestoringLines:
    """Restores in the results of a batch: in each line, which is JSON."""

    def __init__(self, restore: Mapping[str, str]) -> None:
        self._restore = restore
        self._held: list[bytes] = []  # of a line that has not ended
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """What may go on. Raises ProviderBroken."""
        whole, mark, rest = data.rpartition(b"\n")
        if mark:
            self._held, whole, self._size = [rest], b"".join([*self._held, whole, mark]), len(rest)
        else:
            self._held.append(rest)
            self._size += len(rest)
        if self._size > LARGEST_ANSWER:
            raise ProviderBroken("a line that is too long")
        return b"".join([restore_body(line, self._restore) for line in whole.splitlines(keepends=True)])

    def finish(self) -> bytes:
        """What is left."""
        return restore_body(b"".join(self._held), self._restore)


class _Restoring:
    """Restores in an event stream of a stored response. What is no event of one passes as it is."""

    def __init__(self, safe: SafeRequest) -> None:
        self._decoder = Decoder()
        self._restorer = RestoreFilter(RESPONSES.runs(), safe.restore)

    def feed(self, data: bytes) -> bytes:
        """What may go on. Raises ProviderBroken."""
        try:
            events = self._decoder.feed(data)
        except TooLong as error:
            raise ProviderBroken(str(error)) from None
        return self._restored(events)

    def finish(self) -> bytes:
        """What is left."""
        return self._restored(self._decoder.finish()) + b"".join([event.raw for event in self._restorer.flush()])

    def _restored(self, events: Sequence[Event]) -> bytes:
        return b"".join([one.raw for event in events for one in self._restorer.feed(event)])


def is_stream(headers: Mapping[str, str]) -> bool:
    """Whether an answer is an event stream."""
    return headers.get("content-type", "").startswith("text/event-stream")


def is_json(headers: Mapping[str, str]) -> bool:
    """Whether an answer is JSON. Raises ProviderBroken where it is encoded, which nobody asked for and nobody reads."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ProviderBroken("an encoded answer")
    return True


async def read_whole(upstream: Upstream, limit: int) -> bytes:
    """All of an answer. Raises ProviderTimeout, and ProviderBroken where it is longer than `limit` bytes."""
    parts, size = [], 0
    if (rest := upstream.rest_now()) is not None:
        if len(rest) > limit:
            raise ProviderBroken(f"answer larger than {limit} bytes")
        return rest
    while data := await upstream.chunk():
        parts.append(data)
        size += len(data)
        if size > limit:
            raise ProviderBroken(f"answer larger than {limit} bytes")
    return b"".join(parts)


def passed(upstream: Upstream, names: Sequence[str]) -> list[tuple[str, str]]:
    """Those of an answer's headers that are named."""
    return [(name, upstream.headers[name]) for name in names if name in upstream.headers]


def passed_lines(upstream: Upstream) -> str:
    """What passes of the head of an answer that we have read."""
    headers = upstream.headers
    usual = _USUAL.get(headers.get("content-type", ""))
    return usual if usual is not None and _BESIDE.isdisjoint(headers) else lines_of(passed(upstream, PASSED))
