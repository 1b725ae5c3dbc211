"""Joining the levels of a key: what its tenant, its team and itself say becomes one frozen Key. Pure.

Every limit of every level applies; models and endpoints are intersected; redaction and request rules are joined to the
strictest. `[defaults]` stands in where a key itself says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.errors import Rule
from gateway.limits.scopes import BUDGETS, RATE_LIMITS, Limit, Window
from gateway.policy.compiled import Disabled, Key, KeySecret, RedactionProfile, RequestRules, ScopeTemplate
from gateway.policy.entries import Entries, Entry, Rules
from gateway.policy.join import joined_rules, strictest
from gateway.policy.schema import NO_BUDGET, NO_LIMITS, NO_REQUEST, Budget, Limits

NO_REDACTION = "none"  # as a level's `redaction`: it adds nothing of its own
NO_RULES = RequestRules()  # one for all of many keys
DEFAULT_TENANT = "default"  # of keys that name none


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of a key. `scope` is the id of its counters."""

    scope: str
    entry: Entry

    @property
    def table(self) -> Any:
        return self.entry.table

    @property
    def key_name(self) -> str:
        """Its name, where it is the key itself."""
        return str(self.entry.loc[-1]) if self.scope.startswith("key:") else ""


class Levels:
    """Makes keys. What several keys share of a team or a tenant is made once, so that each of its rules has one
    number."""

    def __init__(self, entries: Entries, rules: Rules, profiles: Mapping[str, RedactionProfile]) -> None:
        self._entries = entries
        self._rules = rules
        self._profiles = profiles
        self._joined: dict[tuple[str, ...], RedactionProfile | None] = {}
        self._scopes: dict[str, tuple[ScopeTemplate, ...]] = {}
        self._requests: dict[str, RequestRules] = {}
        self._together: dict[tuple[str, ...], RequestRules] = {}

    def key(self, name: str, entry: Entry) -> Key:
        """The key with everything that its team and tenant add."""
        table = entry.table
        tenant_name, levels = self._levels(name, entry)
        tables = [level.table for level in levels]
        tenant = self._entries.named["tenants"].get(tenant_name)
        models = self._groups(levels, "models", ())
        endpoints = self._groups(levels, "endpoints", ("inference",))
        return Key(
            name=name,
            id=table.id or name,
            secrets=tuple(self._secrets(entry)),
            rule=self._rules.at(entry),
            tenant=tenant_name,
            team=table.team,
            models=tuple(group for group, _ in models),
            model_rules=tuple(rule for _, rule in models),
            endpoints=tuple(frozenset(group) for group, _ in endpoints),
            endpoint_rules=tuple(rule for _, rule in endpoints),
            redaction=self._redaction(tables),
            scopes=tuple(
                scope
                for level in levels
                for scope in self._scopes_of(level, tenant.table.time_zone if tenant is not None else "UTC")
            ),
            request=self._request(levels),
            provider=next((one.provider for one in tables if one.provider is not None), None),
            require=tuple(sorted({pair for one in tables for pair in one.require.items()})),
            labels=tuple(sorted({pair[0]: pair[1] for one in reversed(tables) for pair in one.labels.items()}.items())),
            expires=table.expires,
            disabled=tuple(
                Disabled(
                    level.table.disabled.reason, level.table.disabled.until, self._rules.at(level.entry, "disabled")
                )
                for level in levels
                if level.table.disabled is not None
            ),
            drop_params={one.drop_params for one in tables} - {None} == {True},
            unknown_objects=_strictest([one.unknown_objects for one in tables]),
            on_failure=tenant.table.on_failure if tenant is not None else None,
            time_zone=tenant.table.time_zone if tenant is not None else "UTC",
        )

    def _levels(self, name: str, entry: Entry) -> tuple[str, list[_Level]]:
        """The tenant's name, and the levels from the key up."""
        table = entry.table
        levels = [_Level(f"key:{table.id or name}", entry)]
        tenant = table.tenant
        if table.team is not None:
            team = self._entries.named["teams"][table.team]
            levels.append(_Level(f"team:{table.team}", team))
            tenant = team.table.tenant
        tenant = tenant or DEFAULT_TENANT
        if (above := self._entries.named["tenants"].get(tenant)) is not None:
            levels.append(_Level(f"tenant:{tenant}", above))
        return tenant, levels

    def _secrets(self, entry: Entry) -> Iterator[KeySecret]:
        table = entry.table
        if table.hash is not None:
            yield KeySecret("default", table.hash, None, self._rules.at(entry))
        for index, one in enumerate(table.secrets):
            yield KeySecret(one.id, one.hash, one.expires, self._rules.at(entry, "secrets", index))

    def _groups(self, levels: list[_Level], name: str, default: tuple[str, ...]) -> list[tuple[tuple[str, ...], Rule]]:
        """What each level that says any allows, and the line that says so. A key always does, by default if need be."""
        groups = []
        for level in levels:
            said = getattr(level.table, name)
            if said is not None:
                groups.append((tuple(said), self._rules.at(level.entry, name)))
            elif level is levels[0]:
                groups.append((default, self._rules.at(level.entry)))
        return groups

    def _redaction(self, tables: list[Any]) -> RedactionProfile | None:
        own, *above = [table.redaction for table in tables]
        if own is None and self._entries.defaults is not None:
            own = self._entries.defaults.table.redaction
        wanted = tuple(name for name in (*reversed(above), own) if name is not None and name != NO_REDACTION)
        if wanted not in self._joined:
            self._joined[wanted] = strictest([self._profiles[name] for name in wanted])
        return self._joined[wanted]

    def _scopes_of(self, level: _Level, time_zone: str) -> tuple[ScopeTemplate, ...]:
        if level.scope not in self._scopes:
            self._scopes[level.scope] = tuple(self._counters(level, time_zone))
        return self._scopes[level.scope]

    def _counters(self, level: _Level, time_zone: str) -> Iterator[ScopeTemplate]:
        entry, table = level.entry, level.table
        own = tuple(self._limits(entry, table.limits, table.budget))
        defaults = self._entries.defaults
        if level.scope.startswith("key:") and defaults is not None:
            silent_limits = table.limits == NO_LIMITS and defaults.table.limits is not None
            silent_budget = table.budget == NO_BUDGET and defaults.table.budget is not None
            own += tuple(
                self._limits(
                    defaults,
                    defaults.table.limits if silent_limits else NO_LIMITS,
                    defaults.table.budget if silent_budget else NO_BUDGET,
                )
            )
        if own:
            yield ScopeTemplate(level.scope, own, time_zone, key_name=level.key_name)
        for pattern, counted in sorted(table.per_model.items()):
            if limits := tuple(self._limits(entry, counted.limits, counted.budget, "per_model", pattern)):
                yield ScopeTemplate(
                    f"{level.scope}|model:{pattern}", limits, time_zone, model=pattern, key_name=level.key_name
                )
        each: Literal["user", "session"]
        for each in ("user", "session"):
            counted = getattr(table.each, each)
            if counted is None:
                continue
            if limits := tuple(self._limits(entry, counted.limits, counted.budget, "each", each)):
                yield ScopeTemplate(f"{level.scope}|{each}", limits, time_zone, each=each, key_name=level.key_name)

    def _limits(self, entry: Entry, limits: Limits, budget: Budget, *at: str) -> Iterator[Limit]:
        for where, table, kinds in (("limits", limits, RATE_LIMITS), ("budget", budget, BUDGETS)):
            if table is NO_LIMITS or table is NO_BUDGET:
                continue
            for name, (unit, window) in kinds.items():
                one = getattr(table, name)
                if one is None:
                    continue
                burst = (one.burst or one.limit) if window is Window.MINUTE else 0
                at_limit: Literal["finish", "cut", "strict"] = one.at_limit if where == "budget" else "finish"
                yield Limit(
                    name, unit, window, one.limit, self._rules.at(entry, *at, where, name), burst, one.shadow,
                    tuple(sorted(set(one.warn_at))), at_limit,
                )  # fmt: skip

    def _request(self, levels: list[_Level]) -> RequestRules:
        says = [level for level in reversed(levels) if level.table.request is not NO_REQUEST]
        which = tuple(level.scope for level in says)
        if which not in self._together:
            self._together[which] = joined_rules([self._request_of(level) for level in says]) if says else NO_RULES
        return self._together[which]

    def _request_of(self, level: _Level) -> RequestRules:
        if level.scope not in self._requests:
            entry, request = level.entry, level.table.request
            self._requests[level.scope] = RequestRules(
                tuple(
                    (name, most, self._rules.at(entry, "request", "max", name))
                    for name, most in sorted(request.max.items())
                ),
                tuple(
                    (name, value, self._rules.at(entry, "request", "force", name))
                    for name, value in sorted(request.force.items())
                ),
                tuple(
                    (name, self._rules.at(entry, "request", "deny", index)) for index, name in enumerate(request.deny)
                ),
            )
        return self._requests[level.scope]


def _strictest(said: list[Literal["allow", "deny"] | None]) -> Literal["allow", "deny"] | None:
    return "deny" if "deny" in said else next((one for one in said if one is not None), None)
