"""How limits stand, worked out when somebody asks: the same as when all of it is worked out at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs

from gateway.fields import lines_of
from gateway.limits.answer import limit_headers, limit_lines, tightest
from gateway.limits.bounds import ENDLESS, bounds_of
from gateway.limits.exceptions import lifted
from gateway.limits.redis_code import encode, keys_of, plans_of
from gateway.limits.scopes import Remaining, Scope, Unit, Window
from gateway.limits.standing import Standing, odd
from gateway.limits.windows import MICRO
from tests.limit_trial import NAMES, limit, scope

NOW = 1_780_000_000 * MICRO
LIMITS = some.builds(
    lambda name, amount, shadow, at: replace(limit(name, amount, burst=amount, shadow=shadow), at_limit=at),
    some.sampled_from(sorted(NAMES)),
    some.integers(1, 10**6), some.booleans(), some.sampled_from(("finish", "cut", "strict")),
)  # fmt: skip
SCOPES = some.lists(
    some.lists(LIMITS, max_size=4, unique_by=lambda one: one.name), min_size=1, max_size=3
).map(lambda each: tuple(scope(f"key:{at}", *limits) for at, limits in enumerate(each)))  # fmt: skip


@some.composite
def stood(draw: some.DrawFn) -> tuple[Standing, tuple[Remaining, ...]]:
    """A standing, and the same worked out limit by limit."""
    scopes = draw(SCOPES)
    plans = plans_of(keys_of("acme"), scopes, NOW)
    figures: list[int] = []
    expected: list[Remaining] = []
    for one in scopes:
        for bound, end in zip(one.limits, encode(b"q:", one, NOW).ends, strict=True):
            left, wait = draw(some.integers(-3, 3)), draw(some.integers(0, 3)) * 500_000
            reset = None if not end else wait / MICRO if end < 0 else (end - NOW) / MICRO
            figures += [left, wait]
            expected.append(Remaining(one.id, bound, left, reset))
    for at in draw(some.sets(some.integers(0, len(expected) - 1), max_size=2)) if expected else ():
        raised = draw(some.booleans())
        figures += [at, 7, NOW + 5] if raised else [at, -1, 0]
        changed: Any = {"limit": lifted(expected[at].limit, 7, NOW + 5)} if raised else {"over": True}
        expected[at] = structs.replace(expected[at], **changed)
    return Standing(plans.shown, figures, NOW), tuple(expected)


@given(stood())
def test_it_reads_as_the_plain_tuple(pair: tuple[Standing, tuple[Remaining, ...]]) -> None:
    standing, plain = pair
    for unit in (Unit.REQUESTS, Unit.TOKENS):
        assert tightest(standing, unit) == tightest(plain, unit)
    assert limit_headers(standing) == limit_headers(plain)
    assert limit_lines(standing) == lines_of(limit_headers(plain))
    assert [standing[at] for at in range(len(standing))] == list(plain)
    assert (len(standing), tuple(standing), standing[1:]) == (len(plain), plain, plain[1:])
    assert standing == plain
    assert [one for one in odd(standing) if one.limit.until or one.over] == [
        one for one in plain if one.limit.until or one.over
    ]


@given(SCOPES)
def test_bounds_are_those_of_the_limits_one_by_one(scopes: tuple[Scope, ...]) -> None:
    found, limits = bounds_of(scopes), [one for each in scopes for one in each.limits if one.unit is not Unit.REQUESTS]
    assert found.governed == bool(limits)
    for unit, least in ((Unit.TOKENS, found.tokens), (Unit.USD, found.nano_usd)):
        wholes = [one.burst if one.window is Window.MINUTE else one.amount for one in limits if one.unit is unit]
        assert least == min(wholes, default=ENDLESS)
        for wanted in (0, 1, least - 1, least, least + 1):
            assert (wanted <= least) == all(wanted <= one for one in wholes) or not wholes
    assert found.streamed.sliced == any(one.sliced for one in limits)
    assert found.whole.capped == any(one.strict or one.sliced for one in limits)


def test_what_is_joined_is_found_again_and_made_anew_in_another_period() -> None:
    keys, scopes = keys_of("acme"), (scope("key:a", limit("usd", 5), limit("tpd", 9)),)
    first = plans_of(keys, scopes, NOW)
    assert plans_of(keys, scopes, NOW + 1) is first
    tomorrow = plans_of(keys, scopes, NOW + 86_400 * MICRO)
    assert tomorrow.packed != first.packed
    assert plans_of(keys, (scope("key:a", limit("usd", 6), limit("tpd", 9)),), NOW).packed != first.packed


@given(SCOPES, some.data())
def test_what_was_told_of_the_last_request_does_not_stay(scopes: tuple[Scope, ...], data: some.DataObject) -> None:
    plans = plans_of(keys_of("acme"), scopes, NOW)
    count = 2 * len(plans.shown.limits)
    for figures in data.draw(some.lists(some.lists(some.integers(-1, 2), min_size=count, max_size=count), max_size=8)):
        standing = Standing(plans.shown, figures, NOW)
        assert limit_lines(standing) == lines_of(limit_headers(tuple(standing)))
