"""What a stream lets go of is what a search of the whole reply lets go of, however long a finding is."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest

from gateway.policy.compiled import RedactionProfile
from gateway.policy.schema import ENTITIES
from gateway.redaction.detection.own import SECRETS
from gateway.redaction.detection.profile import ProfileAnalyzer
from gateway.redaction.reply import STEP
from gateway.redaction.spans import Span
from gateway.redaction.unfinished import HOLD, LONGEST_WORD, MOST, Unfinished, bound
from tests.redaction.redacting import Emails
from tests.redaction.streams import read, stream
from tests.redaction.test_reply import guarded, streamed

PROSE = "We looked at this at noon; it was fine (see below), and nobody at the office had more to say about it. "
NAME = "The quick brown fox jumps over the lazy dog, again and again, until evening comes and it is dark, and then "
EVERYTHING = RedactionProfile(
    "all", tuple(sorted(ENTITIES - {"US_DRIVER_LICENSE", "US_BANK_NUMBER", "US_PASSPORT", "MEDICAL_LICENSE"})),
    action="mask", output=True, unscannable="allow", digest="all", patterns=(("CASE", r"case(?: [a-z]{3}){60}!", 0.9),),
    deny=(("CODENAME", NAME.strip()),),
)  # fmt: skip
chance = random.Random(7)


def some(count: int, chars: str = string.ascii_letters + string.digits) -> str:
    return "".join(chance.choices(chars, k=count))


def armour(count: int) -> str:
    lines = "\n".join(some(64) for _ in range(count // 65))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"


LOCAL = ".".join(["x" * 64, *("y" * 60 for _ in range(8))])
LONG = {
    "an address with a long local part": f"{LOCAL}@example.com",
    "an address of many labels": f"ada@{'.'.join(['z' * 60] * 4)}.example.com",
    "a spelt address": f"{'a' * 60} dot {'b' * 60} dot {'c' * 60} at {'d' * 50} dot {'e' * 50} dot com",
    "a bracketed address": f"{'a' * 50}.{'b' * 60} [at] {'d' * 60} (dot) {'e' * 60} [dot] org",
    "an encoded address": "".join(f"\\u{ord(char):04x}" for char in "ada.lovelace@example.com"),
    "an encoded card": "".join(f"&#{ord(char)};" for char in "4111 1111 1111 1111"),
    "a short private key": armour(400),
    "a private key": armour(3200),
    "the longest private key": armour(19_700),
    "a provider key": "sk-proj-" + some(190, string.ascii_letters) + "7" + some(40),
    "a web token": f"eyJ{some(600)}.{some(4000)}.{some(700)}",
    "a value whose digit comes late": f"api_key = {some(180, string.ascii_letters)}7{some(60)}",
    "a bearer token": f"Authorization: Bearer {some(150, string.ascii_letters)}7{some(300)}",
    "a password in a URL": f"postgres://{'u' * 64}:{'s' * 99}@db.example.com/x",
    "a long IPv6 zone": "fe80::1234:5678:9abc:def0%" + "e" * 20,
    "an IBAN in groups": "DE89 3704 0044 0532 0130 00",
    "a phone number with much between": "+1 (212) 555 - 0142 ext. 4567",
    "a coin's address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "an expression of the profile's own": "case" + " abc" * 60 + "!",
    "a word of the profile's own": NAME.strip(),
}


@cache
def analyzer() -> ProfileAnalyzer:
    return ProfileAnalyzer(EVERYTHING)


class Real(Emails):
    """The recognizers themselves, in this process."""

    async def analyze(self, texts: Sequence[str], profile: RedactionProfile) -> list[list[Span]]:
        self.seen += texts
        return [analyzer().analyze(text) for text in texts]


async def both(text: str, size: int) -> tuple[str, str, Real]:
    """The text as it leaves whole, and as it leaves in pieces of this size."""
    _, guard = await guarded("chat", EVERYTHING, Real())
    body = await guard.whole(
        msgspec.json.encode({"choices": [{"message": {"content": text}}]}), frozenset((b"choices",))
    )  # fmt: skip
    real = Real()
    safe, guard = await guarded("chat", EVERYTHING, real)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    got = read("chat", await streamed("chat", stream("chat", "text", pieces), safe, guard))
    whole: Any = msgspec.json.decode(body)
    return whole["choices"][0]["message"]["content"], "".join(got["deltas"]), real


@pytest.mark.parametrize("name", LONG)
async def test_what_is_long_is_found_in_a_stream_as_in_the_whole(name: str) -> None:
    value = LONG[name]
    for ahead in (0, 30, 90, 130, 160, 200):
        text = f"{(PROSE * 3)[:ahead]} {value}, {PROSE}"
        whole, parts, _ = await both(text, chance.randrange(1, 90))
        assert parts == whole, ahead
        assert whole != text
        assert "*" * 15 in whole


async def test_every_kind_of_secret_is_among_them() -> None:
    found = {span.entity for value in LONG.values() for span in analyzer().analyze(f"See {value}, there")}
    assert found >= {"EMAIL_ADDRESS", "SECRET", "CREDIT_CARD", "IBAN_CODE", "CASE", "CODENAME", "PHONE_NUMBER"}
    assert len(SECRETS) == 12, "a new kind of secret: is it known how it begins?"


async def test_a_key_behind_what_looks_like_one_is_found() -> None:
    text = f"-----BEGIN RSA PRIVATE KEY-----\n{PROSE * 220}{LONG['a private key']}, {PROSE}"
    whole, parts, _ = await both(text, 70)
    assert parts == whole
    assert "END RSA" not in whole


async def test_what_never_becomes_anything_goes_on() -> None:
    for text in (
        "-----BEGIN RSA PRIVATE KEY-----\n" + "no key at all " * 2000, "w" * 3000 + " " + PROSE * 4,
        "at " * 300 + PROSE * 4, "-----BEGIN RSA PRIVATE KEY-----\n" * 40 + PROSE,
        ("-----BEGIN RSA PRIVATE KEY-----\n" + PROSE) * 600, "://u:" * 100 + PROSE * 5,
    ):  # fmt: skip
        whole, parts, real = await both(text, 50)
        assert parts == whole == text
        # What is held is searched again when a quarter more of it has come, not with each piece.
        assert sum(map(len, real.seen)) < 25 * len(text) + 12 * MOST


def test_bounds_of_expressions() -> None:
    assert bound(r"\bE\d{5}\b") == 6
    assert bound(r"(?:a{3}|b{7})c?") == 8
    assert bound(r"\w+") is None
    assert bound(r"a{2000}") is None
    short = replace(EVERYTHING, patterns=(("E", r"E\d{5}", 0.5),), deny=())
    assert Unfinished(short).hold == HOLD
    assert Unfinished(EVERYTHING).hold == len("case" + " abc" * 60 + "!") + 16


def test_where_the_end_of_a_text_stays_back() -> None:
    unfinished = Unfinished(replace(EVERYTHING, patterns=(), deny=()))
    prose = (PROSE * 4).strip()
    assert unfinished.start(prose, HOLD) == len(prose) - HOLD
    assert unfinished.start("short", HOLD) == 0
    assert unfinished.start(f"{prose} {'x' * 200}", HOLD) == len(prose) + 1
    assert unfinished.start(f"{prose} {'x' * (LONGEST_WORD + 1)}", HOLD) == len(prose) + 1 + LONGEST_WORD + 1 - HOLD
    assert unfinished.start("漢字" * 200, HOLD) == 400 - HOLD, "a language without spaces does not wait"
    assert unfinished.start("&#65;&#44;" * 50, HOLD) == 5 * (100 - HOLD), "as it is read, not as it is written"
    assert STEP < HOLD
