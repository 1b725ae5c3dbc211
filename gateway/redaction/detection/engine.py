"""The recognizers of a registry on the windows where they can match.

The answers are those of the plain AnalyzerEngine with the same recognizers and `WordEngine`: type, start, end and
score. `plain` makes that engine; tests/redaction/test_equality.py compares the two.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence

import tldextract
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    DateRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    MedicalLicenseRecognizer,
    NhsRecognizer,
    PhoneRecognizer,
    UkNinoRecognizer,
    UrlRecognizer,
    UsBankRecognizer,
    UsItinRecognizer,
    UsLicenseRecognizer,
    UsPassportRecognizer,
    UsSsnRecognizer,
    UuidRecognizer,
)

from gateway.redaction.detection.own import CardRecognizer, DialledRecognizer, MailRecognizer, SecretRecognizer
from gateway.redaction.detection.phones import Regions
from gateway.redaction.detection.urls import UrlFinder
from gateway.redaction.detection.words import LANGUAGE, LocalContext, WordEngine
from gateway.redaction.sketch import HINTS, Sketch
from gateway.redaction.windows import FINDERS, PHONE_BEFORE, SAYS_WITHIN, AnyFinder, Phone, after_phone

# Classes whose matches are known to lie in their entity's windows. Any other recognizer gets the whole text.
_KNOWN = (
    CardRecognizer, CreditCardRecognizer, CryptoRecognizer, DateRecognizer, EmailRecognizer, IbanRecognizer,
    IpRecognizer, MacAddressRecognizer, MailRecognizer, MedicalLicenseRecognizer, NhsRecognizer, SecretRecognizer,
    UkNinoRecognizer, UsBankRecognizer, UsItinRecognizer, UsLicenseRecognizer, UsPassportRecognizer,
    UsSsnRecognizer, UuidRecognizer,
)  # fmt: skip


_DIGIT = re.compile(r"\d")


class WindowEngine:
    """Runs recognizers. Not for more than one thread."""

    def __init__(self, recognizers: Sequence[EntityRecognizer]) -> None:
        offline()
        self._context = LocalContext()
        self._runs = [_Run(one) for one in recognizers]

    def analyze(self, text: str) -> list[RecognizerResult]:
        """What is found, sorted; of results of one type, none within another of at least its score."""
        found: list[RecognizerResult] = []
        sketch = Sketch(text)
        for run in self._runs:
            if not run.may(sketch):
                continue
            results = run.results(text)
            if not results:
                continue
            results = EntityRecognizer.remove_duplicates(results)
            if run.recognizer.context:
                self._context.enhance(text, results, run.recognizer.context)
            found += results
        return sorted(EntityRecognizer.remove_duplicates(found), key=lambda one: (one.start, one.end, one.entity_type))


class _Run:
    """One recognizer and where it looks."""

    def __init__(self, recognizer: EntityRecognizer) -> None:
        self.recognizer = recognizer
        self._entities = list(recognizer.supported_entities)
        self._finder: AnyFinder | UrlFinder | None = None
        self._phone: Phone | None = None
        self._hint: Callable[[Sketch], bool] | None = None
        if isinstance(recognizer, PhoneRecognizer):
            dialled = isinstance(recognizer, DialledRecognizer)
            self._phone = Phone(every=not dialled)
            self._looks_back = SAYS_WITHIN if dialled else 0
            self._hint = HINTS["PHONE_NUMBER"] if dialled else _four_digits
            self._regions = Regions(recognizer.supported_regions)
            self._for: dict[tuple[str, ...], EntityRecognizer] = {}
        elif isinstance(recognizer, UrlRecognizer):
            self._finder = UrlFinder(recognizer)
        elif isinstance(recognizer, _KNOWN):
            self._finder = FINDERS[self._entities[0]]
            self._hint = HINTS.get(self._entities[0])

    def may(self, sketch: Sketch) -> bool:
        """Whether the outline of a text leaves room for a result."""
        return self._hint is None or self._hint(sketch)

    def results(self, text: str) -> list[RecognizerResult]:
        """Its results over the whole text."""
        if self._phone is not None:
            return list(self._numbers(text, self._phone))
        if self._finder is None:
            return list(self.recognizer.analyze(text, self._entities, None))  # type: ignore[arg-type]  # no model
        found = []
        for start, end in self._finder.windows(text):
            found += _moved(self.recognizer.analyze(text[start:end], self._entities, None), start)  # type: ignore[arg-type]  # no model
        return found

    def _numbers(self, text: str, phone: Phone) -> Iterator[RecognizerResult]:
        for start, end, regions in self._phone_windows(text, phone):
            recognizer = self._for.get(regions)
            if recognizer is None:
                recognizer = copy.copy(self.recognizer)
                recognizer.supported_regions = regions  # type: ignore[attr-defined]  # a PhoneRecognizer
                self._for[regions] = recognizer
            begin = max(0, start - PHONE_BEFORE - self._looks_back)
            results = recognizer.analyze(text[begin : after_phone(text, end)], self._entities, None)  # type: ignore[arg-type]  # no model
            for one in _moved(results, begin):
                first = _DIGIT.search(text, one.start)
                if first is not None and start <= first.start() < end:  # beyond, a neighbour may be cut
                    yield one

    def _phone_windows(self, text: str, phone: Phone) -> list[tuple[int, int, tuple[str, ...]]]:
        """Clusters that can be numbers, those near each other as one, with the regions that they may be of."""
        made: list[tuple[int, int, tuple[str, ...]]] = []
        for start, end in phone.clusters(text):
            regions = self._regions.fitting(text, start, end)
            if not regions:
                continue
            if made and start < after_phone(text, made[-1][1]) + PHONE_BEFORE:
                both = set(made[-1][2]) | set(regions)
                made[-1] = (made[-1][0], end, tuple(one for one in self._regions.regions if one in both))
            else:
                made.append((start, end, regions))
        return made


def _four_digits(sketch: Sketch) -> bool:
    return sketch.together(4)  # the shortest number of any region


def _moved(results: Sequence[RecognizerResult], by: int) -> list[RecognizerResult]:
    for one in results:
        one.start += by
        one.end += by
    return list(results)


def plain(recognizers: Sequence[EntityRecognizer]) -> AnalyzerEngine:
    """Presidio's engine with these recognizers, and words for context."""
    offline()
    registry = RecognizerRegistry(recognizers=list(recognizers), supported_languages=[LANGUAGE])
    return AnalyzerEngine(registry=registry, nlp_engine=WordEngine(), supported_languages=[LANGUAGE])


def offline() -> None:
    """Validating an e-mail would otherwise fetch the public suffix list, on the first request."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
