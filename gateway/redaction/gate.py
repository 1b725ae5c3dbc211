"""The gate: a cheap proof that no recognizer of a profile can match a text. Pure.

It stands in the serving process, so that a clean prompt never goes to an analysis worker. It may say "perhaps" of a
text that holds nothing; it never says "no" of one that holds something: it asks for the very windows on which a worker
would run its recognizers (`windows.py`), so both go by the same expressions. An entity that it knows no windows of is
always "perhaps".

First a look for characters that some unit needs, at a few hundred nanoseconds a kilobyte; only where there are any, the
outline of the text (`sketch.py`); only where that says perhaps, the windows' expressions. Of a request's JSON the first
look goes over the bytes as they came (`still`), so that most prompts are neither decoded nor walked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from gateway.json_object import Repeated
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.normal import FEWEST_DIGITS, hides, normal
from gateway.redaction.placeholders import LOOKS_LIKE
from gateway.redaction.sketch import DIGITS, HINTS, Sketch, dotted, said
from gateway.redaction.unfinished import Unfinished
from gateway.redaction.walk import NOT_TEXT, UNSCANNABLE_BYTES
from gateway.redaction.windows import FINDERS, PHONES, AnyFinder, Phone

# Entities of which the gate knows the windows.
KNOWN: Mapping[str, AnyFinder | Phone] = MappingProxyType({**FINDERS, "PHONE_NUMBER": PHONES})
# Whose units may hold neither a digit nor one of the other triggers.
_LETTERS = frozenset({"EMAIL_ADDRESS", "SECRET", "MAC_ADDRESS", "UUID", "CRYPTO"})
_TRIGGERS = b"0123456789@:%&<\\"
# What no unit needs but those of letters: letters, spaces, and the marks of prose. Beyond ASCII the bytes of U+00C0 to
# U+00FF, which are the letters of Western Europe, read as they are written, and equal to no other where case does not
# count; of any other character the first byte is left.
_PROSE = bytes({*range(0x80), 0xC3, *range(0x80, 0xC0)}.difference(_TRIGGERS, b'"()[]{}'))
# What else may be in a text and is looked at more closely; beyond it are signs of an address, and of what is encoded.
_MARKS = b'"()[]{}:<'
_NUMERALS = b"0123456789"
_COLONS = re.compile(rb":[0-9A-Fa-f]{0,4}:")  # in each address of version 6
_LIST = re.compile(rb"\[(?<![^\s,:\[]\[)\s*-?[0-9]")  # of numbers, which may be a prompt in tokens
_MARKED = re.compile(LOOKS_LIKE.pattern.encode())
_OPENINGS = b'"[{'  # of a JSON value that may hold text
# Longer texts go to a worker unsearched: the event loop is not held for them. A worker says the same, only dearer.
LONGEST, LONGEST_WIDE = 32 * 1024, 8 * 1024  # characters; beyond ASCII each one costs more


class Gate:
    """The gate of one profile."""

    def __init__(self, profile: RedactionProfile) -> None:
        wanted = dict.fromkeys(profile.entities)
        self.looked_for = tuple(sorted(profile.finds))
        self._always = any(one not in KNOWN for one in wanted) or bool(profile.patterns) or bool(profile.presidio)
        self._finders = tuple((HINTS.get(entity), KNOWN[entity].may) for entity in wanted if entity in KNOWN)
        self._letters = tuple(
            (HINTS.get(entity), KNOWN[entity].may) for entity in wanted if entity in KNOWN and entity in _LETTERS
        )
        # A first look can tell nothing where other letters than those of a spoken address may be a unit.
        others = (_LETTERS - {"EMAIL_ADDRESS"}).intersection(wanted) or wanted.keys() - HINTS
        self._looks = profile.input and not (self._always or profile.deny or others)
        self._spoken, self._colons = "EMAIL_ADDRESS" in wanted, "IP_ADDRESS" in wanted
        self._fewest = min((DIGITS[entity] for entity in wanted if entity in DIGITS), default=0)
        shaped = [
            entity for entity in wanted if entity in HINTS and entity not in (*DIGITS, "EMAIL_ADDRESS", "IP_ADDRESS")
        ]
        self._shapes = ((dotted,) if self._colons else ()) + tuple(HINTS[entity] for entity in shaped)
        self.unfinished = Unfinished(profile)  # of replies
        self._words = tuple(word.casefold() for _, word in profile.deny)

    def may_hold(self, text: str) -> bool:
        """False: there is nothing in it that this profile looks for."""
        plain = text.isascii()
        if self._always or len(text) > (LONGEST if plain else LONGEST_WIDE):
            return True
        sketch = Sketch(text)
        if not plain or len(sketch.data.translate(None, _TRIGGERS)) != len(sketch.data):
            if "<" in text and LOOKS_LIKE.search(text) is not None:
                return True
            shown = text
            if hides(text) or sketch.spelt():
                shown = normal(text).text
                sketch = Sketch(shown)
            if _any(self._finders, shown, sketch):
                return True
        elif self._letters and _any(self._letters, text, sketch):
            return True
        if self._words:
            folded = normal(text).text.casefold()
            return any(word in folded for word in self._words)
        return False

    def still(self, body: bytes | None, fields: Mapping[str, msgspec.Raw]) -> tuple[int, int] | None:
        """Whether a first look at its bytes shows that a JSON object holds nothing: how many of its values were
        searched, and how many bytes. None proves nothing.

        Sound because of a value of mere prose nothing but JSON's own punctuation is left when prose is taken away: no
        digit, no sign of an address, no escape but a line's end or a quote, and of each text its two quotes and nothing
        between them, so that every bracket and colon stands between texts. Then only a spoken "dot" can be part of a
        unit. What else is left is looked at more closely.
        """
        if body is None or not self._looks or len(body) > LONGEST or type(fields) is Repeated:
            return None
        values = size = 0
        for name, raw in fields.items():
            if name in NOT_TEXT:
                continue
            value = bytes(raw)
            if value[0] not in _OPENINGS:
                continue
            if b"\\" in value:
                value = value.replace(b"\\n", b"\n").replace(b'\\"', b"'")
            left = value.translate(None, _PROSE)
            if left.replace(b'""', b"").strip(b"[]{}:"):
                if not self._calm(value, left):
                    return None
            elif self._spoken and b"dot" in value.lower():
                return None
            if UNSCANNABLE_BYTES.search(value) is not None:
                return None
            values += 1
            size += len(value)
        return values, size

    def _calm(self, value: bytes, left: bytes) -> bool:
        """Whether no unit can be in a value in whose texts something is `left` beside prose."""
        numbers = left.translate(None, _MARKS)
        if numbers.strip(_NUMERALS) or (self._spoken and said(value)) or (self._colons and _COLONS.search(value)):
            return False
        if b"<" in left and _MARKED.search(value) is not None:
            return False
        if not numbers:
            return True
        if _LIST.search(value) is not None:
            return False
        sketch = Sketch("", value)
        if len(numbers) >= FEWEST_DIGITS and (sketch.spelt() or (self._fewest and sketch.together(self._fewest))):
            return False
        return not any(shape(sketch) for shape in self._shapes)


_Asked = tuple[tuple[Callable[[Sketch], bool] | None, Callable[[str], bool]], ...]


def _any(asked: _Asked, text: str, sketch: Sketch) -> bool:
    return any((hint is None or hint(sketch)) and may(text) for hint, may in asked)
