"""Policies as written → policies as used: a frozen set, every rule with its file and line, or every mistake. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.errors import Rule
from gateway.limits.scopes import BUDGETS, RATE_LIMITS, Limit, Window
from gateway.policy.check import disagreements, warnings
from gateway.policy.compiled import (
    Disabled,
    Key,
    KeySecret,
    Model,
    PolicySet,
    Price,
    ProviderFacts,
    RedactionProfile,
    RequestRules,
    ScopeTemplate,
    Version,
)
from gateway.policy.entries import Entries, Entry, Rules, read_entries
from gateway.policy.join import joined_rules, strictest, with_digest
from gateway.policy.schema import Budget, Limits, not_enforced
from gateway.toml import Loc, Mistake

NO_REDACTION = "none"  # as a level's `redaction`: it adds nothing of its own


def compile_policies(
    files: Mapping[str, str], providers: Mapping[str, ProviderFacts]
) -> tuple[PolicySet | None, list[Mistake], list[str]]:
    """The set that the files mean, or every mistake in them; and what is odd but allowed. `files` is name → text."""
    entries, mistakes = read_entries(files)
    mistakes += disagreements(entries, providers)
    if mistakes:
        return None, sorted(set(mistakes)), []
    return _Compiler(entries, providers, _hash(files)).policy_set(), [], list(warnings(entries, providers))


def _hash(files: Mapping[str, str]) -> str:
    """Names this very set of files: a decision's rule is a line of them."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name, files[name]):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


@dataclass(slots=True)
class _Level:
    """One level of a key: the tenant, the team or the key itself; or the defaults, which have no other tables."""

    scope: str
    entry: Entry


class _Compiler:
    def __init__(self, entries: Entries, providers: Mapping[str, ProviderFacts], digest: str) -> None:
        self._entries = entries
        self._providers = providers
        self._hash = digest
        self._rules = Rules()
        self._profiles: dict[str, RedactionProfile] = {}
        self._joined: dict[tuple[str, ...], RedactionProfile | None] = {}
        self._scopes: dict[str, tuple[ScopeTemplate, ...]] = {}
        self._requests: dict[str, RequestRules] = {}
        self._shared: dict[Loc, Rule] = {}

    def policy_set(self) -> PolicySet:
        entries = self._entries
        self._profiles = {name: self._profile(name, entry) for name, entry in entries.good("redaction")}
        models = [self._model(name, entry) for name, entry in entries.good("models")]
        keys = {name: self._key(name, entry) for name, entry in entries.good("keys")}
        prices = sorted(
            (self._price(entry) for entry in entries.prices),
            key=lambda row: (row.model.endswith("*"), -len(row.model), -(row.since.toordinal() if row.since else 0)),
        )
        return PolicySet(
            hash=self._hash,
            keys=keys,
            by_digest={secret.digest: (key, secret) for key in keys.values() for secret in key.secrets},
            models={model.name: model for model in models if not model.name.endswith("*")},
            wildcards=tuple(
                sorted((model for model in models if model.name.endswith("*")), key=lambda one: -len(one.name))
            ),
            prices=tuple(prices),
            providers=dict(self._providers),
            not_enforced=tuple(self._later()),
            rules=tuple(self._rules.all),
            redaction=dict(self._profiles),
        )

    def _profile(self, name: str, entry: Entry) -> RedactionProfile:
        table = entry.table
        return with_digest(
            RedactionProfile(
                name=name,
                entities=tuple(table.entities),
                action=table.action,
                actions=tuple(sorted(table.actions.items())),
                on_error=table.on_error,
                unscannable=table.unscannable,
                input=table.input,
                output=table.output,
                shadow=table.shadow,
                countries=tuple(table.countries),
                score=table.score,
                scores=tuple(sorted(table.scores.items())),
                allow=tuple(table.allow),
                deny=tuple((word.entity, word.text) for word in table.deny),
                patterns=tuple((pattern.entity, pattern.regex, pattern.score) for pattern in table.patterns),
                deadline=table.deadline,
                rule=self._rules.at(entry),
            )
        )

    def _model(self, name: str, entry: Entry) -> Model:
        table = entry.table
        rule = self._rules.at(entry)
        if table.versions:
            versions = tuple(self._version(entry, index) for index in range(len(table.versions)))
        else:
            upstream = table.model or ("*" if name.endswith("*") else name)
            versions = (Version("default", table.provider, upstream, 100, rule),)
        return Model(
            name,
            versions,
            rule,
            frozenset(table.groups),
            table.sticky,
            tuple(table.fallback),
            self._disabled_of(entry),
        )

    def _version(self, entry: Entry, index: int) -> Version:
        one = entry.table.versions[index]
        rule = self._rules.at(entry, "versions", index)
        disabled = self._disabled_of(entry, "versions", index)
        return Version(one.name, one.provider, one.model, one.weight, rule, disabled)

    def _price(self, entry: Entry) -> Price:
        table = entry.table
        return Price(
            table.provider, table.model, table.input, table.output, table.cached_input, table.cache_write, table.since,
            self._rules.at(entry),
        )  # fmt: skip

    def _key(self, name: str, entry: Entry) -> Key:
        table = entry.table
        rule = self._rule(entry)
        key_id = table.id or name
        team = self._entries.named["teams"].get(table.team) if table.team is not None else None
        tenant_name = (team.table.tenant if team is not None else None) or table.tenant or "default"
        tenant = self._entries.named["tenants"].get(tenant_name)
        levels = [_Level(f"key:{key_id}", entry)]
        if team is not None:
            levels.insert(0, _Level(f"team:{table.team}", team))
        if tenant is not None:
            levels.insert(0, _Level(f"tenant:{tenant_name}", tenant))
        time_zone = tenant.table.time_zone if tenant is not None else "UTC"
        tables = [level.entry.table for level in levels]
        models = self._groups(levels, "models", ())
        endpoints = self._groups(levels, "endpoints", ("inference",))
        own = [one for one in tables if one.provider is not None]
        secrets = [("default", table.hash, None, rule)] if table.hash is not None else []
        secrets += [
            (one.id, one.hash, one.expires, self._rules.at(entry, "secrets", index))
            for index, one in enumerate(table.secrets)
        ]
        return Key(
            name=name,
            id=key_id,
            secrets=tuple(KeySecret(*secret) for secret in secrets),
            rule=rule,
            tenant=tenant_name,
            team=table.team,
            models=tuple(group for group, _ in models),
            model_rules=tuple(rule for _, rule in models),
            endpoints=tuple(frozenset(group) for group, _ in endpoints),
            endpoint_rules=tuple(rule for _, rule in endpoints),
            redaction=self._redaction(tables),
            scopes=tuple(scope for level in reversed(levels) for scope in self._scopes_of(level, time_zone)),
            request=joined_rules([self._request_of(level) for level in levels]),
            provider=own[-1].provider if own else None,
            require=tuple(sorted({pair for one in tables for pair in one.require.items()})),
            labels=tuple(sorted({name: value for one in tables for name, value in one.labels.items()}.items())),
            expires=table.expires,
            disabled=tuple(one for level in levels if (one := self._disabled_of(level.entry)) is not None),
            on_failure=tenant.table.on_failure if tenant is not None else None,
        )

    def _redaction(self, tables: list[object]) -> RedactionProfile | None:
        names = [getattr(table, "redaction", None) for table in tables]
        if names[-1] is None and self._entries.defaults is not None:
            names[-1] = self._entries.defaults.table.redaction
        wanted = tuple(name for name in names if name is not None and name != NO_REDACTION)
        if wanted not in self._joined:
            self._joined[wanted] = strictest([self._profiles[name] for name in wanted])
        return self._joined[wanted]

    def _scopes_of(self, level: _Level, time_zone: str) -> tuple[ScopeTemplate, ...]:
        """The counters of a level; made once, so that all keys of a team share them, and its rules have one number."""
        known = self._scopes.get(level.scope)
        if known is None:
            known = self._scopes[level.scope] = tuple(self._counters(level, time_zone))
        return known

    def _counters(self, level: _Level, time_zone: str) -> Iterator[ScopeTemplate]:
        entry, table = level.entry, level.entry.table
        own = tuple(self._limits(entry, table.limits, table.budget))
        defaults = self._entries.defaults
        if level.scope.startswith("key:") and defaults is not None:
            named = {limit.name for limit in own}
            silent_limits = table.limits == Limits() and defaults.table.limits is not None
            silent_budget = table.budget == Budget() and defaults.table.budget is not None
            from_defaults = self._limits(
                defaults,
                defaults.table.limits if silent_limits else Limits(),
                defaults.table.budget if silent_budget else Budget(),
            )
            own += tuple(limit for limit in from_defaults if limit.name not in named)
        if own:
            yield ScopeTemplate(level.scope, own, time_zone)
        for pattern, counted in table.per_model.items():
            limits = tuple(self._limits(entry, counted.limits, counted.budget, "per_model", pattern))
            if limits:
                yield ScopeTemplate(f"{level.scope}|model:{pattern}", limits, time_zone, model=pattern)
        for each, counted in (("user", table.each.user), ("session", table.each.session)):
            if counted is None:
                continue
            limits = tuple(self._limits(entry, counted.limits, counted.budget, "each", each))
            if limits:
                yield ScopeTemplate(f"{level.scope}|{each}", limits, time_zone, each=each)  # type: ignore[arg-type]  # mypy widens the two names

    def _limits(self, entry: Entry, limits: Limits, budget: Budget, *at: str) -> Iterator[Limit]:
        for where, table, kinds in (("limits", limits, RATE_LIMITS), ("budget", budget, BUDGETS)):
            for name, (unit, window) in kinds.items():
                one = getattr(table, name, None)
                if one is None:
                    continue
                burst = (getattr(one, "burst", None) or one.limit) if window is Window.MINUTE else 0
                yield Limit(
                    name, unit, window, one.limit, self._rules.at(entry, *at, where, name), burst, one.shadow,
                    tuple(one.warn_at), getattr(one, "at_limit", "finish"),
                )  # fmt: skip

    def _request_of(self, level: _Level) -> RequestRules:
        known = self._requests.get(level.scope)
        if known is None:
            entry, request = level.entry, level.entry.table.request
            known = self._requests[level.scope] = RequestRules(
                tuple(
                    (name, value, self._rules.at(entry, "request", "max", name)) for name, value in request.max.items()
                ),
                tuple(
                    (name, value, self._rules.at(entry, "request", "force", name))
                    for name, value in request.force.items()
                ),
                tuple(
                    (name, self._rules.at(entry, "request", "deny", index)) for index, name in enumerate(request.deny)
                ),
            )
        return known

    def _disabled_of(self, entry: Entry, *at: str | int) -> Disabled | None:
        table = entry.table
        for part in at:
            table = table[part] if isinstance(part, int) else getattr(table, part)
        if table.disabled is None:
            return None
        return Disabled(table.disabled.reason, table.disabled.until, self._rule(entry, *at, "disabled"))

    def _rule(self, entry: Entry, *at: str | int) -> Rule:
        """A rule that several keys have of one level; it has one number."""
        place = (*entry.loc, *at)
        if place not in self._shared:
            self._shared[place] = self._rules.at(entry, *at)
        return self._shared[place]

    def _groups(self, levels: list[_Level], name: str, default: tuple[str, ...]) -> list[tuple[tuple[str, ...], Rule]]:
        """What each level that says any allows, and the line that says so: the key first, which always says one."""
        key, *above = reversed(levels)
        groups = []
        for level in (key, *above):
            said = getattr(level.entry.table, name)
            if said is not None:
                groups.append((tuple(said), self._rule(level.entry, name)))
            elif level is key:
                groups.append((default, self._rule(level.entry)))
        return groups

    def _later(self) -> Iterator[Rule]:
        """What was written and is only checked by this version."""
        for section in self._entries.named:
            for _, entry in self._entries.good(section):
                values: object = entry.document.values
                for part in entry.loc:
                    values = values[part]  # type: ignore[index]  # the entry stands there
                for path in _keys_within(values):
                    if path[-1] in not_enforced and "force" not in path and _at(values, path) is not False:
                        yield self._rules.at(entry, *path)


def _at(node: object, path: tuple[str | int, ...]) -> object:
    for part in path:
        node = node[part]  # type: ignore[index]  # the path was found there
    return node


def _keys_within(node: object, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        path = (*prefix, key)
        if isinstance(key, str):
            yield path
        yield from _keys_within(value, path)
