r"""A text as a recognizer should see it, and the way back to its own characters. Pure.

Full-width digits, zero-width characters, `%40`, `&#64;` and `\u0040` hide what a person reads at once. They are
undone before recognizing; the spans that are found are carried back by an offset map.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
_CODE = re.compile(
    r"%([2-7][0-9A-Fa-f])|&#(\d{2,3});|&#[xX]([0-9A-Fa-f]{2});|&(commat|period);|\\u00([2-7][0-9A-Fa-f])"
)
_NAMED = {"commat": "@", "period": "."}


@dataclass(frozen=True, slots=True)
class Normal:
    """`text` is what is searched. Its character i stands for [starts[i], ends[i]) of the original; None: for itself."""

    text: str
    starts: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The original's characters for [start, end) of `text`, which must not be empty."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def normal(text: str) -> Normal:
    """The normal form of a text."""
    if text.isascii() and not ("%" in text or "&" in text or "\\u" in text):
        return Normal(text)
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for found in _CODE.finditer(text):
        _plain(text, at, found.start(), out, starts, ends)
        char = _decoded(found)
        if char is None:
            _plain(text, found.start(), found.end(), out, starts, ends)
        else:
            out.append(char)
            starts.append(found.start())
            ends.append(found.end())
        at = found.end()
    _plain(text, at, len(text), out, starts, ends)
    return Normal("".join(out), tuple(starts), tuple(ends))


def _decoded(found: re.Match[str]) -> str | None:
    percent, decimal, hexadecimal, name, unicode_escape = found.groups()
    if name is not None:
        return _NAMED[name]
    code = int(decimal) if decimal is not None else int(percent or hexadecimal or unicode_escape, 16)
    return chr(code) if 0x20 <= code < 0x7F else None


def _plain(text: str, start: int, end: int, out: list[str], starts: list[int], ends: list[int]) -> None:
    for index in range(start, end):
        char = text[index]
        if char in _INVISIBLE:
            continue
        for one in char if char.isascii() else unicodedata.normalize("NFKC", char):
            out.append(one)
            starts.append(index)
            ends.append(index + 1)
