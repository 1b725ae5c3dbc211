"""What is counted. Pure: no I/O, no clock.

A *limit* is one number of the contract (`requests_per_minute`, `usd_per_month` …). A *scope* is one counter of it:
a key, a team, a tenant, a key's calls of one model, one of a key's end users. A request carries the scopes that its
permit names, and is admitted by all of them or by none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from gateway.errors import Rule

AtLimit = Literal["finish", "cut", "strict"]

OnFailure = Literal["closed", "bounded", "open"]

NANO = 1_000_000_000  # money is integer nano-USD, rounded up; never a float


class Unit(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"
    USD = "usd"  # amounts in nano-USD


class Window(StrEnum):
    MINUTE = "minute"  # GCRA: a token bucket that refills at amount/60 s
    DAY = "day"  # calendar day in the scope's time zone
    MONTH = "month"  # calendar month in the scope's time zone
    TOTAL = "total"  # never starts again
    OPEN = "open"  # concurrent: the number of open leases


# The contract's names (design: policies/*.toml). `limits` may hold the first three, `budget` the rest.
RATE_LIMITS: dict[str, tuple[Unit, Window]] = {
    "requests_per_minute": (Unit.REQUESTS, Window.MINUTE),
    "tokens_per_minute": (Unit.TOKENS, Window.MINUTE),
    "concurrent_requests": (Unit.REQUESTS, Window.OPEN),
}
BUDGETS: dict[str, tuple[Unit, Window]] = {
    f"{unit}_{suffix}": (unit, window)
    for unit in Unit
    for suffix, window in (("per_day", Window.DAY), ("per_month", Window.MONTH), ("total", Window.TOTAL))
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as compiled: integer `amount` in requests, tokens or nano-USD."""

    name: str  # a key of RATE_LIMITS or BUDGETS
    unit: Unit
    window: Window
    amount: int
    rule: Rule
    burst: int = 0  # only where window is MINUTE; equals amount unless given
    shadow: bool = False  # counted and reported, never enforced
    warn_at: tuple[float, ...] = ()  # shares of amount, 0 < x < 1, rising
    at_limit: AtLimit = "finish"
    written: int = 0  # the policy's amount, where an exception stands in its place (exceptions.py)
    until: int = 0  # µs at which that exception ends

    @property
    def sliced(self) -> bool:
        """Whether it is taken in slices while an answer runs: a budget of tokens or money that cuts."""
        return self.at_limit == "cut" and self.unit is not Unit.REQUESTS and not self.shadow

    @property
    def strict(self) -> bool:
        """Whether an answer's length is capped to what it has left: a budget of tokens or money that is strict."""
        return self.at_limit == "strict" and self.unit is not Unit.REQUESTS and not self.shadow

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The amounts at which the store warns, each once a period; rates are watched by the process (warnings.py)."""
        if self.window in (Window.MINUTE, Window.OPEN):
            return ()
        return tuple(math.ceil(share * self.amount) for share in self.warn_at)


class Scope(msgspec.Struct, frozen=True):
    """One counter and the limits on it. `id` is stable over renames: `key:k_7f3a`, `team:support`, `tenant:acme`,
    `key:k_7f3a|model:gpt-5*`, `key:k_7f3a|user:<digest>`. It holds no personal data and no secret."""

    id: str
    limits: tuple[Limit, ...]
    time_zone: str = "UTC"
    key_name: str = ""  # where it is a key's: what people call that key, who seldom know its id


class Account(NamedTuple):
    """Whose daily usage it is (usage.py), where no limit holds a request."""

    tenant: str
    row: str
    time_zone: str  # of the row's day


class Claim(msgspec.Struct, frozen=True):
    """What a request wants to reserve, in all scopes at once."""

    request_id: str
    tenant: str  # everything of one tenant lives in one Redis Cluster slot
    scopes: tuple[Scope, ...]
    tokens: int  # input + the output that may come
    nano_usd: int
    on_failure: OnFailure | None = None  # where the tenant is stricter than the process (`failure.py`)
    first_tokens: int | None = None  # what sliced limits hold at first; None: all of it
    first_nano_usd: int | None = None
    row: str = ""  # whose daily usage it is (usage.py); "": nobody's
    time_zone: str = "UTC"  # of the row's day

    def first(self) -> tuple[int, int]:
        """Tokens and nano-USD that sliced limits hold at first."""
        return (
            self.tokens if self.first_tokens is None else self.first_tokens,
            self.nano_usd if self.first_nano_usd is None else self.first_nano_usd,
        )


class Remaining(msgspec.Struct, frozen=True):
    """How one limit stands after an admit: `remaining` may be negative where usage exceeded its estimate.
    `reset` is in seconds: until the bucket is full again, or until the calendar period ends (None: never). `over`: a
    limit that is only watched, and would have refused."""

    scope: str
    limit: Limit
    remaining: int
    reset: float | None
    over: bool = False


class Crossed(msgspec.Struct, frozen=True):
    """A budget whose use has passed one of its `warn_at` shares; told once for each share and period."""

    scope: str
    limit: Limit
    share: float
    used: int


class Lease(msgspec.Struct, frozen=True):
    """Proof that a claim was admitted, and the handle to settle it by. Opaque but for these fields."""

    claim: Claim
    remaining: Sequence[Remaining]
    periods: tuple[tuple[str, ...], ...] = ()  # per scope, the calendar periods that admitted it: the store's business
    local: bool = False  # admitted in memory while the store was away (`on_failure`)
    epoch: str = ""  # which life of the store admitted it: one that came back empty has another


@dataclass(frozen=True, slots=True)
class Denial:
    """The first limit that did not fit. `never`: larger than the burst or the whole budget, so waiting cannot help."""

    scope: Scope
    limit: Limit
    current: int  # used + reserved now, in the limit's unit
    wanted: int
    retry_after: float | None  # seconds until it could fit, from the real bucket; None: never or unknown
    never: bool = False
    remaining: tuple[Remaining, ...] = ()
    reserved: int = 0  # the part of `current` that open requests hold; 0 for rates


class Charge(msgspec.Struct, frozen=True):
    """What an exchange is charged in the end."""

    tokens: int
    nano_usd: int
    requests: int = 1
