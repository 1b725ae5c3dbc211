"""The policy set as it is used: frozen, resolved, every rule with its place in a file. Pure.

`compile.py` makes it from the TOML; `decide.py` asks it. Levels are already joined here: a key's scopes list its own
limits, its team's and its tenant's; its redaction is the strictest of all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from gateway.errors import Rule
from gateway.limits.bounds import Bounds
from gateway.limits.reservation import Reservation
from gateway.limits.scopes import Limit, Scope
from gateway.limits.spans import Marks, marks_of

OUTPUT = "output_tokens"  # the contract's one name of what endpoints name differently
TOOLS = "tools."  # before the type of a hosted tool
Action = Literal["replace", "mask", "block", "detect"]


@dataclass(frozen=True, slots=True)
class RedactionProfile:
    """What to look for and what to do with it. Frozen and hashable: analysis workers and caches go by `digest`."""

    name: str
    entities: tuple[str, ...]
    action: Action = "replace"
    actions: tuple[tuple[str, Action], ...] = ()  # per entity, where it differs
    on_error: Literal["deny", "allow"] = "deny"
    unscannable: Literal["allow", "deny"] = "deny"
    input: bool = True
    output: bool = False
    output_action: Action | None = None  # for what a model writes; None: as for what is asked
    output_actions: tuple[tuple[str, Action], ...] = ()  # likewise, per entity
    shadow: bool = False
    countries: tuple[str, ...] = ()
    score: float = 0.4
    scores: tuple[tuple[str, float], ...] = ()
    allow: tuple[str, ...] = ()  # texts that are never personal data
    deny: tuple[tuple[str, str], ...] = ()  # (entity, text) that always are
    patterns: tuple[tuple[str, str, float], ...] = ()  # (entity, regex, score)
    presidio: tuple[str, ...] = ()  # files of Presidio's own configuration, for what needs a language model
    deadline: float = 5.0  # seconds for one analysis
    remember_days: int = 30  # for how long the way back is kept of a response that the provider keeps; 0: not at all
    digest: str = ""
    rule: Rule | None = None
    replaced: frozenset[str] = field(init=False, compare=False, repr=False)  # entities that something else stands for
    marks: Marks | None = field(init=False, compare=False, repr=False)  # what bounds their number in a body

    def __post_init__(self) -> None:
        replaced = frozenset(one for one in self.entities if self.action_for(one) in ("replace", "mask"))
        object.__setattr__(self, "replaced", replaced)
        changes = self.input and not self.shadow
        more = bool(self.patterns or self.deny)
        object.__setattr__(self, "marks", marks_of(replaced, more=more) if changes else None)

    def action_for(self, entity: str, *, reply: bool = False) -> Action:
        """The action for one entity type in a request, or in the reply to one."""
        if reply and (action := dict(self.output_actions).get(entity, self.output_action)) is not None:
            return action
        return dict(self.actions).get(entity, self.action)

    @property
    def finds(self) -> frozenset[str]:
        """Every entity type that it looks for, those of its own patterns and words too."""
        return frozenset((*self.entities, *(one[0] for one in self.patterns), *(one[0] for one in self.deny)))


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-USD per token. None: this kind is not priced apart and costs what `input` or `output` costs."""

    provider: str
    model: str  # may end in *
    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    since: date | None = None
    rule: Rule | None = None
    tier: str | None = None  # what is asked for as `service_tier`; None: every tier without a row of its own
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    long_over: int = 0  # tokens of input above which `long` holds for all of the request
    long: Price | None = None
    dearest_input: int = field(init=False, compare=False, repr=False)  # the most that a token of input can cost
    flat: bool = field(init=False, compare=False, repr=False)  # no part and no length has a price of its own

    def __post_init__(self) -> None:
        dearest = max(self.input, self.cached_input or 0, self.cache_write or 0, self.cache_write_1h or 0)
        object.__setattr__(self, "dearest_input", dearest)
        parts = (self.cached_input, self.cache_write, self.cache_write_1h, self.audio_input, self.audio_output,
                 self.image_input, self.image_output, self.long)  # fmt: skip
        object.__setattr__(self, "flat", all(part is None for part in parts))


@dataclass(frozen=True, slots=True)
class Version:
    """One that may answer for a model: a provider (by its name in config.toml) and the model's name there."""

    name: str
    provider: str
    model: str
    weight: int
    rule: Rule
    disabled: Disabled | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What an application asks for. A wildcard `openai/*` has a version whose `model` is `*`: the rest of the name."""

    name: str
    versions: tuple[Version, ...]
    rule: Rule
    groups: frozenset[str] = frozenset()
    sticky: Literal["key", "user", "conversation", "none"] = "none"
    fallback: tuple[str, ...] = ()
    disabled: Disabled | None = None


@dataclass(frozen=True, slots=True)
class Disabled:
    reason: str
    until: datetime | None
    rule: Rule


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What a caller may ask of a model: all levels joined (the smallest max, every force, every deny).
    A name is `output_tokens`, a body parameter, or `tools.<type>` of a hosted tool."""

    max: tuple[tuple[str, int, Rule], ...] = ()
    force: tuple[tuple[str, object, Rule], ...] = ()
    deny: tuple[tuple[str, Rule], ...] = ()
    # Of `deny`, by place: what a look at the body's keys finds, and what takes more than one.
    denied: Mapping[str, int] = field(init=False, compare=False, repr=False)
    looked_for: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [name for name, _ in self.deny]
        plain = {name: place for place, name in enumerate(names) if name != OUTPUT and not name.startswith(TOOLS)}
        object.__setattr__(self, "denied", plain)
        object.__setattr__(self, "looked_for", tuple(sorted({*range(len(names))} - {*plain.values()})))


@dataclass(frozen=True, slots=True)
class ScopeTemplate:
    """A scope before a request fills it in: `each` makes one counter per user or session, `model` is a pattern that
    the asked model must match."""

    id: str
    limits: tuple[Limit, ...]
    time_zone: str = "UTC"
    each: Literal["user", "session"] | None = None
    model: str | None = None
    key_name: str = ""  # of the key whose own scope it is


@dataclass(frozen=True, slots=True)
class KeySecret:
    """One of a key's valid secrets. `digest` is SHA-256 of the secret."""

    id: str
    digest: bytes
    expires: datetime | None
    rule: Rule


@dataclass(frozen=True, slots=True)
class Key:
    """A key with everything that its team and tenant add already joined."""

    name: str
    id: str  # counters and reports follow it
    secrets: tuple[KeySecret, ...]
    rule: Rule
    tenant: str = "default"
    team: str | None = None
    models: tuple[tuple[str, ...], ...] = ()  # one group of patterns per level that says any: all must match
    endpoints: tuple[frozenset[str], ...] = (frozenset({"inference"}),)  # likewise
    redaction: RedactionProfile | None = None
    scopes: tuple[ScopeTemplate, ...] = ()
    request: RequestRules = RequestRules()
    provider: str | None = None  # for calls without a model
    require: tuple[tuple[str, str], ...] = ()  # provider labels that must be there
    labels: tuple[tuple[str, str], ...] = ()
    expires: datetime | None = None
    disabled: tuple[Disabled, ...] = ()  # the key's own, its team's, its tenant's
    drop_params: bool = False  # parameters that a provider's dialect cannot express may fall
    unknown_objects: Literal["allow", "deny"] | None = None  # None: as the provider's credentials are shared or not
    on_failure: Literal["closed", "bounded", "open"] | None = None  # where the tenant is stricter than the process
    time_zone: str = "UTC"  # of its days: its tenant's
    model_rules: tuple[Rule, ...] = ()  # the lines behind `models`, group by group
    endpoint_rules: tuple[Rule, ...] = ()  # likewise

    @property
    def governed(self) -> bool:
        """Whether cost or text of every call must be visible: it has a token or money limit, or a redaction profile,
        that is not only watched."""
        return (self.redaction is not None and not self.redaction.shadow) or any(
            limit.unit != "requests" and not limit.shadow for scope in self.scopes for limit in scope.limits
        )


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What policies must know of a provider in config.toml."""

    name: str
    kind: str
    labels: tuple[tuple[str, str], ...] = ()
    available: bool = True  # False: optional, and its key is missing
    shared: bool = True  # whether several tenants may use one of its credentials


PRICED = 10_000  # models whose price row is remembered
DECIDED = 10_000  # calls of which is remembered what was decided

# What calls must share to be decided alike: key, endpoint's shape and name, model, version.
Alike = tuple[str, str, str, str | None, str | None]


@dataclass(slots=True, eq=False)
class Decided:
    """What was decided of a call, for those that are like it, `since` and `until` in Unix seconds; `id` names it, as
    `decision_id` says; `row` is the usage row that they add to, `bounds` what their limits come to. The rest is filled
    by those who work it out: `records` by whoever writes them down; `routes`, the versions that may answer and the plan
    of each, and `plan`, if there is but one version, by whoever plans; `unlimited`, where no limit holds them, by
    whoever reserves; `straight` by the journey (`journey.Straight`)."""

    id: str
    key: Key
    models: tuple[tuple[Model, str], ...]
    scopes: tuple[Scope, ...]
    row: str
    bounds: Bounds
    since: float
    until: float
    records: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)
    routes: tuple[tuple[Version, ...], Mapping[str, Any]] | None = field(default=None, repr=False)
    plan: Any = field(default=None, repr=False)
    unlimited: Reservation | None = field(default=None, repr=False)
    straight: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All of it. `hash` names this very set in records and in `x-gateway-decision`."""

    hash: str
    keys: Mapping[str, Key]  # by name
    by_digest: Mapping[bytes, tuple[Key, KeySecret]]
    models: Mapping[str, Model]  # by exact name
    wildcards: tuple[Model, ...]  # longest prefix first
    prices: tuple[Price, ...]  # most specific and latest first
    providers: Mapping[str, ProviderFacts]
    rules: tuple[Rule, ...]
    not_enforced: tuple[Rule, ...] = ()  # accepted and checked, enforced by a later version
    redaction: Mapping[str, RedactionProfile] = field(default_factory=dict)
    several_tenants: bool = False  # whether its keys belong to more than one
    priced: dict[tuple[str, str, date, str | None], Price | None] = field(
        default_factory=dict, compare=False, repr=False
    )  # seen
    decided: dict[Alike, Decided] = field(default_factory=dict, init=False, compare=False, repr=False)
    counting: dict[tuple[str, str], tuple[ScopeTemplate, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )  # by key and asked model: what is left of a long list of scopes

    @property
    def model_count(self) -> int:
        """Of exact names and of wildcards: what `gateway check` and a reload both say."""
        return len(self.models) + len(self.wildcards)

    def model(self, name: str) -> tuple[Model, str] | None:
        """The model for a name, and what a wildcard's `*` stands for (else ""). None: nothing knows the name."""
        found = self.models.get(name)
        if found is not None:
            return found, ""
        for wildcard in self.wildcards:
            prefix = wildcard.name[:-1]
            if name.startswith(prefix) and len(name) > len(prefix):
                return wildcard, name[len(prefix) :]
        return None

    def price(self, provider: str, model: str, on: date, tier: str | None = None) -> Price | None:
        """The most specific and latest price row of a provider's model and service tier that holds on a date: of two
        rows of one model the one of the tier, else the one of none."""
        asked = provider, model, on, tier
        try:
            return self.priced[asked]
        except KeyError:
            if len(self.priced) >= PRICED:
                self.priced.clear()
            found = self.priced[asked] = self._price(*asked)
            return found

    def _price(self, provider: str, model: str, on: date, tier: str | None) -> Price | None:
        for row in self.prices:
            if row.provider != provider or (row.since is not None and row.since > on) or row.tier not in (None, tier):
                continue
            if row.model == model or (row.model.endswith("*") and model.startswith(row.model[:-1])):
                return row
        return None
