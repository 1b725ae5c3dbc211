"""What operators and admins do to a running gateway."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, key_hash, keys

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def call(url: str, token: str | None = None, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode()


def ask(running: Gateway, model: str = "plain", key: str = KEY) -> int:
    url = f"{running.url}/v1/chat/completions"
    return call(url, key, chat("hello", model=model), **{"content-type": "application/json"})[0]


def until(condition: Any, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path, upstream: Upstream) -> Iterator[Gateway]:
    policies = {"keys.toml": keys("limits = { requests_per_minute = 1000 }"), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url, admin=True), policies) as started:
        yield started


def test_the_demo_key_is_there_only_while_no_other_is(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, config(upstream.url), {"models.toml": MODELS}) as running:
        secret = running.out.wait_for("A demo key").rpartition(" ")[2]
        body = json.dumps({"model": "nothing", "messages": []}).encode()

        def demo() -> tuple[int, str]:
            headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
            request = urllib.request.Request(f"{running.url}/v1/chat/completions", body, headers)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=5)
            with refused.value as answer:
                return answer.code, str(answer.headers["x-gateway-decision"])

        status, decision = demo()
        assert status == 404, "the key is taken, the model is not there"
        assert f"Decision {decision}: keys.demo\n    the built-in demo key" in running.explain(decision)
        assert secret not in running.log()
        assert not any(secret in line for line in running.out.all if line.startswith("{"))
        (running.folder / "policies" / "keys.toml").write_text(keys())
        until(lambda: demo()[0] == 401)
        running.stop()
    with gateway(tmp_path, config(upstream.url), {"models.toml": MODELS, "keys.toml": keys()}) as running:
        running.err.wait_for('"ready"')
        assert running.stop() == 0
        assert not any("demo" in line for line in running.out.all)


def test_health_answers_without_a_credential(running: Gateway) -> None:
    assert call(f"{running.health}/livez") == (200, "ok\n")
    assert call(f"{running.health}/startupz") == (200, "ok\n")
    status, text = call(f"{running.health}/readyz")
    assert (status, text) == (200, "not draining: ok\npolicies: ok\nstore: ok\nanalysis: ok\n")
    ask(running)
    running.records(1)
    until(
        lambda: (
            'gateway_requests_total{ending="answered",endpoint="chat",model="plain",status="200"} 1.0'
            in metrics(running)
        )
    )
    assert "gateway_build_info" in metrics(running)
    assert call(f"{running.health}/gateway/v1/admin/status")[0] == 404
    assert call(f"{running.url}/metrics", KEY)[0] == 404


def metrics(running: Gateway) -> str:
    return str(call(f"{running.health}/metrics")[1])


def test_every_admin_path_wants_a_token_and_the_right_role(running: Gateway) -> None:
    admin = f"{running.admin}/gateway/v1/admin"
    for path in ("status", "policies", "reload", "nothing", "../x"):
        for token in (None, "", "wrong", KEY):
            status, body = call(f"{admin}/{path}", token)
            assert status == 401, (path, token)
            assert body["error"]["code"] == "unauthorized"
    for token in ("gw-admin-all", "gw-admin-read"):
        assert call(f"{admin}/status", token)[0] == 200
        assert call(f"{admin}/policies", token)[0] == 200
        assert call(f"{admin}/nothing", token)[0] == 404
        assert call(f"{admin}/reload", token)[0] == 405
    assert call(f"{admin}/reload", "gw-admin-read", b"")[0] == 403
    status, body = call(f"{admin}/reload", "gw-admin-all", b"")
    assert (status, len(body["policy"])) == (200, 64)
    assert ask(running, key="gw-admin-all") == 401, "an admin token is no key"
    assert "admin change refused" in running.log()


def test_an_edit_takes_effect_by_itself_and_a_broken_one_does_not(running: Gateway) -> None:
    file = running.folder / "policies" / "keys.toml"
    good = file.read_text()
    assert ask(running, "secret-model") == 403
    file.write_text(good.replace('"plain"', '"plain", "secret-model"'))
    until(lambda: ask(running, "secret-model") == 200)
    file.write_text(good.replace("models", "modles"))
    until(lambda: "gateway_policies_degraded 1.0" in metrics(running))
    assert ask(running, "secret-model") == 200, "the last good set is in force"
    assert ask(running) == 200
    line = next(line for line in running.err.all if "not reloaded" in line)
    assert "keys.toml:4" in line
    assert "modles" in line
    assert "models" in line
    assert call(f"{running.admin}/gateway/v1/admin/reload", "gw-admin-all", b"")[0] == 409
    new = file.with_suffix(".tmp")
    new.write_text(good.replace(key_hash(), key_hash("gw-another-key-0123456789")))
    new.rename(file)
    until(lambda: ask(running) == 401)
    assert ask(running, key="gw-another-key-0123456789") == 200
    assert "gateway_policies_degraded 0.0" in metrics(running)


def test_sighup_reloads(running: Gateway) -> None:
    before = metrics(running).count("gateway_policies_reloads 0.0")
    assert before == 1
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "gateway_policies_reloads 1.0" in metrics(running))
    assert ask(running) == 200


def test_the_last_good_policies_survive_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    policies = {"keys.toml": keys(), "models.toml": MODELS}
    settings = config(upstream.url)
    with gateway(tmp_path, settings, policies) as first:
        assert ask(first) == 200
    with gateway(tmp_path, settings, {**policies, "keys.toml": "[keys.app\n"}) as second:
        assert ask(second) == 200
        assert "gateway_policies_degraded 1.0" in metrics(second)
        assert "started on the last good policies" in second.log()


def test_a_port_that_is_taken_is_said_at_once(running: Gateway, tmp_path: Path, upstream: Upstream) -> None:
    port = running.url.rpartition(":")[2]
    settings = config(upstream.url).replace("[server]\nport = 0", f"[server]\nport = {port}")
    policies = {"keys.toml": keys(), "models.toml": MODELS}
    with (
        pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{port}: .*, or GATEWAY_SERVER__PORT"),
        gateway(tmp_path / "second", settings, policies),
    ):
        pass


def test_expiry_and_rotation(tmp_path: Path, upstream: Upstream) -> None:
    secrets = (
        f'[[keys.app.secrets]]\nid = "old"\nhash = "{key_hash("gw-old")}"\nexpires = 2001-01-01T00:00:00Z\n'
        f'[[keys.app.secrets]]\nid = "new"\nhash = "{key_hash("gw-new")}"\n'
    )
    text = f'[keys.app]\nid = "k_app"\nmodels = ["plain"]\n{secrets}'
    text += f'[keys.gone]\nhash = "{key_hash("gw-gone")}"\nmodels = ["plain"]\nexpires = 2001-01-01T00:00:00Z\n'
    text += f'[keys.shut]\nhash = "{key_hash("gw-shut")}"\nmodels = ["plain"]\ndisabled = {{ reason = "moved" }}\n'
    with gateway(tmp_path, config(upstream.url), {"keys.toml": text, "models.toml": MODELS}) as started:
        url = f"{started.url}/v1/chat/completions"
        answers = {name: call(url, name, chat("hi"), **{"content-type": "application/json"})
                   for name in ("gw-old", "gw-new", "gw-gone", "gw-shut", "gw-nobody")}  # fmt: skip
        assert {name: answer[0] for name, answer in answers.items()} == {
            "gw-old": 401, "gw-new": 200, "gw-gone": 401, "gw-shut": 403, "gw-nobody": 401,
        }  # fmt: skip
        assert answers["gw-old"][1] == answers["gw-nobody"][1] == answers["gw-gone"][1], "no oracle"
        assert "moved" in answers["gw-shut"][1]["error"]["message"]
        record = next(one for one in started.records(5) if one["http.response.status_code"] == 200)
        assert (record["gateway.key.id"], record["gateway.key.secret"]) == ("k_app", "new")
