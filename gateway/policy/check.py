"""What tables must agree on with each other, in all that can be read of each. Pure.

Where a file could not be read, what it would have defined is not called unknown: one mistake, not a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.policy.compiled import ProviderFacts
from gateway.policy.entries import Entries, Entry
from gateway.policy.levels import DEFAULT_TENANT, NO_REDACTION
from gateway.policy.near import suggestion
from gateway.policy.schema import ENTITIES, NAMED_ENTITIES
from gateway.toml import Mistake

# Body parameters that `request.force` may not set, and what sets them.
UNFORCED = {
    "model": "what a key may use stands in `models`",
    "messages": "it is what the caller says",
    "prompt": "it is what the caller says",
    "input": "it is what the caller says",
    "stream": "the caller's library waits for what it asked",
    "stream_options": "the gateway sets it, to see the usage",
}
# Providers whose list prices are shipped: a row of one that the settings do not have prices nothing, and is no slip.
PRICED_AHEAD = frozenset(("openai", "anthropic", "gemini"))
RESERVED = frozenset("|:\n\r\t")  # separators of counters' ids


def disagreements(entries: Entries, providers: Mapping[str, ProviderFacts]) -> Iterator[Mistake]:
    """Every rule that is broken between tables."""
    for section in ("tenants", "teams", "keys"):
        for name, entry in entries.named[section].items():
            if not name.strip() or len(name) > 100 or RESERVED & set(name):
                yield entry.mistake(
                    "has a name that it may not have", "up to 100 characters, none of | : or line breaks"
                )
    groups = _groups(entries)
    if entries.defaults is not None and entries.defaults.table is not None:
        yield from _profile_named(entries, entries.defaults)
    for section in ("tenants", "teams", "keys"):
        for _, entry in entries.good(section):
            yield from _level(entries, providers, entry, groups)
    yield from _teams(entries)
    yield from _keys(entries)
    for name, entry in entries.good("models"):
        yield from _model(entries, providers, name, entry)
    yield from _fallbacks(entries)
    for _, entry in entries.good("redaction"):
        yield from profile_mistakes(entry)
    yield from _prices(entries, providers)


def _groups(entries: Entries) -> set[str]:
    """Every group that a model is in; a model with a mistake elsewhere is in its groups all the same."""
    said = [
        entry.written.get("groups") for entry in entries.named["models"].values() if isinstance(entry.written, dict)
    ]
    return {group for groups in said if isinstance(groups, list) for group in groups if isinstance(group, str)}


def _known(entries: Entries, section: str, name: str) -> bool:
    return name in entries.named[section] or not entries.whole


def _unknown(entry: Entry, kind: str, name: str, there: Iterable[str], *at: str | int) -> Mistake:
    there = sorted(there)
    return entry.mistake(
        f"names the {kind} '{name}', which there is not{suggestion(name, there)}",
        ", ".join(there[:20]) or f"no {kind} yet",
        *at,
    )


def _provider(providers: Mapping[str, ProviderFacts], entry: Entry, name: str, *at: str | int) -> Iterator[Mistake]:
    if name not in providers:
        yield _unknown(entry, "provider", name, providers, *at)


def _profile_named(entries: Entries, entry: Entry) -> Iterator[Mistake]:
    name = entry.table.redaction
    if name is not None and name != NO_REDACTION and not _known(entries, "redaction", name):
        yield _unknown(entry, "redaction profile", name, [*entries.named["redaction"], NO_REDACTION], "redaction")


def _level(
    entries: Entries, providers: Mapping[str, ProviderFacts], entry: Entry, groups: set[str]
) -> Iterator[Mistake]:
    table = entry.table
    yield from _profile_named(entries, entry)
    yield from _force(entry)
    if table.provider is not None:
        yield from _provider(providers, entry, table.provider, "provider")
    for index, pattern in enumerate(table.models or ()):
        yield from _pattern(entries, entry, pattern, groups, "models", index)
    for pattern in table.per_model:
        yield from _pattern(entries, entry, pattern, groups, "per_model", pattern)
    offered = {pair for facts in providers.values() for pair in facts.labels}
    for name, value in table.require.items():
        if (name, value) not in offered:
            there = sorted(f'{one} = "{other}"' for one, other in offered)
            yield entry.mistake(
                "asks for a label that no provider bears", ", ".join(there) or "no labels", "require", name
            )


def _pattern(entries: Entries, entry: Entry, pattern: str, groups: set[str], *at: str | int) -> Iterator[Mistake]:
    if pattern.startswith("@"):
        if pattern[1:] not in groups and entries.whole:
            yield _unknown(entry, "group", pattern[1:], groups, *at)
    elif "*" in pattern[:-1]:
        yield entry.mistake("has a * inside", "a * only at the end", *at)
    elif not pattern.endswith("*") and entries.whole and not _model_known(entries, pattern):
        yield _unknown(entry, "model", pattern, entries.named["models"], *at)


def _model_known(entries: Entries, name: str) -> bool:
    return name in entries.named["models"] or any(
        model.endswith("*") and name.startswith(model[:-1]) for model in entries.named["models"]
    )


def _teams(entries: Entries) -> Iterator[Mistake]:
    for _, entry in entries.good("teams"):
        tenant = entry.table.tenant
        if tenant is not None and tenant != DEFAULT_TENANT and not _known(entries, "tenants", tenant):
            yield _unknown(entry, "tenant", tenant, entries.named["tenants"], "tenant")


def _keys(entries: Entries) -> Iterator[Mistake]:
    ids: dict[str, Entry] = {}
    digests: dict[bytes, Entry] = {}
    for name, entry in entries.good("keys"):
        table = entry.table
        if (table.hash is None) == (not table.secrets) and entry.read("hash", "secrets"):
            what = "has both hash and secrets" if table.secrets else "has no hash"
            yield entry.mistake(what, 'hash = "sha256:…" or, to rotate, secrets = [{ id, hash, expires }, …]')
        if len(table.secrets) > 2:
            yield entry.mistake(f"has {len(table.secrets)} secrets", "at most two: the old and the new", "secrets")
        if len({one.id for one in table.secrets}) < len(table.secrets):
            yield entry.mistake("has two secrets of one id", "an id for each", "secrets")
        if table.team is not None and not _known(entries, "teams", table.team):
            yield _unknown(entry, "team", table.team, entries.named["teams"], "team")
        yield from _tenant_of(entries, entry)
        key_id = table.id or name
        if key_id in ids and entry.read("id"):
            yield entry.mistake(f"has the id of {_place(ids[key_id])}", "an id of its own: counters follow it", "id")
        if entry.read("id"):
            ids.setdefault(key_id, entry)
        for index, digest in enumerate([table.hash] if table.hash is not None else [one.hash for one in table.secrets]):
            if digest in digests:
                at = ("hash",) if table.hash is not None else ("secrets", index, "hash")
                yield entry.mistake(f"has the secret of {_place(digests[digest])}", "a secret of its own", *at)
            digests.setdefault(digest, entry)


def _tenant_of(entries: Entries, entry: Entry) -> Iterator[Mistake]:
    table = entry.table
    tenant = table.tenant
    if tenant is not None and tenant != DEFAULT_TENANT and not _known(entries, "tenants", tenant):
        yield _unknown(entry, "tenant", tenant, entries.named["tenants"], "tenant")
    team = entries.named["teams"].get(table.team or "")
    if (
        tenant is not None
        and team is not None
        and team.table is not None
        and team.read("tenant")
        and (team.table.tenant or DEFAULT_TENANT) != tenant
    ):
        yield entry.mistake(
            "is not the tenant of its team",
            f"leave it out: the team's is '{team.table.tenant or DEFAULT_TENANT}'",
            "tenant",
        )


def _place(entry: Entry) -> str:
    return f"{entry.loc[-1]} ({entry.document.file}:{entry.line()})"


def _model(entries: Entries, providers: Mapping[str, ProviderFacts], name: str, entry: Entry) -> Iterator[Mistake]:
    table = entry.table
    if "*" in name[:-1] or name.startswith("@"):
        yield entry.mistake("has a name that it may not have", "a * only at the end, no @ at the start")
    if table.versions and (table.provider is not None or table.model is not None):
        yield entry.mistake("has versions and a provider of its own", "one of both")
    if not table.versions and table.provider is None and entry.read("provider", "versions"):
        yield entry.mistake("has no provider", 'provider = "…" and model = "…", or [[models.NAME.versions]]')
    if table.provider is not None:
        yield from _provider(providers, entry, table.provider, "provider")
    names = set[str]()
    for index, version in enumerate(table.versions):
        yield from _provider(providers, entry, version.provider, "versions", index, "provider")
        if version.name in names:
            yield entry.mistake("is the name of two versions", "a name for each", "versions", index, "name")
        names.add(version.name)
    if table.versions and entry.read("versions") and sum(version.weight for version in table.versions) == 0:
        yield entry.mistake("has no version with a weight above 0", "a weight of at least 1 in one of them", "versions")
    for index, fallback in enumerate(table.fallback):
        if entries.whole and not _model_known(entries, fallback):
            yield _unknown(entry, "model", fallback, entries.named["models"], "fallback", index)


def _fallbacks(entries: Entries) -> Iterator[Mistake]:
    """A model that falls back to itself, by however many others; each circle is told once."""
    falls = {name: tuple(entry.table.fallback) for name, entry in entries.good("models")}
    told = set[str]()
    for name, entry in entries.good("models"):
        circle = None if name in told else _circle(falls, name)
        if circle is not None:
            told.update(circle)
            way = " → ".join((*circle, name))
            yield entry.mistake(f"falls back to itself: {way}", "a chain of models that ends", "fallback")


def _circle(falls: Mapping[str, tuple[str, ...]], start: str) -> tuple[str, ...] | None:
    """The shortest way from a model back to itself, both ends being it; None where there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    for way in ways:
        for following in falls.get(way[-1], ()):
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return None


def _prices(entries: Entries, providers: Mapping[str, ProviderFacts]) -> Iterator[Mistake]:
    rows: dict[tuple[object, ...], Entry] = {}
    for entry in entries.prices:
        row = entry.table
        if row is None:
            continue
        if row.provider not in PRICED_AHEAD and entry.read("provider"):
            yield from _provider(providers, entry, row.provider, "provider")
        if "*" in row.model[:-1]:
            yield entry.mistake("has a * inside", "a * only at the end of a model's name", "model")
        if not entry.read("provider", "model", "tier", "since"):
            continue
        first = rows.setdefault((row.provider, row.model, row.tier, row.since), entry)
        if first is not entry:
            what = f"prices what {first.document.file}:{first.line()} prices"
            yield entry.mistake(what, "one row for a provider, model, tier and since")


def _force(entry: Entry) -> Iterator[Mistake]:
    """Policy chooses models and what is metered in other ways, which are checked; a forced parameter is not."""
    for name in entry.table.request.force:
        if name in UNFORCED:
            yield entry.mistake(f"may not be forced: {UNFORCED[name]}", "another parameter", "request", "force", name)


def profile_mistakes(entry: Entry) -> Iterator[Mistake]:
    """What a redaction profile must agree on with itself."""
    table = entry.table
    own = {pattern.entity for pattern in table.patterns} | {word.entity for word in table.deny}
    for index, entity in enumerate(table.entities):
        if entity in ENTITIES or entity in own or table.presidio is not None or not entry.read("presidio"):
            # What a model finds, it says itself.
            continue
        if entity in NAMED_ENTITIES:
            yield entry.mistake(
                f"looks for {entity}, which only a language model finds",
                "`presidio`, a file of Presidio's own configuration, beside it", "entities", index,
            )  # fmt: skip
        else:
            yield _unknown(entry, "entity", entity, ENTITIES | own, "entities", index)
    complete = entry.read("entities", "patterns", "deny")
    if not table.entities and not own and complete:
        yield entry.mistake("looks for nothing", "at least one entity, pattern or word", "entities")
    found = {*table.entities, *own}
    for where, names in (("actions", table.actions), ("scores", table.scores)):
        for name in names:
            if name not in found and complete:
                yield _unknown(entry, "entity", name, found, where, name)
