r"""Where in a text the recognizers of an entity can match at all. Pure.

Both sides go by this: the serving process asks `may` and so knows without Presidio that a text is clean (`gate.py`);
an analysis worker runs each recognizer only on the windows, which takes the cost, and the worst cases, out of it.
That nothing is lost is held by tests/redaction/test_windows.py against the plain AnalyzerEngine, text by text.

How a window is made: every match of a recognizer holds a *unit*, the least that it must contain. Units are found by
one linear expression; a window is a unit with a margin on both sides, at least as long as a match can reach beyond
its unit, lookaround included; and windows that touch are one, so that matches that follow each other are found in the
order in which the plain engine finds them. Patterns are matched without regard to case, in which a few letters
beyond ASCII are equal to ASCII ones (`_A`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.redaction.sketch import spoken

Window = tuple[int, int]
_A = "A-Za-z\u0131\u0130\u017f\u212a"  # what [A-Z] matches where case does not count
_X = "0-9A-Fa-f"


@dataclass(frozen=True, slots=True)
class Finder:
    """The windows of one entity: `unit` with `before` and `after` characters around it."""

    unit: re.Pattern[str]
    before: int
    after: int
    needs: str = ""  # a character that every unit holds, if there is one

    def may(self, text: str) -> bool:
        """Whether there is any window."""
        return (not self.needs or self.needs in text) and self.unit.search(text) is not None

    def windows(self, text: str) -> list[Window]:
        """The windows, in order, not touching."""
        if self.needs and self.needs not in text:
            return []
        return merged(
            ((found.start() - self.before, found.end() + self.after) for found in self.unit.finditer(text)), len(text)
        )


def merged(windows: Iterable[Window], length: int) -> list[Window]:
    """Windows in the order of their starts, cut to the text; those that touch made one."""
    made: list[Window] = []
    for begin, stop in windows:
        start, end = max(begin, 0), min(stop, length)
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


def _digits(count: int, between: str = " _./-") -> re.Pattern[str]:
    """That many digits with at most one separator between each two."""
    return re.compile(rf"\d(?:[{between}]?\d){{{count - 1},}}")


# E-mail: from the last character that no address holds before the @ to the first one after it.
MAIL_STOPS = r"\s\"(),:;<>\[\]\\"
_AT, DOT = r"(?:\s?[\[({]\s?at\s?[\])}]\s?|\s+at\s+)", r"(?:\.|\s?[\[({]\s?dot\s?[\])}]\s?|\s+dot\s+)"
SAID_DOT = r"(?:\s?[\[({]\s?dot\s?[\])}]\s?|\s+dot\s+)"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
SPOKEN_TLD = r"(?:com|org|net|edu|gov|io|co|de|uk|fr|eu|info|biz|me|app|dev|ch|nl|ca|au|br|jp|ai|xyz|example|test)"
# "name at host dot com", "name [at] host.com": between words only where a dot is said, since "look at example.com".
SPOKEN_HOST = (
    rf"(?:\s?[\[({{]\s?at\s?[\])}}]\s?{LABEL}(?:{DOT}{LABEL}){{0,3}}?{DOT}{SPOKEN_TLD}\b"
    rf"|\s+at\s+{LABEL}(?:{DOT}{LABEL}){{0,3}}?{SAID_DOT}{SPOKEN_TLD}\b)"
)
_SPOKEN = re.compile(
    # It begins with its literal, which is found fast; what stands before is looked for behind it.
    rf"(?i:at)(?:(?<=[\s]..)|(?<=[\[({{]..))"
    rf"(?i:(?:\s?[\])}}]\s?{LABEL}(?:{DOT}{LABEL}){{0,3}}?{DOT}|\s+{LABEL}(?:{DOT}{LABEL}){{0,3}}?{SAID_DOT}){SPOKEN_TLD}\b)"
)
SPOKEN_BEFORE = 340  # characters: four parts of up to 64, and the dots between them
_SIGN = re.compile(rf"@(?<=[^{MAIL_STOPS}]@)(?=[^{MAIL_STOPS}]|\[)")
_BEFORE_AT = re.compile(rf"[^{MAIL_STOPS}]*")
LONGEST_LOCAL = 320  # characters before an @ that are looked at; RFC 5321 allows 64


class Mail:
    """The windows of e-mail addresses, written and spoken."""

    def may(self, text: str) -> bool:
        """Whether there is any window."""
        return ("@" in text and _SIGN.search(text) is not None) or (
            spoken(text.encode("ascii", "replace")) and _SPOKEN.search(text) is not None
        )

    def windows(self, text: str) -> list[Window]:
        """The windows, in order, not touching."""
        found: list[Window] = []
        for sign in _SIGN.finditer(text):
            at = sign.start()
            turned = text[max(0, at - LONGEST_LOCAL) : at][::-1]
            before = _BEFORE_AT.match(turned)
            after = _BEFORE_AT.match(text, at + 1)
            end = after.end() if after is not None else at + 1
            found.append((at - (before.end() if before is not None else 0) - 2, end + 2))
        said = []
        if spoken(text.encode("ascii", "replace")):
            said = [(one.start() - SPOKEN_BEFORE, one.end() + 80) for one in _SPOKEN.finditer(text)]
        return merged(sorted(found + said) if said else found, len(text))


# Phones: digits and what phonenumbers lets stand between them. After the last digit there may be an extension.
_PHONE_GAP = (
    "[-x\u2010-\u2015\u2212\u30fc\uff0d-\uff0f\\s\u00ad\u200b\u2060()\uff08\uff09\uff3b\uff3d."
    "\\[\\]/~\u2053\u223c\uff5e+\uff0b]{1,10}"
)
PHONE = re.compile(rf"\d+(?:{_PHONE_GAP}\d+)*")
PHONE_BEFORE = 14  # characters: leading brackets and plus signs
# Characters after the last digit: of a time of day, or of an extension with its number.
PHONE_AFTER, PHONE_EXTENDED = 8, 48
_EXTENSION = re.compile(
    "(?i)[\\s,;.:\\-]*(?:e?xt|\uff45?\uff58\uff54|int|\uff49\uff4e\uff54|anexo|\u0434\u043e\u0431|[x\uff58#\uff03~\uff5e;,])"
)
FEWEST_PHONE_DIGITS = 7
_SAYS_PHONE = re.compile(
    r"(?i)(?<![a-z])(?:(?:tele|mobile|cell|work|home)?[ _-]?phone|tel(?:e?fono?|éfono|éphone|efon)?|cell|mobile|mobil"
    r"|call|fax|sms|text|whatsapp|dial|ring|reach|r[uü]ckruf|handy|numero|número|rufnummer)"
    r"(?:[ _-]?(?:number|no|nr|num))?(?![a-z])"
)
SAYS_WITHIN = 40  # characters before a number in which a word may say that it is a phone
_GROUPS = re.compile(r"\d+")
# What has three groups of digits and is no phone: dates, clock times, decimals, pages, ISBNs.
_DATED = re.compile(
    r"(?:19|20)\d\d[-./]\d{1,2}[-./]\d{1,2}(?!\d)|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d(?!\d)|97[89][- ]?\d[- ]\d"
)


def after_phone(text: str, end: int) -> int:
    """Where what belongs to a number that ends there may end."""
    return end + (PHONE_AFTER if _EXTENSION.match(text, end) is None else PHONE_EXTENDED)


def looks_dialled(text: str, start: int, end: int) -> bool:
    """Whether the digits in [start, end) may be a phone number: a + or a bracket, a word before that says so, groups as
    people write them, or nothing else in the text, as in a field of its own. A bare run of digits within a text is an
    id more often than not."""
    if len(text) - (end - start) <= 2:
        return True
    before = text[max(0, start - 2) : start]
    number = text[start:end]
    if "+" in before or "+" in number or "\uff0b" in before:
        return True
    if _said_before(text, start):
        return True
    if _DATED.search(number) is not None:
        return False
    groups = _GROUPS.findall(number)
    if "(" in before or "(" in number:
        return len(groups) >= 3 or _AREA_IN_BRACKETS.match(number) is not None
    return _grouped(number, groups)


def _said_before(text: str, start: int) -> bool:
    """Whether a word says "phone" shortly before, and no other number stands between."""
    begin = max(0, start - SAYS_WITHIN)
    return any(
        _NUMBER_BETWEEN.search(text, said.end(), start) is None for said in _SAYS_PHONE.finditer(text, begin, start)
    )


_NUMBER_BETWEEN = re.compile(r"\d{3}")
_NANP = re.compile(r"(?<!\d)(?:1[-. ])?[2-9]\d\d([-. ])[2-9]\d\d\1\d{4}(?!\d)")
_PAIRS = re.compile(r"(?<!\d)0\d([ .-])\d\d(?:\1\d\d){3}(?!\d)")
_TRUNK = re.compile(r"(?<!\d)0\d{2,4} (?:\d{3,4} \d{3,4}|\d{3} \d\d \d\d)(?!\d)")
_AREA_IN_BRACKETS = re.compile(r"0\d{2,4}\)[ /-]?\d{4,9}(?!\d)")  # behind the bracket that opens
_AREA = re.compile(r"(?<![\d.,])0[1-9]\d{1,4}[ /-]\d{5,8}(?!\d)")


def _grouped(number: str, groups: list[str]) -> bool:
    """212-555-0142, 06 12 34 56 78, 020 7946 0958, 044 668 18 00, 0751 9212383: forms that little else has."""
    forms = (_NANP, _PAIRS, _TRUNK) if len(groups) >= 3 else (_AREA,)
    return any(one.search(number) is not None for one in forms)


class Phone:
    """The clusters of digits that may hold a phone number. `every` takes all of them, dialled or not; `fields` those
    too that would be dialled if the JSON value that they fill were a text of its own."""

    def __init__(self, *, every: bool = False, fields: bool = False) -> None:
        self._every = every
        self._fields = fields

    def may(self, text: str) -> bool:
        """Whether there is any."""
        return next(iter(self._clusters(text)), None) is not None

    def clusters(self, text: str) -> list[Window]:
        """Them, in order: from the first digit to the last."""
        return list(self._clusters(text))

    def _clusters(self, text: str) -> Iterable[Window]:
        least = 4 if self._every else FEWEST_PHONE_DIGITS
        for found in PHONE.finditer(text):
            start, end = found.span()
            if end - start >= least and (
                self._every
                or (sum(map(str.isdigit, found[0])) >= least and looks_dialled(text, start, end))
                or (self._fields and _ENDS.match(text, end) and _BEGINS.search(text, max(0, start - 8), start))
            ):
                yield start, end


_BEGINS, _ENDS = re.compile(r"[\"\[:,]\W{0,3}$"), re.compile(r"\W{0,2}[\"\],}]")


# Secrets: how each kind begins.
_BEGINNINGS = (
    r"sk-|[spr]k_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|hf_|npm_|pypi-|sg\.|akia|asia|aiza|eyj|gsk_|-----begin"
    r"|(?:api[_-]?key|secret|token|passw|pwd|access[_-]?key)\w{0,20}[\"']?\s{0,3}[:=]|bearer\s|://[^\s/@:]{0,64}:"
)
_SECRET = re.compile(rf"(?i){_BEGINNINGS}")
_ARMOURED = re.compile(r"(?i)-----begin")
LONGEST_SECRET, LONGEST_ARMOURED = 5_400, 20_200  # characters


class Secret:
    """The windows of secrets."""

    def may(self, text: str) -> bool:
        """Whether there is any window."""
        return _SECRET.search(text) is not None

    def windows(self, text: str) -> list[Window]:
        """The windows, in order, not touching."""
        return merged(
            (
                (one.start() - 100, one.end() + (LONGEST_ARMOURED if _ARMOURED.match(one[0]) else LONGEST_SECRET))
                for one in _SECRET.finditer(text)
            ),
            len(text),
        )


class Address:
    """The windows of IP addresses. Version 6 ends in a zone of any length."""

    _V4 = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
    _V6 = re.compile(rf"(?<![G-Zg-z_])::(?![G-Zg-z_])|:(?:[{_X}]{{1,4}}:){{5}}")
    _ZONE = re.compile(r"[\w:.%/]*")

    def may(self, text: str) -> bool:
        """Whether there is any window."""
        return self._V4.search(text) is not None or (":" in text and self._V6.search(text) is not None)

    def windows(self, text: str) -> list[Window]:
        """The windows, in order, not touching."""
        found = [(one.start() - 8, one.end() + 12) for one in self._V4.finditer(text)]
        if ":" in text:
            six = []
            for one in self._V6.finditer(text):
                zone = self._ZONE.match(text, min(len(text), one.end() + 48))
                six.append((one.start() - 64, (zone.end() if zone is not None else one.end()) + 4))
            if six:
                found = sorted(found + six)
        return merged(found, len(text))


AnyFinder = Finder | Mail | Secret | Address
_NUMBER = Finder(_digits(9, " .-"), 4, 4)
# Entities whose recognizers all go by these units. Phones stand apart: a worker asks more of their clusters.
FINDERS: Mapping[str, AnyFinder] = MappingProxyType(
    {
        "EMAIL_ADDRESS": Mail(),
        "SECRET": Secret(),
        "IP_ADDRESS": Address(),
        "CREDIT_CARD": Finder(_digits(12), 4, 4),
        "US_SSN": _NUMBER,
        "US_ITIN": _NUMBER,
        "UK_NHS": Finder(_digits(10, " -"), 80, 4),  # ours reads the words before
        "US_BANK_NUMBER": Finder(re.compile(r"\d{8,}"), 4, 4),
        "US_PASSPORT": Finder(re.compile(r"\d{8,}"), 4, 4),
        "MEDICAL_LICENSE": Finder(re.compile(r"\d{7,}"), 4, 4),
        "UK_NINO": Finder(_digits(6, " "), 8, 8),
        # Letters beside digits, or six digits; "]" is a slip in Presidio's expression, kept so that nothing differs.
        "US_DRIVER_LICENSE": Finder(re.compile(rf"(?<=[{_A}\]])\d|\d(?=[{_A}])|\d{{6}}"), 24, 24),
        "IBAN_CODE": Finder(re.compile(rf"[0-9]{{2}}(?<=(?<![A-Z0-9])[{_A}]{{2}}..)[ -]?[{_A}0-9]{{4}}"), 6, 46),
        "MAC_ADDRESS": Finder(re.compile(rf"[:-][{_X}]{{2}}[:-][{_X}]{{2}}[:-]|\.[{_X}]{{4}}\."), 24, 24),
        "UUID": Finder(re.compile(rf"-[{_X}]{{4}}-[{_X}]{{4}}-"), 40, 60, "-"),
        "CRYPTO": Finder(re.compile(rf"[{_A}0-9]{{26,}}"), 2, 2),
        "DATE_TIME": Finder(
            re.compile(rf"\d[-/]\d|\d\.\d{{1,2}}\.\d\d|[{_A}]{{3}}-\d|\d-[{_A}]{{3}}|:\d\d\.\d+"), 48, 48
        ),
    }
)
PHONES = Phone(fields=True)
