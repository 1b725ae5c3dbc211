"""How the limits of a request stand, each worked out only when somebody asks for it. Pure.

A store answers with figures; of seven limits a reply names two, and a record none unless there is something to say. So
the figures are kept as they came, beside what is the same for every request with these scopes (`Shown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from msgspec import structs

from gateway.limits.exceptions import lifted
from gateway.limits.scopes import Limit, Remaining, Scope, Unit, Window
from gateway.limits.windows import FOREVER, MICRO

BIT_BY_BIT = -1  # when a bucket starts anew


@dataclass(frozen=True, slots=True)
class Shown:
    """The limits of a request's scopes in order, each with its scope's id and when it starts anew: µs, 0 for never,
    BIT_BY_BIT for buckets. A limit's place is where its figures begin: twice its number."""

    limits: tuple[tuple[str, Limit, int], ...]
    requests: tuple[int, ...]  # the places of those that a client is told of, by unit
    tokens: tuple[int, ...]
    ends: tuple[int, ...]  # when each starts anew: at its place, and behind it once more
    warned: bool  # whether a rate or the number of open requests has a share to warn at
    told: list[Any] = field(default_factory=list, compare=False, repr=False)  # `answer.py`'s, of the last that asked


def shown(scopes: Sequence[Scope], ends: Iterable[int]) -> Shown:
    """What is the same for every request with these scopes; `ends` as above."""
    every = [(scope.id, limit) for scope in scopes for limit in scope.limits]
    limits = tuple((scope, limit, end) for (scope, limit), end in zip(every, ends, strict=True))
    told: dict[Unit, list[int]] = {Unit.REQUESTS: [], Unit.TOKENS: [], Unit.USD: []}
    for number, (_, limit, _) in enumerate(limits):
        if not limit.shadow and limit.window is not Window.OPEN:
            told[limit.unit].append(2 * number)
    return Shown(
        limits, tuple(told[Unit.REQUESTS]), tuple(told[Unit.TOKENS]),
        tuple(end for _, _, end in limits for _ in range(2)),
        any(limit.warn_at and limit.window in (Window.MINUTE, Window.OPEN) for _, limit, _ in limits),
    )  # fmt: skip


class Standing(Sequence[Remaining]):
    """How limits stand at `now` (µs). `figures`: per limit what is left, and for buckets µs until they are full again;
    then what is special about some: the limit's number, the amount that an exception has raised it to, until when; -1
    as amount: only watched, and it would have refused. `odd`: something is special about some."""

    __slots__ = ("figures", "now", "odd", "shown")

    def __init__(self, shown: Shown, figures: Sequence[int], now: int) -> None:
        self.shown, self.figures, self.now = shown, figures, now
        self.odd = len(figures) != len(shown.ends)

    def tightest(self, unit: Unit) -> Remaining | None:
        """As `answer.tightest`, of those that need be looked at."""
        places = self.shown.requests if unit is Unit.REQUESTS else self.shown.tokens
        return self[self.tightest_of(places) // 2] if places else None

    def tightest_of(self, places: tuple[int, ...]) -> int:
        """The place of the tightest of these."""
        best = places[0]
        for at in places:
            if self.tighter(at, best):
                best = at
        return best

    def tighter(self, at: int, best: int) -> bool:
        """Whether of two places the first has less left, or as much and takes longer to come back; where that is the
        same too, whether it stands before the other."""
        figures, ends = self.figures, self.shown.ends
        left, least = figures[at], figures[best]
        if left != least:
            return left < least
        if ends[at] < 0 and ends[best] < 0:
            wait, longest = figures[at + 1], figures[best + 1]
        else:
            wait, longest = self._wait(at), self._wait(best)
        return wait > longest or (wait == longest and at < best)

    def _wait(self, at: int) -> int:
        """µs until the limit at a place starts anew, FOREVER where it never does."""
        end = self.shown.ends[at]
        return (self.figures[at + 1] if end < 0 else end - self.now) if end else FOREVER

    def _one(self, number: int) -> Remaining:
        scope, limit, end = self.shown.limits[number]
        reset = self._wait(2 * number) / MICRO if end else None
        return Remaining(scope, limit, self.figures[2 * number], reset)

    def _all(self) -> tuple[Remaining, ...]:
        figures = self.figures
        standing = [self._one(at) for at in range(len(self.shown.limits))]
        for start in range(2 * len(standing), len(figures), 3):
            number, amount, until = figures[start : start + 3]
            one = standing[number]
            standing[number] = (
                structs.replace(one, over=True)
                if amount < 0
                else structs.replace(one, limit=lifted(one.limit, amount, until))
            )
        return tuple(standing)

    def __len__(self) -> int:
        return len(self.shown.limits)

    def __iter__(self) -> Iterator[Remaining]:
        return iter(self._all())

    @overload
    def __getitem__(self, at: int) -> Remaining: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Remaining, ...]: ...
    def __getitem__(self, at: int | slice) -> Remaining | tuple[Remaining, ...]:
        if not self.odd and isinstance(at, int) and at >= 0:
            return self._one(at)
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        return self._all() == tuple(other) if isinstance(other, (tuple, Standing)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


def odd(standing: Sequence[Remaining]) -> Sequence[Remaining]:
    """Those of which a record has something to say, and perhaps others."""
    return () if isinstance(standing, Standing) and not standing.odd else standing
