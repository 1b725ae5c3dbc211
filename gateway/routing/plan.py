"""plan: alias → which provider and model version answers. Pure: the draw is an argument.

Today a plan holds one attempt, chosen by weight; the order of further ones is a tuple so that retries and fallbacks
have their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from gateway.errors import Reason, Refusal
from gateway.own_lines import decision_lines
from gateway.policy.compiled import Decided, Model, PolicySet, Price, Version
from gateway.policy.permit import Permit

# What OpenAI and Anthropic call the ordinary tier, or the choice of one of their own.
ORDINARY = frozenset(("auto", "default", "standard", "standard_only"))


class Attempt(msgspec.Struct, frozen=True):
    """One call that may be made. `model` is the provider's name of it, None for a call that names no model. `lines`
    are ours that its answer's head has: by which decision, from which version."""

    provider: str
    model: str | None = None
    version: str | None = None
    alias: str | None = None
    price: Price | None = None
    lines: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Attempts in the order in which they may be made; never empty."""

    attempts: tuple[Attempt, ...]


def plan(permit: Permit, draw: float, now: float) -> Plan | Refusal:
    """The plan of a permit. `draw` in [0, 1) picks the version; the day of `now`, in Unix seconds, the price row. It is
    the `now` of the permit."""
    if not permit.models:
        if permit.provider is None:
            return Refusal(Reason.NO_PROVIDER, "No provider serves this call.", rule=permit.rule)
        return Plan((Attempt(permit.provider, lines=decision_lines(permit.decision)),))
    if (decided := permit.decided) is not None and "service_tier" not in permit.ask.fields:
        versions, plans = decided.routes or _routes(permit, decided, now)
        if versions:
            return plans[weighted(versions, draw).name if len(versions) > 1 else versions[0].name]
    model, rest = permit.models[0]
    versions = eligible(permit.policy, model, permit.require)
    if permit.ask.version is not None:
        versions = tuple(version for version in versions if version.name == permit.ask.version)
    if not versions:
        wanted = f" in version '{permit.ask.version}'" if permit.ask.version is not None else ""
        known = [permit.policy.providers.get(version.provider) for version in model.versions]
        absent = known and not any(one is not None and one.available for one in known)
        why = ": its provider is not configured on this gateway" if absent else ""
        return Refusal(
            Reason.NO_PROVIDER,
            f"No permitted provider offers the model '{model.name}'{wanted}{why}.",
            "model",
            permit.rule,
        )
    return _plan(permit, weighted(versions, draw), rest, now)


def only_plan(permit: Permit) -> Plan | None:
    """The plan of calls like this one, where one version alone may answer, so that nothing is to be drawn. None: there
    is a choice, or it was not worked out yet."""
    decided = permit.decided
    if decided is None or decided.plan is None or "service_tier" in permit.ask.fields:
        return None
    return decided.plan  # type: ignore[no-any-return]  # what `_routes` has made


def _plan(permit: Permit, chosen: Version, rest: str, now: float) -> Plan:
    upstream, today = rest if chosen.model == "*" else chosen.model, datetime.fromtimestamp(now, UTC).date()
    price = permit.policy.price(chosen.provider, upstream, today, asked_tier(permit))
    lines = decision_lines(permit.decision, chosen.name)
    return Plan((Attempt(chosen.provider, upstream, chosen.name, permit.ask.model, price, lines),))


def _routes(permit: Permit, decided: Decided, now: float) -> tuple[tuple[Version, ...], Mapping[str, Plan]]:
    """The versions that may answer calls like this one, and their plans; kept with what was decided of it."""
    (model, rest), wanted = permit.models[0], permit.ask.version
    versions = eligible(permit.policy, model, permit.require)
    versions = tuple(version for version in versions if wanted is None or version.name == wanted)
    routes = versions, {version.name: _plan(permit, version, rest, now) for version in versions}
    decided.routes = routes
    if len(versions) == 1:
        decided.plan = routes[1][versions[0].name]
    return routes


def asked_tier(permit: Permit) -> str | None:
    """The service tier that is asked for, as prices name it; None: the ordinary one, or whatever the provider picks."""
    asked: object = next((value for name, value in permit.edits if name == "service_tier"), None)
    if asked is None and (raw := permit.ask.fields.get("service_tier")) is not None:
        try:
            asked = msgspec.json.decode(raw)
        except msgspec.MsgspecError:
            return None
    return asked if isinstance(asked, str) and asked not in ORDINARY else None


def eligible(policy: PolicySet, model: Model, require: tuple[tuple[str, str], ...]) -> tuple[Version, ...]:
    """The model's versions whose provider is there and bears every required label."""
    kept = []
    for version in model.versions:
        provider = policy.providers.get(version.provider)
        if provider is not None and provider.available and set(require) <= set(provider.labels):
            kept.append(version)
    return tuple(kept)


def weighted(versions: tuple[Version, ...], draw: float) -> Version:
    """The version whose share of the summed weight holds `draw` in [0, 1). Weight 0 is never chosen unless all are."""
    total = sum(version.weight for version in versions)
    point = draw * total
    for version in versions:
        if point < version.weight:
            return version
        point -= version.weight
    return max(versions, key=lambda version: version.weight)


def stickiness(permit: Permit) -> str | None:
    """What the choice sticks to; None: every request draws anew. A conversation that the client does not name is its
    first turn: system message and first user message, which every later turn repeats."""
    if not permit.models:
        return None
    model, ask = permit.models[0][0], permit.ask
    match model.sticky:
        case "key":
            return f"{model.name}|key|{permit.principal.key.id}"
        case "user" if ask.user is not None:
            return f"{model.name}|user|{permit.principal.key.tenant}|{ask.user}"
        case "conversation" if (conversation := ask.conversation or ask.session or ask.first_turn) is not None:
            return f"{model.name}|conversation|{permit.principal.key.tenant}|{conversation}"
        case _:
            return None


def share(text: str, key: bytes) -> float:
    """A stable draw in [0, 1) for a text, the same in every process that knows the key."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
