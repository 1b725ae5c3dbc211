"""decide: what the policy set allows of this very request, and which rule says so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

from gateway.endpoints import OTHER, Endpoint
from gateway.errors import Reason, Refusal
from gateway.identity.principal import Principal
from gateway.identity.standing import scope_mark
from gateway.limits.scopes import Scope, Unit
from gateway.policy.compiled import DECIDED, Alike, Decided, Disabled, Key, Model, PolicySet, ScopeTemplate, Version
from gateway.policy.inner import FormGuard, event_refusal, form_refusal, inner_refusal
from gateway.policy.parameters import govern
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.shapes.table import SHAPES
from gateway.unserved import STORED, slip

DAY = 86_400  # seconds
LONGEST_KEPT = 200  # characters of a model's name of which decisions are remembered
CREATED = 1_700_000_000  # of models that we list: a date that no client reads, and that must be an integer
FEW = 12  # scopes of a key: own, team, tenant, and some of a model or a user


def decide(policy: PolicySet, principal: Principal, ask: Ask, now: float) -> Permit | Refusal:
    """The permit, or the first rule that refuses. `now` is Unix seconds."""
    key, endpoint = principal.key, ask.endpoint
    alike = key.name, endpoint.shape, endpoint.name, ask.model, ask.version
    decided = policy.decided.get(alike)
    if decided is None or decided.key is not key or not decided.since <= now < decided.until or "tools" in ask.fields:
        permit = _decide(policy, principal, ask, now)
        if isinstance(permit, Refusal) or not (_is_all(key, ask) and _stands(policy, permit)):
            return permit
        decided = _keep(policy, permit, alike, now)
    return Permit(
        policy, principal, ask, key.rule, decided.models, None, key.require, decided.scopes, key.redaction, (),
        key.labels, decided,
    )  # fmt: skip


def _keep(policy: PolicySet, permit: Permit, alike: Alike, now: float) -> Decided:
    """Remember what was decided, for the rest of the day."""
    key, midnight = permit.principal.key, now // DAY * DAY
    if len(policy.decided) >= DECIDED:
        policy.decided.clear()
    decided = policy.decided[alike] = Decided(
        permit.decision, key, permit.models, permit.scopes, permit.row, permit.bounds, midnight, midnight + DAY
    )
    return decided


def _is_all(key: Key, ask: Ask) -> bool:
    """Whether the decision on a call depends on nothing but `Alike` and the day: no rule looks into its body."""
    rules = key.request
    if rules.max or rules.force or rules.deny or key.disabled or "tools" in ask.fields:
        return False
    return ask.model is not None and len(ask.model) <= LONGEST_KEPT and ask.endpoint.shape in SHAPES


def _stands(policy: PolicySet, permit: Permit) -> bool:
    """Whether the same will be decided for the rest of the day, of any user and session."""
    if any(template.each is not None for template in permit.principal.key.scopes):
        return False
    named = [policy.model(name) for name in (permit.ask.model or "", *permit.models[0][0].fallback)]
    models = [one[0] for one in named if one is not None]
    return not any(
        disabled is not None and disabled.until is not None
        for model in models
        for disabled in (model.disabled, *(version.disabled for version in model.versions))
    )


def _decide(policy: PolicySet, principal: Principal, ask: Ask, now: float) -> Permit | Refusal:
    key = principal.key
    for disabled in key.disabled:
        if _holds(disabled, now):
            return _disabled(disabled, "This key")
    if (refusal := _endpoint(key, ask)) is not None:
        return refusal
    if ask.endpoint.shape == "models":
        return _shown_models(policy, principal, ask, now)
    models: tuple[tuple[Model, str], ...] = ()
    provider = None
    if ask.model is not None:
        found = _model(policy, key, ask.model, now)
        if isinstance(found, Refusal):
            return found
        models = (found, *_fallbacks(policy, key, found[0], now))
    else:
        chosen = _provider(policy, key)
        if isinstance(chosen, Refusal):
            return chosen
        provider = chosen
    scopes = tuple(_scopes(_counting(policy, key, ask, models), ask, models))
    if ask.endpoint.visible and (refusal := _unpriced(policy, key, ask, scopes, models, now)) is not None:
        return refusal
    edits = govern(key.request, ask)
    if isinstance(edits, Refusal):
        return edits
    refusal = form_refusal(key.request, ask) or inner_refusal(
        key.request, ask, partial(_inner_model, policy, key, provider, now), partial(_tool_model, policy, key, now)
    )
    if refusal is not None:
        return refusal
    return Permit(
        policy, principal, ask, key.rule, models, provider, key.require, scopes, key.redaction, edits, key.labels
    )


def _holds(disabled: Disabled | None, now: float) -> bool:
    return disabled is not None and (disabled.until is None or now < disabled.until.timestamp())


def _disabled(disabled: Disabled, what: str) -> Refusal:
    until = f" until {disabled.until.isoformat()}" if disabled.until is not None else ""
    return Refusal(Reason.DISABLED, f"{what} is disabled{until}: {disabled.reason}", rule=disabled.rule)


def _endpoint(key: Key, ask: Ask) -> Refusal | None:
    """Endpoints, and the rule "no side door" (docs/decisions/0001-side-door.md)."""
    endpoint = ask.endpoint
    rules = key.endpoint_rules or (key.rule,) * len(key.endpoints)
    for group, rule in zip(key.endpoints, rules, strict=True):
        if not ("*" in group or endpoint.name in group or ("inference" in group and endpoint.inference)):
            return slip(endpoint, rule) or Refusal(
                Reason.ENDPOINT_NOT_ALLOWED,
                f"{_chats(endpoint)}This key may not use the endpoint '{endpoint.name}'{_nameless(endpoint)}; it may "
                f"use: {_words(group)}. Its `endpoints` would have to name it.",
                rule=rule,
            )
    if endpoint.visible or not key.governed:
        return None
    for group, rule in zip(key.endpoints, rules, strict=True):
        if endpoint.name not in group:
            return slip(endpoint, rule) or Refusal(
                Reason.ENDPOINT_NOT_ALLOWED,
                f"{_chats(endpoint)}This key has a budget or a redaction profile, and the gateway cannot see cost and "
                f"text of the endpoint '{endpoint.name}'{_nameless(endpoint)}; it is open only to keys whose "
                f"`endpoints` name '{endpoint.name}' itself.",
                rule=rule,
            )
    return None


def _chats(endpoint: Endpoint) -> str:
    """For those who meant to POST: this is a call that there is, but not what most want."""
    listing = endpoint.name == "stored_completions" and endpoint.path == STORED
    return f"{endpoint.method} /v1{STORED} is about stored completions; to chat, POST to it. " if listing else ""


def _nameless(endpoint: Endpoint) -> str:
    return " (every path that has no name here yet)" if endpoint.name == OTHER else ""


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _model(policy: PolicySet, key: Key, name: str, now: float) -> tuple[Model, str] | Refusal:
    """A model that the key may use now, with those of its versions that are not disabled."""
    found = policy.model(name)
    shown = name[:100]
    if found is None:
        return Refusal(
            Reason.UNKNOWN_MODEL,
            f"The model '{shown}' does not exist; GET /v1/models lists those that this key may use.",
            "model",
            key.rule,
        )
    model, rest = found
    rules = key.model_rules or (key.rule,) * len(key.models)
    for group, rule in zip(key.models, rules, strict=True):
        if not any(_matches(pattern, name, model) for pattern in group):
            return Refusal(
                Reason.MODEL_NOT_ALLOWED,
                f"This key may not use the model '{shown}'; GET /v1/models lists those that it may use.",
                "model",
                rule,
            )
    if model.disabled is not None and _holds(model.disabled, now):
        return _disabled(model.disabled, f"The model '{shown}'")
    return _without_disabled(model, now), rest


def form_guard(permit: Permit, now: float) -> FormGuard:
    """What holds for the part of a form that is not read yet."""
    policy, key = permit.policy, permit.principal.key
    return FormGuard(key.request, permit.ask.endpoint, partial(_inner_model, policy, key, permit.provider, now))


def event_check(permit: Permit, now: float) -> Callable[[bytes], Refusal | None]:
    """What holds for the events that a realtime client sends."""
    policy, key = permit.policy, permit.principal.key
    return partial(event_refusal, key.request, permit.ask.endpoint, partial(_tool_model, policy, key, now))


def _tool_model(policy: PolicySet, key: Key, now: float, name: str) -> Refusal | None:
    found = _model(policy, key, name, now)
    return found if isinstance(found, Refusal) else None


def _inner_model(policy: PolicySet, key: Key, provider: str | None, now: float, name: str) -> Refusal | None:
    """A model that a body names inside. It goes to the provider of the call as it is written."""
    found = _model(policy, key, name, now)
    if isinstance(found, Refusal):
        return found
    model, rest = found
    if provider is None or any(
        one.provider == provider and (rest if one.model == "*" else one.model) == name for one in model.versions
    ):
        return None
    return Refusal(
        Reason.MODEL_NOT_ALLOWED,
        f"The model '{name[:100]}' cannot be used here: what is inside of a body goes to the provider '{provider}' as "
        "it is written, and there the model has another name or does not exist.",
        "model",
        model.rule,
    )


def _without_disabled(model: Model, now: float) -> Model:
    if not any(_holds(version.disabled, now) for version in model.versions):
        return model
    return replace(model, versions=tuple(one for one in model.versions if not _holds(one.disabled, now)))


def may_use(key: Key, name: str, model: Model) -> bool:
    """Whether every level of a key allows a model by this name."""
    return all(any(_matches(pattern, name, model) for pattern in group) for group in key.models)


def _matches(pattern: str, name: str, model: Model) -> bool:
    if pattern.startswith("@"):
        return pattern[1:] in model.groups
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def _fallbacks(policy: PolicySet, key: Key, model: Model, now: float) -> Iterator[tuple[Model, str]]:
    for name in model.fallback:
        found = _model(policy, key, name, now)
        if not isinstance(found, Refusal):
            yield found


def _provider(policy: PolicySet, key: Key) -> str | Refusal:
    """Who serves a call that names no model."""
    if key.provider is not None:
        facts = policy.providers.get(key.provider)
        if facts is not None and facts.available and set(key.require) <= set(facts.labels):
            return facts.name
        return Refusal(Reason.NO_PROVIDER, f"The provider '{key.provider}' may not serve this key now.", rule=key.rule)
    fitting = [one for one in policy.providers.values() if one.available and set(key.require) <= set(one.labels)]
    if len(fitting) == 1:
        return fitting[0].name
    return Refusal(
        Reason.NO_PROVIDER,
        "This call names no model, and no one provider is set for it: the key, its team or its tenant needs "
        '`provider = "…"`.',
        rule=key.rule,
    )


def _counting(
    policy: PolicySet, key: Key, ask: Ask, models: tuple[tuple[Model, str], ...]
) -> tuple[ScopeTemplate, ...]:
    """A key's scopes without those of other models, where they are so many that to look at each would be felt."""
    if len(key.scopes) <= FEW or ask.model is None or not models or len(ask.model) > LONGEST_KEPT:
        return key.scopes
    asked = key.name, ask.model
    found = policy.counting.get(asked)
    if found is None:
        if len(policy.counting) >= DECIDED:
            policy.counting.clear()
        found = policy.counting[asked] = tuple(
            one for one in key.scopes if one.model is None or _matches(one.model, ask.model, models[0][0])
        )
    return found


def _scopes(templates: Iterable[ScopeTemplate], ask: Ask, models: tuple[tuple[Model, str], ...]) -> Iterator[Scope]:
    for template in templates:
        if template.model is not None:
            if ask.model is None or not models or not _matches(template.model, ask.model, models[0][0]):
                continue
            yield Scope(template.id, template.limits, template.time_zone, template.key_name)
        elif template.each is not None:
            who = ask.user if template.each == "user" else ask.session
            if who is not None:
                yield Scope(f"{template.id}:{scope_mark(who)}", template.limits, template.time_zone, template.key_name)
        else:
            yield Scope(template.id, template.limits, template.time_zone, template.key_name)


def _unpriced(
    policy: PolicySet, key: Key, ask: Ask, scopes: tuple[Scope, ...], models: tuple[tuple[Model, str], ...], now: float
) -> Refusal | None:
    """What has no price cannot be held to a money limit; a limit that is only watched refuses nothing."""
    money = (limit for scope in scopes for limit in scope.limits if limit.unit is Unit.USD and not limit.shadow)
    rule = next((limit.rule for limit in money), None)
    if rule is None or not models:
        return None
    today = datetime.fromtimestamp(now, UTC).date()
    model, rest = models[0]
    for version in model.versions:
        wanted = version.name == ask.version if ask.version is not None else version.weight > 0
        if not wanted or not _fits(policy, key, version):
            continue
        upstream = rest if version.model == "*" else version.model
        if policy.price(version.provider, upstream, today) is None:
            return Refusal(
                Reason.UNPRICED_MODEL,
                f"This key has a limit in USD, and the model '{upstream[:100]}' of the provider '{version.provider}' "
                "has no price; it needs a row in [[prices]].",
                "model",
                rule,
            )
    return None


def _fits(policy: PolicySet, key: Key, version: Version) -> bool:
    facts = policy.providers.get(version.provider)
    return facts is not None and facts.available and set(key.require) <= set(facts.labels)


def _shown_models(policy: PolicySet, principal: Principal, ask: Ask, now: float) -> Permit | Refusal:
    key, name = principal.key, _model_of_path(ask)
    models: tuple[tuple[Model, str], ...]
    if name is None:
        models = tuple(_listed(policy, key, now))
    else:
        found = _model(policy, key, name, now)
        if isinstance(found, Refusal):
            return found
        models = (found,)
    return Permit(policy, principal, ask, key.rule, models, require=key.require, labels=key.labels)


def _model_of_path(ask: Ask) -> str | None:
    """The id of GET /v1/models/{id}; None for the list."""
    return unquote(ask.endpoint.path).strip("/").removeprefix("models").strip("/") or None


def _listed(policy: PolicySet, key: Key, now: float) -> Iterator[tuple[Model, str]]:
    """The models that a key may use now. A wildcard stands for names that nobody listed, so it is not shown."""
    for name in policy.models:
        found = _model(policy, key, name, now)
        if not isinstance(found, Refusal) and any(_fits(policy, key, version) for version in found[0].versions):
            yield found


def visible_models(permit: Permit) -> dict[str, Any] | Refusal:
    """OpenAI's list object of GET /v1/models, or the model object of /v1/models/{id}; Anthropic's for its clients."""
    policy, key = permit.policy, permit.principal.key
    name, anthropic = _model_of_path(permit.ask), permit.ask.endpoint.anthropic
    if name is None:
        shown = [_shown(model, model.name, anthropic=anthropic) for model, _ in permit.models]
        if not anthropic:
            return {"object": "list", "data": shown}
        ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
        return {"data": shown, "has_more": False, **ends}
    model, _ = permit.models[0]
    if not any(_fits(policy, key, version) for version in model.versions):
        return Refusal(
            Reason.NO_PROVIDER, f"No permitted provider offers the model '{name[:100]}' now.", "model", model.rule
        )
    return _shown(model, name, anthropic=anthropic)


def _shown(model: Model, name: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        since = datetime.fromtimestamp(CREATED, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": "model", "id": name, "display_name": name, "created_at": since}
    return {"id": name, "object": "model", "created": CREATED, "owned_by": model.versions[0].provider}
