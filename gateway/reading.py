"""read: what a client asks, as far as the gateway must know it. The rest stays the bytes that came. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec

    from gateway.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked. `fields` holds the body's top-level values undecoded, so that what is not touched leaves as it
    came; it is empty where the body is not a JSON object. `body` is None where it is streamed through."""

    endpoint: Endpoint
    body: bytes | None
    fields: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    model: str | None = None
    stream: bool = False
    include_usage: bool = False  # the client itself asked for the usage chunk
    max_output_tokens: int | None = None
    choices: int = 1  # `n`
    user: str | None = None
    session: str | None = None
    conversation: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    timeout: float | None = None  # seconds
    client_request_id: str | None = None  # recorded beside ours, never used to identify anything
