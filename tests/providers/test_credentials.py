"""Which credential a call takes: by weight, bound to tenants, and not one that the provider refused a moment ago."""

from __future__ import annotations

from gateway.providers.credentials import Credential, Credentials


def one(name: str, *tenants: str, weight: int = 1) -> Credential:
    return Credential(name, lambda: name, frozenset(tenants), weight)


def picked(credentials: Credentials, tenant: str, now: float, draw: float, tried: tuple[str, ...] = ()) -> str | None:
    found = credentials.pick(tenant, now, draw, tried)
    return found.name if found is not None else None


def test_weights_share_the_draws() -> None:
    credentials = Credentials([one("a", weight=3), one("b", weight=1)])
    assert [picked(credentials, "t", 0, draw / 8) for draw in range(8)] == ["a"] * 6 + ["b"] * 2


def test_a_bound_credential_serves_its_tenants_alone() -> None:
    credentials = Credentials([one("a", "acme"), one("b", "other")])
    assert {picked(credentials, "acme", 0, draw / 4) for draw in range(4)} == {"a"}
    assert picked(credentials, "third", 0, 0.5) is None


def test_what_was_refused_rests_and_comes_back() -> None:
    a, b = one("a"), one("b")
    credentials = Credentials([a, b])
    credentials.refused(a, 401, 100.0, None)
    assert {picked(credentials, "t", 101.0, draw / 4) for draw in range(4)} == {"b"}
    assert picked(credentials, "t", 160.0, 0.0) == "a"
    credentials.refused(b, 429, 100.0, 7.0)
    assert picked(credentials, "t", 106.9, 0.0) == "b"  # both rest: the one that rests the shortest
    assert picked(credentials, "t", 106.9, 0.0, ("b",)) == "a"
    assert picked(credentials, "t", 106.9, 0.0, ("a", "b")) is None
    credentials.refused(b, 429, 200.0, 1e9)
    assert picked(credentials, "t", 501.0, 0.99) == "b"
