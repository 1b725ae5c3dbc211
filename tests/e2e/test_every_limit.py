"""Every limit of the contract in every scope, through the gateway: who shares it is refused, who does not is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Gateway, config, gateway, key_hash

AMOUNTS = {
    "requests_per_minute": "1", "tokens_per_minute": "400", "concurrent_requests": "1",
    **{f"requests_{window}": "1" for window in ("per_day", "per_month", "total")},
    **{f"tokens_{window}": "400" for window in ("per_day", "per_month", "total")},
    **{f"usd_{window}": "0.01" for window in ("per_day", "per_month", "total")},
}  # fmt: skip
SCOPES = ("key", "team", "tenant", "per_model", "user", "session")
RATES = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
MODELS = """
[models."m/*"]
provider = "echo"
[models."n/*"]
provider = "echo"
[[prices]]
provider = "echo"
model = "*"
input = 1.0
output = 2.0
"""


def secret(name: str) -> str:
    return f"gw-secret-of-{name}-0123456789abcdef"


def table(limit: str) -> str:
    return f"{'limits' if limit in RATES else 'budget'}.{limit} = {AMOUNTS[limit]}\n"


def policies() -> str:
    """For each scope and limit a key that meets it, one that shares it, and one that does not."""
    text = ""
    for scope in SCOPES:
        for limit in AMOUNTS:
            name = f"{scope}-{limit}"
            text += f"[tenants.{name}]\n{table(limit) if scope == 'tenant' else ''}"
            text += f'[teams.{name}]\ntenant = "{name}"\n{table(limit) if scope == "team" else ""}'
            text += f'[teams.{name}-two]\ntenant = "{name}"\n'
            own = {
                "key": table(limit), "per_model": f'per_model."m/*".{table(limit)}',
                "user": f"each.user.{table(limit)}", "session": f"each.session.{table(limit)}",
            }.get(scope, "")  # fmt: skip
            sharer_team = f"{name}-two" if scope == "tenant" else name
            for who, team, lines in (("a", name, own), ("b", sharer_team, ""), ("c", None, "")):
                placed = f'team = "{team}"\n' if team is not None else ""
                digest = key_hash(secret(f"{name}-{who}"))
                text += f'[keys.{name}-{who}]\nhash = "{digest}"\nmodels = ["*"]\n{placed}{lines}'
    return text


@pytest.fixture(scope="module", params=["memory", "redis"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    store = "memory://" if request.param == "memory" else request.getfixturevalue("shared_redis").url
    if request.param == "redis":
        request.getfixturevalue("shared_redis").call("FLUSHALL")
    folder: Path = tmp_path_factory.mktemp("limits")
    slow = "call_seconds = 2.0\n"  # what is tested is counting, not patience on a busy machine
    settings = config(None, store=store).replace("[secrets]", f"{slow}[secrets]")
    with gateway(folder, settings, {"keys.toml": policies(), "models.toml": MODELS}) as running:
        yield running


def ask(one: Gateway, name: str, model: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16, **more}
    bearer = {"authorization": f"Bearer {secret(name)}", **headers}
    return httpx.post(f"{one.url}/v1/chat/completions", json=body, headers=bearer, timeout=30)


@pytest.mark.parametrize("limit", list(AMOUNTS))
@pytest.mark.parametrize("scope", SCOPES)
def test_a_limit_holds_for_all_who_share_it_and_for_nobody_else(served: Gateway, scope: str, limit: str) -> None:
    name = f"{scope}-{limit}"
    sharer = f"{name}-b" if scope in ("team", "tenant") else f"{name}-a"
    other = f"{name}-a" if scope in ("per_model", "user", "session") else f"{name}-c"
    mine = {"user": {"x-gateway-user": "ann"}, "session": {"x-gateway-session": "s1"}}.get(scope, {})
    foreign = {"user": {"x-gateway-user": "bob"}, "session": {"x-gateway-session": "s2"}}.get(scope, {})
    other_model = "n/echo" if scope == "per_model" else "m/echo"
    if limit == "concurrent_requests":
        body = {"model": "m/slow", "messages": [{"role": "user", "content": "hi " * 40}], "stream": True}
        bearer = {"authorization": f"Bearer {secret(f'{name}-a')}", **mine}
        url = f"{served.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=bearer, timeout=30) as open_one:
            assert open_one.status_code == 200
            refused = ask(served, sharer, "m/echo", mine)
            passed = ask(served, other, other_model, foreign)
    else:
        first = ask(served, f"{name}-a", "m/usage-large", mine)
        assert first.status_code == 200, first.text
        end = time.monotonic() + 10
        while (refused := ask(served, sharer, "m/echo", mine)).status_code == 200 and time.monotonic() < end:
            time.sleep(0.02)  # the settlement is on its way
        passed = ask(served, other, other_model, foreign)
    assert refused.status_code == 429, refused.text
    assert passed.status_code == 200, passed.text
    error = refused.json()["error"]
    assert error["code"] == ("rate_limit_exceeded" if limit in RATES else "insufficient_quota")
    assert f"{limit} of " in error["message"]
    told = {
        "key": f"key {name}-a", "team": f"team {name}", "tenant": f"tenant {name}", "per_model": "model m/*",
        "user": "this user", "session": "this session",
    }[scope]  # fmt: skip
    assert told in error["message"]
    assert "ann" not in error["message"]
    decision = refused.headers["x-gateway-decision"]
    assert f"(decision {decision})" in error["message"]
    if limit in RATES[:2]:
        assert 1 <= int(refused.headers["retry-after"]) <= 60 * 251
        assert "x-should-retry" not in refused.headers
    elif limit not in RATES:
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after" not in refused.headers
    record = served.record_of(refused.headers["x-request-id"])
    assert record["gateway.rule"].endswith(f".{limit})")
    assert "keys.toml:" in record["gateway.rule"]
