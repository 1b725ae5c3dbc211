"""The windows lose nothing: type, start, end and score are those of the plain AnalyzerEngine with the same registry."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from presidio_analyzer import EntityRecognizer, RecognizerResult, predefined_recognizers

from bench.privacy.texts import SPLITS, labelled
from bench.privacy.values import NEGATIVES, Values
from gateway.policy.compiled import RedactionProfile
from gateway.policy.schema import ENTITIES
from gateway.redaction.detection.engine import WindowEngine, plain
from gateway.redaction.detection.registry import recognizers
from gateway.redaction.detection.words import LANGUAGE

DEFAULT = (  # what Presidio has switched on for English
    "CreditCard", "UsBank", "UsLicense", "UsItin", "UsPassport", "UsSsn", "Nhs", "Crypto", "Date", "Email", "Iban",
    "Ip", "MedicalLicense", "MacAddress", "Uuid", "Phone", "Url",
)  # fmt: skip
Finds = Callable[[str], list[tuple[str, int, int, float]]]


def presidios() -> list[EntityRecognizer]:
    return [getattr(predefined_recognizers, f"{name}Recognizer")() for name in DEFAULT]


def ours() -> list[EntityRecognizer]:
    own = RedactionProfile(
        "all", tuple(sorted(ENTITIES)), countries=("US", "GB", "DE", "FR", "IT", "AR", "BR"),
        patterns=(("STAFF", r"\bE\d{5}\b", 0.5),), deny=(("CODENAME", "Blue Heron"),),
    )  # fmt: skip
    return recognizers(own)


def places(results: list[RecognizerResult]) -> list[tuple[str, int, int, float]]:
    return sorted((one.entity_type, one.start, one.end, round(one.score, 9)) for one in results)


@pytest.fixture(scope="module", params=[presidios, ours], ids=["Presidio's own set", "ours"])
def both(request: pytest.FixtureRequest) -> tuple[Finds, Finds]:
    made = request.param()
    windows, whole = WindowEngine(made), plain(made)
    entities = sorted({entity for one in made for entity in one.supported_entities})
    return (
        lambda text: places(windows.analyze(text)),
        lambda text: places(whole.analyze(text, LANGUAGE, entities=entities, score_threshold=0.0)),
    )


def differing(both: tuple[Finds, Finds], texts: Iterator[str]) -> list[str]:
    fast, slow = both
    return [text for text in texts if fast(text) != slow(text)]


def test_on_some_labelled_texts(both: tuple[Finds, Finds]) -> None:
    assert differing(both, (one.text for one in labelled("tuning", 2))) == []


@pytest.mark.long  # 20 s both
@pytest.mark.timeout(240)
def test_on_every_labelled_text(both: tuple[Finds, Finds]) -> None:
    texts = [one.text for split in SPLITS for one in labelled(split)]
    assert len(texts) >= 3000
    assert differing(both, iter(texts)) == []


def test_on_labelled_texts_joined(both: tuple[Finds, Finds]) -> None:
    texts = [one.text for one in labelled("tuning", 1)]
    assert differing(both, (" ".join(texts[at::8]) for at in range(8))) == []


ALPHABETS = (
    "0123456789", "0123456789 -.", "0123456789()+-/ ", "+0123456789 x,;ext.", "abcdef0123456789:-.", "ab@.-_+=? ",
    "DEGB0123456789 -", "４１０９＋（）　", "٠١٢٣ 12-", "日本語テキスト12 ", ".:/@", "aA1ıİſK ", "19876543210/-.JANfeb",
)  # fmt: skip
WORDS = (
    "call", "phone", "ssn", "passport", "card", "iban", "my", "the", "DE89", "3704", "0044", "AB12", "www.", ".com",
    "https://", "ada", "@", "::", "10.0.0.1", "fe80::1", "+49 30", "(212) ", "ext. 12", "bc1", "1/2/2024", "A1234567",
    "\n", "\t", " ", "-", "E12345", "Blue Heron", "token=", "sk-", "00", "at", "dot com", "ß", "…", "é",
)  # fmt: skip


def soup(seed: int) -> Iterator[str]:
    """Random texts: digits, punctuation, values and what looks like them, in no order."""
    chance, values = random.Random(seed), Values(seed)
    slots = [
        *(f"n.{one}" for one in NEGATIVES),
        "email",
        "phone",
        "card",
        "iban",
        "ssn",
        "ip",
        "ip6",
        "obf.phone",
        "mac",
    ]
    while True:
        parts = []
        for _ in range(chance.randint(1, 12)):
            kind = chance.random()
            if kind < 0.4:
                parts.append("".join(chance.choices(chance.choice(ALPHABETS), k=chance.randint(1, 24))))
            elif kind < 0.8:
                parts.append(chance.choice(WORDS))
            else:
                parts.append(values.of(chance.choice(slots))[0])
        yield chance.choice(("", " ", " ", ", ")).join(parts)


def some(count: int, seed: int) -> Iterator[str]:
    made = soup(seed)
    return (next(made) for _ in range(count))


def test_on_random_texts(both: tuple[Finds, Finds]) -> None:
    assert differing(both, some(250, 5)) == []


@pytest.mark.long  # 30 s both
@pytest.mark.timeout(240)
def test_on_more_random_texts(both: tuple[Finds, Finds]) -> None:
    assert differing(both, some(4000, 11)) == []
