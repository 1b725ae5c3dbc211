"""Of what is longer than what stays back, no beginning is let go, whatever its shape and wherever it is cut."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
import regex  # type: ignore[import-untyped]  # what the analyzer searches with
from hypothesis import given
from hypothesis import strategies as some

from gateway.redaction.detection.own import SECRETS, MailRecognizer
from gateway.redaction.unfinished import HOLD, Unfinished
from tests.redaction.test_unfinished import EVERYTHING, PROSE

UNFINISHED = Unfinished(replace(EVERYTHING, patterns=(), deny=()))
FLAGS = regex.IGNORECASE | regex.MULTILINE | regex.DOTALL  # the analyzer's
EXPRESSIONS = {name: regex.compile(expression, FLAGS) for name, expression, _ in SECRETS}
MAIL: list[Any] = MailRecognizer().patterns  # type: ignore[has-type]  # Presidio says it nowhere
EXPRESSIONS |= {one.name: regex.compile(one.regex, FLAGS) for one in MAIL}
URL_SAFE = string.ascii_letters + string.digits + "-_"


@some.composite
def of(draw: some.DrawFn, shortest: int, longest: int, chars: str = URL_SAFE) -> str:
    """Characters, up to more than hypothesis likes to draw one by one."""
    seed = draw(some.text(chars, min_size=1, max_size=9))
    length = draw(some.one_of(some.integers(shortest, min(longest, shortest + 40)), some.integers(shortest, longest)))
    return (seed * (length // len(seed) + 1))[:length]


@some.composite
def joined(draw: some.DrawFn, form: str, *parts: some.SearchStrategy[str]) -> str:
    return form.format(*(draw(part) for part in parts))


LETTERS = string.ascii_letters
WORDS, LINES = of(1, 60, string.ascii_lowercase + string.digits), of(64, 64, LETTERS + string.digits + "+/")
DOTS = some.sampled_from((" dot ", ".", " (dot) ", " [dot] "))
SHAPES = {
    "private key": joined("-----BEGIN {0}PRIVATE KEY-----\n{1}\n-----END {0}PRIVATE KEY-----",
                          some.sampled_from(("", "RSA ", "OPENSSH ", "ENCRYPTED ")), of(60, 19_000, LETTERS + "+/\n")),
    "provider key": joined("{}{}{}7{}", some.sampled_from(("sk-", "sk-proj-", "gw-", "rk-")),
                           some.just("x"), of(10, 150, LETTERS), of(20, 90)),
    "payment key": joined("sk_live_{}", of(16, 250, LETTERS)),
    "platform token": joined("{}{}", some.sampled_from(("ghp_", "github_pat_", "glpat-", "hf_")), of(16, 255)),
    "chat token": joined("xoxb-{}", of(16, 255, LETTERS + "-")),
    "mail key": joined("SG.{}.{}", of(16, 64), of(16, 128)),
    "cloud key id": joined("AKIA{}", of(16, 16, string.ascii_uppercase + string.digits)),
    "search key": joined("AIza{}", of(35, 35)),
    "web token": joined("eyJ{}.{}.{}", of(8, 600), of(8, 4000), of(8, 700)),
    "value of a key": joined("api_key = {}7{}", of(8, 190, LETTERS), of(4, 58)),
    "bearer": joined("Bearer {}7{}", of(8, 190, LETTERS), of(8, 300)),
    "password in a URL": joined("postgres://{}:{}@db.example.com", of(0, 64, LETTERS), of(3, 100, LETTERS + "(:;,<>)")),
    "address": joined("{}.{}@{}.{}.com", *[of(1, 64, LETTERS + "-_")] * 2, *[of(1, 60, LETTERS)] * 2),
    "internal": joined("{}.{}@{}", *[of(2, 64, LETTERS + "-_")] * 2, of(3, 60, LETTERS)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHAPES)
@given(data=some.data(), ahead=some.integers(0, 200))
def test_what_has_begun_stays_back_until_it_is_found(kind: str, data: some.DataObject, ahead: int) -> None:
    value = data.draw(SHAPES[kind])
    text = f"{PROSE[:ahead]} {value}, {PROSE}"
    expression = EXPRESSIONS[kind]
    found = expression.search(text, len(PROSE[:ahead]))
    if found is None:  # a shape that happens to be none
        return
    start, end = found.span()
    places = {*range(end - 12, end), *(at + more for at in _stops(text, start, end) for more in range(-2, 12))}
    places.add(data.draw(some.integers(start + 1, end)))
    for place in sorted(place for place in places if start < place < end):
        seen = text[:place]
        let_go = UNFINISHED.start(seen, HOLD)
        early = expression.search(seen, start)
        assert let_go <= start or (early is not None and early.start() <= start and early.end() > let_go), place


def _stops(text: str, start: int, end: int) -> list[int]:
    """Where one part ends and the next begins."""
    return [at for at in range(start, end) if text[at] in ".@:\n -"][:60]
