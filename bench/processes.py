"""The processes of a bench run: started on free ports, their CPU and memory read from /proc, ended by id."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.sets import KEY, settings_text


@dataclass(slots=True)
class Running:
    """One system under load. `pids` are its whole tree, children included."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    key: str = KEY
    started_in: float = 0.0  # seconds from exec to ready
    log: Path = field(default=Path(os.devnull))
    headers: Mapping[str, str] = field(default_factory=dict)  # that each request to it must carry

    def pids(self) -> Iterator[int]:
        """The process and all below it."""
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting.extend(int(child) for child in task.read_text().split())

    def cpu(self) -> float:
        """CPU seconds used so far, user and system, by the whole tree."""
        nanoseconds = 0  # of the scheduler: times in `stat` are whole ticks of 10 ms
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):  # a thread that has just ended
                    nanoseconds += int(task.read_text().split()[0])
        return nanoseconds / 1e9

    def memory(self) -> dict[str, float]:
        """Resident MB of each process of the tree, by a name that says which."""
        found = {}
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    found[str(pid)] = int(line.split()[1]) / 1024
        return found

    def stop(self) -> None:
        """End it, kindly first."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def upstream() -> Iterator[Running]:
    """The provider that costs next to nothing."""
    process = subprocess.Popen([sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    running = Running("upstream", process, int(process.stdout.readline()))
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of the run's own, without persistence; gives its port."""
    port = free_port()
    binary = shutil.which("redis-server")
    if binary is None:
        raise SystemExit("redis-server is not on PATH: make ci-tools")
    process = subprocess.Popen(
        [binary, "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    running = Running("redis", process, port)
    try:
        _until(lambda: _connects(port))
        yield port
    finally:
        running.stop()


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 10000000; client_max_body_size 10m;
  client_body_buffer_size 256k;
  map_hash_bucket_size 256;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer upstream"; proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream_port: int) -> Iterator[Running]:
    """The practical limit: one worker, no log, a key check, kept connections, no buffering."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(binary).exists():
        raise SystemExit("nginx is not there: make ci-tools")
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, key=KEY, upstream=upstream_port, port=port))
    began = time.monotonic()
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(conf)], stderr=subprocess.DEVNULL)
    running = Running("nginx", process, port)
    try:
        _until(lambda: _connects(port))
        running.started_in = time.monotonic() - began
        yield running
    finally:
        running.stop()


@contextmanager
def gateway(
    name: str, folder: Path, upstream_port: int, policies: Mapping[str, str], *, store: str = "memory://",
    environment: Mapping[str, str] | None = None, more: str = "",
) -> Iterator[Running]:  # fmt: skip
    """The gateway as its users run it: a process, a settings file, a folder of policies, records into a file."""
    folder.mkdir(parents=True, exist_ok=True)
    port, health = free_port(), free_port()
    (folder / "policies").mkdir(exist_ok=True)
    for file, text in policies.items():
        (folder / "policies" / file).write_text(text)
    (folder / "config.toml").write_text(settings_text(port, health, upstream_port, store, more))
    env = {**os.environ, "BENCH_KEY": "upstream", "BENCH_MASTER": "m" * 43, **(environment or {})}
    log = folder / "records.jsonl"
    began = time.monotonic()
    with log.open("wb") as records:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "config.toml")], stdout=records, env=env
        )
    running = Running(name, process, port, log=log)
    try:
        _until(lambda: _ready(health, process))
        running.started_in = time.monotonic() - began
        yield running
    finally:
        running.stop()


def chat_once(port: int, key: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> int:
    """One request, to see that the whole way works before it is measured; the status."""
    request = urllib.request.Request(  # loopback
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            print(error.read().decode(errors="replace"), file=sys.stderr)  # the bench stops on this
            return error.code


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise SystemExit(f"the gateway ended with {process.returncode} before it was ready")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:  # loopback
            return int(answer.status) == 200
    except OSError:
        return False


def _until(true: object, seconds: float = 60.0) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit("a process of the bench was not ready in time")
        time.sleep(0.01)
