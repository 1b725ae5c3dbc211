"""One connection to a provider and the answers that come over it. See lean_transport.py.

An answer that is whole and plain in one piece, as most are, goes from the bytes to whoever waits for it. What one needs
that comes in pieces, or late, is made when it does: `lean_answer.py`.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

import httptools

from gateway.errors import ProviderBroken
from gateway.patience import Patience
from gateway.ports import Clock, Upstream, UpstreamRequest
from gateway.providers.lean_answer import Answer
from gateway.providers.plain_answer import PlainAnswers

# Seconds that a connection is kept for the next request (record 0174). Servers say when they close theirs; what drops
# connections without a word, balancers and address translators, takes four minutes and more.
IDLE = 60.0


class Origin(NamedTuple):
    """Where connections go, and are shared."""

    scheme: str
    host: str
    port: int


class Place:
    """An origin and the connections there: those that are open, and of them those that carry nothing, the last used
    last."""

    __slots__ = ("idle", "open", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.open: set[Connection] = set()
        self.idle: dict[Connection, None] = {}


class Connection(asyncio.Protocol):
    """One connection; its answers come one after the other. It is watched while it is open."""

    __slots__ = (
        "_answer", "_began", "_head", "_idle", "_now", "_parser", "_patience", "_place", "_plain", "_request",
        "_transport", "_used", "idle_since", "loop",
    )  # fmt: skip

    def __init__(self, place: Place, patience: Patience, clock: Clock) -> None:
        self.loop = asyncio.get_running_loop()
        self._now = clock.monotonic
        self.idle_since = self._began = clock.monotonic()
        self._used = False
        self._place, self._idle = place, place.idle
        self._patience = patience
        self._transport: asyncio.Transport | None = None
        self._request: UpstreamRequest
        self._head: asyncio.Future[Upstream] | None = None  # what is under way: who gets its head
        self._answer: Answer | None = None  # of it, where more is needed than that
        self._parser: httptools.HttpResponseParser | None = None
        self._plain = PlainAnswers()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._patience.watch(self, self._look)

    def exchange(
        self, request: UpstreamRequest, head: bytes, body: bytes | None, now: float
    ) -> asyncio.Future[Upstream] | None:
        """Send a request, whose head this is; its answer comes to the future when it has begun. Whoever gives up must
        `leave`. None: it carries nothing any more. The future raises ProviderTimeout, ProviderBroken,
        StaleConnection."""
        transport = self._transport
        if transport is None or transport.is_closing() or now - self.idle_since >= IDLE:
            self.abort()
            return None
        self._request, self._began = request, now
        self._head = asked = self.loop.create_future()
        if body:
            transport.writelines((head, body))  # uvloop sends both at once, and copies none
        else:
            transport.write(head)
        return asked

    def leave(self, asked: asyncio.Future[Upstream]) -> None:
        """Nobody waits for that answer any more: if it is not complete, it takes the connection with it."""
        if self._head is asked:
            self._under_way(asked).close()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        if (parser := self._parser) is None:
            if (asked := self._head) is None:  # bytes that nobody asked for: such a connection is not kept
                self.abort()
                return
            if (plain := self._plain.read(data)) is not None:
                self._rest()  # first: whoever waits for the answer may want the connection
                if not asked.done():
                    asked.set_result(plain)
                return
            parser = self._parser = httptools.HttpResponseParser(self._under_way(asked))
        answer = self._answer
        assert answer is not None  # noqa: S101  # INVARIANT: a parser has one
        sound = False
        try:
            parser.feed_data(data)
            if not answer.begun:  # with this still in its head: much of a body may come with the end of one
                answer.received(len(data))
            sound = True
        except httptools.HttpParserUpgrade:
            answer.fail(ProviderBroken("it changed the protocol"))
        except httptools.HttpParserError as error:
            answer.fail(ProviderBroken(type(error).__name__))
        if answer.taker is not None:
            answer.pour()
        if answer.over and self._answer is answer:
            self._done(keep=answer.keep and sound)

    def eof_received(self) -> bool:
        """asyncio: the provider has said all that it will."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is closed."""
        self._transport = None
        self._patience.unwatch(self)
        self._place.open.discard(self)
        self._idle.pop(self, None)
        if (asked := self._head) is not None:
            self._under_way(asked).lost(exc)

    def head(self) -> tuple[int, bool]:
        """Status of the head just parsed, and whether the connection may be used again."""
        assert self._parser is not None  # noqa: S101  # INVARIANT: it is the parser that calls
        return self._parser.get_status_code(), self._parser.should_keep_alive()

    @property
    def sound(self) -> bool:
        """Whether it is open, and nobody has closed it."""
        return self._transport is not None and not self._transport.is_closing()

    def pause(self) -> None:
        """Let the provider wait."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Let it go on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _under_way(self, asked: asyncio.Future[Upstream]) -> Answer:
        """The answer that has not come at once."""
        answer = self._answer
        if answer is None:
            answer = self._answer = Answer(self, self._request, self._began, asked, reused=self._used)
        return answer

    def _done(self, *, keep: bool) -> None:
        """The answer is complete."""
        self._parser = None
        if keep and self.sound:
            self.resume()
            self._rest()
        else:
            self._head = self._answer = None
            self.abort()

    def _rest(self) -> None:
        """It may carry the next."""
        self._head = self._answer = None
        self._used, self.idle_since = True, self._now()
        self._idle[self] = None

    def _look(self, now: float) -> None:
        """A few times a second: whether the provider takes too long, or nobody has needed the connection."""
        if (asked := self._head) is not None:
            self._under_way(asked).look(now)
        elif now - self.idle_since >= IDLE:
            self.abort()
