"""The evidence of redaction: the body that may leave, and the way back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from gateway.shapes.shape import Runs
    from gateway.stream.sse import Event


class Coverage(msgspec.Struct, frozen=True):
    """What was looked at and what was found: counts and names, never a value. Goes into the record."""

    profile: str
    recognizers: tuple[str, ...] = ()  # the entity types that were looked for
    parts: int = 0
    bytes: int = 0
    spans: Mapping[str, int] = msgspec.field(default_factory=dict)  # per entity type
    cache_hits: int = 0
    milliseconds: float = 0.0
    unscanned: tuple[str, ...] = ()  # what kind of content could not be scanned and was let through
    recalled: int = 0  # placeholders of the stored conversation that this one continues
    forgotten: bool = False  # they could not be asked for: the store was away
    failed: str | None = None  # an analysis that failed where policy says `on_error = "allow"`


class StreamSearch(Protocol):
    """The stage of a stream that searches what a model writes. Both raise BlockedReply, AnalyzerFailure; `passed` is
    what may go on before that."""

    passed: list[Event]

    async def feed(self, events: Iterable[Event]) -> list[Event]: ...
    async def flush(self) -> list[Event]: ...


class ReplySearch(Protocol):
    """Searches what a model writes by itself."""

    @property
    def coverage(self) -> Coverage:
        """What it has seen so far."""

    async def whole(self, body: bytes, texts: frozenset[bytes]) -> bytes:
        """A whole reply; its text stands below the top-level keys `texts`. Raises BlockedReply, AnalyzerFailure."""

    def stream(self, runs: Runs, *, json_text: bool) -> StreamSearch:
        """The stage of one stream."""


class KeepMap(Protocol):
    """Keeps the placeholders of an exchange for those that will continue it."""

    failed: bool  # the store could not be reached

    async def under(self, response_id: str) -> None:
        """Keep them under the response's id."""


class LateSearch(Protocol):
    """Searches a body while it passes."""

    @property
    def coverage(self) -> Coverage:
        """What it has seen so far."""


class SafeRequest(msgspec.Struct, frozen=True):
    """A body that may leave. `restore` maps each placeholder that this exchange made to its own text."""

    body: bytes | None
    restore: Mapping[str, str] = msgspec.field(default_factory=dict)
    coverage: Coverage | None = None  # None: no profile applies
    reply: ReplySearch | None = None  # None: the reply is not searched
    keep: KeepMap | None = None  # None: there is nothing that a later exchange needs
    late: LateSearch | None = None  # where the body is searched as it passes: `coverage` comes later
