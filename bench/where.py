"""Where the time of a request goes: `python -m bench.where [--out docs/performance.svg]`.

Samples the gateway's own Python by CPU time while `bench.inside` drives it, and gives each sample to the room of its
innermost frame that is ours. Shares, not microseconds: sampling costs time itself.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import Counter
from html import escape
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvloop

import gateway
from bench.inside import composed, drive, prompt, provider
from bench.upstream import PLAIN

if TYPE_CHECKING:
    from gateway.app import Gateway

HOME = Path(gateway.__file__).parent
INTERVAL = 0.001  # seconds of CPU between two samples
WORDS = {
    "server": "the client's connection: reading the head, writing the answer", "journey.py": "the journey itself",
    "providers": "the provider's connection: request, answer", "policy": "deciding",
    "limits": "estimate, reserve, settle", "reserving.py": "estimate, reserve, settle",
    "reading.py": "reading the body's top level", "json_object.py": "reading the body's top level",
    "stream": "relaying the answer", "shapes": "usage, ids, why it ended", "redaction": "looking for personal data",
    "record.py": "the record", "telemetry": "the record", "identity": "whose key it is", "routing": "the plan",
    "calling.py": "the journey itself", "fields.py": "the client's connection: reading the head, writing the answer",
    "exchange.py": "the exchange's lifecycle and cost", "outside": "the event loop and the driver",
}  # fmt: skip


class Samples:
    """Counts by room."""

    def __init__(self) -> None:
        self.rooms: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        """One sample: a signal handler."""
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(HOME):
                inside = path.relative_to(HOME).parts[0]
                self.rooms["outside" if inside in ("app.py", "cli", "__main__.py") else WORDS.get(inside, inside)] += 1
                return
            frame = frame.f_back
        self.rooms["outside"] += 1


async def sampled(made: Gateway, size: int, requests: int) -> Counter[str]:
    """Drive, and sample meanwhile."""
    await made.start()
    provider(made, [PLAIN])
    await drive(made, 2000, 32, prompt(size))
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    await drive(made, requests, 32, prompt(size))
    signal.setitimer(signal.ITIMER_PROF, 0)
    await asyncio.sleep(0.2)
    await made.stop()
    return samples.rooms


def plot(found: dict[str, Counter[str]]) -> str:
    """Two bars for each room."""
    rooms = sorted({room for one in found.values() for room in one}, key=lambda room: -found["plain"][room])
    row, left = 34, 380
    height = row * (len(rooms) + 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}" font-size="12">',
        f'<rect width="900" height="{height}" fill="white"/>',
    ]
    for number, room in enumerate(rooms):
        y = number * row + 8
        out.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(WORDS.get(room, room))}</text>')
        for place, (colour, counts) in enumerate(zip(("#93c5fd", "#2563eb"), found.values(), strict=True)):
            share = 100 * counts[room] / max(1, counts.total())
            out.append(f'<rect x="{left}" y="{y + 13 * place}" width="{share * 14:.1f}" height="12" fill="{colour}"/>')
            out.append(
                f'<text x="{left + share * 14 + 4:.1f}" y="{y + 11 + 13 * place}" font-size="10">{share:.0f} %</text>'
            )
    legend = "share of CPU, without system calls; light: key, route, record · dark: everything on, clean 1 KB prompt"
    return "\n".join([*out, f'<text x="10" y="{height - 12}" fill="#555">{legend}</text>', "</svg>"]) + "\n"


def main() -> None:
    """Both feature sets, and the plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.where")
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {}
    for name, size in (("plain", 200), ("everything", 1000)):
        with composed(name) as made:
            found[name] = uvloop.run(sampled(made, size, options.requests))
    for name, rooms in found.items():
        print(name, {room: f"{100 * count / rooms.total():.0f} %" for room, count in rooms.most_common()})
    if options.out is not None:
        options.out.write_text(plot(found), "utf-8")


if __name__ == "__main__":
    main()
