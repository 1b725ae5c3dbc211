"""Usage rows: what each key, team, tenant and label came to, day by day. Pure.

A settlement adds to one row of its tenant's day (in the tenant's time zone), in the same step that charges the limits.
A row is named by key, team, labels and model as they were at the time, so that a key that moves later leaves behind
what it used before; reports add rows up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import msgspec

from gateway.limits.scopes import NANO

KEEP_DAYS = 400


class Row(msgspec.Struct, frozen=True):
    """What one key came to in one day with one model. Money in nano-USD."""

    day: date
    tenant: str
    key: str
    team: str | None
    labels: tuple[tuple[str, str], ...]
    model: str
    requests: int
    tokens: int
    nano_usd: int


class Line(msgspec.Struct, frozen=True):
    """One line of a report: a scope's day."""

    day: str
    scope: str
    requests: int
    tokens: int
    usd: float
    nano_usd: int
    name: str = ""  # of a key, where the policies still know it


@dataclass(slots=True)
class Days:
    """The rows of one tenant, for the store in memory: day → name → r, t, u."""

    days: dict[int, dict[str, dict[str, int]]] = field(default_factory=dict)

    def add(self, row: tuple[int, str] | None, requests: int, tokens: int, nano_usd: int) -> None:
        """Add to a row of a day; None: to none. A day too many lets go of the oldest."""
        if row is None:
            return
        if row[0] not in self.days and len(self.days) >= KEEP_DAYS:
            del self.days[min(self.days)]
        sums = self.days.setdefault(row[0], {}).setdefault(row[1], {})
        for name, amount in (("r", requests), ("t", tokens), ("u", nano_usd)):
            sums[name] = sums.get(name, 0) + amount

    def rows(self, tenant: str, since: int) -> list[Row]:
        """Every row from a day on."""
        return [
            row_of(tenant, day, name, amounts)
            for day, names in sorted(self.days.items())
            if day >= since
            for name, amounts in names.items()
        ]


def row_name(key: str, team: str | None, labels: tuple[tuple[str, str], ...], model: str) -> str:
    """How the store names a row."""
    return msgspec.json.encode((key, team, labels, model)).decode()


def row_of(tenant: str, day: int, name: str, amounts: Mapping[str, int]) -> Row:
    """A row as the store keeps it: `day` as 20261124, `amounts` by r, t and u. Raises ValueError, msgspec's too."""
    key, team, labels, model = msgspec.json.decode(name, type=tuple[str, str | None, tuple[tuple[str, str], ...], str])
    return Row(
        date(day // 10_000, day // 100 % 100, day % 100), tenant, key, team, labels, model,
        amounts.get("r", 0), amounts.get("t", 0), amounts.get("u", 0),
    )  # fmt: skip


def report(rows: Iterable[Row], by: str, only: str | None = None) -> list[Line]:
    """Lines by day and scope. `by` is key, team, tenant, model or label; `only` one of them by its name (of labels:
    `name` or `name=value`)."""
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        for scope in _scopes(row, by, only):
            total = sums.setdefault((row.day.isoformat(), scope), [0, 0, 0])
            for at, amount in enumerate((row.requests, row.tokens, row.nano_usd)):
                total[at] += amount
    return [
        Line(day, scope, requests, tokens, nano_usd / NANO, nano_usd)
        for (day, scope), (requests, tokens, nano_usd) in sorted(sums.items())
    ]


def _scopes(row: Row, by: str, only: str | None) -> Iterable[str]:
    match by:
        case "key":
            found = [row.key]
        case "team":
            found = [row.team] if row.team is not None else []
        case "tenant":
            found = [row.tenant]
        case "model":
            found = [row.model]
        case _:
            pairs = [f"{name}={value}" for name, value in row.labels]
            return [f"label {pair}" for pair in pairs if only in (None, pair, pair.partition("=")[0])]
    return [f"{by} {name}" for name in found if only in (None, name)]
