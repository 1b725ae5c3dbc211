"""At the line: how much fits, and how a stream's reservation grows; both stores, at every step's boundary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.bounds import bounds_of
from gateway.limits.line import LEAST, SLICE, Line, fitting, with_output
from gateway.limits.reservation import Estimate
from gateway.limits.scopes import Denial, Limit, Remaining
from gateway.policy.compiled import Price
from tests.limit_trial import limit, scope

PRICE = Price("up", "m", 1000, 2000)


def strict(short: str, amount: int) -> Limit:
    return replace(limit(short, amount), at_limit="strict")


def cut(short: str, amount: int) -> Limit:
    return replace(limit(short, amount), at_limit="cut")


def denial(bound: Limit, remaining: int, *others: Remaining) -> Denial:
    where = scope("key:a", bound)
    return Denial(where, bound, 0, 0, None, remaining=(Remaining("key:a", bound, remaining, None), *others))


@pytest.mark.parametrize(
    ("limits", "stream", "capped", "sliced"),
    [
        ([limit("tpd", 9)], True, False, False),
        ([strict("tpd", 9)], True, True, False),
        ([strict("tpd", 9)], False, True, False),
        ([cut("tpd", 9)], True, False, True),
        ([cut("tpd", 9)], False, True, False),  # what is not streamed has no place to be cut
        ([cut("upm", 9), strict("tpd", 9)], True, True, True),
        ([replace(cut("upm", 9), shadow=True)], True, False, False),  # a limit that is only watched changes nothing
        ([replace(strict("rpd", 9), at_limit="cut")], True, False, False),  # requests come whole
    ],
)
def test_how_budgets_want_to_be_held(limits: list[Limit], stream: bool, capped: bool, sliced: bool) -> None:
    found = bounds_of([scope("key:a", *limits)])
    held = found.streamed if stream else found.whole
    assert (held.capped, held.sliced) == (capped, sliced)


@pytest.mark.parametrize(
    ("bound", "remaining", "output"),
    [
        (strict("tpd", 9), 100 + LEAST, LEAST),
        (strict("tpd", 9), 100 + LEAST - 1, None),
        (strict("tpd", 9), 600, 500),
        (strict("tpd", 9), -5, None),
        (strict("upm", 9), 100 * 1000 + 300 * 2000, 300),
        (strict("upm", 9), 100 * 1000 + 300 * 2000 - 1, 299),
        (cut("tpd", 9), 600, 500),
        (limit("tpd", 9), 600, None),  # `finish` does not cap
        (replace(strict("tpm", 9), at_limit="finish"), 600, None),
    ],
)
def test_what_fits_a_strict_budget(bound: Limit, remaining: int, output: int | None) -> None:
    found = fitting(denial(bound, remaining), Estimate(100, 4096, 0), [PRICE], capped=True, parts=1)
    assert (found.output_tokens if found is not None else None) == output


def test_the_tightest_of_several_strict_budgets_counts_and_choices_share() -> None:
    more = Remaining("team:t", strict("upm", 9), 100 * 1000 + 201 * 2000, None)
    found = fitting(denial(strict("tpd", 9), 600, more), Estimate(100, 4096, 0), [PRICE], capped=True, parts=4)
    assert found == with_output(Estimate(100, 0, 0), 200, [PRICE])
    assert found is not None
    assert found.nano_usd == 100 * 1000 + 200 * 2000


@given(
    remaining=st.integers(-10, 10**7), inputs=st.integers(0, 3000), asked=st.integers(0, 10**6),
    parts=st.integers(1, 8), prices=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=1, max_size=3),
    money=st.booleans(),
)  # fmt: skip
def test_what_fits_never_exceeds_what_remains(
    remaining: int, inputs: int, asked: int, parts: int, prices: list[tuple[int, int]], money: bool
) -> None:
    rows = [Price("up", "m", first, second) for first, second in prices]
    worst = with_output(Estimate(inputs, 0, 0), asked * parts, rows)
    bound = strict("upm" if money else "tpd", 10**7)
    found = fitting(denial(bound, remaining), worst, rows, capped=True, parts=parts)
    if found is not None:
        assert (found.nano_usd if money else found.tokens) <= remaining
        assert found.output_tokens % parts == 0
        assert LEAST <= found.output_tokens // parts <= asked


def test_slices_go_on_until_the_rest_of_the_budget() -> None:
    line = Line(Estimate(100, 4096, 0), [PRICE])
    assert line.first() == (100 + SLICE, 100 * 1000 + SLICE * 2000)
    assert line.wanted(SLICE + 1) == 2 * SLICE
    assert line.wanted(5 * SLICE) == 5 * SLICE
    assert line.holding(10) == (110, 100 * 1000 + 10 * 2000)
    bound = cut("tpd", 1000)
    assert line.fits(Denial(scope("key:a", bound), bound, 990, SLICE, None)) == SLICE + 10
    assert line.fits(Denial(scope("key:a", bound), bound, 1005, SLICE, None)) == SLICE
    money = cut("upm", 9000)
    assert line.fits(Denial(scope("key:a", money), money, 4999, SLICE, None)) == SLICE + 2
    assert Line(Estimate(100, 7, 0), [PRICE]).first()[0] == 107  # no more than was asked for


def test_a_price_of_nothing_never_divides() -> None:
    free: list[Any] = [None, Price("up", "m", 0, 0)]
    assert fitting(denial(strict("upm", 9), 5), Estimate(1, 99, 0), free, capped=True, parts=1) is None
    money = cut("upm", 9)
    assert Line(Estimate(1, 9, 0), free).fits(Denial(scope("key:a", money), money, 3, 9, None)) == 9
