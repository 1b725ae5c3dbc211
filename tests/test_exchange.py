"""An exchange moves as the lifecycle table says, and ends once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.exchange import LIFECYCLE, Ending, Exchange, IllegalMove, Phase

NOBODY: Any = None


def exchange(phase: str = Phase.ARRIVED) -> Exchange:
    one = Exchange("req_1", 1.0, 2.0, "POST", "/v1/chat/completions", "::1", NOBODY)
    one.phase = phase
    return one


def test_every_field_is_there_from_the_beginning() -> None:
    one = exchange()
    assert [name for name in Exchange.__slots__ if not hasattr(one, name)] == []


@pytest.mark.parametrize("phase", LIFECYCLE)
@pytest.mark.parametrize("following", LIFECYCLE)
def test_only_what_the_table_has_is_a_move(phase: str, following: str) -> None:
    one = exchange(phase)
    if following in LIFECYCLE[phase]:
        one.enter(following)
        assert one.phase == following
    else:
        with pytest.raises(IllegalMove):
            one.enter(following)
        assert one.phase == phase


@pytest.mark.parametrize("phase", LIFECYCLE)
def test_it_ends_from_every_phase_and_only_once(phase: str) -> None:
    one = exchange(phase)
    if phase != Phase.ENDED:
        one.end(3.0)
    with pytest.raises(IllegalMove):
        one.end(4.0)
    assert one.ended in (None, 3.0)


@pytest.mark.parametrize(
    ("ending", "status", "told"),
    [(None, None, (Ending.FAILED, None)), (Ending.CLIENT_GONE, 200, (Ending.CLIENT_GONE, 499)),
     (Ending.ANSWERED, 200, (Ending.ANSWERED, 200))],
)  # fmt: skip
def test_what_it_ends_as(ending: str | None, status: int | None, told: tuple[str, int | None]) -> None:
    one = exchange()
    one.ending, one.status = ending, status
    one.end(3.0)
    assert (one.ending, one.status) == told
