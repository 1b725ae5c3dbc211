"""Gemini's signature of a call, carried in the call's id where a dialect has no place for it. Pure.

Gemini 3 wants back what it signed its calls with, or answers 400. Clients of Messages keep nothing of a call but its
id, name and input, and hand its id back as it is: so the signature stands in it, in the letters that an id may have.
"""

from __future__ import annotations

import base64
import binascii

_MARK = "__signed__"


def carried(one: str, signature: str | None) -> str:
    """A call's id with its signature."""
    if signature is None:
        return one
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return one  # Gemini's are base64
    return one + _MARK + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def apart(one: str) -> tuple[str, str | None]:
    """The id and the signature of what `carried` made; any other id as it is."""
    name, mark, signed = one.partition(_MARK)
    if not mark:
        return one, None
    try:
        raw = base64.b64decode(signed + "=" * (-len(signed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return one, None
    return name, base64.b64encode(raw).decode()
