"""Spans: where personal data was found in a text. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a text are an `entity`, with a score in 0..1."""

    start: int
    end: int
    entity: str
    score: float
