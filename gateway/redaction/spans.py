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


class Unusable(Exception):
    """A profile that no worker can use: its model or its configuration is not there. The words are for the admin and
    hold nothing of a text."""
