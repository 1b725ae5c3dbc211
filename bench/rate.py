"""The load generator for latency: so many requests a second, whatever the answers take.

`python -m bench.rate PORT KEY --rate 500 --clients 64 --seconds 5` prints one JSON object: p50 and p99 in milliseconds
from the moment when a request was due, so that a stall counts for all that had to wait for it. An open loop: who is
slow does not slow it down.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from typing import cast

import uvloop

from bench.paced import percentile


class Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, idle: deque[Caller], times: list[int]) -> None:
        self._idle = idle
        self._times = times
        self._transport: asyncio.Transport | None = None
        self._due = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._idle.append(self)

    def call(self, request: bytes, due: int) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(data[:300].decode(errors="replace"))
        self._times.append(time.monotonic_ns() - self._due)  # the answers fit into one read
        self._idle.append(self)


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Connect, call at the rate, wait for what is out."""
    idle: deque[Caller] = deque()
    times: list[int] = []
    for _ in range(options.clients):
        await asyncio.get_running_loop().create_connection(lambda: Caller(idle, times), "127.0.0.1", options.port)
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "Tell me of bridges. " * 10}]})
    more = "".join(f"{one.replace('=', ': ', 1)}\r\n" for one in options.header)
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{more}"
        f"authorization: Bearer {options.key}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    began, sent, late = time.monotonic_ns(), 0, 0
    wanted = int(options.rate * options.seconds)
    while sent < wanted:
        now = time.monotonic_ns()
        while sent < wanted and (due := began + int(sent * 1e9 / options.rate)) <= now:
            if not idle:
                late += 1
                break
            idle.popleft().call(request, due)
            sent += 1
        await asyncio.sleep(0.0005)
    for _ in range(4000):
        if len(times) >= sent:
            break
        await asyncio.sleep(0.005)
    return {"sent": sent, "answered": len(times), "p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description="A fixed rate against an OpenAI-compatible address.")
    parser.add_argument("port", type=int)
    parser.add_argument("key")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--header", action="append", default=[], help="NAME=VALUE")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))  # the result


if __name__ == "__main__":
    main()
