"""`python -m bench store`: what a call to the limit store costs the gateway, beside redis-py's plain pool.

One script call is one `admit` or one `settle` of three scopes (key, team, tenant; four limits each), in turns.
CPU is that of this process, all threads, user and system, per call. Rounds of both alternate; the least of them counts
(whatever else runs on the machine only adds), the median stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import redis.asyncio
import uvloop

from bench.processes import redis_server
from gateway.errors import Rule
from gateway.limits.redis import RedisStore
from gateway.limits.redis_code import (
    ADMIT,
    NOTHING,
    Keys,
    Plans,
    Script,
    admission,
    charged,
    closing,
    form_of,
    keys_of,
    plans_of,
)
from gateway.limits.scopes import Charge, Claim, Lease, Limit, Scope, Unit, Window
from gateway.limits.settler import Settler
from gateway.telemetry.tasks import Background

LOTS = 100_000_000  # as large as a rate may be and still be counted to the token
CALLERS = (1, 16, 64)
RULE = Rule(1, "keys.bench.limits", "keys.toml", 1)


class WallClock:
    """The port Clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def limits() -> tuple[Limit, ...]:
    """What a key of a company has."""
    kinds = (
        ("requests_per_minute", Unit.REQUESTS, Window.MINUTE), ("tokens_per_minute", Unit.TOKENS, Window.MINUTE),
        ("concurrent_requests", Unit.REQUESTS, Window.OPEN), ("usd_per_month", Unit.USD, Window.MONTH),
    )  # fmt: skip
    return tuple(Limit(name, unit, window, LOTS**2 if unit is Unit.USD else LOTS, RULE) for name, unit, window in kinds)


EPOCH = "a life for bench" + f"{1:016x}"
SCOPES = tuple(Scope(name, limits()) for name in ("key:k_bench", "team:support", "tenant:acme"))
Pair = Callable[[str], Awaitable[None]]
Step = Callable[[], Awaitable[None]]
Side = tuple[Pair, Step, Step]  # a pair of calls, what waits until all have been answered, what closes


async def ours(url: str, background: Background) -> Side:
    """The store as the journey calls it: claims in, leases out, and the settler brings back what they came to."""
    store = RedisStore(url, clock=WallClock(), background=background, call_seconds=5.0)
    settler = Settler(store, background, WallClock())

    async def pair(name: str) -> None:
        lease = await store.admit(Claim(name, "ours", SCOPES, 900, 1000))
        assert isinstance(lease, Lease)
        settler.opened(lease)
        settler.settle(lease, Charge(500, 600))

    async def drained() -> None:
        while settler.depth:  # noqa: ASYNC110  # it has no event for that
            await asyncio.sleep(0.001)

    async def close() -> None:
        await settler.close(5.0)
        await store.close()

    return pair, drained, close


async def theirs(url: str) -> Side:
    """The same scripts with the same arguments over redis-py's pool, which packs them anew for every call."""
    client = redis.asyncio.Redis.from_url(url)
    scripts = Script.load("admit.lua"), Script.load("charge.lua", "settle.lua")
    shas = [await client.script_load(script.source) for script in scripts]
    keys, now = keys_of("theirs"), int(time.time() * 1e6)
    plans = plans_of(keys, SCOPES, now)

    async def pair(name: str) -> None:
        call: Any = client.evalsha
        claim = Claim(name, "theirs", SCOPES, 900, 1000)
        admit = words(admitting(keys, scripts[0], plans, claim, now))
        await call(shas[0], int(admit[0]), *admit[1:])
        lease = Lease(claim, (), epoch=EPOCH)
        settle = words(closing(keys, lease, plans, charged(Charge(500, 600)), b"", NOTHING)[1])
        await call(shas[1], int(settle[0]), *settle[1:])

    async def drained() -> None:
        """Every call was waited for."""

    return pair, drained, client.aclose


def admitting(keys: Keys, script: Script, plans: Plans, claim: Claim, now: int) -> bytes:
    """The arguments of an admission."""
    request = claim.request_id.encode()
    form = form_of(keys, script, plans, claim, len(request), now)
    return admission(form, claim, request, NOTHING, EPOCH[:16].encode(), 1, ADMIT)


def words(encoded: bytes) -> list[bytes]:
    """Arguments out of RESP. What this costs is taken off again (`unpacking`)."""
    found, at = [], 0
    while at < len(encoded):
        end = encoded.index(b"\r\n", at)
        length = int(encoded[at + 1 : end])
        found.append(encoded[end + 2 : end + 2 + length])
        at = end + length + 4
    return found


def unpacking() -> float:
    """CPU seconds that `theirs` spends per pair on what redis-py's user would not do: encoding, and taking it apart."""
    keys, now = keys_of("theirs"), int(time.time() * 1e6)
    plans, script = plans_of(keys, SCOPES, now), Script.load("admit.lua")
    before = time.process_time()
    for number in range(2000):
        claim = Claim(str(number), "theirs", SCOPES, 900, 1000)
        words(admitting(keys, script, plans, claim, now))
        words(closing(keys, Lease(claim, (), epoch=EPOCH), plans, charged(Charge(500, 600)), b"", NOTHING)[1])
    return (time.process_time() - before) / 2000


async def cost(pair: Pair, drained: Step, callers: int, pairs: int, prefix: str) -> float:
    """CPU seconds per pair of calls, of `callers` that each wait for their own reply."""
    left = iter(range(pairs))

    async def caller() -> None:
        for number in left:
            await pair(f"{prefix}{number}")

    gc.collect()
    before = time.process_time()
    await asyncio.gather(*[caller() for _ in range(callers)])
    await drained()
    return (time.process_time() - before) / pairs


async def measure(url: str, rounds: int, pairs: int) -> dict[str, dict[int, list[float]]]:
    """µs per script call, by who and by how many callers."""
    background = Background()
    sides = {"ours": await ours(url, background), "redis-py": await theirs(url)}
    extra = {"ours": 0.0, "redis-py": unpacking()}
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in CALLERS} for name in sides}
    for pair, drained, _ in sides.values():
        await cost(pair, drained, 16, 200, "warm")
    for number in range(rounds):
        for callers in CALLERS:
            for name, (pair, drained, _) in sides.items():
                each = await cost(pair, drained, callers, pairs, f"{number}-{callers}-")
                found[name][callers].append((each - extra[name]) / 2 * 1e6)
    for _, _, close in sides.values():
        await close()
    await background.close()
    return found


def table(found: dict[str, dict[int, list[float]]]) -> list[str]:
    """Markdown: the least and the median of the rounds."""
    lines = ["| callers at once | ours, µs a call | redis-py's pool, µs a call | ratio |", "| --: | --: | --: | --: |"]
    for callers in CALLERS:
        mine, other = found["ours"][callers], found["redis-py"][callers]
        lines.append(
            f"| {callers} | {min(mine):.1f} ({median(mine):.1f}) | {min(other):.1f} ({median(other):.1f}) | "
            f"{min(other) / min(mine):.1f} × |"
        )
    return lines


def main(arguments: Sequence[str]) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench store", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=2000, help="admit and settle so often, per round")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="the gateway serves on uvloop")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server(Path(folder)) as port:
        work = measure(f"redis://127.0.0.1:{port}/0", options.rounds, options.pairs)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if options.loop == "uvloop" else None) as runner:
            print("\n".join(table(runner.run(work))))
