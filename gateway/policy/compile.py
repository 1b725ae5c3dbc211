"""Policies as written → policies as used: a frozen set, every rule with its file and line, or every mistake. Pure.

The hash names what the files say, not how they say it: neither their names nor their order, comments or layout. Rules
are numbered by content too (tables by name, prices by what they price), so that a decision `<hash>.<number>` means the
same rule in every process and after every tidying up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from gateway.policy.check import disagreements, profile_mistakes
from gateway.policy.compiled import Disabled, Model, PolicySet, Price, ProviderFacts, RedactionProfile, Version
from gateway.policy.entries import Entries, Entry, Rules, dotted, read_entries
from gateway.policy.join import with_digest
from gateway.policy.later import not_enforced
from gateway.policy.levels import Levels
from gateway.policy.odd import warnings
from gateway.toml import Mistake


def compile_policies(
    files: Mapping[str, str], providers: Mapping[str, ProviderFacts], now: float | None = None
) -> tuple[PolicySet | None, list[Mistake], list[str]]:
    """The set that the files mean, or every mistake in them; and what is odd but allowed. `files` is name → text;
    `now` in Unix seconds, where expired keys are to be told."""
    entries, mistakes = read_entries(files)
    mistakes += disagreements(entries, providers)
    if mistakes:
        return None, sorted(set(mistakes)), []
    policy = _policy_set(entries, providers)
    return policy, [], list(warnings(policy, now))


def compile_profiles(
    files: Mapping[str, str], providers: Mapping[str, ProviderFacts]
) -> tuple[dict[str, RedactionProfile | None], list[Mistake]]:
    """The redaction profiles alone, None for one that has a mistake itself; and every mistake of the files, wherever:
    for who only wants to see what a profile does."""
    entries, mistakes = read_entries(files)
    mistakes += disagreements(entries, providers)
    twice = {mistake.what.partition(" stands also in ")[0] for mistake in mistakes}
    rules = Rules()
    profiles: dict[str, RedactionProfile | None] = dict.fromkeys(entries.named["redaction"])
    for name, entry in entries.good("redaction"):
        if not entry.unread and dotted(entry.loc) not in twice and not [*profile_mistakes(entry)]:
            profiles[name] = _profile(name, entry, rules)
    return profiles, sorted(set(mistakes))


def _policy_set(entries: Entries, providers: Mapping[str, ProviderFacts]) -> PolicySet:
    rules = Rules()
    profiles = {name: _profile(name, entry, rules) for name, entry in entries.good("redaction")}
    models = [_model(name, entry, rules) for name, entry in entries.good("models")]
    levels = Levels(entries, rules, profiles)
    keys = {name: levels.key(name, entry) for name, entry in entries.good("keys")}
    prices = [_price(entry, rules) for entry in _by_what_they_price(entries)]
    wildcards = [model for model in models if model.name.endswith("*")]
    return PolicySet(
        hash=_hash(entries),
        keys=keys,
        by_digest={secret.digest: (key, secret) for key in keys.values() for secret in key.secrets},
        models={model.name: model for model in models if not model.name.endswith("*")},
        wildcards=tuple(sorted(wildcards, key=lambda model: -len(model.name))),
        prices=tuple(sorted(prices, key=_most_specific_and_latest)),
        providers=dict(providers),
        not_enforced=tuple(not_enforced(entries, rules)),
        rules=rules.all,
        redaction=profiles,
        several_tenants=len({key.tenant for key in keys.values()}) > 1,
    )


def _hash(entries: Entries) -> str:
    """SHA-256 of what is written, in hex. Whether a provider is there just now is no part of it."""
    content: dict[str, object] = {
        section: {name: entry.written for name, entry in entries.good(section)} for section in entries.named
    }
    content["defaults"] = entries.defaults.written if entries.defaults is not None else {}
    content["prices"] = [entry.written for entry in _by_what_they_price(entries)]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> str:
    assert isinstance(value, datetime | date | time)  # noqa: S101  # INVARIANT: TOML has no other type that JSON has not
    return value.isoformat()


def _by_what_they_price(entries: Entries) -> list[Entry]:
    return sorted(
        entries.prices,
        key=lambda one: (one.table.provider, one.table.model, one.table.tier or "", one.table.since or date.min),
    )


def _most_specific_and_latest(row: Price) -> tuple[bool, int, bool, int]:
    return (
        row.model.endswith("*"),
        -len(row.model),
        row.tier is None,
        -(row.since.toordinal() if row.since is not None else 0),
    )


def _profile(name: str, entry: Entry, rules: Rules) -> RedactionProfile:
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
            output_action=table.output_action,
            output_actions=tuple(sorted(table.output_actions.items())),
            shadow=table.shadow,
            countries=tuple(table.countries),
            score=table.score,
            scores=tuple(sorted(table.scores.items())),
            allow=tuple(table.allow),
            deny=tuple((word.entity, word.text) for word in table.deny),
            patterns=tuple((pattern.entity, pattern.regex, pattern.score) for pattern in table.patterns),
            presidio=() if table.presidio is None else (table.presidio,),
            deadline=table.deadline,
            remember_days=table.remember_days,
            rule=rules.at(entry),
        )
    )


def _model(name: str, entry: Entry, rules: Rules) -> Model:
    table = entry.table
    rule = rules.at(entry)
    if table.versions:
        versions = tuple(
            Version(
                one.name, one.provider, one.model, one.weight, rules.at(entry, "versions", index),
                _disabled(one, entry, rules, "versions", index),
            )
            for index, one in enumerate(table.versions)
        )  # fmt: skip
    else:
        upstream = table.model or ("*" if name.endswith("*") else name)
        versions = (Version("default", table.provider, upstream, 100, rule),)
    return Model(
        name, versions, rule, frozenset(table.groups), table.sticky, tuple(table.fallback),
        _disabled(table, entry, rules),
    )  # fmt: skip


def _disabled(table: object, entry: Entry, rules: Rules, *at: str | int) -> Disabled | None:
    disabled = getattr(table, "disabled", None)
    return Disabled(disabled.reason, disabled.until, rules.at(entry, *at, "disabled")) if disabled is not None else None


def _price(entry: Entry, rules: Rules) -> Price:
    row = entry.table

    def less(value: int | None) -> int | None:
        """What is left of a price behind the discount, rounded up; a share is read as thousandths."""
        return (
            value if value is None or row.discount is None else -(-value * (1000 - round(row.discount * 1000)) // 1000)
        )

    def row_of(table: Any, **more: Any) -> Price:
        kinds: dict[str, Any] = {name: less(getattr(table, name, None)) for name in _KINDS}
        return Price(row.provider, row.model, less(table.input) or 0, less(table.output) or 0, **kinds, **more)

    at = rules.at(entry)
    longer = row_of(row.long, rule=at) if row.long is not None else None
    over = row.long.over if row.long is not None else 0
    return row_of(row, since=row.since, rule=at, tier=row.tier, long_over=over, long=longer)


_KINDS = (
    "cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_output", "image_input", "image_output",
)  # fmt: skip
