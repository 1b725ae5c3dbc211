"""Redis as it is run in earnest, of the same binary: replicas with Sentinels, a Cluster, TLS, and a line that cuts."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.redis_server import RedisServer


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def client(server: RedisServer, **options: Any) -> redis.Redis:
    return redis.Redis(port=server.port, socket_timeout=5, **options)


class RedisCluster:
    """Three masters, all slots covered."""

    def __init__(self) -> None:
        common = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
        self.nodes = [RedisServer(*common) for _ in range(3)]
        first = self.nodes[0]
        for index, node in enumerate(self.nodes):
            admin = client(node)
            slots = range(index * 16384 // 3, (index + 1) * 16384 // 3)
            admin.execute_command("CLUSTER", "ADDSLOTS", *slots)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
            admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
            admin.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
            admin.close()
        for node in self.nodes:
            until(lambda node=node: b"cluster_state:ok" in node.call("CLUSTER", "INFO")
                  and b"cluster_known_nodes:3" in node.call("CLUSTER", "INFO")
                  and b"cluster_slots_ok:16384" in node.call("CLUSTER", "INFO"))  # type: ignore[misc]  # fmt: skip

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def serving(self, slot: int) -> RedisServer:
        return next(node for i, node in enumerate(self.nodes) if slot < (i + 1) * 16384 // 3)

    def identity(self, node: RedisServer) -> str:
        return words(node.call("CLUSTER", "MYID"))

    def move(self, slot: int, to: RedisServer) -> None:
        """Move a slot with its keys, as `redis-cli --cluster reshard` does."""
        source = self.serving(slot)
        begin_move(self, slot, to)
        with client(source) as admin:
            while keys := admin.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                admin.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            node.call("CLUSTER", "SETSLOT", str(slot), "NODE", self.identity(to))

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def begin_move(cluster: RedisCluster, slot: int, to: RedisServer) -> None:
    """The slot is on its way: whoever asks for a key that has gone, or is not there yet, is told `ASK`."""
    source = cluster.serving(slot)
    to.call("CLUSTER", "SETSLOT", str(slot), "IMPORTING", cluster.identity(source))
    source.call("CLUSTER", "SETSLOT", str(slot), "MIGRATING", cluster.identity(to))


class Watched:
    """A master, a replica, and three Sentinels that watch them as `main`."""

    def __init__(self, *arguments: str, sentinel: str = "") -> None:
        arguments = (*arguments, "--repl-diskless-sync-delay", "0")
        self.master = RedisServer(*arguments)
        self.replica = RedisServer(*arguments, "--replicaof", "127.0.0.1", str(self.master.port))
        until(lambda: b"master_link_status:up" in self.replica.call("INFO", "replication"))
        self._folder = tempfile.TemporaryDirectory(prefix="sentinel-")
        self.sentinels = []
        for number in range(3):
            file = Path(self._folder.name) / f"{number}.conf"
            file.write_text(
                f"sentinel monitor main 127.0.0.1 {self.master.port} 2\nsentinel down-after-milliseconds main 500\n"
                f"sentinel failover-timeout main 3000\nsentinel parallel-syncs main 1\n{sentinel}"
            )
            self.sentinels.append(RedisServer(config=file))
        for one in self.sentinels:
            until(lambda one=one: self._knows(one))  # type: ignore[misc]  # mypy cannot infer a lambda's default

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + "/main/0"

    def _knows(self, sentinel: RedisServer) -> bool:
        """Whether it has found the replica and both of the others."""
        told = sentinel.call("SENTINEL", "MASTER", "main")
        return b"num-slaves\r\n$1\r\n1" in told and b"num-other-sentinels\r\n$1\r\n2" in told

    def close(self) -> None:
        for one in (*self.sentinels, self.replica, self.master):
            one.close()
        self._folder.cleanup()


def words(reply: bytes) -> str:
    """The text of a bulk or simple reply."""
    return reply.decode().split("\r\n")[1] if reply.startswith(b"$") else reply.decode()[1:].strip()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key, by openssl."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        raise FileNotFoundError("openssl")
    address = ipaddress.ip_address("127.0.0.1")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=redis", "-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


class Line:
    """A proxy in front of a server, in a thread of its own: it ends TLS where a certificate is given, and can swallow
    what the server answers."""

    def __init__(self, port: int, tls: tuple[Path, Path] | None = None) -> None:
        self.target = port
        self.port = 0
        self.swallow = 0  # answers of the server that are still to be lost, each with its connection
        self.asked = b""  # of what was sent to the server, the last part
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=listener, ssl=context))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return

        async def onward() -> None:
            while data := await reader.read(1 << 16):
                self.asked = (self.asked + data)[-65536:]
                inner_writer.write(data)

        async def back() -> None:
            while data := await inner_reader.read(1 << 16):
                if self.swallow > 0 and b"EVALSHA" in self.asked:
                    self.swallow -= 1
                    self.asked = b""
                    return
                writer.write(data)

        tasks = [asyncio.ensure_future(onward()), asyncio.ensure_future(back())]
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.transport.abort()
        inner_writer.transport.abort()


@contextmanager
def line(port: int, tls: tuple[Path, Path] | None = None) -> Iterator[Line]:
    made = Line(port, tls)
    try:
        yield made
    finally:
        made.close()
