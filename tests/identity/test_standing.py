"""How a limit stands, in the words that a key's holder and an admin get."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.errors import Rule
from gateway.identity.standing import standing_of
from gateway.limits.scopes import Limit, Remaining, Unit, Window

END = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
RULE = Rule(1, "keys.bot.limits", "keys.toml", 3)


@pytest.mark.parametrize("late", [-0.4, -0.004, -2e-7, 0.0, 2e-7, 0.004, 0.4])
@pytest.mark.parametrize("window", [Window.DAY, Window.MONTH])
def test_a_period_ends_when_a_refusal_says_that_it_does(window: Window, late: float) -> None:
    """Between our clock and the store's there is always something, this way or that."""
    now = END - 12_345.678
    told = standing_of(Remaining("key:k", Limit("tokens", Unit.TOKENS, window, 10, RULE), 3, END - now + late), now)
    assert told["resets_at"] == "2026-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("reset", "at"), [(0.0, "00:00:00"), (0.2, "00:00:01"), (1.0, "00:00:01"), (59.001, "00:01:00")]
)
def test_a_bucket_is_full_at_the_second_that_is_told(reset: float, at: str) -> None:
    told = standing_of(Remaining("key:k", Limit("rpm", Unit.REQUESTS, Window.MINUTE, 10, RULE), 3, reset), END)
    assert told["resets_at"] == f"2026-12-01T{at}Z"


def test_what_never_renews_says_so() -> None:
    told = standing_of(Remaining("key:k", Limit("all", Unit.USD, Window.TOTAL, 10, RULE), 3, None), END)
    assert (told["resets_at"], told["resets_in"]) == (None, None)
