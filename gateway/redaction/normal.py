r"""A text as a recognizer should see it, and the way back to its own characters. Pure.

Full-width digits, zero-width characters, `%40`, `&#64;`, `\u0040`, a `\n` that is two characters, and numbers spelt
digit by digit ("4 1 1 1", "4_1_1_1") hide what a person reads at once. They are undone before recognizing; the spans
that are found are carried back by an offset map.

A text is looked at as pieces: most of it stands for itself, and only what changes has an entry of its own.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.redaction.sketch import Sketch

_CHANGES = re.compile(
    r"%([2-7][0-9A-Fa-f])|&#(\d{2,3});|&#[xX]([0-9A-Fa-f]{2});|&(commat|period);|\\u00([2-7][0-9A-Fa-f])|\\([nrt])"
    r"|([^\x00-\x7f]+)"
)
_NAMED = {"commat": "@", "period": "."}
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
# Nine or more letters and digits one by one, always the same character between them.
_SPELT = re.compile(r"(?<![^\W_])(?:\+[ _])?[^\W_]([ _])[^\W_](?:\1[^\W_]){7,}(?![^\W_])")
FEWEST_DIGITS = 6  # in what is spelt: else it is a list of letters


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters [start, end) of a text are read as `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Normal:
    """`text` is what is searched. Piece k of it begins at `begins[k]` and stands for `froms[k]` onwards of what was
    read, or, where `tos[k]` is not -1, as a whole for [froms[k], tos[k])."""

    text: str
    begins: tuple[int, ...] = ()
    froms: tuple[int, ...] = ()
    tos: tuple[int, ...] = ()
    inner: Normal | None = None  # what was read is itself a reading of this

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The original's characters for [start, end) of `text`, which must not be empty."""
        if self.begins:
            first = bisect_right(self.begins, start) - 1
            last = bisect_right(self.begins, end - 1) - 1
            start = self.froms[first] + (start - self.begins[first] if self.tos[first] < 0 else 0)
            end = self.froms[last] + (end - self.begins[last]) if self.tos[last] < 0 else self.tos[last]
        return self.inner.back(start, end) if self.inner is not None else (start, end)


def normal(text: str) -> Normal:
    """The normal form of a text."""
    read = Normal(text)
    if hides(text):
        read = edited(text, _decoding(text))
    if Sketch(read.text).spelt():
        joined = edited(read.text, _joining(read.text))
        if joined.begins:
            return Normal(joined.text, joined.begins, joined.froms, joined.tos, read)
    return read


def hides(text: str) -> bool:
    """Whether there may be characters in a text that stand for others."""
    return not text.isascii() or "%" in text or "&" in text or "\\" in text


def edited(text: str, edits: Iterator[Edit]) -> Normal:
    """A text with edits made, in order and not overlapping."""
    parts: list[str] = []
    begins: list[int] = []
    froms: list[int] = []
    tos: list[int] = []
    at = length = 0
    for edit in edits:
        if edit.start > at:
            parts.append(text[at : edit.start])
            begins.append(length)
            froms.append(at)
            tos.append(-1)
            length += edit.start - at
        if edit.text:
            parts.append(edit.text)
            begins.append(length)
            froms.append(edit.start)
            tos.append(edit.end)
            length += len(edit.text)
        at = edit.end
    if at == 0:
        return Normal(text)
    if at < len(text):
        parts.append(text[at:])
        begins.append(length)
        froms.append(at)
        tos.append(-1)
    return Normal("".join(parts), tuple(begins), tuple(froms), tuple(tos))


def _decoding(text: str) -> Iterator[Edit]:
    for found in _CHANGES.finditer(text):
        percent, decimal, hexadecimal, name, escape, control, wide = found.groups()
        if wide is not None:
            if not unicodedata.is_normalized("NFKC", wide) or not wide.isprintable():
                yield from _wide(wide, found.start())
        elif control is not None:
            yield Edit(found.start(), found.end(), "\n")
        elif name is not None:
            yield Edit(found.start(), found.end(), _NAMED[name])
        else:
            code = int(decimal) if decimal is not None else int(percent or hexadecimal or escape, 16)
            if 0x20 <= code < 0x7F:
                yield Edit(found.start(), found.end(), chr(code))


def _wide(text: str, offset: int) -> Iterator[Edit]:
    """Character by character: composing several into one would lose where each was."""
    for index, char in enumerate(text, offset):
        if char in _INVISIBLE:
            yield Edit(index, index + 1, "")
        elif (plain := unicodedata.normalize("NFKC", char)) != char:
            yield Edit(index, index + 1, plain)


def _joining(text: str) -> Iterator[Edit]:
    for found in _SPELT.finditer(text):
        if sum(char.isdigit() for char in found[0]) >= FEWEST_DIGITS:
            for index in range(found.start() + 1, found.end(), 2):
                yield Edit(index, index + 1, "")
