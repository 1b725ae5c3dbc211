"""The counting process: started when it is needed, and replaced when it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.telemetry.tasks import Background
from gateway.tokens import tiktoken as module
from gateway.tokens.encodings import ENCODINGS
from gateway.tokens.tiktoken import TiktokenCounter

ALL = frozenset(ENCODINGS)
ONE = [("", b"one bridge")]


@pytest.fixture
async def counter(ranks: Path) -> AsyncIterator[TiktokenCounter]:
    background = Background()
    made = TiktokenCounter(ranks, ALL, background)
    yield made
    await made.close()
    await background.close()


async def test_the_process_is_there_once_it_is_needed(counter: TiktokenCounter) -> None:
    assert counter.pids() == []
    await counter.warm_up("r50k_base")
    assert await counter.count("r50k_base", ONE, 1 << 40) == [2]
    assert len(counter.pids()) == 1


async def test_counting_holds_up_nobody(counter: TiktokenCounter) -> None:
    await counter.warm_up("r50k_base")
    slept, last, done = 0.0, time.perf_counter(), False

    async def tick() -> None:
        nonlocal slept, last
        while not done:
            await asyncio.sleep(0.001)
            slept, last = max(slept, time.perf_counter() - last), time.perf_counter()

    ticking = asyncio.create_task(tick())
    text = b"The quick brown fox jumps over the lazy dog, 1234 times. " * 20_000
    found = await counter.count("r50k_base", [("", text)], 1 << 40)
    done = True
    await ticking
    assert found is not None
    assert found[0] > 200_000
    print(f"longest the loop was held while 1.1 MB were counted: {slept * 1000:.1f} ms")


async def test_a_process_that_is_killed_costs_its_counts_and_is_replaced(counter: TiktokenCounter) -> None:
    await counter.warm_up("r50k_base")
    (first,) = counter.pids()
    waiting = asyncio.create_task(counter.count("r50k_base", [("", b"a" * 20_000_000)], 1 << 40))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    assert await waiting is None
    assert counter.failures == 1
    await counter.warm_up("r50k_base")
    assert await counter.count("r50k_base", ONE, 1 << 40) == [2]
    assert counter.pids() != [first]


async def test_one_that_hangs_is_killed(counter: TiktokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    await counter.warm_up("r50k_base")
    (first,) = counter.pids()
    monkeypatch.setattr(module, "SECONDS", 0.2)
    os.kill(first, signal.SIGSTOP)
    assert await counter.count("r50k_base", ONE, 1 << 40) is None
    monkeypatch.undo()
    await counter.warm_up("r50k_base")
    assert await counter.count("r50k_base", ONE, 1 << 40) == [2]


async def test_ranks_that_are_not_there_or_not_right_are_not_counted_with(tmp_path: Path, ranks: Path) -> None:
    background = Background()
    (tmp_path / "r50k_base.tiktoken").write_bytes(b"rubbish")
    counter = TiktokenCounter(tmp_path, frozenset({"r50k_base"}), background)
    assert await counter.count("o200k_base", ONE, 1) is None
    assert counter.pids() == [], "not even started for it"
    await counter.warm_up("r50k_base")
    assert await counter.count("r50k_base", ONE, 1) is None
    assert counter.available == frozenset()
    await counter.close()
    await background.close()
