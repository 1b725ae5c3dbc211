"""Recognizers of ours, where Presidio's have holes (docs/privacy.md names them)."""

from __future__ import annotations

import re
from typing import Any

from presidio_analyzer import Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, IpRecognizer, NhsRecognizer, PhoneRecognizer

from gateway.redaction.windows import FEWEST_PHONE_DIGITS, PHONE, SAID_DOT, SPOKEN_HOST, looks_dialled

REGIONS = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")  # of phone numbers, where a profile names no countries
_L = "A-Za-z\u00c0-\u024f"  # letters of names in Latin script
_ATOM = rf"[{_L}0-9!#$%&'*+^_`{{|}}~-]"
_LABEL = rf"[{_L}0-9](?:[{_L}0-9_-]{{0,61}}[{_L}0-9])?"
# What stands behind the @ of a package and is no host.
_TAGS = (
    r"(?!(?:latest|next|beta|alpha|canary|rc|main|master|stable|dev|head|workspace|npm|v?\d[\w.^~*-]*)"
    r"(?![A-Za-z0-9@.-]))"
)
_END = r"(?![A-Za-z0-9@_-])(?!\.[A-Za-z0-9])"


class MailRecognizer(PatternRecognizer):
    """E-mail addresses: in query strings, beside a key and at internal domains too, and written with "at" and "dot".
    Presidio's takes `?email=` into the address, and asks the public suffix list whether the domain can exist."""

    def __init__(self) -> None:
        local = rf"(?<![{_L}0-9._+-])[{_L}0-9_]{_ATOM}{{0,63}}(?:\.{_ATOM}{{1,63}}){{0,8}}"
        dotted = rf"{_LABEL}(?:\.{_LABEL}){{0,8}}\.[{_L}][{_L}0-9-]{{0,60}}[{_L}0-9]"
        word = rf"[{_L}][{_L}0-9_-]{{1,61}}[{_L}0-9]"
        part = r"[A-Za-z0-9_+-]{1,64}"
        said = rf"(?<![A-Za-z0-9._+-]){part}(?:(?:\.|{SAID_DOT}){part}){{0,3}}{SPOKEN_HOST}"
        super().__init__(
            supported_entity="EMAIL_ADDRESS",
            patterns=[
                Pattern("address", rf"{local}@{_TAGS}{dotted}{_END}", 1.0),
                Pattern("internal", rf"(?<![{_L}0-9._+-])[{_L}0-9_]{_ATOM}{{1,63}}"
                        rf"(?:\.{_ATOM}{{1,63}}){{0,8}}@{_TAGS}{word}{_END}", 0.7),
                Pattern("address literal", rf"{local}@\[?\d{{1,3}}(?:\.\d{{1,3}}){{3}}\]?(?![\d.])", 0.7),
                Pattern("spoken", said, 0.8),
            ],
        )  # fmt: skip


# Issuers' first digits and lengths (ISO/IEC 7812; the schemes' own pages).
_ISSUERS = re.compile(
    r"4\d{15}|4\d{12}|4\d{18}"
    r"|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|62\d{14,17}|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"
)


class CardRecognizer(CreditCardRecognizer):
    """Presidio's, with Mastercard's 2-series, other separators, and only numbers that an issuer gives out; Luhn's
    check decides as there."""

    def __init__(self) -> None:
        gap = "[ _./-]?"
        body = rf"\d{{4}}{gap}(?:\d{{4}}{gap}\d{{4}}{gap}\d{{1,4}}(?:{gap}\d{{3}})?|\d{{6}}{gap}\d{{4,5}})"
        super().__init__(
            patterns=[Pattern("number", rf"(?<![A-Za-z0-9])(?<!\d\.)(?=[2-6]){body}(?![A-Za-z0-9])", 0.3)],
            replacement_pairs=[(char, "") for char in "- _./"],
        )

    def validate_result(self, pattern_text: str) -> bool:
        """Luhn's check, and whether the number is some issuer's."""
        digits = re.sub(r"\D", "", pattern_text)
        return _ISSUERS.fullmatch(digits) is not None and super().validate_result(digits)


class DialledRecognizer(PhoneRecognizer):
    """Presidio's; but digits are a phone number only where something says so (`windows.looks_dialled`): most are ids,
    dates and amounts."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """The numbers of the parent that look like phone numbers."""
        clusters = [one.span() for one in PHONE.finditer(text)]
        found = super().analyze(text, entities, nlp_artifacts)  # type: ignore[arg-type]  # it may be absent
        return [one for one in found if _dialled(text, one.start, one.end, clusters)]


def _dialled(text: str, start: int, end: int, clusters: list[tuple[int, int]]) -> bool:
    """Whether a number does, and the cluster that it stands in."""
    if sum(map(str.isdigit, text[start:end])) < FEWEST_PHONE_DIGITS:
        return False
    first = next((at for at in range(start, end) if text[at].isdigit()), start)
    cluster = next((one for one in clusters if one[0] <= first < one[1]), None)
    return cluster is not None and looks_dialled(text, *cluster) and looks_dialled(text, first, end)


class AddressRecognizer(IpRecognizer):
    """Presidio's IP addresses, without the slices of programs: `rows[::2]` is none, `http://[::1]` is one."""

    _SLICED = re.compile(r"[\w)\]]\[$")

    def analyze(self, text: str, entities: list[str], *more: Any, **named: Any) -> list[RecognizerResult]:
        """The addresses of the parent that are no slices."""
        found = super().analyze(text, entities, *more, **named)
        return [one for one in found if not self._SLICED.search(text[max(0, one.start - 2) : one.start])]


class HealthNumberRecognizer(NhsRecognizer):
    """Presidio's NHS numbers, where a word before says that it is about health: of ten digits, one in eleven has a
    right check digit by chance."""

    _SAYS = re.compile(r"(?i)\bnhs\b|patient|health|medical|hospital|\bgp\b")
    _WITHIN = 60  # characters

    def analyze(self, text: str, entities: list[str], *more: Any, **named: Any) -> list[RecognizerResult]:
        """The numbers of the parent that have such a word before them."""
        found = super().analyze(text, entities, *more, **named)
        return [one for one in found if self._SAYS.search(text, max(0, one.start - self._WITHIN), one.start)]


_KEYED = r"(?:api[_-]?key|secret|token|passw(?:or)?d|pwd|access[_-]?key)\w{0,20}[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
_MIXED = r"(?=[^\s\"']{0,200}\d)(?=[^\s\"']{0,200}[A-Za-z])"  # letters and digits
_VALUE_END = r"(?![A-Za-z0-9_./+~-])"
_ARMOUR = r"(?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
SECRETS = (
    ("private key", rf"-----BEGIN {_ARMOUR}[\s\S]{{1,20000}}?-----END {_ARMOUR}", 1.0),
    (
        "provider key",
        r"\b(?:sk|pk|rk|gw)-(?:[A-Za-z0-9]{2,10}-){0,3}(?=[A-Za-z0-9_-]{0,200}\d)[A-Za-z0-9_-]{20,250}",
        0.9,
    ),
    ("payment key", r"\b[spr]k_(?:live|test)_[A-Za-z0-9]{16,250}", 1.0),
    ("platform token", r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-|gsk_)[A-Za-z0-9_-]{16,255}", 1.0),
    ("chat token", r"\bxox[abeprs]-[A-Za-z0-9-]{16,255}", 1.0),
    ("mail key", r"\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}", 1.0),
    ("cloud key id", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", 1.0),
    ("search key", r"\bAIza[A-Za-z0-9_-]{35}", 1.0),
    ("web token", r"\beyJ[A-Za-z0-9_-]{8,600}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,700}", 1.0),
    ("value of a key", rf"(?<={_KEYED}){_MIXED}[A-Za-z0-9_./+~-]{{12,250}}={{0,2}}{_VALUE_END}", 0.7),
    ("bearer", rf"(?<=\bbearer\s)(?=[^\s\"']{{0,200}}\d)[A-Za-z0-9._~+/-]{{16,500}}={{0,2}}{_VALUE_END}", 0.7),
    ("password in a URL", r"(?<=://[^\s/@:]{0,64}:)[^\s/@\"']{3,100}(?=@[A-Za-z0-9\[])", 0.8),
)


class SecretRecognizer(PatternRecognizer):
    """Keys and tokens by the forms that their makers document, and values of keys that are called so."""

    def __init__(self) -> None:
        super().__init__(
            supported_entity="SECRET", patterns=[Pattern(name, regex, score) for name, regex, score in SECRETS]
        )
