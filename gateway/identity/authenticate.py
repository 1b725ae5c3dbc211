"""authenticate: the first step of the journey. A presented credential becomes a Principal, or is refused. Pure.

Unknown, wrong and expired look the same from outside, in words and in work: who tries secrets learns nothing, not
even that one was valid once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.errors import Reason, Refusal
from gateway.fields import made_of
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

    def find(self, digest: bytes) -> tuple[Key, KeySecret] | None:
        """The key and which of its secrets, by SHA-256 of what was presented."""
        return self.by_digest.get(digest)


def authenticate(headers: Mapping[str, str], directory: KeyDirectory, now: float) -> Principal | Refusal:
    """Who calls. `headers` has lower-case names, `now` is wall-clock time in seconds since 1970.

    Looking a digest up in a table leaks at most how far SHA-256 of a guess agrees with a stored one, and a guess
    cannot be steered towards a digest; the comparison that decides takes constant time all the same.
    """
    digest = made_of(headers, _digest)
    if digest is None:
        return MISSING
    found = directory.find(digest)
    same = hmac.compare_digest(digest, found[1].digest if found is not None else _NOBODY)
    alive = _alive(found[0].expires if found is not None else None, now)
    alive &= _alive(found[1].expires if found is not None else None, now)
    if found is None or not (same and alive):
        return INVALID
    return Principal(found[0], found[1].id)


def _digest(headers: Mapping[str, str]) -> bytes | None:
    secret = presented(headers)
    return digest_of(secret) if secret is not None else None


def _alive(expires: datetime | None, now: float) -> bool:
    return expires is None or now < expires.timestamp()
