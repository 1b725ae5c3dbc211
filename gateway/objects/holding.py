"""What another tenant's objects mean for a request and for an answer. Pure but for the port that it asks.

An object that is known to be another tenant's does not exist, in the same words as one that nobody made: whoever asks
must not learn which.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Reason, Refusal
from gateway.objects.ids import Named, TooMany, given, listed, named, without
from gateway.policy.compiled import Key, PolicySet
from gateway.ports import ObjectDirectory
from gateway.reading import Ask

RESPONSE_DAYS, DAYS = 31, 400  # a stored response lives for 30 days (OpenAI, "Data controls"); the rest until deleted


def strict(policy: PolicySet, key: Key, provider: str) -> bool:
    """Whether objects that were never seen do not exist for a key. Unless it says so itself: where the provider's
    credentials are shared, since such an object may be anybody's."""
    if key.unknown_objects is not None:
        return key.unknown_objects == "deny"
    facts = policy.providers.get(provider)
    return facts is None or facts.shared


async def held(directory: ObjectDirectory, policy: PolicySet, key: Key, provider: str, ask: Ask) -> Refusal | None:
    """The refusal where a request names an object that is not the tenant's. Raises StoreFailure."""
    if not policy.several_tenants:
        return None
    try:
        wanted = named(ask)
    except TooMany:
        return Refusal(Reason.BAD_REQUEST, "The request names more objects than can be looked up.")
    if not wanted:
        return None
    owners = await directory.owners(provider, [one.id for one in wanted])
    deny = strict(policy, key, provider)
    for one, owner in zip(wanted, owners, strict=True):
        if not _visible(one, owner, key.tenant, deny=deny):
            return Refusal(Reason.UNKNOWN_OBJECT, f"No such object: '{one.id[:100]}'.", "id", key.rule)
    return None


def _visible(one: Named, owner: str | None, tenant: str, *, deny: bool) -> bool:
    return not (deny and one.owned) if owner is None else owner == tenant


async def seen(directory: ObjectDirectory, policy: PolicySet, key: Key, provider: str, ask: Ask, body: bytes) -> bytes:
    """An answer as a tenant may see it: a list without what is others'. What it brings into being is remembered.
    Raises StoreFailure."""
    if not policy.several_tenants:
        return body
    remember(directory, key, provider, given(body, created=ask.endpoint.method == "POST"))
    ids = listed(body)
    if not ids:
        return body
    known = [one for one in ids if one is not None]
    owners = dict(zip(known, await directory.owners(provider, known), strict=True))
    deny = strict(policy, key, provider) and ask.endpoint.name not in _OPEN_LISTS and not _below(ask)
    keep = [one is None or _visible(Named(one), owners[one], key.tenant, deny=deny) for one in ids]
    return body if all(keep) else without(body, keep)


# Lists of what belongs to no tenant.
_OPEN_LISTS = frozenset(("organization", "images", "moderations", "audio"))


def _below(ask: Ask) -> bool:
    """Whether what is listed belongs to an object that the path names, which was checked."""
    return len(ask.endpoint.path.strip("/").split("/")) > 2 and bool(named(ask))


def remember(directory: ObjectDirectory, key: Key, provider: str, ids: Sequence[str]) -> None:
    """These are the tenant's from now on, unless they are somebody's already."""
    for one in ids:
        directory.remember(provider, one, key.tenant, RESPONSE_DAYS if one.startswith("resp_") else DAYS)
