"""Placeholders: what stands in a text in place of personal data. Pure.

`<EMAIL_ADDRESS_3414dcad>`: the entity type, so that a model still knows what it reads, and 32 bits of
HMAC-SHA256(key of the tenant, type and value). The same value has the same placeholder in every turn, process and
restart, so that a provider's prompt cache stays warm; another tenant's is another. Nothing can be computed back
without the key, and nothing is stored: the way back lives in the exchange that made it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

# The one pattern of our placeholders, by which text that only looks like one is known, and a reply is searched.
NAME = r"[A-Z][A-Z0-9_]{0,63}_[0-9a-f]{8,32}"
LOOKS_LIKE = re.compile(f"<{NAME}>")
LITERAL = "LITERAL"  # the type of text that looked like a placeholder before we came (docs/decisions/0003)
_SHORT, _LONG = 8, 32  # hexadecimal digits


def tenant_key(master: bytes, tenant: str) -> bytes:
    """The key of a tenant's placeholders, 32 bytes."""
    return hmac.digest(master, b"gateway placeholders\0" + tenant.encode("utf-8", "surrogatepass"), hashlib.sha256)


class Placeholders:
    """The placeholders of one exchange: `of` makes one, `restore` is the way back, placeholder → text. `known` are
    those of the conversation that it continues."""

    def __init__(self, key: bytes, known: Mapping[str, str] | None = None) -> None:
        self._key = key
        self._of: dict[tuple[str, str], str] = {}
        self._restore: dict[str, str] = dict(known or ())

    def of(self, entity: str, value: str) -> str:
        """The placeholder of a value. Two values never share one: where 32 bits collide, the second gets more."""
        known = self._of.get((entity, value))
        if known is not None:
            return known
        text = f"{entity}\0{value}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._key, text, hashlib.sha256).hex()
        for digits in range(_SHORT, _LONG + 1, 4):
            placeholder = f"<{entity}_{digest[:digits]}>"
            if self._restore.setdefault(placeholder, value) == value:
                self._of[(entity, value)] = placeholder
                return placeholder
        raise AssertionError("128 bits of HMAC-SHA256 collided")

    @property
    def restore(self) -> Mapping[str, str]:
        """Placeholder → its text, of all that were made."""
        return self._restore
