"""How a Redis looks from here: every host of its address, who is the master, what a Cluster covers, what we may do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from gateway.cli.finding import SECONDS, Finding
from gateway.errors import StoreFailure
from gateway.limits.redis_dial import Dial, Host
from gateway.limits.redis_url import Address
from gateway.settings.model import Store

OLDEST = (6, 2)
Look = Callable[[Redis, str], Awaitable[Finding]]


async def reach(store: Store, address: Address, about: str) -> AsyncIterator[Finding]:
    """Findings, one a host. Raises SecretUnavailable."""
    password = store.password.read() if store.password is not None else None
    options: dict[str, Any] = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    options |= {"retry": Retry(NoBackoff(), 0)}
    options |= {"ssl": True, **store.tls.files().options()} if address.tls else {}
    own = options | {"username": address.user, "password": password, "db": address.database}
    if address.topology != "sentinel":
        for host in address.hosts:
            yield await _looked(
                host, own, f"{about} {_name(host)}", _node if address.topology == "cluster" else _server
            )
        return
    sentinel_password = store.sentinel_password.read() if store.sentinel_password is not None else None

    async def sentinel(client: Redis, about: str) -> Finding:
        found = await client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
        if not found:
            return Finding("FAILED", about, f"knows no service {address.service}")
        return Finding("ok", about, f"the master of {address.service} is {_text(found[0])}:{_text(found[1])}")

    for host in address.hosts:
        yield await _looked(host, options | {"password": sentinel_password}, f"{about} {_name(host)}", sentinel)
    read = store.sentinel_password.read if store.sentinel_password is not None else None
    try:
        master = await Dial(address, sentinel_password=read, tls=store.tls.files()).master()
    except StoreFailure:
        yield Finding("FAILED", about, f"no Sentinel names a master of {address.service} that is up")
        return
    yield await _looked(master, own, f"{about} {_name(master)}", _server)


async def _looked(host: Host, options: dict[str, Any], about: str, look: Look) -> Finding:
    client = Redis(host=host[0], port=host[1], **options)
    try:
        return await look(client, about)
    except AuthenticationError:
        return Finding("FAILED", about, "it refuses the password, or wants one")
    except NoPermissionError:
        return Finding(
            "FAILED", about, "the user may not run scripts on q:*; docs/operations.md has the rights it needs"
        )
    except (RedisError, OSError, ValueError) as error:
        return Finding("FAILED", about, f"cannot be reached ({type(error).__name__})")
    finally:
        await client.aclose()


async def _server(client: Redis, about: str) -> Finding:
    started = time.perf_counter()
    await client.ping()
    took = (time.perf_counter() - started) * 1000
    await client.eval("return redis.call('EXISTS', KEYS[1])", 1, "q:{doctor}:e")
    try:
        found = await client.info()
    except NoPermissionError:
        return Finding(
            "warning", about, f"answered in {took:.1f} ms; the user may not see INFO, so its version is unknown"
        )
    version = str(found.get("redis_version", "unknown"))
    words = f"version {version}, answered in {took:.1f} ms"
    if version != "unknown" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return Finding("FAILED", about, f"{words}; 6.2 or later is needed")
    if found.get("role") == "slave":
        return Finding("FAILED", about, f"{words}; it is a replica, which takes no writes")
    if found.get("maxmemory") and found.get("maxmemory_policy") != "noeviction":
        return Finding("warning", about, f"{words}; maxmemory-policy is {found['maxmemory_policy']}: an evicted "
                       "counter is a limit that was forgotten, so set noeviction")  # fmt: skip
    return Finding("ok", about, words)


async def _node(client: Redis, about: str) -> Finding:
    started = time.perf_counter()
    found: Any = await client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    took = (time.perf_counter() - started) * 1000
    told = found if isinstance(found, dict) else dict(
        line.split(":", 1) for line in _text(found).split("\r\n") if ":" in line
    )  # fmt: skip
    words = f"answered in {took:.1f} ms, {told.get('cluster_size')} masters serve {told.get('cluster_slots_ok')} slots"
    if told.get("cluster_state") != "ok":
        return Finding("FAILED", about, f"{words}; the Cluster is down")
    return Finding("ok", about, words)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(host: Host) -> str:
    return f"{host[0]}:{host[1]}"
