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
from gateway.limits.scopes import Account
from gateway.policy.compiled import PolicySet
from gateway.policy.decide import decide
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.reserving import unlimited
from gateway.routing.plan import Plan, only_plan, plan
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
    only = only_plan(verdict)
    route = plan(verdict, draw, now)
    assert only in (None, route)
    free = unlimited(verdict)
    assert (free is None) == bool(verdict.scopes)
    assert free is None or free.account == Account(verdict.principal.key.tenant, verdict.row, "UTC")
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


def test_where_one_version_alone_may_answer_nothing_is_drawn() -> None:
    policy = policies(TEXT)
    principal = Principal(policy.keys["bot"], "a")

    def met_again(model: str, now: float = NOW, **more: Any) -> tuple[Plan | None, Plan | Refusal]:
        permit = decide(policy, principal, ask(body={"model": model, **more}), now)
        assert isinstance(permit, Permit)
        return only_plan(permit), plan(permit, 0.5, now)

    first, (known, again) = met_again("chat"), met_again("chat")
    assert first[0] is None
    assert known is again is first[1]
    assert met_again("chat", NOW + DAY)[0] is None, "another day, other prices"
    assert met_again("chat", NOW)[0] is None
    assert met_again("chat", service_tier="flex")[0] is None
    assert [met_again("two")[0] for _ in "12"] == [None, None]


def test_calls_that_no_limit_holds_share_their_reservation() -> None:
    policy = policies(TEXT)
    permits = [
        decide(policy, Principal(policy.keys[key], "a"), ask(body={"model": "chat"}), NOW)
        for key in ("bot", "bot", "some")
    ]
    one, other, else_ = (unlimited(permit) for permit in permits if isinstance(permit, Permit))
    assert one is not None
    assert one is other
    assert else_ is not None
    assert one.account != else_.account


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
