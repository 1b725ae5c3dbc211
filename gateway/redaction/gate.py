"""The gate: a cheap proof that no recognizer of a profile can match a text. Pure.

It stands in the serving process, so that a clean prompt never goes to an analysis worker. It may say "perhaps" of a
text that holds nothing; it never says "no" of one that holds something: it asks for the very windows on which a worker
would run its recognizers (`windows.py`), so both go by the same expressions. An entity that it knows no windows of is
always "perhaps".

First a look for characters that some unit needs, at a few hundred nanoseconds a kilobyte; only where there are any, the
outline of the text (`sketch.py`); only where that says perhaps, the windows' expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.normal import hides, normal
from gateway.redaction.placeholders import LOOKS_LIKE
from gateway.redaction.sketch import HINTS, Sketch
from gateway.redaction.unfinished import Unfinished
from gateway.redaction.windows import FINDERS, PHONES, AnyFinder, Phone

# Entities of which the gate knows the windows.
KNOWN: Mapping[str, AnyFinder | Phone] = MappingProxyType({**FINDERS, "PHONE_NUMBER": PHONES})
# Whose units may hold neither a digit nor one of the other triggers.
_LETTERS = frozenset({"EMAIL_ADDRESS", "SECRET", "MAC_ADDRESS", "UUID", "CRYPTO"})
_TRIGGERS = b"0123456789@:%&<\\"
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


_Asked = tuple[tuple[Callable[[Sketch], bool] | None, Callable[[str], bool]], ...]


def _any(asked: _Asked, text: str, sketch: Sketch) -> bool:
    return any((hint is None or hint(sketch)) and may(text) for hint, may in asked)
