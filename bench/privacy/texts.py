"""The labelled set: templates filled with values, each value's place and kind kept.

The two splits share no template and no seed. `digests.json` holds what each split's texts hash to; the test split's was
committed before the detection that it measures.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.privacy.templates_test import TEST
from bench.privacy.templates_tuning import TUNING
from bench.privacy.values import Values

DIGESTS = Path(__file__).with_name("digests.json")
COPIES = 20  # texts of each template
_SLOT = re.compile(r"\{([a-z0-9_.]+)\}|\{\{|\}\}")
SEEDS = {"tuning": 1307, "test": 90210}
SPLITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"tuning": TUNING, "test": TEST}


@dataclass(frozen=True, slots=True)
class Label:
    """Characters [start, end) are a value of this kind."""

    start: int
    end: int
    entity: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text and what it holds."""

    text: str
    labels: tuple[Label, ...]
    style: str


def labelled(split: str, copies: int = COPIES) -> list[Labelled]:
    """The texts of a split, the same on every call."""
    values = Values(SEEDS[split])
    return [
        filled(template, values, style)
        for _ in range(copies)
        for style, templates in SPLITS[split].items()
        for template in templates
    ]


def filled(template: str, values: Values, style: str) -> Labelled:
    """A template with a new value in each slot."""
    parts: list[str] = []
    labels = []
    at = length = 0
    for found in _SLOT.finditer(template):
        plain = template[at : found.start()]
        value, entity = values.of(found[1]) if found[1] is not None else (found[0][0], None)
        length += len(plain)
        if entity is not None:
            labels.append(Label(length, length + len(value), entity))
        length += len(value)
        parts += (plain, value)
        at = found.end()
    parts.append(template[at:])
    return Labelled("".join(parts), tuple(labels), style)


def digest(texts: list[Labelled]) -> str:
    """SHA-256 of texts and labels."""
    hashed = hashlib.sha256()
    for line in _lines(texts):
        hashed.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return hashed.hexdigest()


def committed() -> dict[str, str]:
    """Split → digest, as it was committed."""
    found = json.loads(DIGESTS.read_text("utf-8"))
    return {name: str(found[name]) for name in SPLITS}


def _lines(texts: list[Labelled]) -> Iterator[str]:
    for one in texts:
        yield json.dumps([one.text, [[label.start, label.end, label.entity] for label in one.labels], one.style])
