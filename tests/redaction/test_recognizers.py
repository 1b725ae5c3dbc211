"""What is found where Presidio by itself has holes, what is not taken for personal data, and what a profile says."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from gateway.policy.compiled import RedactionProfile
from gateway.policy.schema import ENTITIES
from gateway.redaction.detection.profile import ProfileAnalyzer, apart
from gateway.redaction.detection.registry import OURS, PRESIDIOS
from gateway.redaction.spans import Span, Unusable

ALL = RedactionProfile("all", tuple(sorted({*OURS, "IBAN_CODE", "US_SSN", "MAC_ADDRESS", "UK_NINO"})))
EVERYTHING = ProfileAnalyzer(ALL)

FOUND = [
    ("EMAIL_ADDRESS", "GET /x?email=[ada@b.org] HTTP"), ("EMAIL_ADDRESS", "email=[ada@b.org]&x=1"),
    ("EMAIL_ADDRESS", "ask [ada@corp.internal] or"), ("EMAIL_ADDRESS", "from [root@localhost]:22"),
    ("EMAIL_ADDRESS", "'[o.grady+x@mail.example.co.uk]'"), ("EMAIL_ADDRESS", "<[ada@b.org]>,"),
    ("EMAIL_ADDRESS", "sent to [ada@b.org]."), ("EMAIL_ADDRESS", "to=\\\\n[ada@b.org]"),
    ("EMAIL_ADDRESS", "is [ada at example dot org], ok"), ("EMAIL_ADDRESS", "is [ada.l \\[at\\] example.org] now"),
    ("EMAIL_ADDRESS", "[jürgen@müller.de]"), ("EMAIL_ADDRESS", "[ada%40b.org]"),
    ("EMAIL_ADDRESS", "ada [ada@10.0.0.1] x"),
    ("CREDIT_CARD", "pay [2221000000000009] now"), ("CREDIT_CARD", "[2720 9900 0000 0007]"),
    ("CREDIT_CARD", "[4111-1111-1111-1111]"),
    ("CREDIT_CARD", "[3782 822463 10005]"), ("CREDIT_CARD", "[4111.1111.1111.1111]"),
    ("CREDIT_CARD", "[4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1]"), ("CREDIT_CARD", "[４１１１１１１１１１１１１１１１]"),
    ("PHONE_NUMBER", "call [2125550142]"), ("PHONE_NUMBER", "[+49 30 1234567]"),
    ("PHONE_NUMBER", "[212-555-0142] is mine"),
    ("PHONE_NUMBER", '"tel": "[030 1234567]"'), ("PHONE_NUMBER", "[06 12 34 56 78] svp"),
    ("PHONE_NUMBER", "[(212) 555-0142]"), ("PHONE_NUMBER", "Frau Schmidt, [(030) 12345678], Mail"),
    ("PHONE_NUMBER", "today [(0171) 1234567] works"), ("PHONE_NUMBER", "home is [(0221)/1234567] today"),
    ("PHONE_NUMBER", "mine is [030 123 45 67] today"),
    ("UK_NHS", "NHS number [943 476 5919]"), ("IBAN_CODE", "to [DE89 3704 0044 0532 0130 00] today"),
    ("US_SSN", "ssn [856-45-6789]"), ("IP_ADDRESS", "at http://\\[[::1]\\]/"),
    ("MAC_ADDRESS", "if [00:1b:44:11:3a:b7] up"),
    ("SECRET", "key [sk-proj-abcdefghij0123456789ABCDEFGHIJ]"),
    ("SECRET", "[ghp_abcdefghij0123456789ABCDEFGHIJ012345]"),
    ("SECRET", "id [AKIAIOSFODNN7EXAMPLE]"), ("SECRET", "password: '[hunter2hunter2]'"),
    ("SECRET", "Authorization: Bearer [abcdef0123456789xyz]"),
    ("SECRET", "[-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----]\n"),
    ("SECRET", "[eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U]"),
]  # fmt: skip
NOT_FOUND = [
    "npm i lodash@4 @types/node@18 react@latest", "@property and @app.get", "meet me at example.com", "a @ b",
    "order (12) 4111111, item (007) 1", "section (04) 12345 is",
    "order 4111111111111112", "1700000000123 ms", "order 1234567890", "on 2024-01-15 and 15.01.2024",
    "978-3-16-148410-0",
    "version 10.4.2", "rows[::2] and rows[1::2]", "std::vector", "pp. 123-456", "0.4111111111111111", "1,234,567.89",
    "sk-learn and gh-pages", "3f2b8c1e-9d4a-4f6b-8a2e-1c3d5e7f9a0b", "ref=9434765919", "lat 52.520008, lon 13.404954",
    "the token limit is 128000", "at the dot com boom", "12:30:45", "score 3-2, 7-6, 6-4", "3 1 4 1 5 9",
]  # fmt: skip


def shown(text: str) -> tuple[str, str]:
    """A text with its span in brackets → the text, the span; a bracket of the text is escaped."""
    plain = text.replace("\\\\", "\0").replace("\\[", "\1").replace("\\]", "\2")
    before, _, rest = plain.partition("[")
    inside, _, after = rest.partition("]")
    back = str.maketrans({"\0": "\\", "\1": "[", "\2": "]"})
    return (before + inside + after).translate(back), inside.translate(back)


@pytest.mark.parametrize(("entity", "marked"), FOUND)
def test_found(entity: str, marked: str) -> None:
    text, inside = shown(marked)
    assert [(one.entity, text[one.start : one.end]) for one in EVERYTHING.analyze(text)] == [(entity, inside)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert EVERYTHING.analyze(text) == []


def test_a_password_in_a_url_goes_with_its_host() -> None:
    found = EVERYTHING.analyze("postgres://app:s3cr3t!x@db.internal/x")
    assert [(one.start, one.end) for one in found] == [(15, 35)]


def test_context_words_count() -> None:
    passport = ProfileAnalyzer(RedactionProfile("p", ("US_PASSPORT",)))
    assert passport.analyze("my passport is A12345678")[0].score == pytest.approx(0.45)
    assert passport.analyze("my order is A12345678") == []


def test_a_profile_says_which_countries_thresholds_patterns_and_words() -> None:
    german = ProfileAnalyzer(RedactionProfile("p", ("PHONE_NUMBER",), countries=("DE",)))
    assert german.analyze("call 030 1234567")
    assert german.analyze("call (212) 555-0142") == []
    own = RedactionProfile(
        "p", ("EMAIL_ADDRESS",), patterns=(("STAFF", r"\bE\d{5}\b", 0.5),), deny=(("CODENAME", "Blue Heron"),),
        allow=("info@example.com",), scores=(("STAFF", 0.4),),
    )  # fmt: skip
    found = ProfileAnalyzer(own).analyze("E12345 wrote to info@example.com and ada@b.org on blue heron")
    assert [(one.entity, one.start) for one in found] == [("STAFF", 0), ("EMAIL_ADDRESS", 37), ("CODENAME", 50)]
    assert ProfileAnalyzer(replace(own, scores=(("STAFF", 0.6),))).analyze("E12345") == []


def test_every_entity_of_the_schema_is_found_by_somebody() -> None:
    assert {*OURS, *PRESIDIOS} == ENTITIES


def test_a_profile_that_nobody_can_serve_says_so() -> None:
    with pytest.raises(Unusable, match="no recognizer finds PERSON: that takes a language model"):
        ProfileAnalyzer(RedactionProfile("p", ("PERSON", "EMAIL_ADDRESS")))


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*arguments: Any, **named: Any) -> None:
        raise AssertionError(f"looked up {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", lookup)
    everything = ProfileAnalyzer(RedactionProfile("p", tuple(sorted(ENTITIES))))
    assert everything.analyze("ada@example.co.uk, https://example.org/x, 10.0.0.1")
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    assert EmailRecognizer().analyze("ada@example.co.uk", ["EMAIL_ADDRESS"])[0].score == 1.0


def test_spans_that_overlap_become_one_of_the_best_kind() -> None:
    spans = [Span(0, 10, "A", 0.5), Span(8, 12, "B", 0.9), Span(20, 30, "C", 0.5), Span(22, 25, "D", 0.6)]
    assert apart(spans) == [Span(0, 12, "B", 0.9), Span(20, 30, "D", 0.6)]
    assert apart([]) == []
