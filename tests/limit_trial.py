"""Stores under test with a clock that the test turns, and limits to try them with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import redis

from gateway.errors import Rule
from gateway.limits.ledger import Ledger
from gateway.limits.memory import MemoryStore
from gateway.limits.scopes import Claim, Limit, Scope, Unit, Window

RULE = Rule(1, "keys.a.limits", "keys.toml", 1)
NAMES = {
    "rpm": ("requests_per_minute", Unit.REQUESTS, Window.MINUTE),
    "tpm": ("tokens_per_minute", Unit.TOKENS, Window.MINUTE),
    "open": ("concurrent_requests", Unit.REQUESTS, Window.OPEN),
    "rpd": ("requests_per_day", Unit.REQUESTS, Window.DAY),
    "tpd": ("tokens_per_day", Unit.TOKENS, Window.DAY),
    "upd": ("usd_per_day", Unit.USD, Window.DAY),
    "upm": ("usd_per_month", Unit.USD, Window.MONTH),
    "usd": ("usd_total", Unit.USD, Window.TOTAL),
    "tot": ("tokens_total", Unit.TOKENS, Window.TOTAL),
}


def limit(short: str, amount: int, *, burst: int = 0, shadow: bool = False) -> Limit:
    """A limit by its short name."""
    name, unit, window = NAMES[short]
    return Limit(name, unit, window, amount, RULE, burst=burst, shadow=shadow)


def scope(name: str, *limits: Limit, zone: str = "UTC") -> Scope:
    return Scope(name, limits, zone)


def claim(request: str, *scopes: Scope, tokens: int = 10, nano_usd: int = 1000, tenant: str = "acme") -> Claim:
    return Claim(request, tenant, same(scopes), tokens, nano_usd)


@lru_cache(maxsize=10_000)
def same(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    """One tuple for all that are equal, as the policies have it: stores keep how they are asked by its identity."""
    return scopes


class TurnedClock:
    """The port Clock, turned by the test; seconds."""

    def __init__(self, at: float = 1_795_478_400.0) -> None:  # 2026-11-24T00:00:00Z
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def micros(self) -> int:
        return round(self.at * 1_000_000)


class MemoryView:
    """What a MemoryStore holds, in terms that both stores share."""

    def __init__(self, store: MemoryStore, tenant: str) -> None:
        self._store, self._tenant = store, tenant

    def _ledger(self) -> Ledger:
        return self._store.ledger(self._tenant)

    def at_once(self) -> MemoryView:
        """Nothing else runs meanwhile."""
        return self

    def dump(self) -> str:
        """All state, to be compared with itself."""
        ledger = self._ledger()
        return repr((sorted(ledger.counters.items()), sorted(ledger.leases.items()), sorted(ledger.tombs.items())))

    def leases(self) -> tuple[int, int]:
        return len(self._ledger().leases), len(self._ledger().leases)

    def open(self, scope: str) -> int:
        counters = self._ledger().counters.get(scope)
        return counters.open if counters is not None else 0

    def calendar(self, scope: str, window: Window, unit: Unit) -> tuple[int, int, int]:
        """(label, used, reserved) of the current period; label -1 where there is none."""
        counters = self._ledger().counters.get(scope)
        period = counters.periods.get(window) if counters is not None else None
        if period is None:
            return -1, 0, 0
        return period.label, period.used.get(unit, 0), period.reserved.get(unit, 0)

    def closed(self, scope: str, window: Window, unit: Unit, label: int) -> int:
        return self._ledger().counters[scope].periods[window].closed.get(label, {}).get(unit, 0)


class RedisView:
    """What Redis holds of one tenant, read beside the store in one round trip each time."""

    def __init__(self, client: redis.Redis, tenant: str) -> None:
        self._client, self._prefix = client, f"q:{{{tenant}}}:"

    def at_once(self) -> Holding:
        """All of it at one moment, to be looked at from several sides."""
        found: Any = self._client.eval(_ALL, 0, glob_free(self._prefix) + "*")
        return Holding(self._prefix, {key.decode(): pairs(kind, value) for key, kind, value in found})

    def dump(self) -> str:
        return self.at_once().dump()

    def leases(self) -> tuple[int, int]:
        return self.at_once().leases()

    def open(self, scope: str) -> int:
        return self.at_once().open(scope)

    def calendar(self, scope: str, window: Window, unit: Unit) -> tuple[int, int, int]:
        return self.at_once().calendar(scope, window, unit)

    def closed(self, scope: str, window: Window, unit: Unit, label: int) -> int:
        return self.at_once().closed(scope, window, unit, label)


class Holding:
    """Keys of one tenant, as they were."""

    def __init__(self, prefix: str, keys: dict[str, dict[bytes, bytes]]) -> None:
        self._prefix, self._keys = prefix, keys

    def dump(self) -> str:
        return repr({key: sorted(value.items()) for key, value in sorted(self._keys.items())})

    def leases(self) -> tuple[int, int]:
        return len(self._keys.get(self._prefix + "lz", ())), len(self._keys.get(self._prefix + "lh", ()))

    def open(self, scope: str) -> int:
        return self._number(f"s:{scope}", "f") or 0

    def calendar(self, scope: str, window: Window, unit: Unit) -> tuple[int, int, int]:
        kind, mark = KINDS[window], unit.value[0]
        label, used, reserved = (
            self._number(f"s:{scope}", name) for name in (kind, f"{kind}{mark}u", f"{kind}{mark}r")
        )
        return -1 if label is None else label, used or 0, reserved or 0

    def closed(self, scope: str, window: Window, unit: Unit, label: int) -> int:
        return self._number(f"s:{scope}:{KINDS[window]}{label}", unit.value[0]) or 0

    def _number(self, key: str, name: str) -> int | None:
        found = self._keys.get(self._prefix + key, {}).get(name.encode())
        return None if found is None else int(found)


_ALL = """
local read = {hash = {'HGETALL'}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, string = {'GET'}}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local words = {unpack(read[kind])}
  table.insert(words, 2, key)
  found[#found + 1] = {key, kind, redis.call(unpack(words))}
end
return found
"""


def pairs(kind: bytes, value: Any) -> dict[bytes, bytes]:
    """A hash, a sorted set with its scores, or a text under an empty name."""
    return {b"": value} if kind == b"string" else dict(zip(value[::2], value[1::2], strict=True))


KINDS = {Window.DAY: "d", Window.MONTH: "m", Window.TOTAL: "a"}


def glob_free(text: str) -> str:
    """A text that stands for itself in a Redis pattern."""
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)
