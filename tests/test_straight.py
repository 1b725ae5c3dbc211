"""What is kept of a journey's middle for calls that are alike, and when it is not what they get."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from gateway.endpoints import find
from gateway.fields import Fields
from gateway.identity.authenticate import Directory
from gateway.identity.secrets import digest_of
from gateway.journey import Rooms, journey
from gateway.limits.memory import MemoryStore
from gateway.limits.settler import Settler
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.providers.echo import Echo
from gateway.redaction.safe import Coverage, SafeRequest
from gateway.telemetry.tasks import Background
from gateway.tokens.counting import Counting
from tests.e2e.harness import chat, key_hash
from tests.kept import Kept
from tests.limit_trial import TurnedClock
from tests.test_journey import Answer, Asked

DAY = 86_400.0
APP = f"""
[keys.app]
hash = "{key_hash()}"
models = ["*"]
"""
MODELS = """
[models.echo]
provider = "echo"
model = "echo"
[[models.two.versions]]
name = "new"
provider = "echo"
model = "new"
weight = 1
[[models.two.versions]]
name = "old"
provider = "echo"
model = "old"
weight = 1
[[prices]]
provider = "echo"
model = "*"
input = 1
output = 2
[[prices]]
provider = "echo"
model = "*"
since = 2026-11-25
input = 3
output = 4
[[prices]]
provider = "echo"
model = "*"
tier = "flex"
input = 0.5
output = 1
"""
REDACTION = '[redaction.strict]\nentities = ["EMAIL_ADDRESS"]\n'
LIMITED = APP + "[keys.app.limits]\nrequests_per_minute = 2\n"


def compiled(keys: str = APP) -> PolicySet:
    files = {"keys.toml": keys, "models.toml": MODELS, "redaction.toml": REDACTION}
    policy, mistakes, _ = compile_policies(files, {"echo": ProviderFacts("echo", "echo")})
    assert policy is not None, mistakes
    return policy


class Redactor:
    """Finds nothing, and says so."""

    def at_once(self, _: Any) -> None: ...

    async def redact(self, permit: Any) -> SafeRequest:
        return SafeRequest(permit.ask.body, coverage=Coverage("strict"))


class Gate:
    """Rooms whose policies and clock are turned by the test. All requests come with one head."""

    def __init__(self, background: Background) -> None:
        self.clock = TurnedClock()
        self.store = MemoryStore(self.clock)
        self.settler = Settler(self.store, background, self.clock)
        self.kept = Kept()
        self.policies = SimpleNamespace()
        unused: Any = None
        self.rooms = Rooms(
            clock=self.clock, policies=cast("Any", self.policies), store=self.store, settler=self.settler,
            redactor=Redactor(), counting=Counting(None, b"m" * 32), providers={"echo": Echo("echo")},
            records=self.kept, draw=random.Random(1).random, sticky_key=digest_of("s"), objects=unused, tunnels=unused,
            max_body=1 << 20,
        )  # fmt: skip
        self.adopt(compiled())
        self.head = Fields()
        self.head.update(Asked(b"{}").headers)

    def adopt(self, policy: PolicySet) -> None:
        self.policies.current, self.policies.keys = policy, Directory(policy.by_digest)

    async def ask(self, body: bytes, path: str = "/v1/chat/completions") -> dict[str, Any]:
        """What its record says."""
        asked = Asked(body)
        asked.request_id, asked.path, asked.headers = f"req_{len(self.kept.all)}", path, self.head
        await journey(asked, find("POST", path), Answer(), self.rooms)
        assert not self.kept.bugs
        told, standing = self.kept.all[-1].told, self.kept.all[-1].standing
        return {**structs.asdict(standing), **structs.asdict(told)}

    @property
    def straight(self) -> int:
        """Kinds of calls that go straight on."""
        return sum(one.straight is not None for one in self.policies.current.decided.values())


@pytest.fixture
async def gate(background: Background) -> Any:
    gate = Gate(background)
    yield gate
    await gate.settler.close(1.0)


@pytest.mark.parametrize("day", [0, 1])
@pytest.mark.parametrize(
    ("more", "straight"),
    [
        ({}, True), ({"stream": True}, True), ({"store": True, "max_tokens": 9}, True), ({"tools": []}, False),
        ({"service_tier": "flex"}, False),
    ],
)  # fmt: skip
async def test_who_goes_straight_on_leaves_the_same_record(
    gate: Gate, day: int, more: dict[str, Any], straight: bool
) -> None:
    gate.clock.at += day * DAY
    body = chat("a word", model="echo", **more)
    alone = await gate.ask(body)
    assert gate.straight == straight
    again = await gate.ask(body)
    assert again | {"request_id": "", "response_id": None} == alone | {"request_id": "", "response_id": None}


async def test_who_asks_for_a_tier_is_priced_by_it_among_those_who_go_straight_on(gate: Gate) -> None:
    usual, tiered = chat("a word", model="echo"), chat("a word", model="echo", service_tier="flex")
    charged = [(await gate.ask(body)).get("charged_nano_usd") or 0 for body in (usual, tiered, usual, tiered)]
    assert charged == [2 * charged[1], charged[1], 2 * charged[1], charged[1]]
    assert gate.straight == 1


async def test_who_goes_straight_on_is_priced_as_of_the_day(gate: Gate) -> None:
    prices = []
    for day in (0.0, 0.0, DAY, DAY, 0.0):
        gate.clock.at = TurnedClock().at + day
        told = await gate.ask(chat("a word", model="echo"))
        prices.append(told["charged_nano_usd"] - 1000 * told["input_tokens"] - 2000 * told["output_tokens"])
    assert prices[0] == prices[1] == prices[4] == 0
    assert prices[2] == prices[3] > 0


async def test_nobody_goes_straight_on_past_policies_that_came_since(gate: Gate) -> None:
    for _ in range(3):
        assert (await gate.ask(chat("a word", model="echo"))).get("ending") == "answered"
    assert gate.straight == 1
    gate.adopt(compiled(LIMITED))
    told = [await gate.ask(chat("a word", model="echo")) for _ in range(3)]
    assert [one["ending"] for one in told] == ["answered", "answered", "refused"]
    assert told[0]["estimate_input"]
    gate.adopt(compiled(APP.replace('models = ["*"]', 'models = ["two"]')))
    assert (await gate.ask(chat("a word", model="echo"))).get("error") == "model_not_allowed"
    gate.adopt(compiled(APP.replace(key_hash(), key_hash("another"))))
    assert (await gate.ask(chat("a word", model="echo"))).get("error") == "invalid_key"


@pytest.mark.parametrize(
    ("keys", "model", "path"),
    [
        (LIMITED, "echo", "/v1/chat/completions"),
        (APP + 'redaction = "strict"\n', "echo", "/v1/chat/completions"),
        (APP, "two", "/v1/chat/completions"),
        (APP, "echo", "/v1/responses/input_tokens"),
    ],
)  # fmt: skip
async def test_where_something_is_to_be_drawn_held_redacted_or_counted_nobody_goes_straight_on(
    gate: Gate, keys: str, model: str, path: str
) -> None:
    gate.adopt(compiled(keys))
    for _ in range(2):
        record = await gate.ask(chat("a word", model=model), path)
    assert record.get("ending") in ("answered", "local")
    assert not gate.straight
    assert (record.get("redaction") is not None) == ("redaction" in keys)


async def test_where_there_are_several_tenants_nobody_goes_straight_on(gate: Gate) -> None:
    gate.adopt(compiled(APP + f'[tenants.other]\n[keys.neighbour]\ntenant = "other"\nhash = "{key_hash("another")}"\n'))
    for _ in range(2):
        assert (await gate.ask(chat("a word", model="echo"))).get("ending") == "answered"
    assert not gate.straight


async def test_what_goes_straight_on_is_in_the_usage_rows(gate: Gate) -> None:
    tokens = [(await gate.ask(chat("a word", model="echo"))).get("charged_tokens") or 0 for _ in range(5)]
    await gate.settler.close(1.0)
    (row,) = await gate.store.usage("default", 0)
    assert (row.requests, row.tokens, row.model) == (5, sum(tokens), "echo")
