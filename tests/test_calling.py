"""A call that leaves as the last of its head did: it is the same call as one that is made anew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.endpoints import find
from gateway.fields import Fields
from gateway.identity.authenticate import Directory
from gateway.journey import Rooms, journey
from gateway.limits.memory import MemoryStore
from gateway.limits.settler import Settler
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.ports import Upstream, UpstreamRequest
from gateway.providers.credentials import Credential, Credentials
from gateway.providers.openai import OpenAI
from gateway.providers.plain_answer import WholeAnswer
from gateway.telemetry.tasks import Background
from gateway.tokens.counting import Counting
from tests.arrived import Arrived
from tests.e2e.harness import KEY, chat, key_hash
from tests.kept import Kept
from tests.limit_trial import TurnedClock
from tests.test_journey import Answer

KEYS = f"""
[keys.app]
hash = "{key_hash()}"
models = ["*"]
[keys.small]
hash = "{key_hash("small")}"
models = ["*"]
budget = {{ tokens_per_day = {{ limit = 2000, at_limit = "strict" }} }}
[keys.forced]
hash = "{key_hash("forced")}"
models = ["*"]
[keys.forced.request]
force = {{ store = false }}
"""
MODELS = """
[models.same]
provider = "up"
model = "same"
[models.other]
provider = "up"
model = "other-%s"
[models.two]
[[models.two.versions]]
name = "a"
provider = "up"
model = "two-a"
weight = 50
[[models.two.versions]]
name = "b"
provider = "beside"
model = "two"
weight = 50
"""
ENDPOINTS = {path: find("POST", path) for path in ("/v1/chat/completions", "/v1/responses")}
_SIZE = {"content-length": "100"}  # it differs, and nothing depends on it but whether there is a body
HEADS: tuple[dict[str, str], ...] = (
    {"authorization": f"Bearer {KEY}"},
    {"authorization": f"Bearer {KEY}", "accept": "text/*", "x-gateway-timeout": "7"},
    {"authorization": f"Bearer {KEY}", "idempotency-key": "i-1"},
    {"authorization": "Bearer small"},
    {"authorization": "Bearer forced"},
)
SAID = b'{"id":"c-1","object":"chat.completion","choices":[],"usage":{"prompt_tokens":90,"completion_tokens":9}}'


def policy_set(which: str) -> PolicySet:
    facts = {name: ProviderFacts(name, "openai") for name in ("up", "beside")}
    policy, mistakes, _ = compile_policies({"keys.toml": KEYS, "models.toml": MODELS % which}, facts)
    assert policy is not None, mistakes
    return policy


SETS = {which: policy_set(which) for which in ("1", "2")}


class Wire:
    """The ports `Transport` and `Repeating`: keeps what left, and how many of those as others did before."""

    def __init__(self) -> None:
        self.left: list[UpstreamRequest] = []
        self.again = 0
        self.status = 200

    async def send(self, request: UpstreamRequest) -> Upstream:
        self.left.append(request)
        return WholeAnswer(self.status, {"content-type": "application/json", "x-request-id": "up-1"}, SAID)

    def way(self, request: UpstreamRequest) -> Any:
        async def send(body: bytes | None) -> Upstream:
            self.again += 1
            return await self.send(structs.replace(request, body=body))

        return SimpleNamespace(send=send)

    async def close(self) -> None: ...


class Trial:
    """A gateway whose clients' heads come again (`again`), or are another each time."""

    def __init__(self, background: Background, *, again: bool) -> None:
        self.wire, self.clock, self.kept = Wire(), TurnedClock(), Kept()
        self.secret, self.drawn = "s-1", 0.0
        one = Credentials([Credential("main", lambda: self.secret)])
        both = Credentials([Credential("x", lambda: "x"), Credential("y", lambda: "y")])
        providers: Any = {
            "up": OpenAI("up", "http://up/v1", one, self.wire),
            "beside": OpenAI("beside", "http://beside/v1", both, self.wire),
        }
        store, unused = MemoryStore(self.clock), cast("Any", None)
        self.rooms = Rooms(
            clock=self.clock, policies=self._policies("1"), store=store,
            settler=Settler(store, background, self.clock), redactor=unused, counting=Counting(None, b"m" * 32),
            providers=providers, records=self.kept, draw=lambda: self.drawn, sticky_key=b"s" * 32,
            objects=unused, tunnels=unused, max_body=1 << 20,
        )  # fmt: skip
        self._heads = [_fields(head) for head in HEADS] if again else None

    @staticmethod
    def _policies(which: str) -> Any:
        return SimpleNamespace(current=SETS[which], keys=Directory(SETS[which].by_digest))

    def swap(self, which: str) -> None:
        self.rooms = replace(self.rooms, policies=self._policies(which))

    async def asks(self, head: int, path: str, body: bytes) -> None:
        headers = self._heads[head] if self._heads is not None else HEADS[head] | _SIZE
        await journey(Arrived(headers, body, path), ENDPOINTS[path], Answer(), self.rooms)


def _fields(head: dict[str, str]) -> Fields:
    fields = Fields()
    fields.update(head | _SIZE)
    return fields


@dataclass(frozen=True)
class Call:
    head: int = 0
    model: str = "same"
    stream: bool | None = None
    usage: bool = False
    path: str = "/v1/chat/completions"
    more: tuple[tuple[str, Any], ...] = ()

    def body(self) -> bytes:
        fields: dict[str, Any] = dict(self.more)
        if self.stream is not None:
            fields["stream"] = self.stream
        if self.usage:
            fields["stream_options"] = {"include_usage": True}
        if self.path == "/v1/responses":
            fields["input"] = "a word"
        return chat("a word", model=self.model, **fields)


async def does(trial: Trial, step: Call | tuple[str, Any]) -> None:
    match step:
        case Call():
            await trial.asks(step.head, step.path, step.body())
        case ("swap", which):
            trial.swap(which)
        case ("secret", secret):
            trial.secret = secret
        case ("status", status):
            trial.wire.status = status
        case ("wait", seconds):
            trial.clock.at += seconds


calls = st.builds(
    Call, st.integers(0, len(HEADS) - 1), st.sampled_from(["same", "other", "two"]), st.sampled_from([None, True]),
    st.booleans(), st.sampled_from(sorted(ENDPOINTS)),
    st.sampled_from([(), (("max_tokens", 50),), (("service_tier", "flex"),), (("tools", []),)]),
)  # fmt: skip
usual = st.builds(Call, st.sampled_from([0, 1, 3]), st.sampled_from(["same", "other"]))
steps = st.one_of(
    usual, usual, calls,
    st.tuples(st.just("swap"), st.sampled_from(["1", "2"])),
    st.tuples(st.just("secret"), st.sampled_from(["s-1", "s-2"])),
    st.tuples(st.just("status"), st.sampled_from([200, 401, 429, 500])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 61.0, 86_400.0])),
)  # fmt: skip


@given(st.lists(st.tuples(steps, st.floats(0, 0.99)), max_size=14))
def test_it_is_the_call_that_is_made_anew(way: list[tuple[Any, float]]) -> None:
    """Whatever is asked, and whatever changes meanwhile: policies, a secret, a credential that rests, the day."""

    async def run() -> None:
        background = Background()
        again, anew = Trial(background, again=True), Trial(background, again=False)
        for step, drawn in way:
            for trial in (again, anew):
                trial.drawn = drawn
                await does(trial, step)
            assert again.wire.left == anew.wire.left
        assert not again.kept.bugs + anew.kept.bugs
        assert [one.told for one in again.kept.all] == [one.told for one in anew.kept.all]
        assert anew.wire.again == 0
        await background.close()

    asyncio.run(run())


SAME, TWO, STORED = Call(), Call(model="two"), Call(path="/v1/responses")


@pytest.mark.parametrize(
    ("way", "again"),
    [
        ([SAME, SAME, SAME], 2),
        ([SAME, Call(stream=True), Call(stream=True), SAME], 1),
        ([Call(stream=True, usage=True), Call(stream=True)], 1),
        ([SAME, Call(head=1), SAME, Call(head=1)], 2),  # each head by itself
        ([Call(model="other"), Call(model="other")], 1),
        ([SAME, Call(path="/v1/responses"), Call(path="/v1/responses")], 1),
        ([Call(head=2), Call(head=2)], 0),  # a key of idempotency is of one call
        ([SAME, ("swap", "2"), SAME, SAME], 1),
        ([SAME, ("secret", "s-2"), SAME, SAME], 1),
        ([SAME, ("wait", 86_400.0), SAME, SAME], 1),
        ([SAME, ("status", 401), SAME, ("status", 200), SAME, ("wait", 61.0), SAME, SAME], 2),
        ([SAME, ("status", 500), SAME, SAME], 2),
        ([STORED, ("status", 401), STORED, STORED], 2),  # nobody else may answer it, so nothing rests
        ([TWO, TWO], 0),  # its provider has two credentials, one of which is drawn each time
    ],
)
async def test_what_is_like_the_last_leaves_as_that_did(background: Background, way: list[Any], again: int) -> None:
    trial, anew = Trial(background, again=True), Trial(background, again=False)
    trial.drawn = anew.drawn = 0.7
    for step in way:
        await does(trial, step)
        await does(anew, step)
    assert trial.wire.again == again
    assert trial.wire.left == anew.wire.left
