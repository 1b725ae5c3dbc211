"""What an edit of the policies means, in words: old set and new set → changes. Pure.

Keys are compared by their id, since counters follow it; what several keys share of a team or a tenant is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.limits.answer import quantity
from gateway.limits.scopes import Limit, Window
from gateway.policy.compiled import Key, Model, PolicySet, RequestRules, ScopeTemplate


@dataclass(frozen=True, slots=True)
class Change:
    """One change. Where it is one of a limit that is there before and after, `key` is one that counts in `scope`."""

    words: str
    key: str | None = None
    scope: str = ""
    limit: Limit | None = None  # as it will be


def difference(old: PolicySet, new: PolicySet) -> list[Change]:
    """Every change that a caller or a report could notice, keys first."""
    return [*_keys(old, new), *_limits(old, new), *_models(old, new), *_prices(old, new)]


def _keys(old: PolicySet, new: PolicySet) -> Iterator[Change]:
    before = {key.id: key for key in old.keys.values()}
    after = {key.id: key for key in new.keys.values()}
    for name in sorted(before.keys() - after.keys()):
        yield Change(f"{before[name].name}: removed, refused with 401 at once")
    for name in sorted(after.keys() - before.keys()):
        yield Change(f"{after[name].name}: a new key, with id {name}")
    for name in sorted(before.keys() & after.keys()):
        for words in _key(before[name], after[name]):
            yield Change(f"{after[name].name}: {words}")


def _key(old: Key, new: Key) -> Iterator[str]:
    if old.name != new.name:
        yield f"renamed from {old.name}; what was spent stays with it, since its id is the same"
    if (old.team, old.tenant) != (new.team, new.tenant):
        yield (
            f"moves from {_place(old)} to {_place(new)}; its own counters "
            + ("begin anew, since they lie with the tenant" if old.tenant != new.tenant else "stay")
            + ", and the new team's and tenant's limits count it from now on"
        )
    if {one.digest for one in old.secrets} != {one.digest for one in new.secrets}:
        gone = len({one.digest for one in old.secrets} - {one.digest for one in new.secrets})
        come = len({one.digest for one in new.secrets} - {one.digest for one in old.secrets})
        yield f"secrets change: {come} more, {gone} refused at once"
    if old.models != new.models:
        yield f"models {_groups(old.models)} → {_groups(new.models)}"
    if old.endpoints != new.endpoints:
        shown = [_groups(tuple(tuple(sorted(group)) for group in key.endpoints)) for key in (old, new)]
        yield f"endpoints {shown[0]} → {shown[1]}"
    digests = [key.redaction.digest if key.redaction is not None else None for key in (old, new)]
    if digests[0] != digests[1]:
        names = [key.redaction.name if key.redaction is not None else "none" for key in (old, new)]
        yield f"redaction {names[0]} → {names[1]}" + (" (the profile itself changes)" if names[0] == names[1] else "")
    if old.expires != new.expires:
        yield f"expires {old.expires or 'never'} → {new.expires or 'never'}"
    reasons = [tuple(one.reason for one in key.disabled) for key in (old, new)]
    if reasons[0] != reasons[1]:
        yield f"disabled: {', '.join(reasons[1])}" if reasons[1] else "no longer disabled"
    if _rules(old.request) != _rules(new.request):
        yield f"what it may ask of a model: {_rules(old.request)} → {_rules(new.request)}"
    if old.require != new.require:
        yield f"providers' labels {dict(old.require)} → {dict(new.require)}"
    if old.labels != new.labels:
        yield f"labels in records and usage {dict(old.labels)} → {dict(new.labels)}"


def _limits(old: PolicySet, new: PolicySet) -> Iterator[Change]:
    before, after = _scopes(old), _scopes(new)
    for scope in sorted(before.keys() | after.keys()):
        was, will = before.get(scope), after.get(scope)
        owner = (will or was or ("", None))[0]
        about = _about(scope, owner)
        old_limits = {limit.name: limit for limit in was[1].limits} if was is not None else {}
        new_limits = {limit.name: limit for limit in will[1].limits} if will is not None else {}
        if was is not None and will is not None and was[1].time_zone != will[1].time_zone:
            yield Change(
                f"{about}: days and months in {will[1].time_zone} in place of {was[1].time_zone}; what was spent in "
                "the running ones stays spent"
            )
        for name in sorted(old_limits.keys() | new_limits.keys()):
            one, other = old_limits.get(name), new_limits.get(name)
            if other is None:
                assert one is not None  # noqa: S101  # INVARIANT: the name is of one of the two
                yield Change(f"{about}: no longer limited in {name}, which was {quantity(one.amount, one.unit)}")
            elif one is None:
                counts = "" if other.window in (Window.MINUTE, Window.OPEN) else ", counted from now on"
                yield Change(f"{about}: {name} limited to {quantity(other.amount, other.unit)}{counts}")
            elif words := _limit(one, other):
                known = was[0] if was is not None else None
                yield Change(f"{about}: {name} {words}", known, scope, other)


def _limit(old: Limit, new: Limit) -> str:
    parts = []
    if old.amount != new.amount:
        before = quantity(old.amount, old.unit).rpartition(" ")[0]
        parts.append(f"{before} → {quantity(new.amount, new.unit)}")
    if old.burst != new.burst and (old.burst, new.burst) != (old.amount, new.amount):
        parts.append(f"burst {old.burst} → {new.burst}")
    if old.shadow != new.shadow:
        parts.append("only watched from now on" if new.shadow else "enforced from now on")
    if old.at_limit != new.at_limit:
        parts.append(f"at the line: {old.at_limit} → {new.at_limit}")
    if old.warn_at != new.warn_at:
        parts.append(f"warns at {', '.join(f'{share:.0%}' for share in new.warn_at) or 'nothing'}")
    return "; ".join(parts)


def _models(old: PolicySet, new: PolicySet) -> Iterator[Change]:
    before = {**old.models, **{model.name: model for model in old.wildcards}}
    after = {**new.models, **{model.name: model for model in new.wildcards}}
    for name in sorted(before.keys() - after.keys()):
        yield Change(f"model {name}: removed, 404 at once")
    for name in sorted(after.keys() - before.keys()):
        yield Change(f"model {name}: new, {_versions(after[name])}")
    for name in sorted(before.keys() & after.keys()):
        was, will = before[name], after[name]
        if _versions(was) != _versions(will):
            yield Change(f"model {name}: {_versions(was)} → {_versions(will)}")
        if was.groups != will.groups:
            yield Change(f"model {name}: groups {sorted(was.groups)} → {sorted(will.groups)}")
        if (was.disabled is None) != (will.disabled is None):
            disabled = will.disabled
            yield Change(f"model {name}: " + (f"disabled: {disabled.reason}" if disabled else "no longer disabled"))
        if was.fallback != will.fallback:
            yield Change(f"model {name}: falls back to {', '.join(will.fallback) or 'nothing'}")


def _prices(old: PolicySet, new: PolicySet) -> Iterator[Change]:
    def rows(policy: PolicySet) -> dict[tuple[object, ...], tuple[int, ...]]:
        return {
            (row.provider, row.model, row.tier, row.since): (
                row.input, row.output, row.cached_input or 0, row.cache_write or 0, row.cache_write_1h or 0,
                row.audio_input or 0, row.audio_output or 0, row.image_input or 0, row.image_output or 0,
            )
            for row in policy.prices
        }  # fmt: skip

    before, after = rows(old), rows(new)
    for row in sorted(before.keys() | after.keys(), key=str):
        if before.get(row) == after.get(row):
            continue
        provider, model, tier, since = row
        about = (
            f"price of {model} at {provider}"
            + (f", tier {tier}" if tier else "")
            + (f", since {since}" if since else "")
        )
        if row not in after:
            yield Change(f"{about}: removed; keys with a USD limit are refused what has no price")
        elif row not in before:
            yield Change(f"{about}: new, {_price(after[row])}")
        else:
            yield Change(f"{about}: {_price(before[row])} → {_price(after[row])}, for requests from now on")


def _scopes(policy: PolicySet) -> dict[str, tuple[str, ScopeTemplate]]:
    """Every scope by its id, with the name of a key that counts in it."""
    return {scope.id: (key.name, scope) for key in policy.keys.values() for scope in key.scopes}


def _about(scope: str, key: str) -> str:
    first, _, rest = scope.partition("|")
    kind, _, name = first.partition(":")
    owner = key if kind == "key" else f"{kind} {name}"
    part = rest.replace("model:", "for model ") if rest.startswith("model:") else f"for each {rest}" if rest else ""
    return f"{owner}, {part}" if part else owner


def _place(key: Key) -> str:
    return f"team {key.team} of tenant {key.tenant}" if key.team is not None else f"tenant {key.tenant}"


def _groups(groups: tuple[tuple[str, ...], ...]) -> str:
    return " and of these ".join(", ".join(group) or "none" for group in groups) or "none"


def _rules(rules: RequestRules) -> str:
    said = [f"at most {most} {name}" for name, most, _ in rules.max]
    said += [f"{name} is set to {value!r}" for name, value, _ in rules.force]
    said += [f"no {name}" for name, _ in rules.deny]
    return ", ".join(said) or "anything"


def _versions(model: Model) -> str:
    return ", ".join(f"{one.name} ({one.model} at {one.provider}, weight {one.weight})" for one in model.versions)


def _price(row: tuple[int, ...]) -> str:
    return f"{row[0] / 1000:g} in, {row[1] / 1000:g} out"
