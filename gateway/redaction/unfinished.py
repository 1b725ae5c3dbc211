r"""What may have begun at the end of a text and can only be recognized by what comes behind it. Pure.

A stream is searched window by window, and of each window its end stays back. That is enough for what is shorter than
what stays back. Of what may be longer, this file knows how it begins: a word that may become an address or a token, an
address that is being spelt out, a password in a URL, a private key. It may say so of a text in which nothing has
begun, which costs a stream some delay. What the recognizers of `detection/own.py` find it does not overlook where
tests/redaction/test_begun.py looks, by shapes of each secret and of written addresses; where it may is listed
in docs/decisions/0165-what-has-begun-stays-back.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from re import _parser  # type: ignore[attr-defined]  # typeshed has it only under its deprecated name

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.normal import hides, normal
from gateway.redaction.windows import DOT, LABEL, LONGEST_ARMOURED, MAIL_STOPS, SAID_DOT, SPOKEN_BEFORE

HOLD = 96  # characters that stay back: longer than a card, an IBAN, a phone number or a date, however written
BEYOND = 16  # more than the longest match of an expression or a word, for what it looks at behind it
LONGEST_BOUND = 1024  # characters of an expression's longest match up to which it counts as bounded
# Characters of a word that may become an address (64 before the @, eight more parts behind dots) or a key. A longer one
# is neither, unless it is a web token.
LONGEST_WORD = 640
MOST = LONGEST_ARMOURED + HOLD  # characters that are held of what has begun; above the longest that ours find

_WORDS = frozenset(("EMAIL_ADDRESS", "SECRET", "URL", "CRYPTO"))
# Letters beyond Latin stand in no address that is recognized, so that words of languages without spaces have an end.
_WORD = re.compile(rf"[^{MAIL_STOPS}\u0250-\U0010ffff]{{1,{LONGEST_WORD + 1}}}")
_SAYING = re.compile(
    rf"(?i)(?:[\[({{]\s?at|\s+at)(?:(?:\s?[\])}}]\s?|\s+)(?:{LABEL}(?:{DOT}{LABEL}){{0,3}})?-{{0,62}}"
    r"(?:\.|\s?[\[({]?\s?(?:d|do|dot)?\s?[\])}]?\s*)?)?\Z"
)
_SAID_HOST = 340  # characters: four labels of 63 and what is said between them
_PART = r"[A-Za-z0-9_+-]{1,64}"
_SAID_LOCAL = re.compile(rf"(?i)(?<![A-Za-z0-9._+-]){_PART}(?:(?:\.|{SAID_DOT}){_PART}){{0,3}}\Z")
_PASSWORD = re.compile(r"://[^\s/@:]{0,64}:([^\s/@\"']{0,100})\Z")
_PASSWORD_REACH = 3 + 64 + 1 + 100
_TOKEN = re.compile(r"(?i)\beyJ[A-Za-z0-9_-]{0,600}+(?:\.[A-Za-z0-9_-]{0,4000}+(?:\.[A-Za-z0-9_-]{0,700}+)?)?\Z")
_TOKEN_REACH = 3 + 600 + 1 + 4000 + 1 + 700
_ARMOUR = re.compile(r"(?i)-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY")
_ARMOUR_END = re.compile(r"(?i)-----END (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")

Look = Callable[[str], Iterator[int]]


class Unfinished:
    """What may be unfinished for one profile. `hold`: the characters that stay back in any case."""

    def __init__(self, profile: RedactionProfile) -> None:
        longest = [len(word) for _, word in profile.deny]
        longest += [width for _, regex, _ in profile.patterns if (width := bound(regex)) is not None]
        self.hold = max([HOLD, *(length + BEYOND for length in longest)])
        wanted = frozenset(profile.entities)
        unbounded = any(bound(regex) is None for _, regex, _ in profile.patterns)
        looks: list[Look] = [_words] if unbounded or wanted & _WORDS else []
        looks += [_spoken] if "EMAIL_ADDRESS" in wanted else []
        looks += [_secrets] if "SECRET" in wanted else []
        self._looks = tuple(looks)

    def start(self, text: str, hold: int) -> int:
        """Where the end of a text begins that must stay back: its last `hold` characters as a recognizer reads them,
        and whatever may have begun before."""
        if not hides(text):
            return min([max(0, len(text) - hold), *self._begun(text)])
        shown = normal(text)
        at = min([max(0, len(shown.text) - hold), *self._begun(shown.text)])
        return shown.back(at, at + 1)[0] if at < len(shown.text) else len(text)

    def _begun(self, text: str) -> Iterator[int]:
        for look in self._looks:
            yield from look(text)


def bound(regex: str) -> int | None:
    """The longest match of an expression in characters; None where there is none, or a very long one."""
    width = int(_parser.parse(regex).getwidth()[1])
    return width if width <= LONGEST_BOUND else None


def _words(text: str) -> Iterator[int]:
    """The last word, if it is no longer than one can be that becomes something."""
    word = _WORD.match(text[: -LONGEST_WORD - 2 : -1])
    if word is not None and word.end() <= LONGEST_WORD:
        yield len(text) - word.end()


def _spoken(text: str) -> Iterator[int]:
    """An address that is being spelt out: "jane dot doe at exam"."""
    for said in _SAYING.finditer(text, max(0, len(text) - _SAID_HOST)):
        local = _SAID_LOCAL.search(text[max(0, said.start() - SPOKEN_BEFORE) : said.start()])
        if local is not None:
            yield said.start() - len(local[0])


def _secrets(text: str) -> Iterator[int]:
    """A password in a URL without its @, a web token that is not whole, and a private key without its end."""
    for expression, reach, group in ((_PASSWORD, _PASSWORD_REACH, 1), (_TOKEN, _TOKEN_REACH, 0)):
        if (found := expression.search(text, max(0, len(text) - reach))) is not None:
            yield found.start(group)
    end = max((one.end() for one in _ARMOUR_END.finditer(text)), default=0)
    if (armour := _ARMOUR.search(text, max(end, len(text) - LONGEST_ARMOURED))) is not None:
        yield armour.start()
