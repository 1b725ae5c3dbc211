"""What a key may do and what is left of it: the answer to GET /gateway/v1/key, and what admins see of a key. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.identity.principal import Principal
from gateway.limits.answer import moment
from gateway.limits.scopes import NANO, Limit, Remaining, Scope, Unit, Window
from gateway.policy.compiled import Key

_MINUTE = 60


def own_scopes(key: Key, asked: Mapping[str, str | None] | None = None) -> tuple[Scope, ...]:
    """The scopes of a key whose names are known: its own, its team's, its tenant's, those per model, and of those per
    user or session the ones that are `asked` for (`{"user": …}`)."""
    found = []
    for template in key.scopes:
        if template.each is None:
            found.append(Scope(template.id, template.limits, template.time_zone, template.key_name))
        elif asked is not None and (who := asked.get(template.each)) is not None:
            found.append(
                Scope(f"{template.id}:{scope_mark(who)}", template.limits, template.time_zone, template.key_name)
            )
    return tuple(found)


def scope_mark(who: str) -> str:
    """An end user or session in the name of a counter, which must not hold a person's."""
    return hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def describe(principal: Principal, remaining: Sequence[Remaining], now: float) -> dict[str, Any]:
    """The key as its holder may see it: no hash, no other key. Money in USD, `resets_in` in seconds (null: never);
    `now` in Unix seconds."""
    key = principal.key
    shown = {template.id for template in key.scopes if template.each is not None}
    return {
        "object": "gateway.key",
        "id": key.id,
        "name": key.name,
        "secret": principal.secret_id,
        "team": key.team,
        "tenant": key.tenant,
        "expires": key.expires.isoformat() if key.expires is not None else None,
        "disabled": [one.reason for one in key.disabled if one.until is None or now < one.until.timestamp()],
        "models": [list(group) for group in key.models],
        "endpoints": [sorted(group) for group in key.endpoints],
        "redaction": key.redaction.name if key.redaction is not None else None,
        "request": {
            "max": {name: most for name, most, _ in key.request.max},
            "force": {name: value for name, value, _ in key.request.force},
            "deny": [name for name, _ in key.request.deny],
        },
        "limits": [standing_of(one, now) for one in remaining],
        "limits_each": [
            {"scope": template.id, "each": template.each, "limit": limit.name, "amount": amount_of(limit)}
            for template in key.scopes
            if template.id in shown
            for limit in template.limits
        ],
    }


def standing_of(one: Remaining, now: float) -> dict[str, Any]:
    """One limit as it stands. `used` holds what open requests reserve, too."""
    limit = one.limit
    whole = limit.burst or limit.amount if limit.window is Window.MINUTE else limit.amount
    told: dict[str, Any] = {
        "scope": one.scope,
        "limit": limit.name,
        "amount": amount_of(limit),
        "used": _shown(whole - one.remaining, limit.unit),
        "remaining": _shown(one.remaining, limit.unit),
        "resets_in": round(one.reset, 3) if one.reset is not None else None,
        "resets_at": _resets_at(limit.window, now + one.reset) if one.reset is not None else None,
        "shadow": limit.shadow,
    }
    if limit.window is Window.MINUTE:
        told["burst"] = whole
    elif limit.window is not Window.OPEN:
        told["at_limit"] = limit.at_limit
    if limit.until:
        told["exception"] = {"policy": _shown(limit.written, limit.unit), "until": moment(limit.until)}
    return told


def amount_of(limit: Limit) -> float:
    """A limit's amount: requests, tokens or USD."""
    return _shown(limit.amount, limit.unit)


def _shown(amount: int, unit: Unit) -> float:
    return amount / NANO if unit is Unit.USD else amount


def _resets_at(window: Window, seconds: float) -> str:
    """A calendar period ends on a whole minute, in every time zone: what a look at the store took, and how its clock
    differs from ours, is left out, or a month would end at 23:59:59. A bucket's second is rounded up: who waits until
    then has waited long enough."""
    calendar = window in (Window.DAY, Window.MONTH)
    whole = round(seconds / _MINUTE) * _MINUTE if calendar else math.ceil(round(seconds, 3))
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
