"""The gate never says "no" of a text in which the recognizers find something."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.privacy.texts import labelled
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.detection.profile import ProfileAnalyzer
from gateway.redaction.gate import KNOWN, LONGEST, LONGEST_WIDE, Gate

STRICT = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS")
PROFILES = {
    "strict": RedactionProfile("strict", STRICT, digest="strict"),
    "everything known": RedactionProfile("all", tuple(sorted(KNOWN)), score=0.0, digest="all"),
}
PAIRS = {name: (Gate(profile), ProfileAnalyzer(profile)) for name, profile in PROFILES.items()}
GATE, ANALYZER = PAIRS["strict"]

HOLDING = [
    "Write to ada@example.com", "ada@corp.internal", "x?email=a@b.com&y", "ada%40example.com", "ada&#64;example.com",
    "ada&commat;example.com", "ada\\u0040example.com", "ada＠example.com", "ada\u200b@example.com",
    "ada at example dot com", "Ada At Example Dot Com", "ada [at] example [dot] com", "ada at mail dot example dot com",
    "ada(at)example.com", "ada [at] example.org",
    "call +1 212 555 0142", "call 2125550142", "(212) 555-0142", "card 4111 1111 1111 1111", "4111-1111-1111-1111",
    "４１１１１１１１１１１１１１１１", "4_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1", "DE89 3704 0044 0532 0130 00",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "call + 4 9 3 0 1 2 3 4 5 6 7", "DE89370400440532013000", "ring 030 1234567",
    "ssn 856-45-6789", "10.0.0.1", "fe80::1", "::1", "2001:db8:85a3::8a2e:370:7334", "::ffff:10.0.0.1",
]  # fmt: skip
CLEAN = [
    "", "Tell me about bridges.", "meet me at noon. come early", "at the dot", "That water is hot: very hot.",
    "It costs 12 euros in 2024", "a - b . c", "x" * 5000, "\n\n\t", "émigré naïve 日本語", "see section 1.2",
    "from 10:30 to 11:45 on 2024-05-17, 1,250.00 in all", "std::vector<int> a;", "v1.2.3 of 3.14.15",
]  # fmt: skip


@pytest.mark.parametrize("text", HOLDING)
def test_what_holds_something_passes_the_gate(text: str) -> None:
    assert ANALYZER.analyze(text) != [], "the recognizers find it"
    assert GATE.may_hold(text)


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_clean_does_not(text: str) -> None:
    assert ANALYZER.analyze(text) == []
    assert not GATE.may_hold(text)


@pytest.mark.parametrize("name", PROFILES)
def test_no_labelled_text_is_kept_from_the_recognizers(name: str) -> None:
    gate, analyzer = PAIRS[name]
    for one in labelled("tuning", 5):
        if not gate.may_hold(one.text):
            assert analyzer.analyze(one.text) == [], one.text


PIECES = [
    "ada", "@", "example", ".", "com", " at ", " dot ", "(at)", "[dot]", "+1", "212", "555", "0142", "-", " ", "(",
    ")", "4111", "1111", "DE89", "3704", "0044", "0532", "0130", "00", ":", "::", "fe80", "10", "0", "1", "_", "/",
    "=", "?", "%40", "&#64;", "\\u0040", "\u200b", "４", "１", "＠", "\n", "call ", "ssn ", "856-45-6789", "aé",
    "\\n", "ı", "٣", "sk-", "token=", "eyJ", "a1b2c3d4e5f6g7h8", "QQ 12 34 56 A", "–", "x", "9AA",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_never_no_where_a_recognizer_says_yes(text: str) -> None:
    for gate, analyzer in PAIRS.values():
        if not gate.may_hold(text):
            assert analyzer.analyze(text) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=4))
def test_what_is_clean_as_json_is_clean_leaf_by_leaf(leaves: list[str]) -> None:
    raw = json.dumps({"role": "user", "parts": leaves}, ensure_ascii=False, separators=(",", ":"))
    for gate, analyzer in PAIRS.values():
        if "\\" not in raw and not gate.may_hold(raw):
            assert [analyzer.analyze(leaf) for leaf in leaves] == [[] for _ in leaves]


def test_a_number_that_is_a_field_of_its_own_is_looked_at() -> None:
    assert ANALYZER.analyze("2125550142")
    assert GATE.may_hold('[{"phone":"2125550142"}]')
    assert GATE.may_hold('{"input":{"to":49301234567}}')


@pytest.mark.long
@settings(max_examples=8_000, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join))
def test_never_no_at_length(text: str) -> None:
    for gate, analyzer in PAIRS.values():
        if not gate.may_hold(text):
            assert analyzer.analyze(text) == []


def test_what_it_does_not_know_is_always_perhaps() -> None:
    assert Gate(RedactionProfile("p", ("URL",))).may_hold("clean")
    assert Gate(RedactionProfile("p", ("PERSON",), presidio=("/ner.yaml",))).may_hold("clean")
    assert Gate(RedactionProfile("p", ("EMAIL_ADDRESS",), patterns=(("X", "x", 0.5),))).may_hold("clean")
    words = Gate(RedactionProfile("p", ("EMAIL_ADDRESS",), deny=(("NAME", "Lovelace"),)))
    assert words.may_hold("ada LOVELACE")
    assert not words.may_hold("ada")
    assert set(STRICT) <= set(KNOWN)


def test_the_event_loop_is_not_held_for_a_long_text() -> None:
    assert GATE.may_hold("a" * (LONGEST + 1))
    assert not GATE.may_hold("a" * LONGEST)
    assert GATE.may_hold("é" * (LONGEST_WIDE + 1))
