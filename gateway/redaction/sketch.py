"""The outline of a text: enough to say in microseconds that most expressions cannot match it. Pure.

Expressions that begin with "any digit" cost some ten microseconds a kilobyte each, translated bytes a tenth of that.
So the gate first asks the outline whether a unit of `windows.py` may be there, and only then the expression.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType

_LETTERS, _DIGITS = string.ascii_letters.encode(), string.digits.encode()
# What may stand between the digits of one number, in any of the units; "?" stands for all that is not ASCII.
_BETWEEN = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f-._/()[]~+xX?"
_HEX = string.hexdigits.encode()
_NUMBERS = bytes(0x30 if code in _DIGITS else 0 for code in range(256))
_SHAPE = bytes(0x30 if code in _DIGITS else 0x61 if code in _LETTERS else code for code in range(256))
_SPACES = b"\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_UPPER = string.ascii_uppercase.encode()
# Lower case, one kind of space and one of bracket.
_LOWER = bytes.maketrans(_UPPER + _SPACES + b"[{", _UPPER.lower() + b" " * len(_SPACES) + b"((")
_IN_BRACKETS = re.compile(rb"\( ?at")
_BRACKETED = (b"(at", b"( at", b"[at", b"[ at", b"{at", b"{ at")
_BRACKETS, _AT = (b"(", b"[", b"{"), (b"at", b" at")
_FEW = 32  # brackets that are looked at one by one: JSON has some in any text
_OTHER_DIGITS = re.compile(r"(?![0-9])\d")
_SECRETS = (
    b"sk-", b"k_", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"xox", b"hf_", b"npm_",
    b"pypi-", b"sg.", b"akia", b"asia", b"aiza", b"eyj", b"-----begin", b"key", b"secret", b"token", b"passw", b"pwd",
    b"bearer", b"://",
)  # fmt: skip


class Sketch:
    """The outline of one text, in its normal form."""

    __slots__ = ("_numbers", "_shape", "_text", "data", "plain")

    def __init__(self, text: str, data: bytes | None = None) -> None:
        """`data` are a text's bytes, where they are at hand and nothing beyond ASCII in them can be in a unit."""
        self._text = text
        self.plain = data is not None or text.isascii()
        self.data = data if data is not None else text.encode("ascii", "replace")
        self._shape: bytes | None = None
        self._numbers: bytes | None = None

    @property
    def shape(self) -> bytes:
        """`a` for each letter, `0` for each digit."""
        if self._shape is None:
            self._shape = self.data.translate(_SHAPE)
        return self._shape

    def together(self, count: int) -> bool:
        """Whether so many digits stand together, with nothing between them that cannot be in a number."""
        if self._numbers is None:
            if not self.plain and _OTHER_DIGITS.search(self._text) is not None:
                self._numbers = b"0" * len(self._text)
            else:
                self._numbers = self.data.translate(_NUMBERS, _BETWEEN)
        return b"0" * count in self._numbers

    def spelt(self) -> bool:
        """Whether a digit may stand by itself between spaces or underscores, as in "4 1 1 1"."""
        return b" 0 " in self.shape or b"_0_" in self.shape


def spoken(data: bytes) -> bool:
    """Whether in a text, lower or upper case, a dot may be said, or an "at" stands in brackets."""
    lower = data.lower()
    if b"dot" in lower:
        return True
    seen = 0
    for bracket in _BRACKETS:
        at = lower.find(bracket)
        while at >= 0:
            if seen == _FEW:
                return any(one in lower for one in _BRACKETED)
            if lower.startswith(_AT, at + 1):
                return True
            seen += 1
            at = lower.find(bracket, at + 1)
    return False


def said(data: bytes) -> bool:
    """The same of bytes in which brackets are many, and with any ASCII space in them."""
    lower = data.translate(_LOWER)
    return b"dot" in lower or _IN_BRACKETS.search(lower) is not None


def _address(sketch: Sketch) -> bool:
    return b"@" in sketch.data or spoken(sketch.data)


def _letters_before_digits(sketch: Sketch) -> bool:
    return not sketch.plain or b"aa00" in sketch.shape


def _dotted_digits(sketch: Sketch) -> bool:
    data = sketch.data
    if not sketch.plain:
        return True
    if b":" in data and (b"::" in data or (data.count(b":") >= 6 and b"::::::" in data.translate(None, _HEX))):
        return True
    return dotted(sketch)


def dotted(sketch: Sketch) -> bool:
    """Whether an address of version 4 may be there."""
    return b"0.0" in sketch.shape and b"..." in sketch.data.translate(_SHAPE, _DIGITS)


def _pairs(sketch: Sketch) -> bool:
    data = sketch.data
    return data.count(b":") >= 5 or data.count(b"-") >= 5 or data.count(b".") >= 2


def _secret(sketch: Sketch) -> bool:
    lower = sketch.data.lower()
    return any(one in lower for one in _SECRETS)


def _long_word(sketch: Sketch) -> bool:
    return not sketch.plain or max(map(len, sketch.data.split()), default=0) >= 26


def _licence(sketch: Sketch) -> bool:
    shape = sketch.shape
    return not sketch.plain or b"a0" in shape or b"0a" in shape or b"000000" in shape or b"]0" in shape


def _date(sketch: Sketch) -> bool:
    shape = sketch.shape
    if not sketch.plain or b"0-0" in shape or b"0/0" in shape or b"aaa-0" in shape or b"0-aaa" in shape:
        return True
    return b"0.0" in shape and (b"0.0.00" in shape or b"0.00.00" in shape or b":00.0" in shape)


# Entity → so many digits stand together in each of its units.
DIGITS: Mapping[str, int] = MappingProxyType(
    {
        "CREDIT_CARD": 12,
        "US_SSN": 9,
        "US_ITIN": 9,
        "UK_NHS": 10,
        "US_BANK_NUMBER": 8,
        "US_PASSPORT": 8,
        "MEDICAL_LICENSE": 7,
        "PHONE_NUMBER": 7,
        "UK_NINO": 6,
    }
)


def _digits(count: int) -> Callable[[Sketch], bool]:
    return lambda sketch: sketch.together(count)


# Entity → whether its units may be there. What is not named is always asked itself.
HINTS: Mapping[str, Callable[[Sketch], bool]] = MappingProxyType(
    {
        "EMAIL_ADDRESS": _address,
        **{entity: _digits(count) for entity, count in DIGITS.items()},
        "US_DRIVER_LICENSE": _licence,
        "DATE_TIME": _date,
        "IBAN_CODE": _letters_before_digits,
        "IP_ADDRESS": _dotted_digits,
        "MAC_ADDRESS": _pairs,
        "SECRET": _secret,
        "CRYPTO": _long_word,
    }
)
