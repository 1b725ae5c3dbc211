"""A provider that costs next to nothing: one process, raw asyncio, answers by the model's name.

`python -m bench.upstream` prints its port. `bench` answers a chat completion at once; `bench-100x20` streams 100
chunks of some 300 bytes, one each 20 ms (`x0`: as fast as they go). Every chunk carries `"t":<monotonic ns>`, by which
the load generator on the same machine knows how long it was on its way.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

import uvloop

_MODEL = re.compile(rb'"model":\s*"(?:bench-)?(\d+)x(\d+)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_CHAT = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"All is well. " * 20 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":200,"completion_tokens":60,"total_tokens":260}}'
)
PLAIN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: bench\r\ncontent-length: %d\r\n\r\n"
    % len(_CHAT)
) + _CHAT
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"system_fingerprint":"fp_0123456789","service_tier":"default","choices":[{"index":0,"delta":{"content":'
    b'" a few words of an answer"},"logprobs":null,"finish_reason":null}],"usage":null,"t":%d}\n\n'
)
_USAGE = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","choices":[],'
    b'"usage":{"prompt_tokens":200,"completion_tokens":500,"total_tokens":700}}\n\n'
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


def stream_head() -> bytes:
    """The head of a stream."""
    return _STREAM_HEAD


def stream_chunk() -> bytes:
    """One event, sent now."""
    return _chunk(_EVENT % time.monotonic_ns())


def stream_end() -> bytes:
    """Usage and the end."""
    return _chunk(_USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection: requests one after the other, bodies by content-length or chunked."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = _LENGTH.search(head)
            if length is not None:
                size = end + 4 + int(length[1])
            elif b"chunked" in head.lower():
                last = self._buffer.find(b"0\r\n\r\n", end + 4)
                size = last + 5 if last >= 0 else len(self._buffer) + 1
            else:
                size = end + 4
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[end + 4 : size])
            del self._buffer[:size]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        asked = _MODEL.search(body)
        if asked is None:
            self._transport.write(PLAIN)
            return
        count, gap = int(asked[1]), int(asked[2]) / 1000
        usage = b'"include_usage"' in body
        self._transport.write(_STREAM_HEAD)
        if gap == 0:
            for _ in range(count):
                self._transport.write(_chunk(_EVENT % time.monotonic_ns()))
            self._finish(usage=usage)
        else:
            self._tick(count, gap, asyncio.get_running_loop().time(), usage)

    def _tick(self, left: int, gap: float, due: float, usage: bool) -> None:  # noqa: FBT001  # a timer's argument
        if self._transport is None:
            return
        if left == 0:
            self._finish(usage=usage)
            return
        self._transport.write(_chunk(_EVENT % time.monotonic_ns()))
        self._timer = asyncio.get_running_loop().call_at(due + gap, self._tick, left - 1, gap, due + gap, usage)

    def _finish(self, *, usage: bool) -> None:
        assert self._transport is not None
        end = (_chunk(_USAGE) if usage else b"") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self._transport.write(end)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # how the bench learns the port
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
