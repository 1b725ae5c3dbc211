"""`python -m bench tokens`: what knowing the tokens of a prompt costs the serving process, and how long it takes.

*Bound*: the byte bound that most limits are content with. *Exact*: a message that was never seen, counted in the
counting process, round trip included. *Cached*: a chat whose messages were all counted before. Over the real rank files
(`gateway tokenizers pull`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec

from gateway.telemetry.tasks import Background
from gateway.tokens.counting import Counting
from gateway.tokens.encodings import NEWEST
from gateway.tokens.ranks import present
from gateway.tokens.tiktoken import TiktokenCounter

WORDS = "The quick brown fox jumps over the lazy dog; 1,234 of them did so in 1898, on a bridge in Prague. "
SIZES = (200, 2_000, 20_000, 200_000)
MODEL = "gpt-4o"
_ASCII = bytes(range(128))


def asked(size: int, turns: int, mark: int) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """A chat of `size` bytes of text in `turns` messages, none of which another `mark` has."""
    each = (f"{mark}: " + WORDS * (size // len(WORDS) + 1))[: max(1, size // turns)]
    messages = msgspec.json.encode([{"role": "user", "content": f"{turn} {each}"} for turn in range(turns)])
    return messages, {"messages": msgspec.Raw(messages)}


async def measured(times: int, work: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """Seconds of one `work`, the median; and CPU seconds of this process for it."""
    taken = []
    cpu = time.process_time()
    for number in range(times):
        began = time.perf_counter()
        await work(number)
        taken.append(time.perf_counter() - began)
    return median(taken), (time.process_time() - cpu) / times


async def lines(folder: Path, rounds: int) -> list[str]:
    """The table."""
    background = Background()
    counter = TiktokenCounter(folder, present(folder), background)
    counting = Counting(counter, os.urandom(32))
    began = time.perf_counter()
    await counter.warm_up(NEWEST)
    ready = time.perf_counter() - began
    out = [
        "| prompt | bound, µs/KB | exact: wall, µs/KB | exact: CPU of the serving process, µs/KB | cached, µs/KB |",
        "| --- | --: | --: | --: | --: |",
    ]
    for size in SIZES:
        turns = 1 if size < 20_000 else 20
        kilobytes = size / 1000
        fresh = [asked(size, turns, 1_000_000 + number) for number in range(rounds)]

        async def bound(number: int, bodies: list[tuple[bytes, dict[str, msgspec.Raw]]] = fresh) -> None:
            len(bodies[number][0].translate(None, _ASCII))

        async def count(number: int, bodies: list[tuple[bytes, dict[str, msgspec.Raw]]] = fresh) -> None:
            if await counting.request(bodies[number][1], MODEL) is None:
                raise SystemExit("nothing was counted: see the log above")

        known, _ = await measured(rounds, bound)
        exact, cpu = await measured(rounds, count)
        again, _ = await measured(rounds, count)
        figures = [known, exact, cpu, again]
        shown = " | ".join(f"{value * 1e6 / kilobytes:.2f}" for value in figures)
        out.append(f"| {size:,} bytes in {turns} | {shown} |")
    held = _memory(counter)
    await counter.close()
    await background.close()
    return [
        *out,
        "",
        f"The counting process: ready {ready:.2f} s after it is first needed, {held:.0f} MB with {NEWEST}.",
    ]


def _memory(counter: TiktokenCounter) -> float:
    """Resident megabytes of the counting process."""
    pids = counter.pids()
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: list[str]) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench tokens", description="What counting tokens costs.")
    parser.add_argument("--ranks", type=Path, default=Path(".cache/ranks"))
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(arguments)
    if NEWEST not in present(options.ranks):
        raise SystemExit(f"no rank files in {options.ranks}: gateway tokenizers pull {options.ranks}")
    print("\n".join(asyncio.run(lines(options.ranks, options.rounds))))
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d} · {os.cpu_count()} cores · Python {platform.python_version()} · "
        f"`{' '.join(['python -m bench tokens', *arguments])}`"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
