"""The load generator for streams: opens many, reads them all, knows when each chunk was sent.

`python -m bench.paced PORT KEY --streams 200 --chunks 500 --gap 20 --settle 2 --window 5 [--prompt TEXT]` prints one
JSON object: chunks in the window, transit and first-chunk times in milliseconds, its own CPU seconds. It says `window`
on stderr when the window begins and `end` when it ends, so that who measures CPU does so over the same window.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop


@dataclass(slots=True)
class Counts:
    """What all streams have seen."""

    counting: bool = False
    chunks: int = 0
    transit: list[int] = field(default_factory=list)  # nanoseconds
    first: list[int] = field(default_factory=list)  # nanoseconds from request to first chunk
    errors: int = 0
    started: int = 0
    ended: int = 0


class Stream(asyncio.Protocol):
    """One stream after the other on one connection, for as long as the run lasts."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request = request
        self._counts = counts
        self._transport: asyncio.Transport | None = None
        self._sent = 0
        self._waiting = True
        self._done = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._begin()

    def _begin(self) -> None:
        assert self._transport is not None
        self._sent, self._waiting, self._done, self._tail = time.monotonic_ns(), True, False, b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        counts = self._counts
        data = self._tail + data
        at = 0
        while (at := data.find(b',"t":', at)) >= 0:
            end = data.find(b"}", at)
            if end < 0:
                break
            if self._waiting:
                self._waiting = False
                counts.started += 1
                counts.first.append(now - self._sent)
            if counts.counting:
                counts.chunks += 1
                counts.transit.append(now - int(data[at + 5 : end]))
            at = end
        self._tail = data[at:] if at >= 0 else data[-4:]
        self._done = self._done or b"[DONE]" in data
        if self._done and data.endswith(b"0\r\n\r\n"):
            counts.ended += 1
            self._begin()
        elif self._waiting and b"HTTP/1.1 " in data and b"HTTP/1.1 200" not in data:
            counts.errors += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


def percentile(values: list[int], share: float) -> float | None:
    """In milliseconds; None of nothing."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / 1e6


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Open, settle, count, report."""
    body = json.dumps(
        {
            "model": f"bench-{options.chunks}x{options.gap}",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": options.prompt}],
        }
    ).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        b"%bauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
        % (
            b"".join(b"%b: %b\r\n" % tuple(one.encode().split(b"=", 1)) for one in options.header),
            options.key.encode(),
            len(body),
        )
    ) + body
    counts = Counts()
    loop = asyncio.get_running_loop()
    for number in range(options.streams):
        await loop.create_connection(lambda: Stream(request, counts), "127.0.0.1", options.port)
        if number % 20 == 19:  # spread over the gap, as users are
            await asyncio.sleep(options.gap / 1000 * 20 / options.streams)
    until = time.monotonic() + 20
    while counts.started < options.streams and time.monotonic() < until:  # noqa: ASYNC110  # a count, no event
        await asyncio.sleep(0.05)
    await asyncio.sleep(options.settle)
    before = resource.getrusage(resource.RUSAGE_SELF)
    counts.counting = True
    print("window", file=sys.stderr, flush=True)  # the protocol with who measures
    began = time.monotonic()
    await asyncio.sleep(options.window)
    counts.counting = False
    seconds = time.monotonic() - began
    print("end", file=sys.stderr, flush=True)  # the protocol with who measures
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "chunks": counts.chunks,
        "seconds": seconds,
        "streams": counts.started,
        "errors": counts.errors,
        "transit_p50": percentile(counts.transit, 0.5),
        "transit_p99": percentile(counts.transit, 0.99),
        "first_p50": percentile(counts.first, 0.5),
        "first_p99": percentile(counts.first, 0.99),
        "own_cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description="Paced streams against an OpenAI-compatible address.")
    parser.add_argument("port", type=int)
    parser.add_argument("key")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--gap", type=int, default=20, help="milliseconds between chunks")
    parser.add_argument("--settle", type=float, default=1.0)
    parser.add_argument("--window", type=float, default=5.0)
    parser.add_argument("--header", action="append", default=[], help="NAME=VALUE")
    parser.add_argument("--prompt", default="How are you?")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))  # the result


if __name__ == "__main__":
    main()
