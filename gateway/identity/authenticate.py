"""authenticate: the first step of the journey. A presented credential becomes a Principal, or is refused. Pure.

Unknown, wrong and expired look the same from outside, in words and in work: who tries secrets learns nothing, not
even that one was valid once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from gateway.errors import Reason, Refusal
from gateway.fields import Fields, made_of
from gateway.identity.principal import Principal
from gateway.identity.secrets import digest_of, presented

if TYPE_CHECKING:
    from gateway.policy.compiled import Key, KeySecret
    from gateway.ports import KeyDirectory

INVALID = Refusal(Reason.INVALID_KEY, "Incorrect API key provided.")
MISSING = Refusal(
    Reason.INVALID_KEY,
    "You didn't provide one API key. Send it as 'Authorization: Bearer YOUR_KEY', or in the header x-api-key or "
    "api-key; where there are several of these they must agree.",
)
_NOBODY = bytes(32)  # no secret has this SHA-256, so the comparison against it fails


@dataclass(frozen=True, slots=True)
class Directory:
    """The keys of one policy set, as the port `KeyDirectory` asks for them. `by_digest` is `PolicySet.by_digest`."""

    by_digest: Mapping[bytes, tuple[Key, KeySecret]]
    era: object = field(default_factory=object, compare=False, repr=False)

    def find(self, digest: bytes) -> tuple[Key, KeySecret] | None:
        """The key and which of its secrets, by SHA-256 of what was presented."""
        return self.by_digest.get(digest)


def authenticate(headers: Mapping[str, str], directory: KeyDirectory, now: float) -> Principal | Refusal:
    """Who calls. `headers` has lower-case names, `now` is wall-clock time in seconds since 1970.

    Looking a digest up in a table leaks at most how far SHA-256 of a guess agrees with a stored one, and a guess
    cannot be steered towards a digest; the comparison that decides takes constant time all the same. Who comes again
    with the same head is known, until the keys change or what was presented expires. No refusal is kept.
    """
    if type(headers) is Fields and (known := headers.made.get(Principal)) is not None:
        principal, era, until = known
        if era is directory.era and now < until:
            return principal  # type: ignore[no-any-return]  # what is kept below
    digest = made_of(headers, _digest)
    if digest is None:
        return MISSING
    found = directory.find(digest)
    same = hmac.compare_digest(digest, found[1].digest if found is not None else _NOBODY)
    until = _until(found)
    if found is None or not (same and now < until):
        return INVALID
    principal = Principal(found[0], found[1].id)
    if type(headers) is Fields:
        headers.made[Principal] = principal, directory.era, until
    return principal


def _digest(headers: Mapping[str, str]) -> bytes | None:
    secret = presented(headers)
    return digest_of(secret) if secret is not None else None


def _until(found: tuple[Key, KeySecret] | None) -> float:
    """The first moment, in seconds since 1970, at which a key or its secret is no longer valid."""
    moments = (one.expires for one in found) if found is not None else ()
    return min((moment.timestamp() for moment in moments if moment is not None), default=inf)
