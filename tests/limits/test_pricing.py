"""Money in integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.pricing import cost, worst
from gateway.limits.reservation import Usage
from gateway.policy.compiled import Price

FULL = Price("openai", "gpt", 250, 2000, cached_input=25, cache_write=313)
PLAIN = Price("openai", "gpt", 250, 2000)


@pytest.mark.parametrize(
    ("usage", "price", "nano"),
    [
        (Usage(1000, 100), None, 0),
        (Usage(1000, 100), FULL, 1000 * 250 + 100 * 2000),
        (Usage(1000, 100, cached=400), FULL, 600 * 250 + 400 * 25 + 100 * 2000),
        (Usage(1000, 0, cached=400, cache_write=500), FULL, 100 * 250 + 400 * 25 + 500 * 313),
        (Usage(1000, 100, cached=400, cache_write=100), PLAIN, 1000 * 250 + 100 * 2000),
        (Usage(0, 100, reasoning=90), FULL, 100 * 2000),
        (Usage(10, 0, cached=99, cache_write=99), FULL, 10 * 25),
        (Usage(-5, -5, cached=-1), FULL, 0),
    ],
)
def test_cost(usage: Usage, price: Price | None, nano: int) -> None:
    assert cost(usage, price) == nano


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_no_split_of_the_input_costs_more_than_the_worst(given_in: int, out: int, cached: int, written: int) -> None:
    assert 0 <= cost(Usage(given_in, out, cached, written), FULL) <= worst(given_in, out, FULL)
