"""What admins see of limits and usage and may change for a time: the listener, the commands, roles, the audit log."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, chat, config, gateway, key_hash, keys, listing

RAISING = {"key": "app", "limit": "tokens_per_day", "amount": 250_000, "until": "2h", "reason": "a launch"}
OTHER = "gw-other-key-0123456789"
LIMITS = "gw-admin-limits"
BUDGET = """
labels = { cost_center = "4711" }
team = "support"
[keys.app.budget]
tokens_per_day = { limit = 90_000, warn_at = [0.5, 0.9] }
usd_per_month = 0.2
requests_per_day = { limit = 1, shadow = true }
[keys.app.limits]
requests_per_minute = { limit = 1000, burst = 4, warn_at = [0.5] }
"""
PRICES = "[[prices]]\nprovider = 'echo'\nmodel = '*'\ninput = 1.0\noutput = 2.0\n"
TEAM = "[teams.support]\ntenant = 'acme'\nbudget.usd_per_month = 5\n[tenants.acme]\ntime_zone = 'Europe/Berlin'\n"


@pytest.fixture(params=["memory", "redis"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    store = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    settings = config(None, store=store, admin=True).replace("[secrets]", "call_seconds = 2.0\n[secrets]")
    settings += f'[admin.tokens.lim]\nhash = "{key_hash(LIMITS)}"\nrole = "limits"\n'
    models = MODELS.partition("[[prices]]")[0].replace('provider = "up"', 'provider = "echo"') + PRICES
    policies = {"keys.toml": keys(BUDGET) + TEAM + keys(secret=OTHER, name="other"), "models.toml": models}
    with gateway(tmp_path, settings, policies) as running:
        yield running


def ask(one: Gateway, secret: str = KEY, model: str = "up/usage-large", **headers: str) -> httpx.Response:
    bearer = {"authorization": f"Bearer {secret}", "content-type": "application/json", **headers}
    return httpx.post(f"{one.url}/v1/chat/completions", content=chat("hi", model=model, max_tokens=20), headers=bearer)


def admin(
    one: Gateway, method: str, path: str, token: str = "gw-admin-read", more: dict[str, str] | None = None, **sent: Any
) -> httpx.Response:
    assert one.admin is not None
    url = f"{one.admin}/gateway/v1/admin{path}"
    return httpx.request(method, url, headers={"authorization": f"Bearer {token}", **(more or {})}, timeout=20, **sent)


def command(one: Gateway, *arguments: str, token: str = LIMITS, code: int = 0) -> str:
    assert one.admin is not None
    return one.command(*arguments, "--admin", one.admin, env={"GATEWAY_ADMIN_TOKEN": token}, code=code)


def settled(one: Gateway, requests: int) -> None:
    """Wait until so many requests stand in the usage."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if sum(row["requests"] for row in admin(one, "GET", "/usage").json()["rows"]) >= requests:
            return
        time.sleep(0.05)
    raise AssertionError("the usage never came")


def test_usage_limits_exceptions_and_warnings(one: Gateway) -> None:
    unused = command(one, "limits", "reset", "app", "tokens_per_day")
    assert unused == "tokens_per_day of key app (k_app): none of it is used; nothing is changed\n"
    assert "No exceptions stand." in command(one, "limits", "list")
    assert ask(one).status_code == 200
    assert ask(one, OTHER).status_code == 200
    settled(one, 2)
    usage_is_told_by_every_scope(one)
    a_spent_budget_says_everything(one)
    an_exception_holds_for_a_time(one)
    a_reset_forgives_and_the_ledger_stays(one)
    warnings_are_told_once(one)
    an_edit_is_told_before_it_is_made(one)
    what_is_wrong_is_said(one)


def usage_is_told_by_every_scope(one: Gateway) -> None:
    rows = admin(one, "GET", "/usage").json()["rows"]
    assert {(row["scope"], row["requests"], row["tokens"], row["usd"]) for row in rows} == {
        ("key k_app", 1, 100_000, 0.15), ("key k_other", 1, 100_000, 0.15),
    }  # fmt: skip
    for query, scope in (
        ({"by": "team"}, "team support"), ({"by": "label", "name": "cost_center"}, "label cost_center=4711"),
        ({"by": "tenant", "name": "acme"}, "tenant acme"), ({"by": "key", "name": "app"}, "key k_app"),
    ):  # fmt: skip
        found = admin(one, "GET", "/usage", params=query).json()["rows"]
        assert [(row["scope"], row["tokens"]) for row in found] == [(scope, 100_000)]
    assert admin(one, "GET", "/usage", params={"since": "2999-01-01"}).json()["rows"] == []
    bad = admin(one, "GET", "/usage", params={"since": "yesterday"})
    assert (bad.status_code, bad.json()["error"]["message"][:11]) == (400, "'yesterday'")
    answer = admin(one, "GET", "/usage", params={"format": "csv", "by": "team"})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(line["scope"], line["tokens"], line["usd"]) for line in lines] == [
        ("team support", "100000", "0.150000000")
    ]
    shown = command(one, "usage", "--team", "support", token="gw-admin-read")  # the tests' own
    assert "team support" in shown
    assert "0.150000" in shown
    assert json.loads(command(one, "usage", "--json"))[0]["requests"] == 1
    assert command(one, "usage", "--csv", "--key", "app").splitlines()[0] == "day,scope,name,requests,tokens,usd"
    assert ",key k_app,app,1," in command(one, "usage", "--csv", "--key", "k_app")
    assert "key app (k_app)" in command(one, "usage")
    for what in ("key", "team", "tenant", "label", "model"):
        assert f"there is no {what} 'nope'" in command(one, "usage", f"--{what}", "nope", code=1)
    assert command(one, "usage", "--key", "app", "--since", "2999-01-01") == "Nothing was used.\n"


def a_spent_budget_says_everything(one: Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=2) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == caught.value.type == "insufficient_quota"
    said = str(caught.value)
    assert "tokens_per_day of key app (k_app) is 90000 tokens. In use: 100000 tokens" in said
    assert re.search(r"It starts anew in \S+, on \d{4}-\d\d-\d\d at 00:00 Europe/Berlin\.", said)
    decision = caught.value.response.headers["x-gateway-decision"]
    assert f"(decision {decision})" in said
    explained = one.explain(decision)
    assert "keys.app.budget.tokens_per_day" in explained
    assert "keys.toml:" in explained
    own = {found["limit"]: found for found in listing(one) if found["scope"] == "key:k_app"}
    assert own["tokens_per_day"]["used"] == 100_000
    assert own["tokens_per_day"]["remaining"] == -10_000
    assert own["tokens_per_day"]["resets_at"].endswith("Z")
    assert own["usd_per_month"]["used"] == 0.15
    assert own["requests_per_day"]["shadow"] is True


def an_exception_holds_for_a_time(one: Gateway) -> None:
    assert admin(one, "POST", "/limits/raise", json=RAISING).status_code == 403
    refused = ("limits", "raise", "app", "tokens_per_day", "250000", "--until", "2h")
    assert "role 'read'" in command(one, *refused, token="gw-admin-read", code=1)  # the tests' own
    told = command(one, "limits", "raise", "app", "tokens_per_day", "250000", "--until", "2h", "--reason", "a launch")
    assert "tokens_per_day of key app (k_app): 90000 tokens → 250000 tokens until" in told
    assert "-10000 tokens left before, 150000 tokens after" in told
    audit = json.loads(one.err.wait_for("a launch"))
    assert (audit["event"], audit["admin"], audit["role"]) == ("admin change", "lim", "limits")
    assert audit["changes"] == [told.strip()]
    listed = command(one, "limits", "list")
    assert "a launch" in listed
    assert "of key app (k_app): raised to" in listed
    passed = ask(one, model="plain")
    assert passed.status_code == 200
    record = one.record_of(passed.headers["x-request-id"])
    assert "an exception until" in record["gateway.exceptions"][0]
    assert "90000 tokens by the policy" in record["gateway.exceptions"][0]
    assert record["gateway.shadow"][0].startswith("requests_per_day of key:k_app (")
    own = {found["limit"]: found for found in listing(one) if found["scope"] == "key:k_app"}
    assert own["tokens_per_day"]["exception"]["policy"] == 90_000
    shown = command(one, "limits", "show", "app")
    assert "an exception until" in shown
    assert "keys.toml:" in shown
    assert "exceptions taken back" in command(one, "limits", "lift", "app", "tokens_per_day")
    assert "No exceptions stand." in command(one, "limits", "list")
    again = command(one, "limits", "lift", "app", "tokens_per_day")
    assert again == "tokens_per_day of key app (k_app): no exception stood; nothing is changed\n"
    assert ask(one, model="plain").status_code == 429


def a_reset_forgives_and_the_ledger_stays(one: Gateway) -> None:
    told = command(one, "limits", "reset", "app", "tokens_per_day", "--reason", "a mistake of ours")
    assert "forgiven until" in told
    assert ask(one, model="plain").status_code == 200
    assert admin(one, "GET", "/usage", params={"name": "app"}).json()["rows"][0]["tokens"] > 100_000


def warnings_are_told_once(one: Gateway) -> None:
    log = [json.loads(line) for line in one.err.all if '"limit warning"' in line]
    budget = [(line["limit"], line["share"]) for line in log if line["limit"] == "tokens_per_day"]
    assert sorted(budget) == [("tokens_per_day", 0.5), ("tokens_per_day", 0.9)]
    metrics = httpx.get(f"{one.health}/metrics").text
    assert 'gateway_limit_warnings_total{limit="tokens_per_day",scope="key",share="0.5"} 1.0' in metrics
    assert "gateway_shadow_refusals_total" in metrics


def an_edit_is_told_before_it_is_made(one: Gateway) -> None:
    edited = one.folder / "edited"
    shutil.copytree(one.folder / "policies", edited)
    text = (edited / "keys.toml").read_text()
    (edited / "keys.toml").write_text(text.replace("usd_per_month = 0.2", "usd_per_month = 0.1"))
    assert one.command("diff", str(edited)).strip() == "app: usd_per_month 0.20 → 0.10 USD"
    said = command(one, "diff", str(edited), "--live", token="gw-admin-read").strip()  # the tests' own
    assert said.startswith("app: usd_per_month 0.20 → 0.10 USD, 0.15")
    assert said.endswith("USD used: refused at once")
    (edited / "keys.toml").write_text(text.replace("usd_per_month = 0.2", "usd_per_month = -1"))
    assert "keys.toml:" in one.command("diff", str(edited), code=1)
    assert one.command("diff", str(one.folder / "policies")).strip() == "Nothing changes."


def what_is_wrong_is_said(one: Gateway) -> None:
    for body, words in (
        ({}, "'key' is needed"),
        ({"key": "nobody", "limit": "usd_per_month"}, "there is no key 'nobody'"),
        ({**RAISING, "until": None}, "an exception needs an end"),
        ({**RAISING, "until": "2020-01-01"}, "in the future"),
        ({**RAISING, "until": "400d"}, "at most 366 days"),
        ({**RAISING, "until": "soon"}, "a span such as"),
        ({**RAISING, "amount": 10}, "only raises"),
        ({**RAISING, "amount": 10**16}, "at most"),
        ({**RAISING, "amount": "many"}, "must be a whole number"),
        ({**RAISING, "amount": 1.5}, "must be a whole number"),
        ({**RAISING, "limit": "tokens_total"}, "has no such limit"),
        ({**RAISING, "scope": "team:sales"}, "counts in no scope 'team:sales'"),
        ({**RAISING, "untill": "2h"}, "There is no field 'untill' here, did you mean 'until'?; allowed: key, limit,"),
        ({**RAISING, "reason": 5}, "'reason' must be a text"),
    ):
        answer = admin(one, "POST", "/limits/raise", token=LIMITS, json=body)
        assert answer.status_code == 400, body
        assert words in answer.json()["error"]["message"], answer.text
    doubled = json.dumps(RAISING).replace("{", '{"amount": 1, ', 1).encode()
    for content in (b"[]", b"", b"{", doubled, b'{"key":' + b"[" * 30_000, b"\xff", b"null"):
        answer = admin(one, "POST", "/limits/raise", token=LIMITS, content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request"), content[:40]
    odd = {"content-type": "application/json; charset=nothing"}
    assert admin(one, "POST", "/limits/raise", token=LIMITS, content=b"{}", more=odd).status_code == 400
    assert admin(one, "POST", "/limits/raise", token=LIMITS, content=b" " * 70_000).status_code == 413
    for path, words in (("/usage?form=csv", "did you mean 'format'"), ("/usage?format=xml", "json or csv"),
                        ("/usage?since=", "is no date"), ("/limits/exceptions?x=1", "allowed: none")):  # fmt: skip
        answer = admin(one, "GET", path)
        assert answer.status_code == 400, path
        assert words in answer.json()["error"]["message"], answer.text
    answer = admin(one, "DELETE", "/limits/raise", token=LIMITS)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    team = {"key": "app", "limit": "usd_per_month", "scope": "team:support", "amount": 9, "until": "7d"}
    assert admin(one, "POST", "/limits/raise", token=LIMITS, json=team).status_code == 200


def test_a_command_without_a_token_or_a_listener_says_so(tmp_path: Path) -> None:
    with gateway(tmp_path, config(None), {"keys.toml": keys(), "models.toml": '[models."up/*"]\nprovider = "echo"\n'
                                          + "".join(f'[models.{name}]\nprovider = "echo"\n' for name in
                                                    ("plain", "embed", "echo"))}) as one:  # fmt: skip
        assert "GATEWAY_ADMIN_TOKEN" in one.command("usage", code=1)
        said = one.command("usage", env={"GATEWAY_ADMIN_TOKEN": "x"}, code=1)
        assert "no admin listener" in said
        said = one.command("usage", "--admin", "http://127.0.0.1:9", env={"GATEWAY_ADMIN_TOKEN": "x"}, code=1)
        assert "is not reached" in said
        assert "one of --key" in one.command("usage", "--key", "a", "--team", "b", code=2)
