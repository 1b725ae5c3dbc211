"""Who may use the admin listener, and for what. Pure.

Admin tokens are not keys: they open no model, and a key opens no admin path. Each role may also read, since who
changes a thing must be able to see it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.identity.secrets import digest_of, presented


class Right(StrEnum):
    """One sort of thing that can be done on the admin listener."""

    READ = "read"  # see keys, limits, usage, configuration; never a secret
    KEYS = "keys"  # issue, rotate, revoke keys
    LIMITS = "limits"  # change limits and budgets, grant more
    STOP = "stop"  # disable a key, team, tenant, model or provider, and enable it again


class Role(StrEnum):
    """What a token is for; the value is what `role = …` says in config.toml."""

    READ = "read"
    KEYS = "keys"
    LIMITS = "limits"
    STOP = "stop"
    ALL = "all"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.READ: frozenset({Right.READ}),
    Role.KEYS: frozenset({Right.READ, Right.KEYS}),
    Role.LIMITS: frozenset({Right.READ, Right.LIMITS}),
    Role.STOP: frozenset({Right.READ, Right.STOP}),
    Role.ALL: frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class AdminToken:
    """One token of `[admin.tokens.NAME]`. `digest` is SHA-256 of it; the name goes into the audit record."""

    name: str
    digest: bytes
    role: Role


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin whose token was checked."""

    name: str
    role: Role

    def may(self, right: Right) -> bool:
        """Whether the role allows it."""
        return right in RIGHTS[self.role]


def authenticate_admin(headers: Mapping[str, str], tokens: Iterable[AdminToken]) -> Admin | None:
    """The admin behind a request's bearer token; None where there is none. `headers` has lower-case names.
    Every token is compared, in constant time each, so the answer's time tells neither which matched nor how far."""
    digest = digest_of(presented(headers) or "")
    found = None
    for token in tokens:
        if hmac.compare_digest(digest, token.digest):
            found = Admin(token.name, token.role)
    return found
