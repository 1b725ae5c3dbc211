"""All of a profile: what an analysis worker does with a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from presidio_analyzer import RecognizerResult

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.detection.engine import WindowEngine
from gateway.redaction.detection.registry import recognizers
from gateway.redaction.normal import normal
from gateway.redaction.spans import Span, Unusable

if TYPE_CHECKING:
    from gateway.redaction.detection.model import Model


class ProfileAnalyzer:
    """One profile's engine."""

    def __init__(self, profile: RedactionProfile) -> None:
        made = recognizers(profile)
        found = frozenset(entity for one in made for entity in one.supported_entities)
        missing = frozenset(profile.entities) - found
        models = [_model(file, missing) for file in profile.presidio]
        missing -= frozenset(entity for one in models for entity in one.entities)
        if missing:
            raise Unusable(
                f"no recognizer finds {', '.join(sorted(missing))}: that takes a language model "
                "(`presidio`, docs/policies.md)"
            )
        self._engine = WindowEngine(made)
        self._models = models
        self._wanted = frozenset(profile.entities)
        self._score = profile.score
        self._scores = dict(profile.scores)
        self._allow = frozenset(text.casefold() for text in profile.allow)

    def analyze(self, text: str) -> list[Span]:
        """Spans of the text's own characters, sorted, not overlapping: the better score wins, then the longer."""
        shown = normal(text)
        if not shown.text:
            return []
        spans = []
        for one in self._results(shown.text):
            if one.score < self._scores.get(one.entity_type, self._score):
                continue
            start, end = shown.back(one.start, one.end)
            if self._allow and text[start:end].casefold() in self._allow:
                continue
            spans.append(Span(start, end, one.entity_type, round(float(one.score), 3)))
        return apart(spans)

    def _results(self, text: str) -> Iterator[RecognizerResult]:
        yield from self._engine.analyze(text)
        for model in self._models:
            yield from (one for one in model.results(text) if one.entity_type in self._wanted)


def _model(file: str, wanted: frozenset[str]) -> Model:
    from gateway.redaction.detection.model import Model  # noqa: PLC0415  # only who asks for it pays for it

    return Model(file, wanted)


def apart(spans: Sequence[Span]) -> list[Span]:
    """Without overlaps: those that overlap become one, over all of their characters, of the kind of the best by score,
    then length, then place. So nothing that was found stays uncovered."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end, -one.score, one.entity)):
        if not kept or kept[-1].end <= span.start:
            kept.append(span)
            continue
        last = kept[-1]
        best = span if (span.score, span.end - span.start) > (last.score, last.end - last.start) else last
        kept[-1] = Span(last.start, max(last.end, span.end), best.entity, best.score)
    return kept
