"""Calendar periods: contiguous in every zone, safe around clock changes, and never going back."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.scopes import Window
from gateway.limits.windows import ALWAYS, MICRO, period

# Zones that change their clocks at midnight, by half an hour, or have skipped a whole day.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Asia/Tehran",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Asia/Kathmandu", "Africa/Cairo",
)  # fmt: skip
INSTANTS = st.integers(0, 4_000_000_000 * MICRO)  # 1970 to 2096


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * MICRO


@pytest.mark.parametrize(
    ("window", "zone", "now", "label", "start", "end"),
    [
        (Window.DAY, "UTC", "2026-11-24T23:59:59+00:00", 20261124, "2026-11-24T00:00+00:00", "2026-11-25T00:00+00:00"),
        (Window.DAY, "Europe/Berlin", "2026-11-24T23:30:00+00:00", 20261125,
         "2026-11-25T00:00+01:00", "2026-11-26T00:00+01:00"),
        # 23 and 25 hours
        (Window.DAY, "Europe/Berlin", "2026-03-29T12:00+00:00", 20260329,
         "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        (Window.DAY, "Europe/Berlin", "2026-10-25T12:00+00:00", 20261025,
         "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        # midnight is skipped: the day begins at 01:00
        (Window.DAY, "Asia/Beirut", "2024-03-31T12:00+00:00", 20240331,
         "2024-03-31T01:00+03:00", "2024-04-01T00:00+03:00"),
        # midnight comes twice: the day begins at the first
        (Window.DAY, "America/Havana", "2024-11-03T12:00+00:00", 20241103,
         "2024-11-03T00:00-04:00", "2024-11-04T00:00-05:00"),
        (Window.MONTH, "America/New_York", "2026-12-01T04:59:59+00:00", 202611,
         "2026-11-01T00:00-04:00", "2026-12-01T00:00-05:00"),
        (Window.MONTH, "UTC", "2026-12-31T23:00+00:00", 202612, "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
    ],
)  # fmt: skip
def test_periods(window: Window, zone: str, now: str, label: int, start: str, end: str) -> None:
    found = period(window, zone, at(now))
    assert (found.label, found.start, found.end) == (label, at(start), at(end))


@given(INSTANTS, st.sampled_from(ZONES), st.sampled_from([Window.DAY, Window.MONTH]))
def test_an_instant_is_in_its_period_and_the_next_begins_where_it_ends(now: int, zone: str, window: Window) -> None:
    found = period(window, zone, now)
    assert now in found
    following = period(window, zone, found.end)
    assert following.start == found.end
    assert following.label > found.label
    assert period(window, zone, found.start) == found
    assert period(window, zone, found.end - 1) == found


@given(INSTANTS, st.sampled_from(ZONES))
def test_the_label_is_the_local_date(now: int, zone: str) -> None:
    local = datetime.fromtimestamp(now // MICRO, UTC).astimezone(ZoneInfo(zone))
    assert period(Window.DAY, zone, now).label == int(local.strftime("%Y%m%d"))
    assert period(Window.MONTH, zone, now).label == int(local.strftime("%Y%m"))


@pytest.mark.parametrize("window", [Window.TOTAL, Window.MINUTE, Window.OPEN])
def test_what_has_no_calendar_has_one_period(window: Window) -> None:
    assert period(window, "Europe/Berlin", 0) is ALWAYS
