"""Quality of detection on labelled texts: precision, recall and F1 per entity, what leaks, what is touched in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.privacy.texts import Label, Labelled

Found = Sequence[Label]
Detector = Callable[[str], Found]
OVERLAP = 0.5  # intersection over union from which a span counts as found


@dataclass(slots=True)
class Score:
    """Counts of one detector on one set, for the entity types that were asked for."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)  # found, and no label
    missed: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)  # of labels, per style
    leaked: Counter[str] = field(default_factory=Counter)  # of those, not covered by any span
    clean: int = 0
    touched: int = 0

    def precision(self, entity: str | None = None) -> float:
        """Of what was found, how much is labelled so."""
        return _share(_of(self.right, entity), _of(self.right, entity) + _of(self.wrong, entity))

    def recall(self, entity: str | None = None) -> float:
        """Of what is labelled, how much was found."""
        return _share(_of(self.right, entity), _of(self.right, entity) + _of(self.missed, entity))

    def f1(self, entity: str | None = None) -> float:
        """The harmonic mean of both."""
        precision, recall = self.precision(entity), self.recall(entity)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def leak(self, *, obfuscated: bool) -> float:
        """Share of labelled characters that no span covers, in the obfuscated style or in all others."""
        styles = [style for style in self.characters if (style == "obfuscated") == obfuscated]
        return _share(sum(self.leaked[one] for one in styles), sum(self.characters[one] for one in styles), 0.0)


def measured(detect: Detector, texts: Iterable[Labelled], entities: frozenset[str]) -> Score:
    """The score of a detector. Labels of other types are neither asked for nor counted against it."""
    score = Score()
    for one in texts:
        found = detect(one.text)
        wanted = [label for label in one.labels if label.entity in entities]
        others = [label for label in one.labels if label.entity not in entities]
        if not one.labels:
            score.clean += 1
            score.touched += bool(found)
        open_labels = list(wanted)
        for span in found:
            match = next((label for label in open_labels if _same(span, label)), None)
            if match is not None:
                open_labels.remove(match)
                score.right[span.entity] += 1
            elif not any(_overlap(span, label) >= OVERLAP for label in others):
                score.wrong[span.entity] += 1
        for label in open_labels:
            score.missed[label.entity] += 1
        for label in wanted:
            covered = {at for span in found for at in range(max(span.start, label.start), min(span.end, label.end))}
            score.characters[one.style] += label.end - label.start
            score.leaked[one.style] += label.end - label.start - len(covered)
    return score


def _same(span: Label, label: Label) -> bool:
    return span.entity == label.entity and _overlap(span, label) >= OVERLAP


def _overlap(span: Label, label: Label) -> float:
    common = min(span.end, label.end) - max(span.start, label.start)
    return common / (max(span.end, label.end) - min(span.start, label.start)) if common > 0 else 0.0


def _of(counts: Counter[str], entity: str | None) -> int:
    return counts.total() if entity is None else counts[entity]


def _share(part: int, whole: int, none: float = 1.0) -> float:
    return part / whole if whole else none
