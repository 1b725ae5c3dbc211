"""Limits and usage on the admin listener (docs/operations.md lists the paths)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import structs

from gateway.administering import Administering, Kind, Unfit, audit, csv_lines, shown
from gateway.errors import StoreFailure
from gateway.identity.admin import Right
from gateway.ports import Clock
from gateway.server.admin import Asked, Route, Told, Unwell, error_body

T = TypeVar("T")
BASE = "/gateway/v1/admin"


def limit_routes(limits: Administering, clock: Clock) -> list[Route]:
    """The routes over what admins may ask of limits."""
    read, change = frozenset({Right.READ}), frozenset({Right.LIMITS})

    async def usage(asked: Asked) -> Told:
        query = asked.query
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
        Route("GET", f"{BASE}/usage", read, "daily usage by key, team, tenant, label or model", told=usage),
        Route("GET", f"{BASE}/limits", read, "how a key stands", told=standing),
        Route("GET", f"{BASE}/limits/exceptions", read, "exceptions that stand", told=exceptions),
        Route("POST", f"{BASE}/limits/raise", change, "raise a limit for a time", told=doing("raise")),
        Route("POST", f"{BASE}/limits/reset", change, "forgive what was used", told=doing("reset")),
        Route("POST", f"{BASE}/limits/lift", change, "take an exception back", told=doing("lift")),
    ]


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
