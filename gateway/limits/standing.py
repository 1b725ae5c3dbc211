"""How the limits of a request stand, each worked out only when somebody asks for it. Pure.

A store answers with figures; of seven limits a reply names two, and a record none unless there is something to say. So
the figures are kept as they came, beside what is the same for every request with these scopes (`Shown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from msgspec import structs

from gateway.limits.exceptions import lifted
from gateway.limits.scopes import Limit, Remaining, Scope, Unit, Window
from gateway.limits.windows import FOREVER, MICRO

BIT_BY_BIT = -1  # when a bucket starts anew


@dataclass(frozen=True, slots=True)
class Shown:
    """The limits of a request's scopes in order, each with its scope's id and when it starts anew: µs, 0 for never,
    BIT_BY_BIT for buckets."""

    limits: tuple[tuple[str, Limit, int], ...]
    requests: tuple[int, ...]  # the places of those that a client is told of, by unit
    tokens: tuple[int, ...]
    warned: bool  # whether a rate or the number of open requests has a share to warn at


def shown(scopes: Sequence[Scope], ends: Iterable[int]) -> Shown:
    """What is the same for every request with these scopes; `ends` as above."""
    every = tuple((scope.id, limit) for scope in scopes for limit in scope.limits)
    told: dict[Unit, list[int]] = {Unit.REQUESTS: [], Unit.TOKENS: [], Unit.USD: []}
    for at, (_, limit) in enumerate(every):
        if not limit.shadow and limit.window is not Window.OPEN:
            told[limit.unit].append(at)
    return Shown(
        tuple((scope, limit, end) for (scope, limit), end in zip(every, ends, strict=True)),
        tuple(told[Unit.REQUESTS]), tuple(told[Unit.TOKENS]),
        any(limit.warn_at and limit.window in (Window.MINUTE, Window.OPEN) for _, limit in every),
    )  # fmt: skip


class Standing(Sequence[Remaining]):
    """How limits stand at `now` (µs). `figures`: per limit what is left, and for buckets µs until they are full again;
    then what is special about some: the limit's number, the amount that an exception has raised it to, until when; -1
    as amount: only watched, and it would have refused."""

    __slots__ = ("_figures", "_made", "_now", "_shown")

    def __init__(self, shown: Shown, figures: Sequence[int], now: int) -> None:
        self._shown, self._figures, self._now = shown, figures, now
        self._made: tuple[Remaining, ...] | None = None

    @property
    def warned(self) -> bool:
        """Whether a rate or the number of open requests has a share to warn at."""
        return self._shown.warned

    @property
    def odd(self) -> bool:
        """Whether an exception holds, or a limit that is only watched would have refused."""
        return len(self._figures) != 2 * len(self._shown.limits)

    def tightest(self, unit: Unit) -> Remaining | None:
        """As `answer.tightest`, of those that need be looked at."""
        at = self._tightest(unit)
        return self[at] if at >= 0 else None

    def told(self, unit: Unit) -> tuple[int, int, int] | None:
        """Of the tightest limit its amount, what is left, and µs until it starts anew (FOREVER: never). Only where
        nothing is odd."""
        at = self._tightest(unit)
        return None if at < 0 else (self._shown.limits[at][1].amount, self._figures[2 * at], self._wait(at))

    def _tightest(self, unit: Unit) -> int:
        """Its place; -1 where there is none."""
        places = self._shown.requests if unit is Unit.REQUESTS else self._shown.tokens
        figures, best, least = self._figures, -1, 0
        for at in places:
            left = figures[2 * at]
            if best < 0 or left < least or (left == least and self._wait(at) > self._wait(best)):
                best, least = at, left
        return best

    def _wait(self, at: int) -> int:
        """µs until a limit starts anew, FOREVER where it never does."""
        end = self._shown.limits[at][2]
        return (self._figures[2 * at + 1] if end < 0 else end - self._now) if end else FOREVER

    def _one(self, at: int) -> Remaining:
        scope, limit, end = self._shown.limits[at]
        return Remaining(scope, limit, self._figures[2 * at], self._wait(at) / MICRO if end else None)

    def _all(self) -> tuple[Remaining, ...]:
        if self._made is not None:
            return self._made
        count, figures = len(self._shown.limits), self._figures
        standing = [self._one(at) for at in range(count)]
        for start in range(2 * count, len(figures), 3):
            number, amount, until = figures[start : start + 3]
            one = standing[number]
            standing[number] = (
                structs.replace(one, over=True)
                if amount < 0
                else structs.replace(one, limit=lifted(one.limit, amount, until))
            )
        self._made = tuple(standing)
        return self._made

    def __len__(self) -> int:
        return len(self._shown.limits)

    def __iter__(self) -> Iterator[Remaining]:
        return iter(self._all())

    @overload
    def __getitem__(self, at: int) -> Remaining: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Remaining, ...]: ...
    def __getitem__(self, at: int | slice) -> Remaining | tuple[Remaining, ...]:
        if self._made is None and not self.odd and isinstance(at, int) and at >= 0:
            return self._one(at)
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        return self._all() == tuple(other) if isinstance(other, (tuple, Standing)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


def odd(standing: Iterable[Remaining]) -> Iterable[Remaining]:
    """Those of which a record has something to say, and perhaps others."""
    return () if isinstance(standing, Standing) and not standing.odd else standing
