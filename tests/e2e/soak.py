"""A load on several gateways that die, and the books of everybody who saw it: Redis (by MONITOR), records, upstream."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from gateway.providers import echo_core
from tests.e2e.harness import KEY, MODELS, Gateway, chat, config, gateway, keys
from tests.redis_server import RedisServer

POOR = "gw-poor-key-of-the-soak-0123456789"
POOR_LIMIT = 30_000
OPEN_AT_ONCE, A_MINUTE, AT_ONCE = 48, 30_000, 500
LIMITS = (
    f"limits = {{ requests_per_minute = {{ limit = {A_MINUTE}, burst = {AT_ONCE} }}, "
    f"concurrent_requests = {OPEN_AT_ONCE} }}\nbudget = {{ tokens_per_day = 1_000_000_000 }}"
)
POLICIES = {
    "keys.toml": keys(LIMITS) + keys(f"budget = {{ tokens_per_day = {POOR_LIMIT} }}", secret=POOR, name="poor"),
    "models.toml": MODELS,
}
# What is asked: (model, stream, whether the client leaves before the end), by how often.
MIX = (
    *[("up/echo", False, False)] * 8, *[("up/echo", True, False)] * 5, ("up/echo/no-usage", True, False),
    ("up/echo/break", True, False), ("up/echo/status-503", False, False), ("up/echo/slow", True, True),
    ("up/echo/slow", False, True), ("up/echo/slow", True, False),
)  # fmt: skip


@dataclass
class Entry:
    """What Redis did for one request id."""

    app: bool = False  # of the key `app`
    reserved: int = 0
    admitted: list[int] = field(default_factory=list)  # µs, by Redis' clock; once per life of the store
    charge: tuple[int, int] | None = None  # (tokens, requests) of its settlement
    closed: int = 0  # leases ended
    forced: int = 0  # charged in a life of the store that had not admitted it
    expired: bool = False
    corrected: bool = False

    def charged(self) -> int:
        """Tokens, in the life of the store that this entry is of."""
        if self.forced or (self.closed and (not self.expired or self.corrected)):
            assert self.charge is not None
            return self.charge[0]
        return self.reserved if self.closed else 0


_CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def _unescaped(found: re.Match[bytes]) -> bytes:
    """A byte as MONITOR writes it."""
    told = found[1]
    return bytes([int(told[1:], 16)]) if told[:1] == b"x" and len(told) == 3 else _CONTROL.get(told, told)


class Book:
    """Everything that one life of a Redis does, read from MONITOR by a thread."""

    _LINE = re.compile(rb"^\+([\d.]+) \[\d+ (\S+)\] (.*)\r$")
    _WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')

    def __init__(self, server: RedisServer, password: str = "") -> None:
        self.entries: dict[str, Entry] = {}
        self.events: list[tuple[int, str]] = []  # (+1 admitted | -1 closed, request id), in Redis' order
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        if password:
            self._socket.sendall(f"AUTH {password}\r\n".encode())
            self._socket.recv(5)
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._socket.close()

    def _read(self) -> None:
        rest = b""
        try:
            while data := self._socket.recv(1 << 20):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._note(line)
        except OSError:
            return

    def _note(self, line: bytes) -> None:
        found = self._LINE.match(line)
        if found is None:
            return
        words = self._WORD.findall(found[3])
        if found[2] == b"lua":
            self._wrote(words)
        elif words[0] in (b"EVALSHA", b"EVAL"):
            many = 3 + int(words[2])
            self._asked(words[3:many], words[many:])

    def _entry(self, name: bytes) -> Entry:
        return self.entries.setdefault(name.decode(), Entry())

    def _asked(self, keys: list[bytes], given: list[bytes]) -> None:
        if len(given) > 6 and given[6] == b"admit":
            entry = self._entry(given[0])
            entry.reserved = int(given[1])
            entry.app = any(key.endswith(b":s:key:k_app") for key in keys)
        elif len(given) > 5 and given[5] == b"final":
            self._entry(given[0]).charge = (int(given[1]), int(given[3]))
        elif len(given) == 3 and len(keys) > 4:  # settle_all.lua: of many leases at once
            told = re.sub(rb"\\(x[0-9a-f]{2}|.)", _unescaped, given[2])
            for name, tokens, _, requests in msgspec.msgpack.decode(told):
                self._entry(name.encode()).charge = (int(tokens), int(requests))

    def _wrote(self, words: list[bytes]) -> None:
        key = words[1] if len(words) > 1 else b""
        if words[0] == b"ZADD" and key.endswith(b":lz") and words[2] != b"GT":
            self._entry(words[3]).admitted.append(int(words[2]) - 60_000_000)
            self.events.append((1, words[3].decode()))
        elif words[0] == b"HDEL" and key.endswith(b":lh"):
            for name in words[2:]:
                self._entry(name).closed += 1
                self.events.append((-1, name.decode()))
        elif words[0] == b"SET" and b"}:t:" in key:
            entry = self._entry(key.rpartition(b"}:t:")[2])
            if words[2] != b"done":
                entry.expired = True
            elif b"KEEPTTL" in words:
                entry.corrected = True
            elif words[-1] != b"600":  # not merely given up
                entry.forced += 1

    def bounds_hold(self) -> None:
        """At no moment were more open at once, and in no time more admitted, than the limits of `app` say. What was
        settled to no request at all gave its place in the bucket back, and is left out of it."""
        open_now, level, at = 0, 0.0, 0
        for change, name in self.events:
            entry = self.entries[name]
            if not entry.app:
                continue
            open_now += change
            if change < 0:
                continue
            assert open_now <= OPEN_AT_ONCE
            if entry.charge is None or entry.charge[1] > 0:
                now = entry.admitted[0]
                level = max(0.0, level - max(0, now - at) * A_MINUTE / 60e6) + 1
                at = max(at, now)
                assert level <= AT_ONCE + 1e-6


class Fleet:
    """Gateways on one store; any of them may be killed, and comes back on another port."""

    def __init__(self, folder: Path, store: str, upstream: str, stack: ExitStack, call: float) -> None:
        self._folder, self._stack, self._number = folder, stack, 0
        self._settings = config(upstream, store=store).replace("[store]\n", f"[store]\ncall_seconds = {call}\n")
        self.all: list[Gateway] = []
        self.running: list[Gateway] = []
        self.killed: list[Gateway] = []

    def start(self) -> None:
        self._number += 1
        one = self._stack.enter_context(gateway(self._folder / f"g{self._number}", self._settings, POLICIES))
        self.all.append(one)
        self.running.append(one)

    def kill(self) -> None:
        one = self.running.pop(random.randrange(len(self.running)))
        one.kill()
        self.killed.append(one)

    def records(self) -> Iterator[dict[str, Any]]:
        for one in self.all:
            for line in list(one.out.all):
                if line.startswith("{") and line.endswith("}"):
                    yield json.loads(line)


@dataclass
class Load:
    """What the clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    taken: int = 0  # by a gateway, and not refused by a limit
    stop: bool = False


async def client(load: Load, fleet: Fleet, session: aiohttp.ClientSession, draw: random.Random) -> None:
    """One of many: asks, reads or leaves, asks again."""
    while not load.stop:
        model, stream, leaves = draw.choice(MIX)
        poor = draw.random() < 0.05
        load.asked += 1
        name = f"soak-{load.asked}"
        body = chat(
            f"{name} " + "some words to be repeated " * draw.randrange(1, 12),
            model=model,
            stream=stream,
            max_tokens=400,
        )
        headers = {
            "authorization": f"Bearer {POOR if poor else KEY}", "content-type": "application/json",
            "x-request-id": name,
        }  # fmt: skip
        url = draw.choice(fleet.running).url if fleet.running else None
        if url is None:
            await asyncio.sleep(0.1)
            continue
        try:
            async with (
                asyncio.timeout(0.4 if leaves and not stream else 20),
                session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as answer,
            ):
                load.statuses[str(answer.status)] += 1
                load.taken += answer.status not in (429, 503)
                if leaves and stream:
                    await answer.content.readany()
                    answer.close()
                elif not leaves:
                    await answer.read()
            if answer.status in (429, 503):
                await asyncio.sleep(draw.uniform(0.1, 0.5))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            load.statuses[type(error).__name__] += 1
            await asyncio.sleep(0.02)


async def drive(load: Load, fleet: Fleet, clients: int, enough: Callable[[], bool], strike: Callable[[], None]) -> None:
    """Clients, and in a thread what kills, until there was enough of both. `strike` blocks and is repeated."""
    draw = random.Random(7)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [
            asyncio.ensure_future(client(load, fleet, session, random.Random(draw.random()))) for _ in range(clients)
        ]
        end = time.monotonic() + 150
        while not enough() and time.monotonic() < end:
            await asyncio.to_thread(strike)
        load.stop = True
        await asyncio.gather(*tasks)


def used_by_upstream(body: str) -> int:
    """What the upstream says that it used for a request: its own ledger."""
    asked = json.loads(body)
    asked["stream"] = False
    asked.pop("stream_options", None)
    asked["model"] = "echo"
    reply = echo_core.answer("POST", "/chat/completions", {}, json.dumps(asked).encode())
    parts = [part for part in reply.parts if part is not None]
    tokens: int = json.loads(b"".join(parts))["usage"]["total_tokens"]
    return tokens


def named(body: str) -> str:
    """The client's name of a request, out of its words."""
    content: str = json.loads(body)["messages"][0]["content"]
    return content.split(" ", 1)[0]


@dataclass
class Books:
    """One life of the store, explained: how many requests and tokens of each kind."""

    kinds: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)

    def total(self) -> int:
        return sum(self.tokens.values())


def explain(book: Book, records: dict[str, dict[str, Any]], ledger: dict[str, int]) -> Books:
    """Each request by its id: charged as its record says, and that as the upstream says; or as reserved, where its
    gateway was killed. Raises AssertionError for one that is none of these."""
    books, of_upstream = Books(), set(ledger.values())
    for name, entry in book.entries.items():
        if not entry.admitted and not entry.forced:
            continue
        assert len(entry.admitted) <= 1, f"{name}: admitted twice"
        assert entry.closed <= len(entry.admitted), f"{name}: closed without being open"
        kind = _kind(name, entry, records.get(name), ledger, of_upstream)
        books.kinds[kind] += 1
        books.tokens[kind] += entry.charged()
    return books


def _kind(
    name: str, entry: Entry, record: dict[str, Any] | None, ledger: dict[str, int], of_upstream: set[int]
) -> str:  # fmt: skip
    if not entry.closed and not entry.forced:
        return "open when the store was lost"
    if entry.expired and not entry.corrected:
        assert entry.charged() == entry.reserved
        return "killed: as reserved"
    if record is None:
        assert entry.charge is not None
        assert entry.charge[0] <= entry.reserved or entry.charge[0] in of_upstream
        return "killed between its settlement and its record"
    assert record.get("gateway.charged.tokens", 0) == entry.charged(), f"{name}: the record and the store differ"
    kind = record.get("gateway.usage.basis")
    if kind is None:
        assert entry.charged() == 0, f"{name}: given up, and charged"
        return "given up: nothing"
    if kind == "provider":
        asked = record["gateway.client_request_id"]
        assert ledger[asked] == entry.charged(), f"{asked}: not what the upstream used"
    return str(kind)
