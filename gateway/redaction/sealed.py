"""Sealing: what outlives an exchange is written down only so that nobody but its tenant's gateway reads it. Pure.

AES-256-GCM (the library `cryptography`) under a key of the tenant's own, derived from the master secret by
HKDF-SHA256; the name under which it is kept is bound to it, so that a value that was moved does not open. Names are
keyed hashes: the store learns neither who talks nor about what, nor which of its entries belong together.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12  # bytes; NIST SP 800-38D: what GCM takes as it is
_VERSION = b"\x01"
_decoder = msgspec.json.Decoder(dict[str, str])


class Seal:
    """`entropy` gives so many random bytes."""

    def __init__(self, master: bytes, entropy: Callable[[int], bytes]) -> None:
        self._master = master
        self._entropy = entropy

    def name(self, tenant: str, conversation: str) -> str:
        """Under which name a conversation's map is kept: 32 hexadecimal digits."""
        text = f"{tenant}\0{conversation}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key(b"names", tenant), text, hashlib.sha256).hex()[:32]

    def sealed(self, tenant: str, name: str, mapping: Mapping[str, str]) -> bytes:
        """A map, to be kept under a name."""
        nonce = self._entropy(_NONCE)
        text = msgspec.json.encode(mapping)
        return _VERSION + nonce + self._cipher(tenant).encrypt(nonce, text, name.encode())

    def opened(self, tenant: str, name: str, sealed: bytes) -> dict[str, str] | None:
        """The map; None where it was sealed under another key, for another name, or changed."""
        if not sealed.startswith(_VERSION):
            return None
        nonce, text = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # as `_cipher`

        try:
            return _decoder.decode(self._cipher(tenant).decrypt(nonce, text, name.encode()))
        except (InvalidTag, ValueError):
            return None

    def _cipher(self, tenant: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # 6 MB: only where something is kept

        return AESGCM(self._key(b"maps", tenant))

    def _key(self, purpose: bytes, tenant: str) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  # as `_cipher`
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415  # as `_cipher`

        info = b"gateway conversations\0" + purpose + b"\0" + tenant.encode("utf-8", "surrogatepass")
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self._master)
