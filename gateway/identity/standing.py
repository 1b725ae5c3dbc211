"""What a key may do and what is left of it: the answer to GET /gateway/v1/key. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.identity.principal import Principal
from gateway.limits.scopes import NANO, Remaining, Scope, Unit
from gateway.policy.compiled import Key


def own_scopes(key: Key) -> tuple[Scope, ...]:
    """The scopes that hold for every request of a key: its own, its team's, its tenant's. Those per model, user or
    session are many, and only a request names one."""
    return tuple(
        Scope(template.id, template.limits, template.time_zone)
        for template in key.scopes
        if template.each is None and template.model is None
    )


def describe(principal: Principal, remaining: Sequence[Remaining]) -> dict[str, Any]:
    """The key as its holder may see it: no hash, no other key. Money in USD, `resets_in` in seconds (null: never)."""
    key = principal.key
    return {
        "object": "gateway.key",
        "id": key.id,
        "name": key.name,
        "secret": principal.secret_id,
        "team": key.team,
        "tenant": key.tenant,
        "expires": key.expires.isoformat() if key.expires is not None else None,
        "models": [list(group) for group in key.models],
        "endpoints": [sorted(group) for group in key.endpoints],
        "redaction": key.redaction.name if key.redaction is not None else None,
        "limits": [_limit(one) for one in remaining],
    }


def _limit(one: Remaining) -> dict[str, Any]:
    money = one.limit.unit is Unit.USD
    return {
        "scope": one.scope,
        "limit": one.limit.name,
        "amount": one.limit.amount / NANO if money else one.limit.amount,
        "remaining": one.remaining / NANO if money else one.remaining,
        "resets_in": round(one.reset, 3) if one.reset is not None else None,
        "shadow": one.limit.shadow,
    }
