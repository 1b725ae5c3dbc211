"""The evidence of redaction: the body that may leave, and the way back. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Coverage(msgspec.Struct, frozen=True):
    """What was looked at and what was found: counts and names, never a value. Goes into the record."""

    profile: str
    parts: int = 0
    bytes: int = 0
    spans: Mapping[str, int] = msgspec.field(default_factory=dict)  # per entity type
    cache_hits: int = 0
    milliseconds: float = 0.0
    unscanned: tuple[str, ...] = ()  # what kind of content could not be scanned and was let through
    failed: str | None = None  # an analysis that failed where policy says `on_error = "allow"`


class SafeRequest(msgspec.Struct, frozen=True):
    """A body that may leave. `restore` maps each placeholder that this exchange made to its own text."""

    body: bytes | None
    restore: Mapping[str, str] = msgspec.field(default_factory=dict)
    coverage: Coverage | None = None  # None: no profile applies
