"""The cutter: passes a stream on as far as its budgets hold, slice by slice, and ends it at the line.

It stands in the place of the usage meter, which it feeds: an event goes on when what it adds is held. Of an event that
is not, nothing goes on, so a client never gets a token that no budget holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from gateway.limits.line import Line
from gateway.limits.scopes import Denial
from gateway.stream.sse import Event
from gateway.stream.terminators import Terminator

Grow = Callable[[int, int], Awaitable[Denial | None]]  # tokens and nano-USD to hold in all


class Meter(Protocol):
    """What the cutter asks of a usage meter."""

    def feed(self, event: Event) -> Iterable[Event]: ...
    def flush(self) -> Iterable[Event]: ...
    def output_tokens(self) -> int: ...


class Tail:
    """The stage behind a cutter: what the meter says at the end of a stream that was not cut."""

    def __init__(self, cutter: Cutter, meter: Meter) -> None:
        self._cutter, self._meter = cutter, meter

    def feed(self, event: Event) -> Iterable[Event]:
        return (event,)

    def flush(self) -> Iterable[Event]:
        return self._meter.flush() if self._cutter.denial is None else ()


class Cutter:
    """`grow` raises StoreFailure where a store that is away is to end the stream."""

    def __init__(self, line: Line, grow: Grow, meter: Meter, terminator: Terminator) -> None:
        self.denial: Denial | None = None
        self.passed = 0  # tokens of output that went on
        self.terminator = terminator
        self.tail = Tail(self, meter)
        self._line, self._grow, self._meter = line, grow, meter

    async def feed(self, events: Sequence[Event]) -> list[Event]:
        """The events that go on; `denial` is set where the stream has to end behind them."""
        out: list[Event] = []
        for event in events:
            passes = self._meter.feed(event)
            tokens = self._meter.output_tokens()
            if tokens > self._line.held and tokens > self.passed and not await self._hold(tokens):
                break
            self.passed = tokens
            for one in passes:
                self.terminator.feed(one)
                out.append(one)
        return out

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
