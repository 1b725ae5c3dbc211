"""All that the admin listener answers, the document of it included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.administering import Administering
from gateway.identity.admin import Right
from gateway.ports import Clock
from gateway.server.admin import Route
from gateway.server.limit_routes import BASE, limit_routes
from gateway.server.openapi import document

Answer = Callable[[], Awaitable[Mapping[str, Any]]]


def all_routes(status: Answer, policies: Answer, reload: Answer, limits: Administering, clock: Clock) -> list[Route]:
    """The route table. `status` and `policies` show this process, `reload` reads the policy files again."""
    read, everything = frozenset({Right.READ}), frozenset(Right)

    async def described() -> Mapping[str, Any]:
        return document(routes)

    routes = [
        Route("GET", f"{BASE}/status", read, "how this process stands", "Status", status),
        Route("GET", f"{BASE}/policies", read, "keys and models in force", "Policies", policies),
        Route("POST", f"{BASE}/reload", everything, "read the policy files again", "Reloaded", reload),
        *limit_routes(limits, clock),
        Route("GET", "/gateway/v1/openapi.json", read, "this document", "Document", described),
    ]
    return routes
