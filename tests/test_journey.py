"""A journey's end: settled and recorded, whatever fails in it."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.endpoints import find
from gateway.errors import ClientGone, LateRefusal, Reason, Refusal
from gateway.exchange import Exchange
from gateway.identity.authenticate import Directory
from gateway.identity.secrets import digest_of
from gateway.identity.standing import own_scopes
from gateway.journey import Rooms, journey
from gateway.limits.memory import MemoryStore
from gateway.limits.scopes import Charge
from gateway.limits.settler import Settler
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import ProviderFacts
from gateway.ports import Head, Transport, Upstream, UpstreamRequest
from gateway.providers.echo import Echo
from gateway.record import Record, ToldMore
from gateway.telemetry.tasks import Background
from gateway.tokens.counting import Counting
from tests.arrived import Arrived
from tests.e2e.harness import KEY, chat, key_hash
from tests.kept import Kept
from tests.limit_trial import TurnedClock

POLICIES = {
    "keys.toml": f"""
[tenants.acme]
[tenants.other]
[keys.app]
tenant = "acme"
hash = "{key_hash()}"
models = ["echo"]
budget = {{ tokens_per_day = 100_000 }}
[keys.neighbour]
tenant = "other"
hash = "{key_hash("another")}"
""",
    "models.toml": """
[models.echo]
provider = "echo"
model = "echo"
""",
}


class Asked(Arrived):
    """A chat of the test's key."""

    def __init__(self, body: bytes) -> None:
        super().__init__({"authorization": f"Bearer {KEY}", "content-length": str(len(body))}, body)


class Answer:
    begun = False
    head: Head | None = None
    written = b""

    async def send(self, head: Head, body: bytes) -> None:
        self.begun, self.head, self.written = True, head, body

    async def begin(self, head: Head, first: bytes = b"") -> None:
        self.begun, self.head, self.written = True, head, first

    async def write(self, data: bytes) -> None:
        self.written += data

    def put(self) -> None: ...
    async def room(self) -> None: ...
    async def end(self) -> None: ...
    def abort(self) -> None: ...


class Objects:
    """Fails to remember."""

    async def owners(self, _: str, ids: Any) -> list[str | None]:
        return [None for _ in ids]

    def remember(self, *_: Any) -> None:
        raise RuntimeError("nobody knows this store")


@pytest.fixture
def rooms(background: Background) -> Rooms:
    policy, mistakes, _ = compile_policies(POLICIES, {"echo": ProviderFacts("echo", "echo")})
    assert policy is not None, mistakes
    clock = TurnedClock()
    store = MemoryStore(clock)
    policies = SimpleNamespace(current=policy, keys=Directory(policy.by_digest))
    unused: Any = None  # no profile redacts, nothing becomes a WebSocket
    return Rooms(
        clock=clock, policies=policies, store=store, settler=Settler(store, background, clock),
        redactor=unused, counting=Counting(None, b"m" * 32), providers={"echo": Echo("echo")}, records=Kept(),
        draw=random.Random(1).random, sticky_key=digest_of("s"), objects=Objects(), tunnels=unused, max_body=1 << 20,
    )  # fmt: skip


async def ended(rooms: Rooms, body: bytes) -> tuple[Record, int, list[BaseException]]:
    """The one record, the tokens that are left of the budget, and what broke."""
    asked = Asked(body)
    await journey(asked, find(asked.method, asked.path), Answer(), rooms)
    settler, kept = cast("Settler", rooms.settler), cast("Kept", rooms.records)
    assert settler.open_leases == 0  # which would be renewed for ever
    await settler.close(1.0)
    (record,) = kept.all
    scopes = [scope for scope in own_scopes(rooms.policies.current.keys["app"], {}) if scope.limits]
    (left,) = await rooms.store.standing("acme", scopes)
    return record, left.remaining, kept.bugs


async def test_an_answer_is_settled_by_its_usage(rooms: Rooms) -> None:
    record, left, bugs = await ended(rooms, chat("a word", model="echo"))
    assert (record.standing.ending, record.standing.status, record.standing.basis, bugs) == (
        "answered",
        200,
        "provider",
        [],
    )
    assert left == 100_000 - (record.told.charged_tokens or 0)


async def test_what_the_end_leaves_behind_and_breaks_over_costs_no_record(rooms: Rooms) -> None:
    record, left, (bug,) = await ended(rooms, chat("a word", model="echo", store=True))
    assert isinstance(bug, RuntimeError)
    assert (record.standing.ending, record.standing.status, record.standing.basis) == ("answered", 200, "provider")
    assert left == 100_000 - (record.told.charged_tokens or 0)


async def test_a_refusal_that_comes_late_to_a_client_that_has_left_is_recorded_once(rooms: Rooms) -> None:
    class Late(Asked):
        def body_now(self, _: int) -> None: ...

        async def body(self, _: int) -> bytes:
            raise LateRefusal(Refusal(Reason.BAD_REQUEST, "That is no form."))

    class Left(Answer):
        async def send(self, head: Head, body: bytes) -> None:
            raise ClientGone("the connection is closed")

    asked = Late(b"{}")
    await journey(asked, find(asked.method, asked.path), Left(), rooms)
    (record,) = cast("Kept", rooms.records).all
    assert (record.standing.ending, record.standing.status, record.standing.error) == (
        "client_gone",
        499,
        "bad_request",
    )


PRICES = """
[[prices]]
provider = "echo"
model = "*"
input = 1
output = 2
[[prices]]
provider = "echo"
model = "*"
tier = "flex"
input = 0.5
output = 1
"""


class Tiered(Transport):
    """Echo, that says which service tier it served."""

    def __init__(self, inner: Transport, tier: bytes) -> None:
        self._inner, self._tier = inner, tier

    async def send(self, request: UpstreamRequest) -> Upstream:
        upstream = await self._inner.send(request)
        rest, chunk = upstream.rest_now, upstream.chunk

        def told(data: bytes) -> bytes:
            return data.replace(b'"choices":', b'"service_tier":' + self._tier + b',"choices":')

        async def next_chunk() -> bytes:
            return told(await chunk())

        def rest_now() -> bytes | None:
            return told(found) if (found := rest()) is not None else None

        async def flow(_: Any) -> bool:
            return False

        return cast("Upstream", SimpleNamespace(
            status=upstream.status, headers=upstream.headers, chunk=next_chunk, rest_now=rest_now, flow=flow,
            close=upstream.close,
        ))  # fmt: skip

    async def close(self) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "tier", "price", "told"),
    [
        ("flex", b'"default"', 1000, None), ("auto", b'"flex"', 500, "flex"), ("flex", b'"flex"', 500, "flex"),
        ("flex", b"null", 500, None), ("flex", b"7", 500, None), ("auto", b'"scale"', 1000, "scale"),
    ],
)  # fmt: skip
async def test_what_was_served_is_charged(
    rooms: Rooms, stream: bool, asked: str, tier: bytes, price: int, told: str | None
) -> None:
    files = {**POLICIES, "prices.toml": PRICES}
    policy, mistakes, _ = compile_policies(files, {"echo": ProviderFacts("echo", "echo")})
    assert policy is not None, mistakes
    echo = Echo("echo")
    echo.transport = Tiered(echo.transport, tier)
    policies = SimpleNamespace(current=policy, keys=Directory(policy.by_digest))
    rooms = replace(rooms, policies=cast("Any", policies), providers={"echo": echo})
    body = chat("a word", model="echo", service_tier=asked, stream=stream)
    record, _, bugs = await ended(rooms, body)
    assert not bugs
    assert (record.standing.ending, record.standing.basis, record.standing.service_tier) == (
        "answered",
        "provider",
        told,
    )
    cost = (record.told.input_tokens or 0) * price + (record.told.output_tokens or 0) * 2 * price
    assert record.told.charged_nano_usd == cost > 0


async def test_what_cannot_be_worked_out_is_charged_as_reserved(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def broken(_: Exchange) -> Charge:
        raise ZeroDivisionError

    monkeypatch.setattr(Exchange, "cost", broken)
    record, left, (bug,) = await ended(rooms, chat("a word", model="echo", max_tokens=50))
    assert isinstance(bug, ZeroDivisionError)
    assert (record.standing.ending, record.standing.status) == ("answered", 200)
    assert isinstance(record.told, ToldMore)
    assert (record.told.estimate_input or 0) + 50 == record.told.charged_tokens == 100_000 - left
