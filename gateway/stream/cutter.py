"""The cutter: passes a stream on as far as its budgets hold, slice by slice, and ends it at the line.

It stands in the place of the usage meter, which it feeds: an event goes on when what it adds is held. Of an event that
is not, nothing goes on, so a client never gets a token that no budget holds. What passed is known by a bound that never
under-counts: a token for each byte, replaced by a count in the model's encoding when that matters and can be had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from gateway.limits.line import Line
from gateway.limits.scopes import Denial
from gateway.stream.filters import BYTES_PER_TOKEN
from gateway.stream.sse import Event
from gateway.stream.terminators import Terminator
from gateway.tokens.counting import Counted
from gateway.tokens.passed import Passed
from gateway.tokens.running import RunningText

WORTH = 512  # bytes that are worth a count (a text in small parts has more tokens); fewer only where the budget ends
Count = Callable[[bytes], Awaitable[Counted | None]]  # tokens of a part of the reply; None: nobody can say
Grow = Callable[[int, int], Awaitable[Denial | None]]  # tokens and nano-USD to hold in all


class Meter(Protocol):
    """What the cutter asks of a usage meter."""

    passed: Passed

    def feed(self, event: Event) -> Iterable[Event]: ...
    def flush(self) -> Iterable[Event]: ...


class Tail:
    """The stage behind a cutter: what the meter says at the end of a stream that was not cut."""

    def __init__(self, cutter: Cutter, meter: Meter) -> None:
        self._cutter, self._meter = cutter, meter

    def feed(self, event: Event) -> Iterable[Event]:
        return (event,)

    def flush(self) -> Iterable[Event]:
        return self._meter.flush() if self._cutter.denial is None else ()


class Cutter:
    """`grow` raises StoreFailure where a store that is away is to end the stream; `most` is the maximum of output that
    left with the request, if one did."""

    def __init__(
        self, line: Line, grow: Grow, count: Count, meter: Meter, terminator: Terminator, most: int | None = None
    ) -> None:  # fmt: skip
        self.denial: Denial | None = None
        self.passed = 0  # tokens of output that went on, at most
        self.text = RunningText()
        meter.passed.follow(self.text)
        self.terminator = terminator
        self.tail = Tail(self, meter)
        self._line, self._grow, self._count, self._meter, self._most = line, grow, count, meter, most
        self._worth = WORTH

    async def feed(self, events: Sequence[Event]) -> list[Event]:
        """The events that go on; `denial` is set where the stream has to end behind them."""
        out: list[Event] = []
        for event in events:
            before = self.text.bytes
            passes = self._meter.feed(event)
            if self.text.bytes > before and not await self._held():
                break
            self.passed = self._tokens()
            for one in passes:
                self.terminator.feed(one)
                out.append(one)
        return out

    async def _held(self) -> bool:
        """Whether what passed is held, or could be; `denial` says what it lacks."""
        if self._tokens() > self._line.held and self.text.pending >= self._worth:
            await self._counted()
        if await self._fits():
            return True
        if self.text.pending:
            await self._counted()  # it ends here, unless it is less than it looks
            if await self._fits():
                self.denial = None
                return True
        self.passed = min(self.passed, self._tokens())  # this event's text may be in the count, and does not go on
        return False

    async def _fits(self) -> bool:
        tokens = self._tokens()
        return tokens <= self._line.held or await self._hold(tokens)

    def _tokens(self) -> int:
        """Tokens of all text so far, at most. Where the request named a maximum, what was not counted is not taken
        for more than that, unless it looks as if the provider did not keep to it."""
        text = self.text
        if self._most is None:
            return text.at_most
        return min(text.at_most, max(text.known, -(-text.bytes // BYTES_PER_TOKEN), self._most))

    async def _counted(self) -> None:
        found = await self._count(self.text.take())
        self.text.counted(found.at_most if found is not None else None)
        if found is None:
            self._worth *= 8  # whoever cannot say now is not asked again soon
        else:
            self.text.by = found.by

    async def _hold(self, tokens: int) -> bool:
        """Hold enough for so many tokens of output: the next slice, or what is left of the budget."""
        denial = await self._ask(self._line.wanted(tokens))
        if denial is None:
            return True
        rest = self._line.fits(denial)
        if rest >= tokens and await self._ask(rest) is None:
            return True
        self.denial = denial
        return False

    async def _ask(self, output: int) -> Denial | None:
        denial = await self._grow(*self._line.holding(output))
        if denial is None:
            self._line.held = output
        return denial
