"""What is odd about a policy set and allowed all the same: the warnings of `gateway check`. Pure."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.limits.scopes import Unit
from gateway.policy.compiled import OUTPUT, TOOLS, Key, Model, PolicySet, RedactionProfile
from gateway.policy.decide import may_use
from gateway.redaction.unfinished import HOLD, LONGEST_BOUND, bound
from gateway.shapes.names import PARAMETERS, TOOL_TYPES

MISSPELT = 0.8  # how much a name is like a known one, for difflib: providers have names of their own, as `top_a`
_NAMES = sorted((OUTPUT, *PARAMETERS, *(TOOLS + kind for kind in TOOL_TYPES)))


def warnings(policy: PolicySet, now: float | None) -> Iterator[str]:
    """One line each, as `file:line: what`. `now` in Unix seconds; None: expiry is not looked at."""
    told: dict[str, None] = {}
    for key in policy.keys.values():
        if not key.models[0]:
            yield _said(key, f"keys.{key.name} names no models and may use none")
        if now is not None and (since := _expired(key, datetime.fromtimestamp(now, UTC))) is not None:
            yield _said(key, f"keys.{key.name} has expired, at {since.isoformat()}: it is refused with 401")
        for warning in (*_matching_nothing(policy, key), *_misspelt(key)):
            told.setdefault(warning)  # a team's is the same for each of its keys
    yield from told
    yield from _not_offered(policy)
    for model in (*policy.models.values(), *policy.wildcards):
        yield from _unpriced(policy, model)
    for profile in policy.redaction.values():
        yield from _endless(profile)


def _said(at: Key | Model, what: str) -> str:
    return f"{at.rule.file}:{at.rule.line}: {what}"


def _endless(profile: RedactionProfile) -> Iterator[str]:
    """Expressions of which a stream cannot hold back enough."""
    if not profile.output or profile.rule is None:
        return
    for number, (_, regex, _) in enumerate(profile.patterns):
        if bound(regex) is None:
            yield (
                f"{profile.rule.file}:{profile.rule.line}: redaction.{profile.name}.patterns[{number}] may match more "
                f"than {LONGEST_BOUND} characters: in a streamed reply (`output = true`) what has spaces in it and is "
                f"longer than {HOLD} may begin to pass before it is recognized; give it a longest match, as in "
                "[A-Z ]{1,200}"
            )


def _not_offered(policy: PolicySet) -> Iterator[str]:
    """One line for all the models that wait for the same providers' keys, at the first of them."""
    waiting: dict[str, list[Model]] = {}
    for model in (*policy.models.values(), *policy.wildcards):
        if not any(policy.providers[version.provider].available for version in model.versions):
            providers = ", ".join(sorted({version.provider for version in model.versions}))
            waiting.setdefault(providers, []).append(model)
    for providers, models in waiting.items():
        named = ", ".join(f"models.{model.name}" for model in models)
        verb = "is not offered: of its" if len(models) == 1 else "are not offered: of their"
        yield _said(models[0], f"{named} {verb} providers ({providers}) none has its key")


def _matching_nothing(policy: PolicySet, key: Key) -> Iterator[str]:
    """Patterns with a * that no model fits. A name without one is checked before: it is a mistake. Under a wildcard
    model any name may come."""
    for group, rule in zip(key.models, key.model_rules, strict=False):
        for pattern in group:
            start = pattern.removesuffix("*")
            if start in ("", pattern) or any(name.startswith(start) for name in policy.models):
                continue
            if not any(_meet(start, model.name[:-1]) for model in policy.wildcards):
                yield f"{rule.file}:{rule.line}: {rule.path}: no model fits the pattern '{pattern}'"


def _misspelt(key: Key) -> Iterator[str]:
    """Rules on parameters that nobody has, by their look: nothing is ever refused by them. What is like no known name
    may be a provider's own."""
    for name, rule in (*((name, rule) for name, _, rule in key.request.max), *key.request.deny):
        if (meant := _meant(name)) is not None:
            yield (
                f"{rule.file}:{rule.line}: {rule.path}: no parameter '{name}' is known, and the rule holds for that "
                f"name alone; did you mean '{meant}'?"
            )


@functools.lru_cache(maxsize=1000)
def _meant(name: str) -> str | None:
    """The known name that one is like; None: it is known, or like none. A tool's may have its version behind it."""
    kind = name.removeprefix(TOOLS)
    if kind == name:
        known = name in _NAMES
        near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=MISSPELT)
    else:
        known = kind in TOOL_TYPES or any(kind.startswith(f"{one}_") for one in TOOL_TYPES)
        near = [TOOLS + one for one in difflib.get_close_matches(kind, sorted(TOOL_TYPES), n=1, cutoff=MISSPELT)]
    return near[0] if near and not known else None


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _expired(key: Key, at: datetime) -> datetime | None:
    """When it expired, or the last of its secrets did."""
    if key.expires is not None and key.expires <= at:
        return key.expires
    ends = [secret.expires for secret in key.secrets if secret.expires is not None and secret.expires <= at]
    return max(ends) if ends and len(ends) == len(key.secrets) else None


def _unpriced(policy: PolicySet, model: Model) -> Iterator[str]:
    """Versions that a money limit would refuse, where some key has one and may use the model. What a wildcard stands
    for is known only when it is asked for."""
    without = [
        version
        for version in model.versions
        if version.model != "*"
        and policy.providers[version.provider].available
        and not any(row.provider == version.provider and _covers(row.model, version.model) for row in policy.prices)
    ]
    if without and any(_pays(key) and may_use(key, model.name, model) for key in policy.keys.values()):
        for version in without:
            yield _said(
                model,
                f"{version.model} of {version.provider} has no price: keys with a USD limit are refused it, until it "
                "has a row in [[prices]]",
            )


def _pays(key: Key) -> bool:
    return any(limit.unit is Unit.USD and not limit.shadow for scope in key.scopes for limit in scope.limits)


def _covers(row: str, model: str) -> bool:
    return row == model or (row.endswith("*") and model.startswith(row[:-1]))
