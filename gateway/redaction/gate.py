"""The gate: a cheap proof that no recognizer of a profile can match a text. Pure.

It stands in the serving process, so that a clean prompt never goes to an analysis worker. It may say "perhaps" of a
text that holds nothing; it must never say "no" of one that holds something, which tests/redaction/test_gate.py holds
it to against the recognizers themselves. An entity that it knows nothing of is always "perhaps".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.placeholders import LOOKS_LIKE

# Six digits with at most three other characters between each two: less is no phone, card, or account number.
_DIGITS = r"\d(?:\D{0,3}\d){5}"
_ENCODED = r"&#|%[0-9A-Fa-f]{2}|\\u00"  # what normalising decodes
# For each entity the least that a match must contain, in text that is NFKC and without zero-width characters.
NEEDS: Mapping[str, str] = {
    "EMAIL_ADDRESS": r"@|\bat\b",
    "PHONE_NUMBER": _DIGITS,
    "CREDIT_CARD": _DIGITS,
    "IBAN_CODE": r"[A-Za-z]{2}[ _.-]?\d[ _.-]?\d",
    "US_SSN": _DIGITS,
    "IP_ADDRESS": r"\d\.\d{1,3}\.|:[0-9A-Fa-f]{0,4}:",
    "US_ITIN": _DIGITS,
    "UK_NHS": _DIGITS,
    "MAC_ADDRESS": r"[0-9A-Fa-f]{2}[:.-]",
}
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


class Gate:
    """The gate of one profile."""

    def __init__(self, profile: RedactionProfile) -> None:
        known = [NEEDS.get(entity) for entity in profile.entities]
        self._always = any(one is None for one in known) or bool(profile.patterns)
        alternatives = {one for one in known if one is not None} | {_ENCODED, LOOKS_LIKE.pattern}
        self._needs = re.compile("|".join(sorted(alternatives)), re.IGNORECASE)
        self._words = tuple(word.casefold() for _, word in profile.deny)

    def may_hold(self, text: str) -> bool:
        """False: there is nothing in it that this profile looks for."""
        if self._always:
            return True
        if not text.isascii():
            text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        if self._needs.search(text) is not None:
            return True
        folded = text.casefold() if self._words else ""
        return any(word in folded for word in self._words)
