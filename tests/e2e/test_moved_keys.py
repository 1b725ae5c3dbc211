"""What a key has used follows its id, whatever it is called and whichever team it stands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import KEY, Gateway, chat, config, gateway, key_hash, listing

MODELS = '[models.plain]\nprovider = "echo"\nmodel = "echo"\n'
TEAMS = """
[tenants.acme]
[tenants.globex]
[teams.support]
tenant = "acme"
budget.requests_total = 10
[teams.sales]
tenant = "acme"
budget.requests_total = 10
[teams.abroad]
tenant = "globex"
"""


def policies(name: str, team: str) -> str:
    return f"""{TEAMS}
[keys.{name}]
id = "k_app"
hash = "{key_hash(KEY)}"
models = ["plain"]
team = "{team}"
budget.requests_total = 3
"""


@pytest.fixture(params=["memory", "redis"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    store = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    settings = config(None, store=store, admin=True).replace("[secrets]", "call_seconds = 2.0\n[secrets]")
    with gateway(tmp_path, settings, {"keys.toml": policies("app", "support"), "models.toml": MODELS}) as running:
        yield running


def ask(one: Gateway) -> int:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    return httpx.post(f"{one.url}/v1/chat/completions", content=chat("hi"), headers=headers, timeout=20).status_code


def edit(one: Gateway, name: str, team: str) -> None:
    (one.folder / "policies" / "keys.toml").write_text(policies(name, team))
    bearer = {"authorization": "Bearer gw-admin-all"}
    assert httpx.post(f"{one.admin}/gateway/v1/admin/reload", headers=bearer, timeout=20).status_code == 200


def left(one: Gateway) -> dict[str, int]:
    return {found["scope"]: found["remaining"] for found in listing(one)}


def test_counters_follow_the_id(one: Gateway) -> None:
    assert ask(one) == 200
    assert left(one) == {"key:k_app": 2, "team:support": 9}
    edit(one, "renamed", "support")
    assert ask(one) == 200
    assert left(one) == {"key:k_app": 1, "team:support": 8}
    edit(one, "renamed", "sales")
    assert left(one) == {"key:k_app": 1, "team:sales": 10}, "what it used in the old team stays there"
    assert ask(one) == 200
    assert ask(one) == 429, "the third was the last, whatever the key was called and wherever it stood"
    edit(one, "app", "support")
    assert left(one) == {"key:k_app": 0, "team:support": 8}
    edit(one, "app", "abroad")
    assert left(one) == {"key:k_app": 3}, "all of a tenant lies together: another tenant counts from now on"
