"""The gateway and its upstream as processes of their own, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

KEY = "gw-test-key-of-the-end-to-end-tests-0123456789"
# What a process of the tests gets of our own environment; the last runs all of it without the fast paths.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "GATEWAY_SERVER__FAST_PATHS")
MASTER = "master-secret-of-the-tests-" + "m" * 32


def key_hash(secret: str = KEY) -> str:
    """A secret as policies hold it."""
    return f"sha256:{sha256(secret.encode()).hexdigest()}"


class Lines:
    """A process's output, read by a thread, so that a full pipe never stops it."""

    def __init__(self, stream: Any) -> None:
        self.all: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                self.all.append(line.rstrip("\n"))

    def wait_for(self, part: str, seconds: float = 30.0) -> str:
        """The first line that holds `part`, those already seen included."""
        end = time.monotonic() + seconds
        seen = 0
        while time.monotonic() < end:
            while seen < len(self.all):
                if part in self.all[seen]:
                    return self.all[seen]
                seen += 1
            if not self._thread.is_alive() and seen == len(self.all):
                break
            time.sleep(0.01)
        raise AssertionError(f"no line with {part!r} in:\n" + "\n".join(self.all[-40:]))

    def join(self) -> None:
        self._thread.join(10)


@dataclass
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[str]
    out: Lines
    err: Lines
    url: str
    health: str
    admin: str | None
    folder: Path

    def records(self, least: int = 0, seconds: float = 10.0, *, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The records so far, of one endpoint if it is named; waits until there are at least so many."""
        end = time.monotonic() + seconds
        while True:
            found = [json.loads(line) for line in list(self.out.all) if line.startswith("{")]
            if endpoint is not None:
                found = [one for one in found if one.get("gateway.endpoint") == endpoint]
            if len(found) >= least or time.monotonic() > end:
                assert len(found) >= least, f"{len(found)} records, {least} expected; log:\n" + self.log()
                return found
            time.sleep(0.02)

    def all_records(self) -> list[dict[str, Any]]:
        """The records of all requests so far, when none runs any more and each is written."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with urllib.request.urlopen(f"{self.health}/metrics", timeout=10) as answer:
                lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
            told = {name: float(value) for name, _, value in lines if name.startswith("gateway_re")}
            ended = sum(value for name, value in told.items() if name.startswith("gateway_requests_total"))
            found = self.records()
            if len(found) == ended and not told["gateway_requests_running"] + told["gateway_records_waiting"]:
                return found
            time.sleep(0.02)
        raise AssertionError("requests are running; log:\n" + self.log())

    def record_of(self, request_id: str) -> dict[str, Any]:
        """The one record of a request."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            found = [one for one in self.records() if one["gateway.request_id"] == request_id]
            if found:
                assert len(found) == 1
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"no record of {request_id}; log:\n" + self.log())

    def explain(self, *arguments: str) -> str:
        """`gateway explain` beside it."""
        return self.command("explain", *arguments)

    def command(self, *arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> str:
        """A command with the same settings; what it prints. Its exit code must be `code`."""
        name, *rest = arguments
        done = subprocess.run(
            [sys.executable, "-m", "gateway", name, *rest, "--config", str(self.folder / "config.toml")],
            capture_output=True, text=True, timeout=60, check=False, env=environment(env),
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def log(self) -> str:
        return "\n".join(self.err.all)

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.out.join()
        self.err.join()
        return code

    def kill(self) -> None:
        """SIGKILL: nothing is said good-bye to."""
        self.process.kill()
        self.process.wait(10)
        self.out.join()


@dataclass
class Upstream:
    """`gateway echo` as a process; `seen` is what it received."""

    process: subprocess.Popen[str]
    url: str
    file: Path
    lines: Lines = field(repr=False)

    def seen(self, least: int = 0, seconds: float = 5.0) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while True:
            text = self.file.read_text() if self.file.exists() else ""
            found = [json.loads(line) for line in text.splitlines()]
            if len(found) >= least or time.monotonic() > end:
                assert len(found) >= least
                return found
            time.sleep(0.02)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A clean one: what the tests' own shell holds must not matter."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "GATEWAY_TEST_MASTER": MASTER, "UPSTREAM_KEY": "upstream-secret-canary",
            **(extra or {})}  # fmt: skip


@contextmanager
def echo_upstream(folder: Path, *arguments: str) -> Iterator[Upstream]:
    """`gateway echo`, recording what it receives."""
    file = folder / f"received-{time.monotonic_ns()}.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "echo", "--port", "0", "--record", str(file), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    lines = Lines(process.stdout)
    try:
        url = lines.wait_for("listening on ").rpartition("listening on ")[2].strip()
        yield Upstream(process, url, file, lines)
    finally:
        process.terminate()
        process.wait(10)
        lines.join()


def config(upstream_url: str | None, *, store: str = "memory://", extra: str = "", admin: bool = False) -> str:
    """A settings file on free ports, with a provider `up` at the upstream and the built-in `echo`."""
    up = (
        f'[providers.up]\nkind = "openai"\nbase_url = "{upstream_url}/v1"\napi_key = "env:UPSTREAM_KEY"\n'
        'speaks = ["chat", "responses", "messages"]\n'
        if upstream_url
        else ""
    )
    tokens = (
        f'[admin]\nenabled = true\nport = 0\n[admin.tokens.ops]\nhash = "{key_hash("gw-admin-all")}"\nrole = "all"\n'
    )
    tokens += f'[admin.tokens.eye]\nhash = "{key_hash("gw-admin-read")}"\nrole = "read"\n'
    return (
        f'schema = 1\n[server]\nport = 0\n[health]\nport = 0\n[store]\nurl = "{store}"\n'
        '[secrets]\nmaster = "env:GATEWAY_TEST_MASTER"\n[policies]\npath = "policies"\n[log]\nformat = "json"\n'
        f"{tokens if admin else ''}{up}[providers.echo]\nkind = 'echo'\n{extra}"
    )


MODELS = """
[models."up/*"]
provider = "up"
[models.plain]
provider = "up"
model = "echo"
[models.embed]
provider = "up"
model = "echo"
[models.secret-model]
provider = "up"
model = "echo"
[models.echo]
provider = "echo"
model = "echo"
[[prices]]
provider = "up"
model = "*"
input = 1.0
output = 2.0
[[prices]]
provider = "echo"
model = "*"
input = 1.0
output = 2.0
"""

REDACTION = """
[redaction.strict]
entities = ["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS"]
action = "replace"
on_error = "deny"
"""


def keys(body: str = "", *, secret: str = KEY, name: str = "app") -> str:
    """A keys.toml with one key; `body` is more of its table."""
    models = 'models = ["up/*", "plain", "embed", "echo"]'
    return f'[keys.{name}]\nid = "k_{name}"\nhash = "{key_hash(secret)}"\n{models}\n{body}\n'


@contextmanager
def gateway(
    folder: Path,
    settings: str,
    policies: Mapping[str, str],
    *,
    env: Mapping[str, str] | None = None,
    ready: bool = True,
) -> Iterator[Gateway]:
    """`gateway serve`, until it is ready; ended with SIGTERM at the end if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir(exist_ok=True)
    for name, text in policies.items():
        (folder / "policies" / name).write_text(text)
    (folder / "config.toml").write_text(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "config.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment({"XDG_STATE_HOME": str(folder / "state"), **(env or {})}),
    )  # fmt: skip
    out, err = Lines(process.stdout), Lines(process.stderr)
    try:
        said = json.loads(err.wait_for('"listening"'))
        running = Gateway(process, out, err, said["server"], said["health"], said.get("admin"), folder)
        if ready:
            err.wait_for('"ready"')
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        out.join()
        err.join()


def chat(content: str, *, model: str = "plain", **more: Any) -> bytes:
    """A chat request's body."""
    return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": content}], **more})


def listing(one: Gateway, secret: str = KEY) -> list[dict[str, Any]]:
    """The limits that GET /gateway/v1/key lists."""
    request = urllib.request.Request(f"{one.url}/gateway/v1/key", headers={"authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(json.load(answer)["limits"])
