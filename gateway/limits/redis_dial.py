"""How a Redis is reached: connections, Sentinel's answer to who is the master, a Cluster's map of slots. By redis-py.

Every connection is made and greeted (TLS, AUTH, SELECT) by redis-py, and then handed on as its bare transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import RedisClusterException, RedisError

from gateway.errors import StoreFailure
from gateway.limits.redis_url import Address, Tls

CONNECT = 2.0  # seconds to connect, TLS and AUTH included, and to find out where to
Host = tuple[str, int]
Secret = Callable[[], str]


class Dial:
    """Ways to one store. Secrets are asked at each use, so that they may change. Everything raises StoreFailure."""

    def __init__(
        self, address: Address, *, password: Secret | None = None, sentinel_password: Secret | None = None,
        tls: Tls | None = None,
    ) -> None:  # fmt: skip
        self.address = address
        self._password, self._sentinel_password = password, sentinel_password
        self._tls = tls or Tls()

    async def to(self, host: Host) -> AbstractConnection:
        """A connection to this server."""
        kind = SSLConnection if self.address.tls else Connection
        connection: AbstractConnection = kind(
            host=host[0], port=host[1], db=self.address.database, retry=Retry(NoBackoff(), 0), **self._options()
        )
        try:
            await _bounded(connection.connect())  # type: ignore[no-untyped-call]  # redis-py does not annotate it
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def to_master(self) -> AbstractConnection:
        """A connection to the one server; with Sentinels, to whom they call the master and who says so itself."""
        if self.address.topology != "sentinel":
            return await self.to(self.address.hosts[0])
        connection = await self.to(await self.master())
        try:
            await _bounded(connection.send_command("ROLE"))
            (role, *_) = await _bounded(connection.read_response())
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if role != b"master":
            await connection.disconnect(nowait=True)
            raise StoreFailure("the Sentinels name a server that is not the master, or not any more")
        return connection

    async def master(self) -> Host:
        """Whom the first Sentinel that answers calls the master."""
        asked: dict[str, Any] = {"socket_connect_timeout": CONNECT / 2, "socket_timeout": CONNECT / 2, "protocol": 2}
        if self._sentinel_password is not None:
            asked["password"] = self._sentinel_password()
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # as above
            self.address.hosts, sentinel_kwargs=asked | self._encryption() | {"retry": Retry(NoBackoff(), 0)}
        )
        try:
            host, port = await _bounded(sentinel.discover_master(self.address.service))
        finally:
            await sentinel.aclose()
        return str(host), int(port)

    async def slots(self, known: Sequence[Host]) -> list[Host | None]:
        """Who serves each slot of the Cluster, as told by one of the known nodes; None where nobody does."""
        options: dict[str, Any] = {**self._options(), **self._encryption()}
        nodes = [ClusterNode(host, port) for host, port in dict.fromkeys((*known, *self.address.hosts))]
        cluster = RedisCluster(
            startup_nodes=nodes, require_full_coverage=False, retry=Retry(NoBackoff(), 0), **options
        )  # fmt: skip
        manager = cluster.nodes_manager
        try:
            await _bounded(manager.initialize())
            found = manager.slots_cache
            served = [found.get(slot) for slot in range(REDIS_CLUSTER_HASH_SLOTS)]
            return [(str(one[0].host), int(one[0].port)) if one else None for one in served]
        finally:
            await manager.aclose()
            await manager.aclose("startup_nodes")

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self.address.user, "protocol": 2, "socket_connect_timeout": CONNECT, "socket_timeout": CONNECT,
        }  # fmt: skip
        if self._password is not None:
            options["password"] = self._password()
        if self.address.tls:
            options |= self._tls.options()
        return options

    def _encryption(self) -> dict[str, Any]:
        return {"ssl": True, **self._tls.options()} if self.address.tls else {}


class Line:
    """One connection at a time, as a bare transport; the one before it is closed."""

    def __init__(self, make: Callable[[], Awaitable[AbstractConnection]]) -> None:
        self._make = make
        self._connection: AbstractConnection | None = None

    async def connect(self) -> asyncio.WriteTransport:
        """Raises StoreFailure."""
        await self.close()
        connection = await self._make()
        writer = connection._writer  # noqa: SLF001  # redis-py has no public way to its transport; a test holds it
        assert writer is not None  # noqa: S101  # INVARIANT: connect() returned
        self._connection = connection
        return writer.transport

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _bounded(work: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(CONNECT):
            return await work
    except (RedisError, RedisClusterException, OSError, TimeoutError, ValueError) as error:
        # The words of such an error may hold addresses and a user's name; its type says enough.
        raise StoreFailure(f"cannot connect to the store: {type(error).__name__}") from None
