"""The port `TokenCounter` over tiktoken in a process of its own.

Making an encoding out of its ranks holds the interpreter for a third of a second and 80 MB for good: neither is the
serving process' to pay (docs/decisions/0090). The process starts with the first count, or when it is told that counts
will come; one that is killed or hangs costs the counts that it had, which end as "not known", and is started again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import structlog
from pebble import ProcessExpired, ProcessPool

from gateway.telemetry.tasks import Background
from gateway.tokens.ranks import RanksBroken
from gateway.tokens.worker import Piece, begin, count

log = structlog.get_logger(__name__)
WARM_UP = 60.0  # seconds for the first count of an encoding
SECONDS = 1.0  # for a count: 10 MB of text, or more than anybody waits for it
WAITING = 64  # counts at a time; more of them are not known


class TiktokenCounter:
    """`available` are the encodings whose ranks are in `folder`."""

    def __init__(self, folder: Path, available: frozenset[str], background: Background) -> None:
        self.available = available
        self.failures = 0
        self._folder = folder
        self._background = background
        self._warm: set[str] = set()
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._waiting = 0
        self._answered = 0
        self._pool: ProcessPool | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def warm_up(self, encoding: str) -> asyncio.Task[None]:
        """Start the process and load an encoding, so that a count need not wait for it."""
        task = self._warming.get(encoding)
        if task is None:
            task = self._warming[encoding] = self._background.spawn(f"load {encoding}", self._load(encoding))
        return task

    async def count(self, encoding: str, pieces: Sequence[Piece], stop: int) -> list[int] | None:
        """See the port."""
        if encoding not in self.available or self._waiting >= WAITING:
            return None
        if encoding not in self._warm:
            await asyncio.wait({self.warm_up(encoding)}, timeout=SECONDS)
            if encoding not in self._warm:
                return None
        return await self._run(encoding, pieces, stop, SECONDS)

    async def _load(self, encoding: str) -> None:
        try:
            if await self._run(encoding, [], 0, WARM_UP) is not None:
                self._warm.add(encoding)
        finally:
            self._warming.pop(encoding, None)

    async def _run(self, encoding: str, pieces: Sequence[Piece], stop: int, seconds: float) -> list[int] | None:
        self._waiting += 1
        future, answered = None, self._answered
        try:
            async with asyncio.timeout(seconds):
                future = self._started().schedule(count, args=(self._folder, encoding, list(pieces), stop))
                found: list[int] = await asyncio.wrap_future(future)
        except TimeoutError:
            self._failed(encoding, f"no answer within {seconds:g} s")
            if answered == self._answered:  # nor did anybody else get one: it hangs. (The pool's own time limits begin
                self._replace()  # when a task does, and one that is stopped begins none.)
        except ProcessExpired as expired:
            self._warm.clear()
            self._failed(encoding, f"the counting process ended with code {expired.exitcode}")
        except RanksBroken as error:
            self.available -= {encoding}
            self._failed(encoding, str(error))
        except asyncio.CancelledError:
            if future is not None:
                future.cancel()  # type: ignore[no-untyped-call]  # pebble has no types
            raise
        except Exception as error:  # noqa: BLE001  # whatever the library raises; its words may quote the text
            self._failed(encoding, type(error).__name__)
        else:
            self._answered += 1
            return found
        finally:
            self._waiting -= 1
        return None

    def pids(self) -> list[int]:
        """The counting process, while it runs."""
        if self._pool is None:
            return []
        return list(self._pool._pool_manager.worker_manager.workers)  # noqa: SLF001  # pebble tells it nowhere else

    async def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._replace()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=5)

    def _replace(self) -> None:
        """Give the process up; the next count starts another."""
        pool, self._pool = self._pool, None
        self._warm.clear()
        if pool is not None:
            leaving = self._background.spawn("end the counting process", asyncio.to_thread(_end, pool))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def _failed(self, encoding: str, reason: str) -> None:
        self.failures += 1
        log.warning("tokens were not counted", encoding=encoding, reason=reason)

    def _started(self) -> ProcessPool:
        if self._pool is None or not self._pool.active:
            context = multiprocessing.get_context("spawn")  # as the analysis workers: no fork of threads and a loop
            self._pool = ProcessPool(max_workers=1, initializer=begin, context=context)
            self._warm.clear()
        return self._pool


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble has no types
    pool.join(5)
