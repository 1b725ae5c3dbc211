"""Nothing secret in any output: canaries are put everywhere a secret can be, and every output of a run is searched."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.harness import (
    KEY,
    MASTER,
    MODELS,
    REDACTION,
    Gateway,
    Upstream,
    chat,
    config,
    environment,
    gateway,
    keys,
)
from tests.redis_server import RedisServer

PROVIDER = "upstream-secret-canary"
ADMIN = "gw-admin-all"
PASSWORD = "redis-password-canary"
PERSONAL = ("ada.canary@example.com", "4111 1111 1111 1111", "+1 212 555 0142")
SECRETS = (KEY, MASTER, PROVIDER, ADMIN, PASSWORD)


def send(url: str, body: bytes | None, headers: dict[str, str], method: str | None = None) -> bytes:
    """Whatever comes back, head and body."""
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.headers).encode() + bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers).encode() + bytes(error.read())
    except OSError as error:
        return str(error).encode()


def provoke(running: Gateway) -> list[bytes]:
    """Requests of every kind of outcome, with something secret in each place where one can be."""
    url = f"{running.url}/v1/chat/completions"
    good = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    text = " and ".join(PERSONAL)
    outputs = [
        send(url, chat("hello"), good),
        send(url, chat("hello"), {**good, "authorization": f"Bearer {KEY}x"}),
        send(url, chat("hello"), {**good, "x-api-key": ADMIN}),
        send(url, b'{"model": ' + text.encode(), good),
        send(f"{running.url}/v1/{KEY}/x?key={KEY}", None, good),
        send(f"{running.url}/nowhere?x={ADMIN}", None, good),
        send(f"{running.url}/gateway/v1/key", None, good),
        send(f"{running.health}/metrics", None, {}),
        send(f"{running.health}/readyz", None, {}),
    ]
    # A client may quote itself to itself; what it quotes must not be logged.
    send(url, b'{"model": "' + KEY.encode() + b'", "messages": []}', good)
    send(f"{running.url}/{KEY}", None, good)
    for model in ("plain", "up/echo/status-400", "up/echo/status-401", "up/echo/status-503", "up/echo/rubbish",
                  "up/echo/break", "up/echo/error-event"):  # fmt: skip
        for stream in (False, True):
            send(url, chat(text, model=model, stream=stream), good)
    assert running.admin is not None
    for path in ("status", "policies", "reload", "nothing"):
        for token in (ADMIN, "gw-admin-read", KEY, ""):
            outputs.append(
                send(
                    f"{running.admin}/gateway/v1/admin/{path}",
                    b"" if path == "reload" else None,
                    {"authorization": f"Bearer {token}"},
                )
            )
    return outputs


def test_no_output_of_a_run_holds_a_secret(tmp_path: Path, upstream: Upstream, own_redis: RedisServer) -> None:
    own_redis.call("CONFIG", "SET", "requirepass", PASSWORD)
    extra = '[store.on_failure]\nmode = "open"\n'
    settings = config(upstream.url, store=own_redis.url, extra=extra, admin=True)
    settings = settings.replace("[secrets]", 'password = "env:REDIS_PASSWORD"\n[secrets]').replace(
        '[log]\nformat = "json"', '[log]\nformat = "json"\nlevel = "debug"'
    )
    policies = {
        "keys.toml": keys('redaction = "strict"\nlimits = { requests_per_minute = 1000 }'),
        "models.toml": MODELS,
        "redaction.toml": REDACTION,
    }
    with gateway(tmp_path, settings, policies, env={"REDIS_PASSWORD": PASSWORD}) as running:
        outputs = provoke(running)
        own_redis.stop()
        outputs += provoke(running)
        (tmp_path / "policies" / "keys.toml").write_text(f'[keys.app]\nhash = "{KEY}"\nmodels = ["{ADMIN}"')
        outputs += provoke(running)
        running.records(20)
    whole = "\n".join([*running.out.all, *running.err.all]) + b"\n".join(outputs).decode(errors="replace")
    for secret in SECRETS:
        assert secret not in whole, next(line[:300] for line in whole.splitlines() if secret in line)
    logged = "\n".join([*running.out.all, *running.err.all])
    for value in PERSONAL:
        assert value not in logged


def test_no_command_shows_a_secret(tmp_path: Path, upstream: Upstream) -> None:
    env = environment({"GATEWAY_SECRETS__MASTER": MASTER, "GATEWAY_STORE__PASSWORD": PASSWORD})
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "keys.toml").write_text(f'[keys.app]\nhash = "{KEY}"\nmodels = []\n')
    (tmp_path / "config.toml").write_text(config(upstream.url).replace("env:UPSTREAM_KEY", PROVIDER))
    at = ["--config", str(tmp_path / "config.toml")]
    commands = [["--help"], ["serve", "--help"], ["check", *at], ["explain", *at, "--key", "app", "--model", KEY],
                ["doctor", *at], ["serve", *at]]  # fmt: skip
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *command],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
            check=False,
        )
        for secret in (MASTER, PASSWORD, PROVIDER):
            assert secret not in done.stdout + done.stderr, command
