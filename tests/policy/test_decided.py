"""What was decided of a call holds for those like it, and for no other."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.errors import Refusal
from gateway.identity.principal import Principal
from gateway.policy.compiled import PolicySet
from gateway.policy.decide import decide
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.routing.plan import Plan, plan
from tests.policy.test_decide import NOW, ask, policies

TODAY = datetime.fromtimestamp(NOW, UTC).date()
DAY = 86_400.0
TEXT = """
[[models.two.versions]]
name = "new"
provider = "up"
model = "gpt-new"
weight = 1
[[models.two.versions]]
name = "old"
provider = "other"
model = "gpt-old"
weight = 3
[models.short]
provider = "up"
model = "gpt"
fallback = ["paused"]
[[prices]]
provider = "up"
model = "gpt"
input = 3
output = 4
since = 2026-11-26
[teams.people]
each.user.limits = { requests_per_minute = 5 }
[keys.people]
id = "k_2"
hash = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
models = ["*"]
team = "people"
[keys.some]
id = "k_3"
hash = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
models = ["chat", "two"]
[keys.bot]
models = ["*"]
"""

CALLS = st.tuples(
    st.sampled_from(["bot", "people", "some"]),
    st.sampled_from(["/chat/completions", "/completions", "/embeddings", "/responses"]),
    st.sampled_from(["chat", "dear", "gone", "paused", "two", "short", "any/a", "any/b", "nobody"]),
    st.sampled_from([None, "new", "old", "none"]),
    st.sampled_from([None, "ada", "bob"]),
    st.sampled_from([{}, {"tools": [{"type": "x", "model": "nobody"}]}, {"service_tier": "flex"}]),
    st.integers(-3, 20),
    st.floats(0, 1, exclude_max=True),
)


def met(
    policy: PolicySet, key: str, asked: Ask, now: float, draw: float
) -> tuple[Permit | Refusal, Plan | Refusal | None]:
    verdict = decide(policy, Principal(policy.keys[key], "default"), asked, now)
    if isinstance(verdict, Refusal):
        return verdict, None
    route = plan(verdict, draw, now)
    return structs.replace(verdict, decided=None), route


USED = policies(TEXT)


@given(CALLS)
def test_a_set_that_has_decided_much_decides_as_a_new_one(call: tuple[Any, ...]) -> None:
    key, path, model, version, user, more, days, draw = call
    asked = ask(path, {"model": model, **more}, version=version, user=user)
    now = NOW + days * DAY
    assert met(USED, key, asked, now, draw) == met(policies(TEXT), key, asked, now, draw)


def test_calls_that_are_alike_share_what_was_decided() -> None:
    policy = policies(TEXT)
    one, other = (decide(policy, Principal(policy.keys["bot"], "a"), ask(body={"model": "chat"}), NOW) for _ in "12")
    assert isinstance(one, Permit)
    assert isinstance(other, Permit)
    assert one.decided is not None
    assert one.decided is other.decided


@pytest.mark.parametrize("model", ["paused", "short"])
def test_what_a_time_will_change_is_decided_anew(model: str) -> None:
    policy, asked = policies(TEXT), ask(body={"model": model})
    until = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    principal = Principal(policy.keys["bot"], "a")
    found = [decide(policy, principal, asked, now) for now in (until, until - 1, until)]
    names = [[model.name for model, _ in one.models] if isinstance(one, Permit) else None for one in found]
    assert names[0] == names[2]
    assert names[0] != names[1]


def test_a_price_that_begins_counts_from_its_day_on() -> None:
    policy, asked = policies(TEXT), ask(body={"model": "chat"})
    inputs = []
    for day in (date(2026, 11, 25), date(2026, 11, 26), date(2026, 11, 25)):
        now = NOW + (day - TODAY) / timedelta(seconds=1)
        permit = decide(policy, Principal(policy.keys["bot"], "a"), asked, now)
        assert isinstance(permit, Permit)
        route = plan(permit, 0.0, now)
        assert isinstance(route, Plan)
        assert route.attempts[0].price is not None
        inputs.append(route.attempts[0].price.input)
    assert inputs[0] == inputs[2] != inputs[1]
