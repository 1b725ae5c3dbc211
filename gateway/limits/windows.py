"""Calendar periods in a time zone. Pure: the instant is an argument (zoneinfo reads the zone's table, a constant).

A period has a *label* that grows with time (20261124, 202611, 0 for "in all"). Counters go by labels, not by instants,
so that a change of time zone in mid-month keeps what was spent, and a smaller label never reopens an old period.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway.limits.scopes import Window

MICRO = 1_000_000
FOREVER = 1 << 52  # µs since 1970, the year 2112: still exact in a double, which is what Lua counts in


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end) in µs since 1970."""

    label: int
    start: int
    end: int

    def __contains__(self, now: int) -> bool:
        return self.start <= now < self.end


QUARTER = 900 * MICRO  # µs; days begin on one in every zone of today
ALWAYS = Period(0, 0, FOREVER)


def period(window: Window, zone: str, now: int) -> Period:
    """The period of a calendar window at `now` (µs since 1970). Windows without a calendar have one period, ALWAYS.
    Raises zoneinfo.ZoneInfoNotFoundError."""
    if window not in (Window.DAY, Window.MONTH):
        return ALWAYS
    kept = _kept(window, zone, now // QUARTER)
    return kept if now in kept else _computed(window, zone, now)


@lru_cache(1000)
def _kept(window: Window, zone: str, quarter: int) -> Period:
    """The period at the beginning of a quarter of an hour: nearly always that of all of it."""
    return _computed(window, zone, quarter * QUARTER)


def _computed(window: Window, zone: str, now: int) -> Period:
    where = ZoneInfo(zone)
    today = datetime.fromtimestamp(now // MICRO, UTC).astimezone(where).date()
    if window is Window.DAY:
        first, after = today, today + timedelta(days=1)
        label = today.year * 10_000 + today.month * 100 + today.day
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
        label = today.year * 100 + today.month
    return Period(label, _begin(first, where), _begin(after, where))


def _begin(day: date, where: ZoneInfo) -> int:
    """The first instant of a local day. Where midnight is skipped, `fold=0` reads it with the offset before the change
    and so yields the instant of the change; where it comes twice, the first (PEP 495)."""
    return int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()) * MICRO
