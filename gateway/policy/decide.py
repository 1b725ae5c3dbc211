"""decide: what the policy set allows of this very request, and which rule says so. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.errors import Reason, Refusal, Rule
from gateway.identity.principal import Principal
from gateway.limits.scopes import Scope, Unit
from gateway.policy.compiled import Disabled, Key, Model, PolicySet, ScopeTemplate, Version
from gateway.policy.permit import Permit
from gateway.reading import Ask

OUTPUT = "output_tokens"  # the contract's name of what chat and completions call differently
_OUTPUT_NAMES = ("max_completion_tokens", "max_tokens", "max_output_tokens")
CREATED = 1_700_000_000  # of models that we list: a date that no client reads, and that must be an integer


def decide(policy: PolicySet, principal: Principal, ask: Ask, now: float) -> Permit | Refusal:
    """The permit, or the first rule that refuses. `now` is Unix seconds."""
    key = principal.key
    for disabled in key.disabled:
        if _holds(disabled, now):
            return _disabled(disabled, "This key")
    if (refusal := _endpoint(key, ask)) is not None:
        return refusal
    if ask.endpoint.shape == "models":
        return Permit(policy, principal, ask, key.rule, models=tuple(_listed(policy, key, now)), labels=key.labels)
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
    scopes = tuple(_scopes(key.scopes, ask, models))
    if ask.endpoint.visible:
        if (refusal := _unpriced(policy, key, scopes, models, now)) is not None:
            return refusal
        governed = _govern(key, ask)
        if isinstance(governed, Refusal):
            return governed
    else:
        governed = ()
    return Permit(
        policy, principal, ask, key.rule, models, provider, key.require, scopes, key.redaction, governed, key.labels
    )


def _holds(disabled: Disabled | None, now: float) -> bool:
    return disabled is not None and (disabled.until is None or now < disabled.until.timestamp())


def _disabled(disabled: Disabled, what: str) -> Refusal:
    until = f" until {disabled.until.isoformat()}" if disabled.until is not None else ""
    return Refusal(Reason.DISABLED, f"{what} is disabled{until}: {disabled.reason}", rule=disabled.rule)


def _endpoint(key: Key, ask: Ask) -> Refusal | None:
    """Endpoints, and the rule "no side door" (docs/decisions/0001-side-door.md)."""
    endpoint = ask.endpoint
    for group in key.endpoints:
        if not ("*" in group or endpoint.name in group or ("inference" in group and endpoint.inference)):
            return Refusal(
                Reason.ENDPOINT_NOT_ALLOWED,
                f"This key may not use /v1/{endpoint.name}; its endpoints are: {', '.join(sorted(group)) or 'none'}.",
                rule=key.rule,
            )
    if not endpoint.visible and key.governed and not all(endpoint.name in group for group in key.endpoints):
        return Refusal(
            Reason.ENDPOINT_NOT_ALLOWED,
            f"This key has a budget or a redaction profile, and the gateway cannot see cost and text of "
            f"/v1/{endpoint.name}; it is open only to keys whose `endpoints` name '{endpoint.name}' itself.",
            rule=key.rule,
        )
    return None


def _model(policy: PolicySet, key: Key, name: str, now: float) -> tuple[Model, str] | Refusal:
    found = policy.model(name)
    if found is None:
        shown = name[:100]
        return Refusal(Reason.UNKNOWN_MODEL, f"The model '{shown}' does not exist here.", "model", key.rule)
    if not _may_use(key, name, found[0]):
        return Refusal(Reason.MODEL_NOT_ALLOWED, f"This key may not use the model '{name[:100]}'.", "model", key.rule)
    disabled = found[0].disabled
    if disabled is not None and _holds(disabled, now):
        return _disabled(disabled, f"The model '{name[:100]}'")
    return found


def _may_use(key: Key, name: str, model: Model) -> bool:
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


def _scopes(templates: Iterable[ScopeTemplate], ask: Ask, models: tuple[tuple[Model, str], ...]) -> Iterator[Scope]:
    for template in templates:
        if template.model is not None:
            if ask.model is None or not models or not _matches(template.model, ask.model, models[0][0]):
                continue
            yield Scope(template.id, template.limits, template.time_zone)
        elif template.each is not None:
            who = ask.user if template.each == "user" else ask.session
            if who is not None:
                yield Scope(f"{template.id}:{_mark(who)}", template.limits, template.time_zone)
        else:
            yield Scope(template.id, template.limits, template.time_zone)


def _mark(who: str) -> str:
    """A counter's name must not hold a person's."""
    return hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _unpriced(
    policy: PolicySet, key: Key, scopes: tuple[Scope, ...], models: tuple[tuple[Model, str], ...], now: float
) -> Refusal | None:
    """What has no price cannot be held to a money limit."""
    rule = next((limit.rule for scope in scopes for limit in scope.limits if limit.unit is Unit.USD), None)
    if rule is None or not models:
        return None
    today = datetime.fromtimestamp(now, UTC).date()
    model, rest = models[0]
    for version in model.versions:
        if not _fits(policy, key, version):
            continue
        upstream = rest if version.model == "*" else version.model
        if policy.price(version.provider, upstream, today) is None:
            return Refusal(
                Reason.UNPRICED_MODEL,
                f"This key has a limit in USD, and the model '{upstream[:100]}' of {version.provider} has no price.",
                "model",
                rule,
            )
    return None


def _fits(policy: PolicySet, key: Key, version: Version) -> bool:
    facts = policy.providers.get(version.provider)
    return facts is not None and facts.available and set(key.require) <= set(facts.labels)


def _govern(key: Key, ask: Ask) -> tuple[tuple[str, object], ...] | Refusal:
    """What the caller may ask of a model; what is set on the way out."""
    rules = key.request
    for name, rule in rules.deny:
        if (refusal := _denied(name, rule, ask)) is not None:
            return refusal
    edits = {name: value for name, value, _ in rules.force}
    for name, most, rule in rules.max:
        if name == OUTPUT:
            asked = ask.max_output_tokens
            if asked is None and ask.endpoint.shape in ("chat", "completions"):
                edits.setdefault("max_completion_tokens" if ask.endpoint.shape == "chat" else "max_tokens", most)
            for own in _OUTPUT_NAMES:
                value = _number(ask, own)
                asked = value if value is not None and value > (asked or 0) else asked
        else:
            asked = _number(ask, name)
        if asked is not None and asked > most:
            return Refusal(
                Reason.PARAMETER_NOT_ALLOWED,
                f"This key may ask for at most {most} in '{name}'; the request asks for {asked}.",
                name if name != OUTPUT else "max_tokens",
                rule,
            )
    return tuple(edits.items())


def _denied(name: str, rule: Rule, ask: Ask) -> Refusal | None:
    kind = name.removeprefix("tools.")
    if kind != name:
        tools = _decoded(ask, "tools")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and tool.get("type") == kind:
                return Refusal(Reason.PARAMETER_NOT_ALLOWED, f"This key may not use the tool '{kind}'.", "tools", rule)
        if kind == "web_search" and "web_search_options" in ask.fields:
            return Refusal(
                Reason.PARAMETER_NOT_ALLOWED, "This key may not use the tool 'web_search'.", "web_search_options", rule
            )
        return None
    if name in ask.fields and bytes(ask.fields[name]) != b"null":
        return Refusal(Reason.PARAMETER_NOT_ALLOWED, f"This key may not set '{name}'.", name, rule)
    return None


def _number(ask: Ask, name: str) -> int | None:
    value = _decoded(ask, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _decoded(ask: Ask, name: str) -> Any:
    raw = ask.fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return None


def _listed(policy: PolicySet, key: Key, now: float) -> Iterator[tuple[Model, str]]:
    """The models that a key may use now. A wildcard stands for names that nobody listed, so it is not shown."""
    for name, model in policy.models.items():
        if (
            _may_use(key, name, model)
            and not (model.disabled is not None and _holds(model.disabled, now))
            and any(_fits(policy, key, version) for version in model.versions)
        ):
            yield model, ""


def visible_models(permit: Permit) -> dict[str, Any] | Refusal:
    """OpenAI's list of GET /v1/models, or one of it for /v1/models/{id}."""
    below = permit.ask.endpoint.path.removeprefix("/models").strip("/")
    shown = [_shown(model) for model, _ in permit.models]
    if not below:
        return {"object": "list", "data": shown}

    name = unquote(below)
    for one in shown:
        if one["id"] == name:
            return one
    found = policy_model(permit, name)
    if isinstance(found, Refusal):
        return found
    return {**_shown(found), "id": name}


def policy_model(permit: Permit, name: str) -> Model | Refusal:
    """A model by a name that no list shows: one that a wildcard stands for."""
    found = permit.policy.model(name)
    if found is None or not _may_use(permit.principal.key, name, found[0]) or not found[0].name.endswith("*"):
        return Refusal(Reason.UNKNOWN_MODEL, f"The model '{name[:100]}' does not exist here.", "model", permit.rule)
    return found[0]


def _shown(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": CREATED, "owned_by": model.versions[0].provider}
