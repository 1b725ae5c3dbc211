"""What is counted for a reservation, and what need not be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.endpoints import find
from gateway.identity.principal import Principal
from gateway.limits.reservation import BOUND, ESTIMATED, Estimate
from gateway.limits.scopes import BUDGETS, RATE_LIMITS, AtLimit, Limit, Scope
from gateway.limits.worst_case import SMALL, counted, uncounted
from gateway.policy.compiled import Key, PolicySet, Price
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.routing.plan import Attempt
from gateway.tokens.counting import Counting
from tests.limit_trial import RULE

POLICY = PolicySet("0" * 64, {}, {}, {}, (), (), {}, ())
PRICE = Price("a", "m", 100, 400)


class Quarter:
    """Counts a token for four bytes."""

    def __init__(self) -> None:
        self.stops: list[int] = []

    async def count(self, encoding: str, pieces: Sequence[tuple[str, bytes]], stop: int) -> list[int] | None:
        self.stops.append(stop)
        return [len(piece) // 4 for _, piece in pieces]

    async def close(self) -> None: ...


def limit(name: str, amount: int, at_limit: AtLimit = "finish", *, shadow: bool = False) -> Limit:
    unit, window = {**RATE_LIMITS, **BUDGETS}[name]
    return Limit(name, unit, window, amount, RULE, burst=amount, at_limit=at_limit, shadow=shadow)


def permit(*limits: Limit, text: str = "x" * 4000, model: str = "gpt-4o") -> Permit:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    endpoint = find("POST", "/v1/chat/completions")
    assert endpoint is not None
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    ask = Ask(endpoint, msgspec.json.encode(body), raw, model=model, max_output_tokens=10)
    scopes = (Scope("key:k_a", limits),) if limits else ()
    return Permit(POLICY, Principal(Key("a", "k_a", (), RULE), "s"), ask, RULE, scopes=scopes)


def attempt(model: str = "gpt-4o") -> Attempt:
    return Attempt("a", model, price=PRICE)


async def worst_case(asked: Permit, attempts: Sequence[Attempt], counting: Counting) -> Estimate:
    """As `reserve` asks for it."""
    found = uncounted(asked, [one.price for one in attempts], asked.bounds)
    return found or await counted(asked, attempts, counting)


SIZE = len(permit().ask.body or b"")


@pytest.mark.parametrize(
    ("limits", "counts"),
    [
        ((), False),
        ((limit("requests_per_minute", 1), limit("concurrent_requests", 1)), False),
        ((limit("tokens_per_minute", SIZE * SMALL),), False),
        ((limit("tokens_per_minute", SIZE * SMALL - 1),), True),
        ((limit("tokens_per_day", 10**9), limit("tokens_per_minute", 40_000)), True),
        ((limit("usd_per_month", SIZE * 100 * SMALL),), False),
        ((limit("usd_per_month", SIZE * 100 * SMALL - 1),), True),
        ((limit("usd_per_month", 50 * 10**9),), False),
    ],
)
async def test_nothing_is_counted_where_the_bound_is_small_beside_every_limit(
    limits: tuple[Limit, ...], counts: bool
) -> None:
    counter = Quarter()
    found = await worst_case(permit(*limits), [attempt()], Counting(counter, b"k"))
    assert bool(counter.stops) is counts
    if counts:
        assert found.by == "o200k_base"
        assert found.input_tokens < SIZE / 3
    else:
        assert found.by == (BOUND if limits and limits[0].unit != "requests" else ESTIMATED)


async def test_one_that_was_refused_by_its_bound_is_counted() -> None:
    generous = permit(limit("tokens_per_day", 10**9))
    counting = Counting(Quarter(), b"k")
    assert (await worst_case(generous, [attempt()], counting)).by == BOUND
    assert (await counted(generous, [attempt()], counting)).by == "o200k_base"


@pytest.mark.parametrize(("at_limit", "by", "most"), [("finish", ESTIMATED, -(-SIZE // 2)), ("strict", BOUND, SIZE)])
async def test_without_ranks_it_is_an_estimate_and_a_bound_where_none_may_overshoot(
    at_limit: AtLimit, by: str, most: int
) -> None:
    found = await worst_case(permit(limit("tokens_per_day", 10_000, at_limit)), [attempt()], Counting(None, b"k"))
    assert (found.by, found.input_tokens) == (by, most)


async def test_another_model_has_a_margin_never_beyond_the_bytes() -> None:
    tight = limit("tokens_per_minute", 10_000)
    known = await worst_case(permit(tight), [attempt()], Counting(Quarter(), b"k"))
    other = await worst_case(permit(tight, model="claude"), [attempt("claude-5")], Counting(Quarter(), b"k"))
    assert other.by == "o200k_base (unknown model)"
    assert known.input_tokens * 1.4 < other.input_tokens <= SIZE


async def test_the_dearest_of_several_models_is_reserved() -> None:
    counter = Quarter()
    attempts = [attempt("gpt-4o"), attempt("gpt-5"), attempt("gpt-4")]
    await worst_case(permit(limit("tokens_per_minute", 10_000)), attempts, Counting(counter, b"k"))
    assert len(counter.stops) == 2, "one count for each encoding"


async def test_counting_stops_at_the_tightest_limit_that_holds() -> None:
    counter = Quarter()
    limits = (limit("tokens_per_day", 50_000), limit("tokens_per_minute", 9_000), limit("tokens_total", 1, shadow=True))
    await worst_case(permit(*limits), [attempt()], Counting(counter, b"k"))
    assert counter.stops == [9_000]


async def test_a_body_that_nobody_reads_costs_nothing() -> None:
    one = permit(limit("tokens_per_day", 1))
    one = structs.replace(one, ask=structs.replace(one.ask, body=None))
    found = await worst_case(one, [attempt()], Counting(None, b"k"))
    assert found.tokens == 0
