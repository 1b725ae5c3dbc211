"""What a client reads: refusals in words, headers in OpenAI's formats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs

from gateway.errors import Reason
from gateway.limits.answer import denied, duration, limit_headers, limit_lines, quantity, scope_words
from gateway.limits.reservation import Estimate
from gateway.limits.scopes import Denial, Remaining, Unit
from gateway.limits.standing import BIT_BY_BIT, Standing, shown
from gateway.limits.windows import MICRO
from tests.limit_trial import RULE, limit, scope

ESTIMATE = Estimate(100, 900, 5_000)
NOW = 1_795_478_400.0  # 2026-11-24T00:00:00Z


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.0000001, "0s"), (0.0004, "1ms"), (0.12, "120ms"), (0.9999, "1s"), (1, "1s"), (1.001, "2s"),
        (59.2, "1m0s"), (60, "1m0s"), (360, "6m0s"), (61, "1m1s"), (3600, "1h0m0s"), (90_061, "25h1m1s"), (-3, "0s"),
    ],
)  # fmt: skip
def test_durations_are_go_s(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(some.integers(-5, 40 * 86_400 * MICRO))
def test_headers_round_as_durations_do(micros: int) -> None:
    """They are written from whole µs where nothing is odd."""
    bucket = (scope("key:a", limit("rpm", 60)),)
    standing = Standing(shown(bucket, [BIT_BY_BIT]), [7, micros], 0)
    assert limit_headers(standing)[2] == ("x-ratelimit-reset-requests", duration(micros / MICRO))
    assert limit_lines(standing).endswith(f"\r\nx-ratelimit-reset-requests: {duration(micros / MICRO)}\r\n")


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (1, Unit.REQUESTS, "1 request"), (60, Unit.REQUESTS, "60 requests"), (40_000, Unit.TOKENS, "40000 tokens"),
        (47_120_000_000, Unit.USD, "47.12 USD"), (1, Unit.USD, "0.000000001 USD"),
        (50_000_000_000, Unit.USD, "50.00 USD"),
        (-1_500_000_000, Unit.USD, "-1.50 USD"), (0, Unit.USD, "0.00 USD"),
    ],
)  # fmt: skip
def test_quantities(amount: int, unit: Unit, text: str) -> None:
    assert quantity(amount, unit) == text


def test_a_scope_is_named_without_the_digest_of_its_user() -> None:
    assert scope_words("key:k_7f3a|model:gpt-5*") == "key k_7f3a, model gpt-5*"
    assert scope_words("key:k_7f3a|user:9f86d081") == "key k_7f3a, this user"
    assert scope_words("key:k_7f3a|user:9f86d081", "my-app") == "key my-app (k_7f3a), this user"
    assert scope_words("key:my-app|model:a*", "my-app") == "key my-app, model a*", "its name is its id"
    assert scope_words("team:support", "my-app") == "team support"


def test_a_full_bucket_is_a_rate_limit_with_the_bucket_s_own_wait() -> None:
    remaining = (Remaining("key:a", limit("tpm", 1000), 0, 30.0),)
    refusal = denied(
        Denial(scope("key:a"), limit("tpm", 1000), 1000, 1000, 6.5, remaining=remaining), ESTIMATE, now=NOW
    )
    assert (refusal.reason, refusal.param, refusal.retry_after) == (Reason.RATE_LIMITED, "tokens", 6.5)
    assert refusal.rule is RULE
    assert refusal.remaining == remaining
    assert refusal.message == (
        "Rate limit reached: tokens_per_minute of key a is 1000. In use: 1000, requested: 1000 tokens "
        "(100 input, up to 900 output). Please try again in 7s."
    )


def test_open_requests_are_a_rate_limit_without_a_wait() -> None:
    refusal = denied(Denial(scope("team:s"), limit("open", 8), 8, 1, None), ESTIMATE, now=NOW)
    assert (refusal.reason, refusal.param, refusal.retry_after) == (Reason.RATE_LIMITED, "requests", None)
    assert "concurrent_requests of team s is 8, and 8 requests are open" in refusal.message


def test_a_spent_budget_says_what_is_used_what_is_held_and_when_it_renews() -> None:
    denial = Denial(
        scope("tenant:acme"), limit("upm", 50_000_000_000), 49_420_000_000, 900_000_000, 7200.0, reserved=2_300_000_000
    )
    refusal = denied(denial, ESTIMATE, now=NOW)
    assert (refusal.reason, refusal.param, refusal.retry_after) == (Reason.OVER_BUDGET, None, 7200.0)
    assert refusal.message == (
        "Budget exceeded: usd_per_month of tenant acme is 50.00 USD. In use: 49.42 USD, of which open requests reserve "
        "2.30 USD; requested: up to 0.90 USD. It starts anew in 2h0m0s, on 2026-12-01 at 00:00 UTC."
    )
    total = denied(Denial(scope("key:a"), limit("usd", 10), 10, 1, None), ESTIMATE, now=NOW)
    assert total.message.endswith("It does not renew.")


def test_a_budget_begins_anew_in_its_tenant_s_own_time_and_names_its_key() -> None:
    where = structs.replace(scope("key:k_7f3a", zone="Asia/Kolkata"), key_name="my-app")
    refusal = denied(Denial(where, limit("tpd", 50), 50, 1, 60.0), ESTIMATE, now=NOW)
    assert refusal.message.startswith("Budget exceeded: tokens_per_day of key my-app (k_7f3a) is 50 tokens.")
    assert refusal.message.endswith("It starts anew in 1m0s, on 2026-11-25 at 00:00 Asia/Kolkata.")


def test_what_can_never_fit_names_the_caller_s_own_parameter() -> None:
    never = Denial(scope("key:a"), limit("tpm", 400), 0, 1000, None, never=True)
    assert denied(never, ESTIMATE, now=NOW).param == "max_tokens"
    said = denied(never, ESTIMATE, now=NOW, output="max_output_tokens")
    assert said.param == "max_output_tokens"
    assert said.message.endswith("With this prompt max_output_tokens of at most 300 would fit.")
    assert denied(never, Estimate(1000, 0, 0), now=NOW, output=None).param is None


def test_what_can_never_fit_says_what_would() -> None:
    refusal = denied(Denial(scope("key:a"), limit("tpm", 400, burst=800), 0, 1000, None, never=True), ESTIMATE, now=NOW)
    assert (refusal.reason, refusal.retry_after) == (Reason.NEVER_FITS, None)
    assert "at most 800 tokens pass at once" in refusal.message
    assert refusal.message.endswith("With this prompt max_tokens of at most 700 would fit.")
    short = denied(Denial(scope("key:a"), limit("tpm", 80), 0, 1000, None, never=True), ESTIMATE, now=NOW)
    assert short.message.endswith("A shorter prompt would fit.")
    money = denied(
        Denial(scope("key:a"), limit("usd", 80), 0, 1000, None, never=True),
        ESTIMATE,
        "abc.7",
        now=NOW,
        output="max_output_tokens",
    )
    assert money.message.endswith("A smaller max_output_tokens or a shorter prompt would fit. (decision abc.7)")


def test_headers_show_the_tightest_scope_of_each_unit() -> None:
    standing = (
        Remaining("key:a", limit("rpm", 60), 59, 1.0),
        Remaining("team:s", limit("rpm", 600), 12, 58.8),
        Remaining("key:a", limit("tpm", 40_000), 39_000, 1.5),
        Remaining("key:a", limit("tpd", 1_000_000), 500, 360.0),
        Remaining("key:a", limit("rpm", 1, shadow=True), -5, 1.0),
        Remaining("key:a", limit("open", 8), 0, None),
        Remaining("key:a", limit("usd", 10), 1, None),
    )
    assert limit_headers(standing) == (
        ("x-ratelimit-limit-requests", "600"),
        ("x-ratelimit-remaining-requests", "12"),
        ("x-ratelimit-reset-requests", "59s"),
        ("x-ratelimit-limit-tokens", "1000000"),
        ("x-ratelimit-remaining-tokens", "500"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    )


def test_headers_never_go_below_nothing_and_leave_out_what_never_resets() -> None:
    assert limit_headers([Remaining("key:a", limit("tot", 10), -3, None)]) == (
        ("x-ratelimit-limit-tokens", "10"),
        ("x-ratelimit-remaining-tokens", "0"),
    )
    assert limit_headers([]) == ()
