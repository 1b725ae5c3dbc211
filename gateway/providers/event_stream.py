"""AWS's event streams as server-sent events: a Transport around another one.

botocore reads the frames and proves their checksums. Each becomes an event with the frame's type for a name; an
exception becomes `{"error": …}`, which everybody behind here knows. What is no event stream passes as it is.
Source: smithy.io, "Amazon Event Stream".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.errors import ProviderBroken
from gateway.ports import Transport, Upstream, UpstreamRequest

EVENT_STREAM = "application/vnd.amazon.eventstream"


class EventStreamTransport:
    """The port `Transport`; `inner` moves the bytes, and is closed by whoever made it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def send(self, request: UpstreamRequest) -> Upstream:
        """As `inner` does."""
        answer = await self._inner.send(request)
        framed = answer.headers.get("content-type", "").startswith(EVENT_STREAM)
        return _Events(answer) if framed and answer.status < 400 else answer

    async def close(self) -> None:
        """Nothing of its own is open."""


class _Events:
    """The port `Upstream`: frames in, events out."""

    def __init__(self, inner: Upstream) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError  # noqa: PLC0415  # only where it is used

        self.status = inner.status
        self.headers: Mapping[str, str] = {**inner.headers, "content-type": "text/event-stream"}
        self._inner = inner
        self._frames = EventStreamBuffer()
        self._wrong = (ParserError, struct.error, ValueError, KeyError)
        self._came = self._taken = 0  # bytes

    def rest_now(self) -> None:
        """It comes in pieces."""

    async def chunk(self) -> bytes:
        """The events that the next bytes complete; b"" at the orderly end. Raises ProviderTimeout, ProviderBroken."""
        while data := await self._inner.chunk():
            self._came += len(data)
            try:
                self._frames.add_data(data)
                events = [self._event(frame) for frame in self._frames]
            except self._wrong as error:
                raise ProviderBroken(f"no event stream ({type(error).__name__})") from None
            if events:
                return b"".join(events)
        if self._came != self._taken:
            raise ProviderBroken("a frame that broke off")
        return b""

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Frames are made into events by `chunk`."""
        return False

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def _event(self, frame: Any) -> bytes:
        self._taken += frame.prelude.total_length
        headers, payload = frame.headers, frame.payload
        kind = headers.get(":message-type")
        if kind == "event":
            name = str(headers.get(":event-type", ""))
        else:
            name = str(headers.get(":exception-type") or headers.get(":error-code") or "error")
            message = _message(payload) if kind == "exception" else headers.get(":error-message")
            payload = msgspec.json.encode({"error": {"status": name, "message": str(message or "")}})
        # A line end can only stand between the tokens of JSON.
        data = payload.translate(_ONE_LINE)
        return b"event: %b\ndata: %b\n\n" % (name.encode().translate(_ONE_LINE), data)


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def _message(payload: bytes) -> object:
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return (found.get("message") or found.get("Message")) if isinstance(found, dict) else None
