"""The gate: a cheap proof that no recognizer of a profile can match a text. Pure.

It stands in the serving process, so that a clean prompt never goes to an analysis worker. It may say "perhaps" of a
text that holds nothing; it must never say "no" of one that holds something, which tests/redaction/test_gate.py holds
it to against the recognizers themselves. An entity that it knows nothing of is always "perhaps".

First a look for characters that some recognizer needs, at a few hundred nanoseconds a kilobyte; only where there are
any, a regular expression for the least that each entity's match must contain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.placeholders import LOOKS_LIKE

# Six digits with at most three other characters between each two: less is no phone, card, or account number.
_DIGITS = r"\d(?:\D{0,3}\d){5}"
# For each entity the least that a match must contain, in text that is NFKC and without zero-width characters.
NEEDS: Mapping[str, str] = {
    "EMAIL_ADDRESS": "@",
    "PHONE_NUMBER": _DIGITS,
    "CREDIT_CARD": _DIGITS,
    # Presidio's own beginning; the two letters are looked for behind the digits, which are rarer and found faster.
    "IBAN_CODE": r"\d\d(?:(?<=[A-Za-z]{2}..)|(?<=[A-Za-z]{2}[ -]..))(?:[ -]?[A-Za-z0-9]{3,5}){2}",
    "US_SSN": _DIGITS,
    "IP_ADDRESS": r"\d\.\d{1,3}\.|:[0-9A-Fa-f]{0,4}:",
    "US_ITIN": _DIGITS,
    "UK_NHS": _DIGITS,
    "MAC_ADDRESS": r"[0-9A-Fa-f]{2}[:.-][0-9A-Fa-f]{2}",
}
_ENCODED = re.compile(r"&#|&commat|&period|%[0-9A-Fa-f]{2}|\\u00")  # what normalising decodes
# A match of any of the above holds one of these; `-` and `.` stand only between letters and digits that MAC needs.
_TRIGGERS = b"0123456789@:%&<"
_LETTER_PAIRS = frozenset({"MAC_ADDRESS"})  # which may hold none of them
# "name at host dot com": the recognizer's own tail, from its word on. It begins with a literal, which is found fast.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOT = r"(?:\.|\s?[\[(]\s?dot\s?[\])]\s?|\s+dot\s+)"
_SPOKEN = re.compile(
    rf"at(?:\s?[\])]\s?|\s+){_LABEL}(?:{_DOT}{_LABEL}){{0,3}}{_DOT}"
    r"(?:com|org|net|edu|gov|io|co|de|uk|fr|eu|info|biz|me|app|dev)\b"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


class Gate:
    """The gate of one profile."""

    def __init__(self, profile: RedactionProfile) -> None:
        known = [NEEDS.get(entity) for entity in profile.entities]
        self._always = (
            any(one is None for one in known) or bool(profile.patterns) or bool(_LETTER_PAIRS & set(profile.entities))
        )
        needs = {one for one in known if one is not None}
        self._needs = tuple(re.compile(one) for one in sorted(needs))  # one by one: each has a fast beginning
        self._spoken = "EMAIL_ADDRESS" in profile.entities
        self._words = tuple(word.casefold() for _, word in profile.deny)

    def may_hold(self, text: str) -> bool:
        """False: there is nothing in it that this profile looks for."""
        if self._always:
            return True
        if not text.isascii():
            text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        data = text.encode("utf-8", "surrogatepass")
        if len(data.translate(None, _TRIGGERS)) != len(data) or b"\\u" in data or not data.isascii():
            if any(one.search(text) is not None for one in self._needs):
                return True
            if ("%" in text or "&" in text or "\\u" in text) and _ENCODED.search(text) is not None:
                return True
            if "<" in text and LOOKS_LIKE.search(text) is not None:
                return True
        folded = text.casefold()
        if self._spoken and _SPOKEN.search(folded) is not None:
            return True
        return any(word in folded for word in self._words)
