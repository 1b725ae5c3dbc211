"""A request as the journey gets it, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping


class Arrived:
    """The port `Arrival`: a request that came whole."""

    request_id, received, method, raw_query, peer = "req_1", 0.0, "POST", "", "::1"

    def __init__(self, headers: Mapping[str, str], body: bytes, path: str = "/v1/chat/completions") -> None:
        self.headers, self.path, self._body = headers, path, body

    def body_now(self, _: int) -> bytes | None:
        return self._body

    async def body(self, _: int) -> bytes:
        return self._body

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._body
