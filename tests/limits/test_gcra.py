"""The bucket, against GCRA's definition and against the refund that over-admits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.gcra import TICK, Bucket, full_after, remaining, wait

SECOND = 1_000_000


def fits(bucket: Bucket, cost: int, rate: int, burst: int, now: int) -> bool:
    return wait(bucket.leak(rate, now), cost, rate, burst) == 0


@pytest.mark.parametrize("rate", [1, 7, 60, 61, 999, 100_000_000])
def test_the_burst_passes_at_once_and_not_one_more(rate: int) -> None:
    bucket, passed = Bucket(), 0
    each = max(1, rate // 60)
    while fits(bucket, each, rate, rate, 0):
        bucket.take(each, rate, 0)
        passed += each
    assert passed == rate // each * each
    assert wait(bucket.leak(rate, 0), each, rate, rate) is not None


def test_an_idle_bucket_passes_up_to_twice_its_limit_in_its_first_minute() -> None:
    bucket, passed = Bucket(), 0
    for now in range(0, 60 * SECOND, 100_000):
        while fits(bucket, 1, 60, 60, now):
            bucket.take(1, 60, now)
            passed += 1
    assert passed == 60 + 59


@given(
    rate=st.integers(1, 100_000_000), level=st.integers(0, 10**17), cost=st.integers(0, 10**6),
    extra=st.integers(0, 10**6),
)  # fmt: skip
def test_waiting_as_long_as_told_is_enough_and_a_microsecond_less_is_not(
    rate: int, level: int, cost: int, extra: int
) -> None:
    bucket, burst = Bucket(level=level), cost + extra
    delay = wait(level, cost, rate, burst)
    assert delay is not None
    assert wait(bucket.leak(rate, delay), cost, rate, burst) == 0
    if delay:
        assert wait(bucket.leak(rate, delay - 1), cost, rate, burst) != 0


def test_a_claim_larger_than_the_burst_never_fits() -> None:
    assert wait(0, 11, 60, 10) is None
    assert wait(5 * TICK, 6, 0, 10) is None  # a rate of nothing refills nothing


def test_a_refund_leaves_younger_claims_alone() -> None:
    """Reserve 672, idle an hour, take 504, settle the first low: its refund must not make room for 2000 more."""
    bucket, rate, burst, hour = Bucket(), 2000, 2000, 3600 * SECOND
    mark = bucket.take(672, rate, 0)
    bucket.take(504, rate, hour)
    bucket.refund(672, mark, rate, hour)
    assert not fits(bucket, 1497, rate, burst, hour)
    assert fits(bucket, 1496, rate, burst, hour)


def test_a_refund_at_once_gives_everything_back() -> None:
    bucket = Bucket()
    bucket.take(100, 60, 0)
    mark = bucket.take(300, 60, 0)
    bucket.refund(300, mark, 60, 0)
    assert bucket.leak(60, 0) == 100 * TICK


@given(
    st.integers(1, 5000),
    st.lists(
        st.tuples(st.integers(0, 30 * SECOND), st.integers(0, 3000), st.floats(0, 1), st.integers(0, 90 * SECOND)),
        max_size=25,
    ),
)
def test_whatever_is_refunded_no_window_gets_more_than_its_bound(
    rate: int, plan: list[tuple[int, int, float, int]]
) -> None:
    bucket, burst, now = Bucket(), 3000, 0
    passed: list[list[int]] = []  # µs, what counts
    due: list[tuple[int, int, int, int]] = []  # when it is settled, its entry, its mark, what goes back
    for gap, cost, share, open_for in plan:
        now += gap
        for when, entry, mark, back in sorted(one for one in due if one[0] <= now):
            bucket.refund(back, mark, rate, when)
            passed[entry][1] -= back
        due = [one for one in due if one[0] > now]
        if not fits(bucket, cost, rate, burst, now):
            continue
        mark = bucket.take(cost, rate, now)
        passed.append([now, cost])
        due.append((now + open_for, len(passed) - 1, mark, int(cost * share)))
        total = 0
        for then, counted in reversed(passed):
            total += counted
            assert total * TICK <= burst * TICK + (now - then) * rate


def test_what_remains_is_in_whole_tokens_and_may_be_negative() -> None:
    assert remaining(0, 60) == 60
    assert remaining(1, 60) == 59
    assert remaining(61 * TICK, 60) == -1
    assert full_after(TICK, 60) == SECOND
    assert full_after(5, 0) == 0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = Bucket()
    bucket.take(60, 60, 10 * SECOND)
    assert bucket.leak(60, 0) == 60 * TICK
    bucket.take(0, 60, 0)
    assert bucket.leak(60, 10 * SECOND) == 60 * TICK
