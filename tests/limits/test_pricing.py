"""Money in integers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.pricing import cost, worst
from gateway.limits.reservation import Basis, Usage
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, Price, ProviderFacts
from gateway.shapes.messages import usage_of
from gateway.stream.filters import credible_usage

FULL = Price("openai", "gpt", 250, 2000, cached_input=25, cache_write=313)
HOUR = replace(FULL, cache_write_1h=500)
HEARD = replace(FULL, audio_input=4000, audio_output=8000)
SEEN = replace(FULL, image_input=900, image_output=9000)
LONG = replace(FULL, long_over=200_000, long=Price("openai", "gpt", 500, 3000, cached_input=50))
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
        (Usage(1000, 100, cache_write=300, cache_write_1h=100), HOUR, 700 * 250 + 200 * 313 + 100 * 500 + 100 * 2000),
        (Usage(1000, 100, cache_write=50, cache_write_1h=100), HOUR, 950 * 250 + 50 * 500 + 100 * 2000),
        (
            Usage(1000, 100, cached=400, audio_input=500, audio_output=60),
            HEARD,
            100 * 250 + 400 * 25 + 500 * 4000 + 40 * 2000 + 60 * 8000,
        ),
        (Usage(100, 50, audio_input=999, audio_output=999), HEARD, 100 * 4000 + 50 * 8000),
        (Usage(100, 50, image_input=30, image_output=20), SEEN, 70 * 250 + 30 * 900 + 30 * 2000 + 20 * 9000),
        (Usage(100, 50, image_input=30, image_output=20), FULL, 100 * 250 + 50 * 2000),
        (Usage(200_000, 10), LONG, 200_000 * 250 + 10 * 2000),
        (Usage(200_001, 10), LONG, 200_001 * 500 + 10 * 3000),
        (Usage(200_001, 10, cached=200_000), LONG, 1 * 500 + 200_000 * 50 + 10 * 3000),
    ],
)
def test_cost(usage: Usage, price: Price | None, nano: int) -> None:
    assert cost(usage, price) == nano


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_no_split_of_the_input_costs_more_than_the_worst(given_in: int, out: int, cached: int, written: int) -> None:
    assert 0 <= cost(Usage(given_in, out, cached, written), FULL) <= worst(given_in, out, FULL)


COUNTS = st.integers(-2, 50)


@given(st.builds(Usage, *[COUNTS] * 5, *[st.just(Basis.PROVIDER)], *[COUNTS] * 5))
def test_a_flat_price_is_that_of_parts_which_cost_what_the_whole_does(usage: Usage) -> None:
    parted = replace(
        PLAIN, cached_input=250, cache_write=250, audio_input=250, image_input=250, audio_output=2000, image_output=2000
    )
    assert PLAIN.flat
    assert not parted.flat
    assert cost(usage, PLAIN) == cost(usage, parted)


@pytest.mark.parametrize("own", ["cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_output",
                                 "image_input", "image_output"])  # fmt: skip
def test_a_price_with_one_part_of_its_own_is_not_flat(own: str) -> None:
    priced: dict[str, Any] = {own: 0}
    assert not replace(PLAIN, **priced).flat
    assert not LONG.flat


@pytest.mark.parametrize(
    ("usage", "input_tokens", "cost_of_it"),
    [
        # OpenAI counts what was cached as part of its input, Anthropic beside it.
        (credible_usage(b'{"prompt_tokens":1000,"completion_tokens":100,"prompt_tokens_details":{"cached_tokens":400}}'),
         1000, 600 * 250 + 400 * 25 + 100 * 2000),
        (usage_of({"input_tokens": 600, "output_tokens": 100, "cache_read_input_tokens": 400}),
         1000, 600 * 250 + 400 * 25 + 100 * 2000),
        (usage_of({"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 90,
                   "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 30}}),
         100, 10 * 250 + 60 * 313 + 30 * 500 + 2000),
        (credible_usage(b'{"prompt_tokens":10,"completion_tokens":90,'
                        b'"completion_tokens_details":{"reasoning_tokens":80,"audio_tokens":5}}'),
         10, 10 * 250 + 90 * 2000),
    ],
)  # fmt: skip
def test_what_providers_say_is_priced_the_same(usage: Usage | None, input_tokens: int, cost_of_it: int) -> None:
    assert usage is not None
    assert usage.input_tokens == input_tokens
    assert cost(usage, HOUR) == cost_of_it


def priced(rows: str) -> PolicySet:
    providers = {"up": ProviderFacts("up", "openai")}
    policy, mistakes, _ = compile_policies({"prices.toml": rows}, providers)
    assert policy is not None, mistakes
    return policy


def test_the_row_of_the_tier_and_the_date_wins() -> None:
    rows = "".join(
        f'[[prices]]\nprovider = "up"\nmodel = "{model}"\n{more}input = {price}\noutput = 1\n'
        for model, more, price in (
            ("gpt*", "", 1), ("gpt-5", "", 2), ("gpt-5", 'tier = "flex"\n', 3), ("gpt-5", "since = 2026-11-01\n", 4),
            ("gpt-5", 'tier = "flex"\nsince = 2026-12-01\n', 5), ("gpt-9", "discount = 0.25\n", 8),
        )
    )  # fmt: skip
    policy = priced(rows)
    october, november, december = date(2026, 10, 1), date(2026, 11, 24), date(2026, 12, 1)
    for model, on, tier, price in (
        ("gpt-4", november, None, 1), ("gpt-5", october, None, 2), ("gpt-5", november, None, 4),
        ("gpt-5", november, "flex", 3), ("gpt-5", december, "flex", 5), ("gpt-5", november, "priority", 4),
        ("gpt-9", november, None, 6),
    ):  # fmt: skip
        row = policy.price("up", model, on, tier)
        assert row is not None
        assert row.input == 1000 * price, (model, on, tier)
    assert policy.price("up", "claude", november) is None


def test_the_shipped_prices_hold_and_name_their_source() -> None:
    text = (Path(__file__).parent.parent.parent / "policies" / "prices.toml").read_text()
    for name in ("openai", "anthropic", "gemini"):
        assert f"#   {name}" in text
    assert "check before you bill" in text
    policy, mistakes, _ = compile_policies({"prices.toml": text}, {"echo": ProviderFacts("echo", "echo")})
    assert policy is not None, mistakes
    today = date(2026, 11, 24)
    for provider, model, tier, known in (
        ("openai", "gpt-5-mini-2025-08-07", None, (250, 2000)), ("openai", "gpt-5", "flex", (625, 5000)),
        ("openai", "gpt-5", "priority", (2500, 20_000)),
        ("anthropic", "claude-sonnet-4-5-20250929", None, (3000, 15_000)),
        ("anthropic", "claude-opus-4-1-20250805", None, (15_000, 75_000)),
        ("gemini", "gemini-2.5-pro", None, (1250, 10_000)),
    ):  # fmt: skip
        row = policy.price(provider, model, today, tier)
        assert row is not None, model
        assert (row.input, row.output) == known
    assert policy.price("openai", "gpt-5.9", today) is None, "what is not known is not guessed"
    sonnet = policy.price("anthropic", "claude-sonnet-4-5", today)
    assert sonnet is not None
    assert cost(Usage(300_000, 1000), sonnet) == 300_000 * 6000 + 1000 * 22_500
