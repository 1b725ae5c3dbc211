"""Which server a command goes to: the only one, the master of the moment, or the node that serves a Cluster's slot.

A Cluster answers `MOVED` where a slot is served by somebody else now, and `ASK` where this one command must be tried
elsewhere. Both are followed; the map of slots is learnt anew in the background, also when a node cannot be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from redis.crc import key_slot

from gateway.errors import StoreFailure
from gateway.limits.redis_dial import Dial, Host, Line
from gateway.limits.redis_pipe import PAUSE, Pipe, ReplyError
from gateway.telemetry.tasks import Background

REDIRECTS = 5  # of one command: a slot moves once, more is a Cluster that does not know itself
# The other end is not, or not yet, the one that counts, or does not know us any more: the next try goes over a new
# connection, to whoever is then the one.
_WRONG_END = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"})
ASKING = b"*1\r\n$6\r\nASKING\r\n"


class Servers(Protocol):
    """Takes encoded commands to where their slot is served."""

    @property
    def pipe(self) -> Pipe | None:
        """The way to all slots, where there is only one."""

    async def call(self, slot: int, encoded: bytes) -> Any:
        """The reply. Raises StoreFailure; Lost where the command may have run."""

    def send(self, slot: int, encoded: bytes) -> asyncio.Future[Any] | None:
        """The same with no step between: the reply of a command that is on its way; None where it takes more than
        that. What its StoreFailure means is for `call` to see to. Raises StoreFailure."""

    async def call_all(self, calls: Sequence[tuple[int, bytes]]) -> list[Any]:
        """Several at once, in as few writes as can be: of each the reply, or its StoreFailure."""

    def life(self, slot: int) -> object:
        """Names the connection that serves a slot: another one may be to a store that came back empty."""

    def part(self, slot: int) -> str:
        """Names what fails together with a slot."""

    async def close(self) -> None: ...


def servers_of(dial: Dial, seconds: float, background: Background) -> Servers:
    """By the topology of the address."""
    if dial.address.topology == "cluster":
        return Cluster(dial, seconds, background)
    return Single(dial, seconds, background)


def slot_of(key: bytes) -> int:
    """The slot of a key, or of any key that begins with this whole hash tag."""
    return key_slot(key)


class Single:
    """One server, or one master."""

    def __init__(self, dial: Dial, seconds: float, background: Background) -> None:
        self._line = Line(dial.to_master)
        self.pipe = Pipe(self._line.connect, seconds, background)

    async def call(self, slot: int, encoded: bytes) -> Any:
        try:
            return await self.pipe.call(encoded)
        except ReplyError as error:
            if error.code in _WRONG_END:
                self.pipe.drop()
            raise

    def send(self, slot: int, encoded: bytes) -> asyncio.Future[Any] | None:
        return self.pipe.send(encoded)

    async def call_all(self, calls: Sequence[tuple[int, bytes]]) -> list[Any]:
        try:
            replies = await self.pipe.call_all([encoded for _, encoded in calls])
        except StoreFailure as failure:
            return [failure] * len(calls)
        if any(isinstance(reply, ReplyError) and reply.code in _WRONG_END for reply in replies):
            self.pipe.drop()
        return replies

    def life(self, slot: int) -> object:
        return self.pipe.opened

    def part(self, slot: int) -> str:
        return ""

    async def close(self) -> None:
        await self.pipe.close()
        await self._line.close()


class _Node:
    """One node of a Cluster."""

    def __init__(self, dial: Dial, host: Host, seconds: float, background: Background) -> None:
        self.line = Line(lambda: dial.to(host))
        self.pipe = Pipe(self.line.connect, seconds, background)

    async def close(self) -> None:
        await self.pipe.close()
        await self.line.close()


class Cluster:
    """Nodes by their hosts, and the map of slots."""

    pipe = None

    def __init__(self, dial: Dial, seconds: float, background: Background) -> None:
        self._dial, self._seconds, self._background = dial, seconds, background
        self._nodes: dict[Host, _Node] = {}
        self._slots: list[Host | None] = []
        self._learning: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._failure = "the Cluster's map of slots is not known"

    async def call(self, slot: int, encoded: bytes) -> Any:
        host = await self._serving(slot)
        asking = False
        for _ in range(REDIRECTS):
            pipe = self._node(host).pipe
            try:
                return await (_asked(pipe, encoded) if asking else pipe.call(encoded))
            except ReplyError as error:
                if error.code not in ("MOVED", "ASK"):
                    if error.code in _WRONG_END:
                        pipe.drop()
                    if error.code in _WRONG_END or error.code == "CLUSTERDOWN":
                        self._learn()
                    raise
                host = _redirected(error.detail, host)
                asking = error.code == "ASK"
                if not asking:
                    self._slots[slot] = host
                    self._learn()
            except StoreFailure:
                self._learn()  # perhaps somebody else serves the slot by now
                raise
        raise StoreFailure("the Cluster sends a command from node to node")

    def send(self, slot: int, encoded: bytes) -> asyncio.Future[Any] | None:
        return None  # it may be sent on from node to node

    async def call_all(self, calls: Sequence[tuple[int, bytes]]) -> list[Any]:
        return await asyncio.gather(*[self._one(slot, encoded) for slot, encoded in calls])

    async def _one(self, slot: int, encoded: bytes) -> Any:
        try:
            return await self.call(slot, encoded)
        except StoreFailure as failure:
            return failure

    def life(self, slot: int) -> object:
        host = self._slots[slot] if self._slots else None
        node = self._nodes.get(host) if host is not None else None
        return host, node.pipe.opened if node is not None else 0

    def part(self, slot: int) -> str:
        host = self._slots[slot] if self._slots else None
        return f"{host[0]}:{host[1]}" if host is not None else "cluster"

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._learning
        for node in self._nodes.values():
            await node.close()

    async def _serving(self, slot: int) -> Host:
        """Raises StoreFailure."""
        if not self._slots:
            learning = self._learn()
            if learning is not None:
                await asyncio.wait({learning}, timeout=self._seconds)
            if not self._slots:
                raise StoreFailure(self._failure)
        host = self._slots[slot]
        if host is None:
            self._learn()
            raise StoreFailure("no node of the Cluster serves this tenant's slot")
        return host

    def _node(self, host: Host) -> _Node:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes[host] = _Node(self._dial, host, self._seconds, self._background)
        return node

    def _learn(self) -> asyncio.Task[None] | None:
        """Learn the map in the background, not more often than connections are tried."""
        now = asyncio.get_running_loop().time()
        if self._learning is None and now >= self._not_before:
            self._not_before = now + PAUSE
            self._learning = self._background.spawn("redis slots", self._learnt())
        return self._learning

    async def _learnt(self) -> None:
        try:
            slots = await self._dial.slots(tuple(self._nodes))
            gone = set(self._nodes) - set(slots)
            self._slots = slots
            for host in gone:
                await self._nodes.pop(host).close()
        except StoreFailure as failure:
            self._failure = failure.detail
        finally:
            self._learning = None


async def _asked(pipe: Pipe, encoded: bytes) -> Any:
    """ASKING and the command must stand side by side: both are queued in one step."""
    link = await pipe.link()
    leave, reply = link.send(ASKING), link.send(encoded)
    leave.add_done_callback(lambda done: done.cancelled() or done.exception())  # the reply says the same
    return await reply


def _redirected(words: str, before: Host) -> Host:
    """`MOVED 3999 127.0.0.1:6381`; without a host it is the one that was asked."""
    host, _, port = words.split(" ")[2].rpartition(":")
    return host or before[0], int(port)
