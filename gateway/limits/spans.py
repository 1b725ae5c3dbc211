"""How many spans a body may hold at most, told by the characters that a span of each kind must hold. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHORTEST_NUMBER = 7  # digits of the shortest number that a recognizer takes for a phone, card, account or SSN

# Entities whose spans are bounded by a character that each must hold; anything else may be any word.
_AT = frozenset({"EMAIL_ADDRESS"})
_NUMBERS = frozenset({"PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "US_BANK_NUMBER", "US_ITIN"})
_ADDRESSES = frozenset({"IP_ADDRESS"})
_BOUNDED = _AT | _NUMBERS | _ADDRESSES
_WORD = re.compile(rb"[^\W\d_]{2,}")
_DIGITS = b"0123456789"
_MARKS = _DIGITS + b"@:.\\"
_ELSE = bytes(byte for byte in range(256) if byte not in _MARKS)


@dataclass(frozen=True, slots=True)
class Marks:
    """By what the spans of some entities are bounded."""

    at: bool
    numbers: bool
    addresses: bool
    words: bool


def marks_of(replaced: frozenset[str], *, more: bool) -> Marks | None:
    """Of the entities that something else stands for; `more`: of patterns and words besides. None: nothing is."""
    if not replaced and not more:
        return None
    return Marks(
        not replaced.isdisjoint(_AT), not replaced.isdisjoint(_NUMBERS), not replaced.isdisjoint(_ADDRESSES),
        more or not replaced <= _BOUNDED,
    )  # fmt: skip


def most_spans(marks: Marks, body: bytes) -> int:
    """How many there can be in a body."""
    rest = body.translate(None, _ELSE)  # once over all of it; what is left is short
    if rest.strip(b":."):
        spans = _most_spans(marks, body, rest)
    elif marks.addresses:
        spans = rest.count(b":") // 2 if body.isascii() else _of_addresses(rest)
    else:
        spans = 0
    return max(spans, len(_WORD.findall(body))) if marks.words else spans


def _most_spans(marks: Marks, body: bytes, rest: bytes) -> int:
    spans = 0
    if marks.at:
        spans += rest.count(b"@") + (body.count(b"\\u0040") if b"\\" in rest else 0)
    digits = len(rest) - len(rest.translate(None, _DIGITS))
    if marks.numbers:
        spans += digits // SHORTEST_NUMBER
    if marks.addresses:
        spans += _of_addresses(rest) if digits or b"\\" in rest or not body.isascii() else rest.count(b":") // 2
    return spans


def _of_addresses(rest: bytes) -> int:
    """Of digits and dots, in whatever way they are written, or of colons."""
    return rest.count(b".") // 3 + rest.count(b":") // 2
