"""The gateway in one process with its sockets replaced: what a request costs, and where, without the machine's noise.

`python -m bench.inside [SET …] [--profile]` drives the real composition (settings, policies, server, journey,
transport, records) over transports that are method calls. What is left is the gateway's own Python, so a change of a
microsecond can be seen, and a profile holds nothing else. System calls, some 15 µs a request, are not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.processes import redis_server
from bench.sets import KEY, everything_policies, plain_policies, settings_text
from bench.upstream import PLAIN, stream_chunk, stream_end, stream_head
from gateway.app import Gateway, open_gateway
from gateway.providers.lean_connection import Connection
from gateway.settings.load import load

WORDS = b"the bridge over river old stone carries people and trains since its arches were built by many hands "


class Wire(asyncio.Transport):
    """A socket that is a method call: what is written goes to `written`."""

    def __init__(self, written: Callable[[bytes], None]) -> None:
        super().__init__()
        self._written = written
        self.closing = False

    def write(self, data: Any) -> None:
        self._written(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._written(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_reading(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50_000) if name == "peername" else default


class Client:
    """One client: a request, its answer, the next request."""

    def __init__(
        self, make: Callable[[], Any], body: Callable[[int], bytes], number: int, done: Callable[[], bool]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = make()
        self._protocol.connection_made(Wire(self._heard))
        self._body = body
        self._number = number
        self._done = done
        self._in_stream = False
        self.finished = self._loop.create_future()

    def begin(self) -> None:
        self._number += 1000
        body = self._body(self._number)
        self._protocol.data_received(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (KEY.encode(), len(body), body)
        )

    def _heard(self, data: bytes) -> None:
        if self._in_stream:
            if not data.endswith(b"0\r\n\r\n"):
                return
            self._in_stream = False
        elif not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(data.decode(errors="replace"))
        elif b"chunked" in data[:300]:
            self._in_stream = True
            return
        if self._done():
            if not self.finished.done():
                self.finished.set_result(None)
        else:
            self._loop.call_soon(self.begin)


def provider(gateway: Gateway, answer: Sequence[bytes]) -> None:
    """Connections of the lean transport go to a provider that answers at once."""
    loop = asyncio.get_running_loop()
    transport: Any = gateway._transport  # noqa: SLF001  # the bench replaces its sockets

    async def connect(place: Any, _: float) -> Connection:
        connection = Connection(place, transport._patience, transport._clock)  # noqa: SLF001  # as above

        def pieces(number: int = 0) -> None:
            connection.data_received(answer[number])
            if number + 1 < len(answer):
                loop.call_soon(pieces, number + 1)

        connection.connection_made(Wire(lambda _: loop.call_soon(pieces)))  # type: ignore[arg-type]  # gives a handle
        return connection

    transport.connect = connect


async def drive(gateway: Gateway, requests: int, clients: int, body: Callable[[int], bytes]) -> float:
    """CPU seconds for so many requests."""
    left = [requests]

    def done() -> bool:
        left[0] -= 1
        return left[0] < clients

    edge = gateway._edge  # noqa: SLF001  # as above
    all_of_them = [Client(edge, body, number, done) for number in range(clients)]
    began = time.process_time()
    for client in all_of_them:
        client.begin()
    await asyncio.gather(*[client.finished for client in all_of_them])
    return time.process_time() - began


def prompt(size: int, *, stream: bool = False, personal: bool = False) -> Callable[[int], bytes]:
    """Bodies of that size, each another; with an address in it, or with no digit and no @ at all."""
    text = (WORDS * (size // len(WORDS) + 1))[:size]

    def body(number: int) -> bytes:
        mark = b"".join(bytes([97 + int(digit)]) for digit in str(number))
        more = b',"stream":true' if stream else b""
        who = b" to ada.lovelace@example.com" if personal else b""
        return b'{"model":"bench"%s,"messages":[{"role":"user","content":"%s %s%s"}]}' % (more, mark, text, who)

    return body


async def measure(gateway: Gateway, options: argparse.Namespace, size: int) -> list[float]:
    """CPU µs of a request, once for each round."""
    await gateway.start()
    provider(gateway, [stream_head(), *[stream_chunk()] * options.chunks, stream_end()] if options.chunks else [PLAIN])
    body = prompt(size, stream=bool(options.chunks), personal=options.personal)
    await drive(gateway, 64 if options.chunks else 2000, options.clients, body)
    profile = cProfile.Profile() if options.profile else None
    if profile is not None:
        profile.enable()
    times = [
        await drive(gateway, options.requests, options.clients, body) / options.requests / max(1, options.chunks) * 1e6
        for _ in range(options.rounds)
    ]
    if profile is not None:
        profile.disable()
        stats = pstats.Stats(profile, stream=sys.stderr)
        stats.sort_stats(options.sort).print_stats(options.lines)
    await gateway.stop()
    return times


@contextlib.contextmanager
def composed(name: str) -> Iterator[Gateway]:
    """A gateway with a feature set, not started; its records go nowhere."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        policies = plain_policies() if name == "plain" else everything_policies(redaction=name == "everything")
        (folder / "policies").mkdir()
        for file, text in policies.items():
            (folder / "policies" / file).write_text(text)
        store = "memory://"
        if name in ("everything", "limits"):
            store = f"redis://127.0.0.1:{stack.enter_context(redis_server(folder))}/0"
        (folder / "config.toml").write_text(settings_text(0, 0, 9, store))
        os.environ |= {"BENCH_KEY": "upstream", "BENCH_MASTER": "m" * 43}
        out = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            settings, mistakes = load(folder / "config.toml", os.environ)
            if settings is None:
                raise SystemExit(str(mistakes))
            yield open_gateway(settings)
        finally:
            os.dup2(out, 1)


def main() -> None:
    """Parse, drive, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.inside")
    parser.add_argument("sets", nargs="*", default=["plain", "everything"])
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=0, help="streams of so many chunks; then µs are per chunk")
    parser.add_argument("--personal", action="store_true", help="an address in each prompt")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--sort", default="tottime")
    parser.add_argument("--lines", type=int, default=60)
    options = parser.parse_args()
    found = {}
    for name in options.sets:
        with composed(name) as gateway:
            found[name] = uvloop.run(measure(gateway, options, 200 if name == "plain" else options.size))
        print(json.dumps({name: {"min": round(min(found[name]), 2), "all": [round(x, 1) for x in found[name]]}}))


if __name__ == "__main__":
    main()
