"""Joining levels: tenant, team and key. A lower level never weakens a higher one. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.errors import Rule
from gateway.policy.compiled import OUTPUT, Action, RedactionProfile, RequestRules
from gateway.reading import OUTPUT_NAMES

# From weak to strong; a mask cannot be undone, so it is the stronger one of mask and replace.
_STRENGTH: Sequence[Action] = ("detect", "replace", "mask", "block")


def strictest(profiles: Sequence[RedactionProfile]) -> RedactionProfile | None:
    """One profile that is at least as strict as each (docs/decisions/0002-redaction-join.md). None of none."""
    if not profiles:
        return None
    if len({profile.name for profile in profiles}) == 1:
        return profiles[0]
    entities = tuple(sorted({entity for profile in profiles for entity in profile.entities}))
    actions = tuple(
        (
            entity,
            max((_action(profile, entity) for profile in profiles if _finds(profile, entity)), key=_STRENGTH.index),
        )
        for entity in sorted({*entities, *(name for profile in profiles for name in _custom(profile))})
    )
    replies = [profile for profile in profiles if profile.output]
    output_actions = tuple(
        (entity, max((_action(one, entity, reply=True) for one in replies if _finds(one, entity)), key=_STRENGTH.index))
        for entity in (entity for entity, _ in actions)
        if any(_finds(one, entity) for one in replies)
    )
    joined = RedactionProfile(
        name="+".join(dict.fromkeys(profile.name for profile in profiles)),
        entities=entities,
        actions=actions,
        on_error="deny" if any(profile.on_error == "deny" for profile in profiles) else "allow",
        unscannable="deny" if any(profile.unscannable == "deny" for profile in profiles) else "allow",
        input=any(profile.input for profile in profiles),
        output=bool(replies),
        # What only a profile finds that does not look into replies is not touched there.
        output_action="detect" if replies else None,
        output_actions=output_actions,
        shadow=all(profile.shadow for profile in profiles),
        countries=()
        if any(not profile.countries for profile in profiles)
        else tuple(sorted({country for profile in profiles for country in profile.countries})),
        score=min(profile.score for profile in profiles),
        scores=tuple(sorted(_lowest_scores(profiles).items())),
        allow=tuple(sorted(set.intersection(*(set(profile.allow) for profile in profiles)))),
        deny=tuple(sorted({pair for profile in profiles for pair in profile.deny})),
        patterns=tuple(sorted({pattern for profile in profiles for pattern in profile.patterns})),
        presidio=tuple(sorted({path for profile in profiles for path in profile.presidio})),
        deadline=max(profile.deadline for profile in profiles),
        remember_days=min(profile.remember_days for profile in profiles),
        rule=profiles[0].rule,
    )
    return with_digest(joined)


def _finds(profile: RedactionProfile, entity: str) -> bool:
    return entity in profile.entities or entity in _custom(profile)


def _custom(profile: RedactionProfile) -> set[str]:
    return {entity for entity, _ in profile.deny} | {pattern[0] for pattern in profile.patterns}


def _action(profile: RedactionProfile, entity: str, *, reply: bool = False) -> Action:
    return "detect" if profile.shadow else profile.action_for(entity, reply=reply)


def _lowest_scores(profiles: Sequence[RedactionProfile]) -> dict[str, float]:
    lowest: dict[str, float] = {}
    for profile in profiles:
        for entity in profile.entities:
            score = dict(profile.scores).get(entity, profile.score)
            lowest[entity] = min(score, lowest.get(entity, 1.0))
    return lowest


def with_digest(profile: RedactionProfile) -> RedactionProfile:
    """The profile with the hash of what it makes of a text: workers and caches go by it."""
    plain = replace(profile, name="", rule=None, digest="")
    return replace(profile, digest=hashlib.sha256(repr(plain).encode()).hexdigest()[:32])


def joined_rules(levels: Iterable[RequestRules]) -> RequestRules:
    """The smallest `max` of each name, every `force` (the higher level's where two differ), every `deny`. `levels`
    from the highest down. A lower level forces nothing that a higher one denies, and no more than a `max`."""
    most: dict[str, tuple[int, Rule]] = {}
    force: dict[str, tuple[object, Rule]] = {}
    deny: dict[str, Rule] = {}
    for level in levels:
        for name, value, rule in level.max:
            if name not in most or value < most[name][0]:
                most[name] = (value, rule)
        for name, forced, rule in level.force:
            if name not in deny:
                force.setdefault(name, (forced, rule))
        for name, rule in level.deny:
            deny.setdefault(name, rule)
    return RequestRules(
        tuple((name, value, rule) for name, (value, rule) in most.items()),
        tuple((name, _at_most(most, name, value), rule) for name, (value, rule) in force.items()),
        tuple(deny.items()),
    )


def _at_most(most: Mapping[str, tuple[int, Rule]], name: str, value: object) -> object:
    for capped in (name, OUTPUT if name in OUTPUT_NAMES else name):
        if capped in most and isinstance(value, int | float) and value > most[capped][0]:
            value = most[capped][0]
    return value
