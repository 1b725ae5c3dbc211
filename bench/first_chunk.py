"""`python -m bench.first_chunk`: what redaction adds to the time until a client reads the first text of a stream.

Two keys ask the same of one gateway, in turns: one under a redaction profile, whose values come back restored, one
under none. The difference of each pair counts, so that what else runs on the machine falls on both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp

from bench.processes import gateway
from bench.sets import KEY, everything_policies, key_hash

WARM = 50  # pairs that do not count
TEXT = "Write to ada.lovelace@example.com or call +1 212 555 0142. " + "And tell me about bridges. " * 10
SHAPES: Mapping[str, tuple[str, Mapping[str, Any], bytes]] = {  # path, body, what the first text's event holds
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": TEXT}]}, b'"content":"Write'),
    "responses": ("/v1/responses", {"input": TEXT}, b'"delta":"Write'),
    "messages": (
        "/v1/messages", {"max_tokens": 99, "messages": [{"role": "user", "content": TEXT}]}, b'"text":"Write',
    ),
}  # fmt: skip


@contextmanager
def echo() -> Iterator[int]:
    """The echo model over HTTP; gives its port."""
    command = [sys.executable, "-u", "-m", "gateway", "echo", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(10)


async def first_text(session: aiohttp.ClientSession, url: str, key: str, shape: str) -> float:
    """Milliseconds from the request to the first text."""
    path, body, mark = SHAPES[shape]
    data = json.dumps({"model": "bench-echo", "stream": True, **body}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    began = time.perf_counter()
    async with session.post(url + path, data=data, headers=headers) as answer:
        got, took = b"", None
        async for chunk in answer.content.iter_any():
            got += chunk
            if took is None and mark in got:
                took = time.perf_counter() - began
    if took is None:
        raise SystemExit(f"no text came: {answer.status} {got[:300]!r}")
    return took * 1000


async def measure(port: int, other: str, pairs: int) -> None:
    """Print a line for each shape."""
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        for shape in SHAPES:
            plain, redacted = [], []
            for number in range(pairs + WARM):
                one = await first_text(session, url, other, shape)
                two = await first_text(session, url, KEY, shape)
                if number >= WARM:
                    plain.append(one)
                    redacted.append(two)
            added = [two - one for one, two in zip(plain, redacted, strict=True)]
            print(
                f"{shape}: {median(plain):.2f} ms without, {median(redacted):.2f} ms with redaction; "
                f"added {median(added):.2f} ms p50, {quantiles(added, n=10)[8]:.2f} ms p90 of {pairs} pairs"
            )


def main() -> None:
    """`--pairs N`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300)
    pairs: int = parser.parse_args().pairs
    other = "gw-bench-without-redaction-0123456789"
    policies = everything_policies()
    policies["keys.toml"] += f'[keys.other]\nhash = "{key_hash(other)}"\nteam = "support"\nmodels = ["*"]\n'
    with (
        tempfile.TemporaryDirectory() as folder,
        echo() as upstream,
        gateway("gateway", Path(folder), upstream, policies) as running,
    ):
        asyncio.run(measure(running.port, other, pairs))


if __name__ == "__main__":
    main()
