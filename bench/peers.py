"""Other gateways, from the package registries, each in an environment of its own below .cache/peers.

`python -m bench.peers` installs them (`make bench-peers`); the bench runs with those that are there and names the
others. Each is configured as its own documents recommend for production, with one worker and nothing that calls home.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Running, free_port
from bench.sets import KEY

HOME = Path(__file__).parent.parent / ".cache" / "peers"
READY = 90.0  # seconds; LiteLLM takes up to 40 on a busy machine


@dataclass(frozen=True, slots=True)
class Peer:
    """`packages` are pip's or npm's; `settings` says for RESULTS.md what it was told."""

    name: str
    kind: str  # pip | npm
    packages: tuple[str, ...]
    settings: str

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return HOME / self.name

    @property
    def installed(self) -> bool:
        """Whether it is there, in this version."""
        stamp = self.folder / "installed"
        return stamp.exists() and stamp.read_text() == " ".join(self.packages)


VLLM = Peer(
    "vllm-router", "pip", ("vllm-router==0.1.17",),
    "round_robin, one worker URL, one thread (TOKIO_WORKER_THREADS=1), retries off; it checks no key",
)  # fmt: skip
PORTKEY = Peer(
    "portkey", "npm", ("@portkey-ai/gateway@1.15.2", "hono@4.9.7", "@hono/node-server@1.3.3"),
    "NODE_ENV=production, headers name the provider and the upstream; it checks no key; hono pinned, since with the "
    "newest one it answers every stream with 500",
)  # fmt: skip
LITELLM = Peer(
    "litellm", "pip", ("litellm[proxy]==1.106.2", "fastapi==0.165.0", "uvicorn==0.54.0"),
    "one uvicorn worker, master key, no database, no callbacks, retries off, LITELLM_MODE=PRODUCTION, log at ERROR",
)  # fmt: skip
PEERS = (VLLM, PORTKEY, LITELLM)


def install(peer: Peer) -> None:
    """Into its own folder. Raises CalledProcessError."""
    if peer.installed:
        return
    shutil.rmtree(peer.folder, ignore_errors=True)
    peer.folder.mkdir(parents=True)
    if peer.kind == "pip":
        subprocess.run([sys.executable, "-m", "venv", peer.folder / "venv"], check=True)
        pip = [
            str(peer.folder / "venv" / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
        ]
        subprocess.run([*pip, *peer.packages], check=True)
    else:
        first, *pinned = peer.packages
        overrides = dict(one.rsplit("@", 1) for one in pinned)
        (peer.folder / "package.json").write_text(json.dumps({"private": True, "overrides": overrides}))
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", first], cwd=peer.folder, check=True)
    (peer.folder / "installed").write_text(" ".join(peer.packages))


@contextmanager
def running(
    peer: Peer, folder: Path, upstream_port: int, *, redis: int | None = None, name: str | None = None
) -> Iterator[Running]:
    """The peer, ready. `redis`: count limits there (LiteLLM only)."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command, more, headers = _command(peer, folder, port, upstream_port, redis)
    keep = {one: os.environ[one] for one in ("PATH", "HOME", "LANG", "TMPDIR") if one in os.environ}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**keep, **more}, stdout=log, stderr=log)
    system = Running(name or peer.name, process, port, log=folder / "log", headers=headers)
    began = time.monotonic()
    try:
        while not _answers(system):
            if process.poll() is not None or time.monotonic() - began > READY:
                print((folder / "log").read_text(errors="replace")[-2000:], file=sys.stderr)  # gone with the folder
                raise SystemExit(f"{system.name} does not answer")
            time.sleep(0.05)
        system.started_in = time.monotonic() - began
        yield system
    finally:
        system.stop()


def _answers(system: Running) -> bool:
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **system.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{system.port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


Command = tuple[list[str], dict[str, str], Mapping[str, str]]


def _command(peer: Peer, folder: Path, port: int, upstream_port: int, redis: int | None) -> Command:
    upstream = f"http://127.0.0.1:{upstream_port}"
    bins = peer.folder / "venv" / "bin"
    if peer is VLLM:
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", upstream, "--policy", "round_robin"]
        more = ["--disable-retries", "--log-level", "error"]
        return [str(bins / "vllm-router"), *arguments, *more], {"TOKIO_WORKER_THREADS": "1"}, {}
    if peer is PORTKEY:
        script = peer.folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        told = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
        return (
            ["node", str(script), f"--port={port}", "--headless"],
            {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
            told,
        )
    (folder / "config.yaml").write_text(_litellm(upstream, redis))
    if redis is not None:
        (folder / "bench_auth.py").write_text(_AUTH)
    return (
        [str(bins / "litellm"), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)],
        {
            "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": KEY if redis is None else "sk-master", "DISABLE_ADMIN_UI": "True",
            "PYTHONPATH": str(folder), "NO_DOCS": "True",
        },
        {},
    )  # fmt: skip


def _litellm(upstream: str, redis: int | None) -> str:
    models = "".join(
        f"  - model_name: {name}\n    litellm_params: {{model: openai/{known}, api_base: '{upstream}/v1', api_key: u"
        + (", rpm: 100000000, tpm: 100000000000" if redis is not None else "")
        + "}\n"
        for name, known in (("bench", "gpt-4o"), *((name, name) for name in ("bench-100x0", "bench-500x20")))
    )
    text = f"model_list:\n{models}litellm_settings: {{num_retries: 0, json_logs: true, set_verbose: false"
    if redis is None:
        return text + "}\n"
    return (
        f"{text}}}\ngeneral_settings: {{custom_auth: bench_auth.user}}\n"
        f"router_settings: {{redis_host: 127.0.0.1, redis_port: {redis}, num_retries: 0}}\n"
    )


# A key with limits of its own and of its team, as a database would give it: virtual keys need Postgres.
_AUTH = """
from litellm.proxy._types import UserAPIKeyAuth


async def user(request, api_key):
    return UserAPIKeyAuth(
        api_key=api_key, rpm_limit=10**8, tpm_limit=10**11, max_parallel_requests=10**6, team_id="support",
        team_rpm_limit=10**8, team_tpm_limit=10**11,
    )
"""


def main() -> None:
    """Install what is missing; what cannot be installed is said and left out."""
    for peer in PEERS:
        try:
            install(peer)
            print(f"{peer.name}: {' '.join(peer.packages)} in {peer.folder}")
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{peer.name} cannot be installed: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
