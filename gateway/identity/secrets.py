"""Secrets of callers: how they are made, sent and kept. Pure: randomness is an argument.

At rest there is only SHA-256 of a secret, written `sha256:<64 hex digits>`. A plain hash is enough because a secret
is 256 random bits: there is nothing to guess, so nothing for a slow hash to slow down. The format is the one in which
LiteLLM keeps its keys, so its rows can be taken over as they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

SECRET_BYTES = 32
KEY_ID_BYTES = 6
PROTOCOL = "openai-insecure-api-key."  # a WebSocket's subprotocol that carries a key (OpenAI's SDK for JavaScript)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


def presented(headers: Mapping[str, str]) -> str | None:
    """The credential that a request carries: `Authorization: Bearer`, `x-api-key` or `api-key` (as OpenAI's,
    Anthropic's and Azure's SDKs send it). `headers` has lower-case names. None where there is none, and where two
    places hold different ones: which of them a proxy before us has checked cannot be known."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = scheme.lower() == "bearer"
    if "x-api-key" not in headers and "api-key" not in headers and "upgrade" not in headers:
        return (token.strip() or None) if bearer else None
    found = set()
    if bearer:
        found.add(token.strip())
    for name in ("x-api-key", "api-key"):
        found.add(headers.get(name, "").strip())
    if "upgrade" in headers:  # a browser's WebSocket can send no other header
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith(PROTOCOL):
                found.add(protocol.strip()[len(PROTOCOL) :])
    found.discard("")
    return found.pop() if len(found) == 1 else None


def digest_of(secret: str) -> bytes:
    """SHA-256 of a secret, 32 bytes. Takes any string that a header can hold, undecodable bytes included."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hash_secret(secret: str) -> str:
    """What is written to a file in the secret's place: `sha256:<64 hex digits>`."""
    return f"sha256:{digest_of(secret).hex()}"


def parse_hash(text: str) -> bytes | None:
    """The 32 bytes that `sha256:<64 hex digits>` stands for; None where it is not that."""
    match = _HASH.fullmatch(text)
    return bytes.fromhex(match[1]) if match else None


def new_secret(random_bytes: bytes) -> str:
    """A secret out of 32 random bytes: `gw-` and 43 characters that need no quoting in a URL or a shell.
    Raises ValueError where there are not 32."""
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"a secret is made of {SECRET_BYTES} random bytes")
    return "gw-" + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def new_key_id(random_bytes: bytes) -> str:
    """A key's id out of 6 random bytes: `k_` and 12 hex digits. Not secret; counters and reports follow it.
    Raises ValueError where there are not 6."""
    if len(random_bytes) != KEY_ID_BYTES:
        raise ValueError(f"a key's id is made of {KEY_ID_BYTES} random bytes")
    return f"k_{random_bytes.hex()}"
