"""What is told of an exchange does not depend on the way by which it is put down, nor on those that came before it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway import recording
from gateway.endpoints import find
from gateway.errors import AnalyzerFailure, Failure, Reason, Refusal
from gateway.exchange import Ending, Exchange, Phase
from gateway.identity.principal import Principal
from gateway.limits.reservation import Basis, Estimate, Reservation, Usage
from gateway.limits.scopes import Account, Charge, Claim, Denial, Lease, Remaining
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.policy.decide import decide
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.record import Record, Told
from gateway.recording import record_of
from gateway.redaction.safe import Coverage, SafeRequest
from gateway.routing.plan import Attempt
from gateway.telemetry.records import json_lines
from tests.e2e.harness import key_hash

POLICIES = {
    "keys.toml": f"""
[keys.app]
hash = "{key_hash()}"
models = ["echo"]
budget = {{ tokens_per_day = 100_000 }}
labels = {{ cost_center = "4711" }}
""",
    "models.toml": """
[models.echo]
provider = "echo"
model = "echo"
""",
}
PATH = "/v1/chat/completions"


@cache
def policy() -> PolicySet:
    made, mistakes, _ = compile_policies(POLICIES, {"echo": ProviderFacts("echo", "echo")})
    assert made is not None, mistakes
    return made


def permitted(ask: Any, secret: str) -> Permit:
    permit = decide(policy(), Principal(policy().keys["app"], secret), ask, 0.0)
    assert isinstance(permit, Permit)
    return permit


def usual(**more: Any) -> Exchange:
    """As most exchanges are."""
    endpoint: Any = find("POST", PATH)
    ask = Ask(endpoint, b"{}", model="echo")
    exchange = Exchange("req_1", 1.0, 100.0, "POST", PATH, "::1", policy(), ask.endpoint)
    exchange.permit = permitted(ask, "1")
    exchange.principal, exchange.ask, exchange.phase = exchange.permit.principal, ask, Phase.RELAYING
    exchange.attempt, exchange.reservation, exchange.safe = Attempt("echo", "echo"), Reservation(None), SafeRequest(b"")
    exchange.called, exchange.answered, exchange.first_byte = 1.125, 1.25, 1.5
    exchange.provider_status, exchange.usage, exchange.charge = 200, Usage(5, 7), Charge(12, 34)
    exchange.ending, exchange.status = Ending.ANSWERED, 200
    exchange.end(2.0)
    for name, value in more.items():
        setattr(exchange, name, value)
    return exchange


def line(record: Record) -> dict[str, Any]:
    (one,) = json_lines([record]).splitlines()
    told: dict[str, Any] = json.loads(one)
    return told


def lease(*remaining: Remaining) -> Lease:
    key = policy().keys["app"]
    return Lease(Claim("req_1", key.tenant, permitted(usual().ask, "1").scopes, 1, 1), remaining)


SEEN = Coverage("strict", ("EMAIL_ADDRESS",), 2, 100, {"EMAIL_ADDRESS": 1}, 1, 0.25, ("image",), 3, failed="x")
WORDS = some.sampled_from([None, "one", "another"])
TIMES = some.sampled_from([None, 1.0, 1.5, 3.0000004])
"""Fields of an exchange, and what may stand in each."""
FIELDS: dict[str, Any] = {
    "method": some.sampled_from(["POST", "GET"]), "path": some.sampled_from([PATH, "/chat/completions"]),
    "called": TIMES, "answered": TIMES, "first_byte": TIMES, "credential": WORDS,
    "provider_status": some.sampled_from([None, 200, 201]), "provider_request_id": WORDS, "provider_error": WORDS,
    "told_code": WORDS, "status": some.sampled_from([None, 200, 201, 499]),
    "ending": some.sampled_from([None, Ending.ANSWERED, Ending.ANSWERED, Ending.CUT, Ending.TRUNCATED]),
    "refusal": some.sampled_from([None, None, Refusal(Reason.BAD_REQUEST, "No."),
                                  Refusal(Reason.UNKNOWN_MODEL, "No model 'x'.")]),
    "failure": some.sampled_from([None, None, Failure("broke"), AnalyzerFailure("analysis")]),
    "usage": some.none() | some.builds(
        Usage, *[some.integers(0, 2)] * 5, some.sampled_from([Basis.PROVIDER, Basis.COUNTED, Basis.NOTHING])),
    "counted_by": WORDS, "charge": some.none() | some.builds(Charge, some.integers(0, 2), some.integers(0, 10**10)),
    "overshoot": some.sampled_from([(0, 0), (0, 1), (2, 0)]), "response_id": WORDS, "response_model": WORDS,
    "finish_reasons": some.sampled_from([(), ("stop",)]),
    "tier": some.sampled_from([None, "default", "priority", "flex"]),
    "reply": some.sampled_from([None, SEEN]), "flags": some.sampled_from([(), ("one",)]),
    "dropped": some.sampled_from([(), ("seed",)]),
    "attempt": some.none() | some.builds(Attempt, some.sampled_from(["echo", "other"]), WORDS, WORDS),
    "safe": some.sampled_from([None, SafeRequest(b""), SafeRequest(b"", coverage=SEEN)]),
}  # fmt: skip


@given(some.data())
def test_every_way_tells_the_same(data: some.DataObject) -> None:
    for _ in range(3):  # with what was kept of the kind, and without
        exchange = usual()
        drawn = {
            name: data.draw(FIELDS[name]) for name in data.draw(some.sets(some.sampled_from(list(FIELDS)), max_size=4))
        }
        endpoint: Any = exchange.endpoint
        asked = Ask(
            endpoint, b"{ }", model="echo", stream=True, max_output_tokens=9, conversation="c", tags=("t",),
            client_request_id="i",
        )  # fmt: skip
        ask = data.draw(some.sampled_from([exchange.ask, Ask(endpoint, None, model="echo"), asked]))
        exchange.ask, exchange.permit = ask, permitted(ask, data.draw(some.sampled_from(["1", "2"])))
        exchange.principal = exchange.permit.principal
        limit = exchange.permit.scopes[0].limits[0]
        over = Remaining("key:app", limit, 0, None, over=True)
        exchange.reservation = data.draw(some.sampled_from([
            Reservation(None), Reservation(Estimate(1, 2, 3), lease(over), 5), Reservation(Estimate(1, 2, 3), lease()),
            Reservation(None, account=Account("default", "row", "UTC")),
        ]))  # fmt: skip
        if exchange.reservation.held is not None:  # nothing else can be cut short or go beyond it
            exchange.cut = data.draw(some.sampled_from([None, Denial(exchange.permit.scopes[0], limit, 0, 0, None)]))
        for name, value in drawn.items():
            if name != "overshoot" or exchange.reservation.held is not None:
                setattr(exchange, name, value)
        assert line(record_of(exchange)) == line(recording._unusual(exchange))  # tells all of it


def test_what_is_usual_is_told_in_one_step() -> None:
    record = record_of(usual())
    assert type(record.told) is Told
    told = line(record)
    assert list(told)[:3] == ["timestamp", "gateway.request_id", "client.address"]
    for name, value in {
        "timestamp": 100.0, "gateway.request_bytes": 2, "event": "exchange", "gateway.ending": "answered",
        "http.response.status_code": 200, "gateway.labels": {"cost_center": "4711"}, "gen_ai.usage.input_tokens": 5,
        "gateway.usage.basis": "provider", "gateway.charged.nano_usd": 34, "gateway.charged.cost_usd": 3.4e-8,
        "gateway.ms.total": 1000.0, "gateway.ms.before_call": 125.0, "gateway.ms.provider_head": 125.0,
        "gateway.ms.first_byte": 500.0,
    }.items():  # fmt: skip
        assert told[name] == value
    assert not any(word in name for name in told for word in ("estimate", "redaction", "error", "failure", "tier"))


def test_so_many_kinds_of_one_decision_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KINDS", 2)
    decided = cast("Any", usual().permit).decided
    decided.records.clear()
    one, again, other, third = [record_of(usual(credential=name)) for name in ("a", "a", "b", "c")]
    assert one.standing is again.standing
    assert [line(record)["gateway.provider.credential"] for record in (one, again, other, third)] == [
        "a",
        "a",
        "b",
        "c",
    ]
    assert len(decided.records) == 1


def test_nothing_is_kept_beyond_its_decision() -> None:
    first, second = usual(), usual()
    policy().decided.clear()
    third = usual()
    assert record_of(first).standing is record_of(second).standing is not record_of(third).standing
