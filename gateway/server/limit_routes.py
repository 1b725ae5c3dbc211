"""Limits and usage on the admin listener (docs/operations.md lists the paths)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import structs

from gateway.administering import BY, Administering, Kind, Unfit, audit, csv_lines, shown
from gateway.errors import StoreFailure
from gateway.identity.admin import Right
from gateway.ports import Clock
from gateway.server.admin import Asked, Field, Route, Told, Unwell, error_body

T = TypeVar("T")
BASE = "/gateway/v1/admin"
FORMATS = ("json", "csv")
_DAY = {"type": "string", "format": "date"}
_TEXT = {"type": ["string", "null"]}
_KEY = Field("key", "a key's name or id", {"type": "string", "minLength": 1}, needed=True)
_USAGE = (
    Field("by", "what each row is for", {"enum": list(BY), "default": "key"}),
    Field("name", "one of these alone", {"type": "string"}),
    Field("since", "the first day; by default the first of this month", _DAY),
    Field("until", "the last day", _DAY),
    Field("format", "of the answer", {"enum": list(FORMATS), "default": "json"}),
)
_CHANGE = (
    _KEY,
    Field("limit", "its name, such as tokens_per_day; a raise needs it, else all of the scope", _TEXT),
    Field("scope", "which of the key's scopes, such as team:support; by default the key's own", _TEXT),
    Field("until", "a moment (2026-12-01T00:00:00Z) or a span (90m, 24h, 7d); a raise needs it", _TEXT),
    Field("reason", "for the log and the list of exceptions", _TEXT),
)
_AMOUNT = Field("amount", "the limit for that time: requests, tokens, or USD", {"type": "number"}, needed=True)


def limit_routes(limits: Administering, clock: Clock) -> list[Route]:
    """The routes over what admins may ask of limits."""
    read, change = frozenset({Right.READ}), frozenset({Right.LIMITS})

    async def usage(asked: Asked) -> Told:
        query = asked.query
        if query.get("format", "json") not in FORMATS:
            raise Unwell(error_body("bad_request", f"'format' is {' or '.join(FORMATS)}"), 400)
        lines = await _fit(
            lambda: limits.usage(query.get("by", "key"), query.get("name"), query.get("since"), query.get("until"))
        )
        if query.get("format", "json") == "csv":
            return Told(text="".join(csv_lines(lines)), content_type="text/csv")
        return Told({"by": query.get("by", "key"), "rows": [structs.asdict(line) for line in lines]})

    async def standing(asked: Asked) -> Told:
        name = asked.query.get("key")
        if not name:
            raise Unwell(error_body("bad_request", "say which key: ?key=NAME"), 400)
        return Told(await _fit(lambda: limits.limits(name)))

    async def exceptions(_: Asked) -> Told:
        return Told({"exceptions": await _fit(limits.exceptions)})

    def doing(kind: Kind) -> Callable[[Asked], Awaitable[Told]]:
        async def do(asked: Asked) -> Told:
            changes = await _fit(lambda: limits.change(kind, asked.body, asked.admin.name))
            done = [shown(one, clock.now()) for one in changes]
            return Told({"changes": done}, audit=audit(changes, reason=str(asked.body.get("reason") or "")[:200]))

        return do

    return [
        Route("GET", f"{BASE}/usage", read, "daily usage by key, team, tenant, label or model", "Usage",
              told=usage, query=_USAGE),
        Route("GET", f"{BASE}/limits", read, "how a key stands", "KeyLimits", told=standing, query=(_KEY,)),
        Route("GET", f"{BASE}/limits/exceptions", read, "exceptions that stand", "Exceptions", told=exceptions),
        Route("POST", f"{BASE}/limits/raise", change, "raise a limit for a time", "Changes",
              told=doing("raise"), body=(*_CHANGE, _AMOUNT)),
        Route("POST", f"{BASE}/limits/reset", change, "forgive what was used", "Changes",
              told=doing("reset"), body=_CHANGE),
        Route("POST", f"{BASE}/limits/lift", change, "take an exception back", "Changes",
              told=doing("lift"), body=_CHANGE),
    ]  # fmt: skip


async def _fit(work: Callable[[], Awaitable[T]]) -> T:
    """Raises Unwell for what is wrong with the request, or with the store."""
    try:
        return await work()
    except Unfit as unfit:
        raise Unwell(error_body("bad_request", unfit.what), 400) from None
    except StoreFailure as failure:
        raise Unwell(
            error_body("store_unavailable", f"The limit store does not answer: {failure.detail}"), 503
        ) from None
