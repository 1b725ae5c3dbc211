"""Presidio as this gateway uses it: no model, no network, a curated set of recognizers for each profile.

Imported in analysis workers alone: Presidio brings spaCy with it, some 120 MB and a second of CPU.
Source of the recognizers: presidio-analyzer's predefined ones; our own stand where those have known holes
(docs/privacy.md names them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import presidio_analyzer.predefined_recognizers as predefined
import tldextract
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, Pattern, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, PhoneRecognizer

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.normal import normal
from gateway.redaction.spans import Span

LANGUAGE = "en"
REGIONS = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")  # of phone numbers, where a profile names no countries
_WORD = re.compile(r"\w+|[^\w\s]")
_STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "my",
        "of",
        "on",
        "or",
        "our",
        "that",
        "the",
        "this",
        "to",
        "was",
        "with",
        "your",
    ]
)


class WordEngine(NlpEngine):
    """Words instead of a model: enough for context words ("call", "ssn") to count."""

    engine_name = "words"
    is_available = True

    def load(self) -> None:
        """Nothing is loaded."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """Words, and their lower-case forms as lemmas."""
        found = list(_WORD.finditer(text))
        words = [match[0] for match in found]
        return NlpArtifacts(
            entities=[],
            tokens=words,  # type: ignore[arg-type]  # only their text is used
            tokens_indices=[match.start() for match in found],
            lemmas=[word.lower() for word in words],
            nlp_engine=self,
            language=language,
        )

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """One after the other."""
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, language: str) -> bool:
        """Whether a word says nothing about its neighbours."""
        return word.lower() in _STOP

    def is_punct(self, word: str, language: str) -> bool:
        """Whether it is no word."""
        return not word[:1].isalnum()

    def get_supported_entities(self) -> list[str]:
        """None: names of persons need a model."""
        return []

    def get_supported_languages(self) -> list[str]:
        """The one."""
        return [LANGUAGE]


_AT, _DOT = r"(?:@|\s?[\[(]\s?at\s?[\])]\s?|\s+at\s+)", r"(?:\.|\s?[\[(]\s?dot\s?[\])]\s?|\s+dot\s+)"
_LOCAL = r"[A-Za-z0-9!#$'*+^_`{|}~-]+(?:\.[A-Za-z0-9!#$'*+^_`{|}~-]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


class MailRecognizer(PatternRecognizer):
    """E-mail addresses: in query strings and at internal domains too, and written with "at" and "dot"."""

    def __init__(self) -> None:
        super().__init__(
            supported_entity="EMAIL_ADDRESS",
            patterns=[
                Pattern("address", rf"(?<![A-Za-z0-9._+-]){_LOCAL}@{_HOST}(?:\.{_HOST})*(?![A-Za-z0-9@])", 1.0),
                Pattern(
                    "spoken",
                    rf"(?<![A-Za-z0-9._+-])[A-Za-z0-9_+-]+(?:{_DOT}[A-Za-z0-9_+-]+){{0,3}}{_AT}{_HOST}"
                    rf"(?:{_DOT}{_HOST}){{0,3}}{_DOT}(?:com|org|net|edu|gov|io|co|de|uk|fr|eu|info|biz|me|app|dev)\b",
                    0.8,
                ),
            ],
        )


class CardRecognizer(CreditCardRecognizer):
    """Presidio's, with Mastercard's 2-series and other separators; Luhn's check decides as there."""

    def __init__(self) -> None:
        own = Pattern("with any separators", r"(?<![\d])[2-6](?:[ _./-]?\d){12,18}(?![\d])", 0.3)
        super().__init__(
            patterns=[*CreditCardRecognizer.PATTERNS, own],
            replacement_pairs=[(char, "") for char in "- _./"],
        )


class SeparatedPhoneRecognizer(PhoneRecognizer):
    """Presidio's; but a bare run of digits is a phone number only beside a word that says so: most are ids."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[Any]:
        """The numbers of the parent that look like phone numbers."""
        found = super().analyze(text, entities, nlp_artifacts)  # type: ignore[arg-type]  # it may be absent
        return [one for one in found if _looks_dialled(text, one.start, one.end)]


_SAYS_PHONE = re.compile(
    r"(?i)\b(?:phone|tele(?:phone|fon)?|tel|cell(?:phone)?|mobile|call|fax|sms|text|whatsapp|dial|number)\b"
)


def _looks_dialled(text: str, start: int, end: int) -> bool:
    number = text[start:end]
    if number.startswith("+") or "(" in number:
        return True
    if _SAYS_PHONE.search(text[max(0, start - 40) : start]) is not None:
        return True
    groups = re.findall(r"\d+", number)
    return len(groups) >= 3 and len(groups[0]) <= 4


SECRETS = (
    ("private key", r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[\s\S]{1,20000}?-----END (?:[A-Z]+ )?PRIVATE KEY-----"),
    ("provider key", r"\b(?:sk|pk|rk|gw)-(?:[A-Za-z]+-)?[A-Za-z0-9_-]{20,200}"),
    ("token", r"\b(?:ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abprs]|hf)[_-][A-Za-z0-9_-]{16,255}"),
    ("aws key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("google key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
)


def recognizers(profile: RedactionProfile) -> list[EntityRecognizer]:
    """The recognizers of a profile. Raises ValueError for an entity that none of them finds."""
    wanted = set(profile.entities)
    own: dict[str, Any] = {
        "EMAIL_ADDRESS": MailRecognizer,
        "CREDIT_CARD": CardRecognizer,
        "PHONE_NUMBER": lambda: SeparatedPhoneRecognizer(supported_regions=profile.countries or REGIONS),
        "SECRET": lambda: PatternRecognizer(
            supported_entity="SECRET", patterns=[Pattern(name, regex, 0.9) for name, regex in SECRETS]
        ),
    }
    found: list[EntityRecognizer] = [make() for entity, make in own.items() if entity in wanted]
    covered = {entity for entity in own if entity in wanted}
    for entity, regex, score in profile.patterns:
        found.append(PatternRecognizer(supported_entity=entity, patterns=[Pattern("custom", regex, score)]))
        covered.add(entity)
    for entity in sorted({entity for entity, _ in profile.deny}):
        words = [word for name, word in profile.deny if name == entity]
        found.append(PatternRecognizer(supported_entity=entity, deny_list=words))
        covered.add(entity)
    for name in sorted(set(dir(predefined))):
        made = getattr(predefined, name)
        if not (isinstance(made, type) and issubclass(made, PatternRecognizer)) or wanted <= covered:
            continue
        supported = _entity_of(made)
        if supported in wanted - covered:
            found.append(made(supported_language=LANGUAGE))  # type: ignore[call-arg]  # subclasses know their entity
            covered.add(supported)
    if missing := sorted(wanted - covered):
        raise ValueError(f"no recognizer finds {', '.join(missing)} without a model")
    return found


def _entity_of(made: type[Any]) -> str | None:
    try:
        supported = made().supported_entities
    except Exception:  # noqa: BLE001  # some need a model, a key or a package; they are not for us
        return None
    return str(supported[0]) if supported else None


class ProfileAnalyzer:
    """One profile's engine. `analyze` is what a worker does with a text."""

    def __init__(self, profile: RedactionProfile) -> None:
        # Validating an e-mail would otherwise fetch the public suffix list, on the first request.
        tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        registry = RecognizerRegistry(recognizers=recognizers(profile), supported_languages=[LANGUAGE])
        self._engine = AnalyzerEngine(registry=registry, nlp_engine=WordEngine(), supported_languages=[LANGUAGE])
        self._entities = sorted(
            {*profile.entities, *(one for one, _ in profile.deny), *(one[0] for one in profile.patterns)}
        )
        self._score = profile.score
        self._scores = dict(profile.scores)
        self._allow = frozenset(text.casefold() for text in profile.allow)

    def analyze(self, text: str) -> list[Span]:
        """Spans of the text's own characters, sorted, not overlapping: the better score wins, then the longer."""
        shown = normal(text)
        if not shown.text:
            return []
        found = self._engine.analyze(text=shown.text, language=LANGUAGE, entities=self._entities, score_threshold=0.0)
        spans = []
        for one in found:
            start, end = shown.back(one.start, one.end)
            if one.score < self._scores.get(one.entity_type, self._score):
                continue
            if text[start:end].casefold() in self._allow:
                continue
            spans.append(Span(start, end, one.entity_type, round(float(one.score), 3)))
        return apart(spans)


def apart(spans: Sequence[Span]) -> list[Span]:
    """Without overlaps: the better score wins, then the longer, then the earlier."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (-one.score, one.start - one.end, one.start, one.entity)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda one: one.start)
