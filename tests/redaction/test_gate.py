"""The gate never says "no" of a text in which the recognizers find something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.gate import NEEDS, Gate
from gateway.redaction.recognizers import ProfileAnalyzer

STRICT = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS")
PROFILE = RedactionProfile("strict", STRICT, digest="strict")
GATE, ANALYZER = Gate(PROFILE), ProfileAnalyzer(PROFILE)

HOLDING = [
    "Write to ada@example.com", "ada@corp.internal", "x?email=a@b.com&y", "ada%40example.com", "ada&#64;example.com",
    "ada&commat;example.com", "ada\\u0040example.com", "ada＠example.com", "ada\u200b@example.com",
    "ada at example dot com", "Ada At Example Dot Com", "ada [at] example [dot] com", "ada at mail.example.com",
    "call +1 212 555 0142", "call 2125550142", "(212) 555-0142", "card 4111 1111 1111 1111", "4111-1111-1111-1111",
    "４１１１１１１１１１１１１１１１", "4_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1", "DE89 3704 0044 0532 0130 00",
    "DE89370400440532013000",
    "ssn 856-45-6789", "10.0.0.1", "fe80::1", "::1", "2001:db8:85a3::8a2e:370:7334", "::ffff:10.0.0.1",
]  # fmt: skip
CLEAN = [
    "", "Tell me about bridges.", "meet me at noon. come early", "at the dot", "That water is hot: very hot.",
    "It costs 12 euros in 2024", "a - b . c", "x" * 5000, "\n\n\t", "émigré naïve 日本語", "see section 1.2",
]  # fmt: skip


@pytest.mark.parametrize("text", HOLDING)
def test_what_holds_something_passes_the_gate(text: str) -> None:
    assert ANALYZER.analyze(text) != [], "the recognizers find it"
    assert GATE.may_hold(text)


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_clean_does_not(text: str) -> None:
    assert ANALYZER.analyze(text) == []
    assert not GATE.may_hold(text)


PIECES = [
    "ada", "@", "example", ".", "com", " at ", " dot ", "(at)", "[dot]", "+1", "212", "555", "0142", "-", " ", "(",
    ")", "4111", "1111", "DE89", "3704", "0044", "0532", "0130", "00", ":", "::", "fe80", "10", "0", "1", "_", "/",
    "=", "?", "%40", "&#64;", "\\u0040", "\u200b", "４", "１", "＠", "\n", "call ", "ssn ", "856-45-6789", "aé",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_never_no_where_a_recognizer_says_yes(text: str) -> None:
    if not GATE.may_hold(text):
        assert ANALYZER.analyze(text) == []


@pytest.mark.long
@settings(max_examples=20_000, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join))
def test_never_no_at_length(text: str) -> None:
    if not GATE.may_hold(text):
        assert ANALYZER.analyze(text) == []


def test_what_it_does_not_know_is_always_perhaps() -> None:
    assert Gate(RedactionProfile("p", ("URL",))).may_hold("clean")
    assert Gate(RedactionProfile("p", ("EMAIL_ADDRESS",), patterns=(("X", "x", 0.5),))).may_hold("clean")
    words = Gate(RedactionProfile("p", ("EMAIL_ADDRESS",), deny=(("NAME", "Lovelace"),)))
    assert words.may_hold("ada LOVELACE")
    assert not words.may_hold("ada")
    assert set(STRICT) <= set(NEEDS)
