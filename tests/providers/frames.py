"""Bytes of an AWS event stream through the gateway's transport, in pieces of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.ports import Upstream, UpstreamRequest
from gateway.providers.event_stream import EVENT_STREAM, EventStreamTransport


class Pieces:
    """The port `Upstream`."""

    status = 200

    def __init__(self, raw: bytes, size: int) -> None:
        self.headers: Mapping[str, str] = {"content-type": EVENT_STREAM}
        self._left = [raw[at : at + size] for at in range(0, len(raw), size)]

    def rest_now(self) -> None:
        """It comes in pieces."""

    async def chunk(self) -> bytes:
        return self._left.pop(0) if self._left else b""

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        return False

    def close(self) -> None:
        return


class _Transport:
    def __init__(self, answer: Upstream) -> None:
        self._answer = answer

    async def send(self, request: UpstreamRequest) -> Upstream:
        return self._answer

    async def close(self) -> None:
        return


async def through_frames(raw: bytes, size: int) -> bytes:
    """All events. Raises ProviderBroken."""
    transport = EventStreamTransport(_Transport(Pieces(raw, size)))
    answer = await transport.send(UpstreamRequest("POST", "http://x/", (), b""))
    out = b""
    while data := await answer.chunk():
        out += data
    return out
