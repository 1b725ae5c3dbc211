"""What the gateway must know of an API shape. Pure; the shapes themselves stand beside this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.dialects import Dialect
from gateway.errors import Wire
from gateway.limits.reservation import Usage
from gateway.stream.filters import LONGEST_NAME, Meter
from gateway.stream.sse import Event

Key = tuple[Any, ...]  # names one run of text in a stream: one choice's content, one tool call's arguments


class Said(msgspec.Struct, frozen=True):
    """What a whole answer says of itself. `pending`: the work goes on after it (its usage is not known yet).
    `is_object`: it was seen to be a JSON object, and need not be looked at again to know it; `is_sound`: to be one that
    is no error."""

    usage: Usage | None = None
    response_id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    tier: str | None = None  # the service tier that it says was served
    pending: bool = False
    is_object: bool = False
    is_sound: bool = False


def tier_of(raw: bytes) -> str | None:
    """A `service_tier` that an answer says; None: it says none that is a text."""
    try:
        return short(_text.decode(raw)) if raw else None
    except msgspec.MsgspecError:
        return None


def short(text: str | None) -> str | None:
    """A provider's name of something, as it may go into a record."""
    return text[:LONGEST_NAME] if text else None


_text = msgspec.json.Decoder(str | None)


@dataclass(slots=True)
class Piece:
    """A piece of a run of text: it stands in `owner[field]`. `is_json`: the run is the text of a JSON document."""

    key: Key
    owner: dict[str, Any]
    field: str
    is_json: bool = False


class Runs(Protocol):
    """Where running text stands in the events of one stream. One object for each stream."""

    def pieces(self, chunk: dict[str, Any]) -> list[Piece]:
        """The pieces in an event, in its order. An event without any holds whole texts, or none."""

    def ends(self, chunk: dict[str, Any]) -> Callable[[Key], bool] | None:
        """Which runs have no more pieces after this event; None: all go on."""

    def more(self, piece: Piece, text: str) -> Event:
        """An event that adds `text` to the run of `piece`, the last one of that run."""

    def renumber(self, chunk: dict[str, Any]) -> bool:
        """Number an event anew where some were put in before it; whether it was changed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape. `output_names` are the parameters that bound the output, the first that is set counts, and the first
    of all is what a policy sets; `default_output` is how many tokens may come where none is set (0: there is no
    output). `asks_usage`: a stream tells its usage only if it is asked to. `takes`: the parameters that exist, where
    that list is closed."""

    name: str
    dialect: Dialect
    operation: str  # OpenTelemetry's gen_ai.operation.name
    output_names: tuple[str, ...]
    default_output: int
    whole: Callable[[bytes], Said]
    is_error: Callable[[bytes], bool]  # whether data that came with a success is an error all the same
    meter: Callable[[bool], Meter]  # True: the usage that only we asked for goes no further
    runs: Callable[[], Runs]
    stream_error: Callable[[Wire, str, str, Meter], Event]  # an error, its message, the request's id
    texts: frozenset[bytes]  # top-level keys of a whole answer below which the model's text stands
    asks_usage: bool = False
    free: bool = False  # a call that costs nothing, though its text is seen
    # The path of what says in which format text is written, down to its type: `json_object`, `json_schema`.
    format: tuple[str, ...] = ()
    user: tuple[str, ...] = ("user",)  # where the end user is named in the body
    takes: frozenset[str] | None = None
