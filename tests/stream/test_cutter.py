"""The cutter: what passes is always held, by a bound that a count makes exact where it can be had."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.line import SLICE, Line
from gateway.limits.reservation import Estimate
from gateway.limits.scopes import Denial
from gateway.shapes.table import SHAPES
from gateway.stream.cutter import Cutter
from gateway.stream.sse import Event, data_event
from gateway.stream.terminators import TERMINATORS
from gateway.tokens.counting import Counted
from tests.limit_trial import limit, scope

WORD = "word "  # a token for each, where they are counted


class Budget:
    """One of so many tokens of output; `counts` is what was counted."""

    def __init__(self, tokens: int, *, ranks: bool, known: bool = True) -> None:
        self.tokens, self.held = tokens, 0
        self.ranks, self.known = ranks, known
        self.counts: list[int] = []
        self.asked = 0

    async def grow(self, tokens: int, _: int) -> Denial | None:
        self.asked += 1
        if tokens > self.tokens:
            bound = limit("tpd", self.tokens)
            return Denial(scope("key:a", bound), bound, self.held, tokens - self.held, None)
        self.held = max(self.held, tokens)
        return None

    async def count(self, text: bytes) -> Counted | None:
        self.counts.append(len(text))
        return Counted(text.count(b" "), "o200k_base", self.known) if self.ranks else None

    def cutter(self, most: int | None = None) -> Cutter:
        line = Line(Estimate(0, 4096 if most is None else most, 0), [None])
        self.held = line.held
        return Cutter(line, self.grow, self.count, SHAPES["chat"].meter(True), TERMINATORS["chat"](), most)


def events(words: int, at_a_time: int = 1) -> list[Event]:
    chunk = {"choices": [{"index": 0, "delta": {"content": WORD * at_a_time}}]}
    return [data_event(json.dumps(chunk).encode()) for _ in range(0, words, at_a_time)]


async def passed(cutter: Cutter, words: int, at_a_time: int = 1) -> int:
    """Words that went on."""
    return len(await cutter.feed(events(words, at_a_time))) * at_a_time


async def test_with_ranks_a_stream_goes_to_the_very_line() -> None:
    budget = Budget(1000, ranks=True)
    cutter = budget.cutter()
    assert await passed(cutter, 2000) == 1000
    assert cutter.denial is not None
    assert cutter.passed == 1000
    assert cutter.text.by == "o200k_base"
    assert len(budget.counts) < 60, "not one for each event"


async def test_without_ranks_a_token_for_each_byte_is_held() -> None:
    budget = Budget(1000, ranks=False)
    cutter = budget.cutter()
    assert await passed(cutter, 2000) == 1000 // len(WORD)
    assert cutter.passed == 1000
    assert cutter.text.by is None
    assert len(budget.counts) < 10, "who cannot say is not asked at each event"


async def test_in_another_models_encoding_half_as_much_again_is_held() -> None:
    cutter = Budget(900, ranks=True, known=False).cutter()
    went = await passed(cutter, 2000)
    assert 570 <= went <= 600
    assert cutter.passed <= 900


async def test_what_fits_is_not_cut() -> None:
    for ranks in (True, False):
        budget = Budget(100_000, ranks=ranks)
        cutter = budget.cutter()
        assert await passed(cutter, 2000) == 2000
        assert cutter.denial is None
        assert budget.held >= 2000


async def test_the_maximum_that_left_with_the_request_bounds_what_is_not_counted() -> None:
    cutter = Budget(60, ranks=False).cutter(most=50)
    assert await passed(cutter, 40) == 40, "200 bytes, and 50 tokens at most"
    assert cutter.denial is None
    assert await passed(cutter, 400) < 20, "a provider that does not keep to it"
    assert cutter.denial is not None


@given(
    tokens=st.integers(SLICE, 1500), words=st.integers(1, 600), at_a_time=st.integers(1, 40), ranks=st.booleans(),
    known=st.booleans(),
)  # fmt: skip
async def test_what_passed_is_always_held(tokens: int, words: int, at_a_time: int, ranks: bool, known: bool) -> None:
    budget = Budget(tokens, ranks=ranks, known=known)
    cutter = budget.cutter()
    went = await passed(cutter, words, at_a_time)
    assert went <= cutter.passed <= budget.held <= tokens
    if cutter.denial is None:
        assert went >= words


@pytest.mark.parametrize("ranks", [True, False])
async def test_an_event_without_text_passes_at_the_line(ranks: bool) -> None:
    cutter = Budget(SLICE, ranks=ranks).cutter()
    await cutter.feed(events(SLICE // len(WORD)))
    end = data_event(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    assert await cutter.feed([end]) == [end]
    assert cutter.denial is None
