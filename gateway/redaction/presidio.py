"""The port `Analyzer` over Presidio in worker processes. This process never imports Presidio.

The pool owns its workers: it starts them, kills the one whose task outlasts its deadline, and starts another in its
place, which makes its engines before it takes work. A worker that crashes, hangs or is killed costs the task that it
had, which ends as AnalyzerFailure; the journey then does what the profile's `on_error` says.

The pool's own time limits begin when a worker takes a task, and one that is stopped takes none, so the wait for an
answer has an end of its own; a pool of which no worker takes anything is given up for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING

import structlog

from gateway.errors import AnalyzerFailure
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.spans import Span, Unusable
from gateway.redaction.worker import Answer, Failed, TimedOut, analyze, begin

if TYPE_CHECKING:
    from pebble import ProcessPool

# Pools and processes are imported where there is something to analyse: a gateway without a profile keeps neither.
log = structlog.get_logger(__name__)
WARM_UP = 60.0  # seconds for a worker's first analysis, import included
LARGEST = 4 << 20  # characters of one analysis
QUEUED = 10.0  # seconds that a task waits for a worker at most: one that hangs is ended, another started
TICK = 0.25  # seconds between two looks at a task that has no answer yet; one that is in time needs none


class PresidioAnalyzer:
    """`workers` processes, started with the first `start` or `analyze`. `work` is what they do (tests give others)."""

    def __init__(self, workers: int = 1, work: Callable[[list[str], RedactionProfile], Answer] = analyze) -> None:
        self._workers = workers
        self._work = work
        self._pool: ProcessPool | None = None
        self._open: set[Future[Answer]] = set()  # tasks without an answer
        self._answered = 0
        self._proven: set[int] = set()  # workers that were there when an answer came: they are past their beginning
        self._leaving: set[asyncio.Future[None]] = set()  # pools that are being ended
        self._profiles: list[RedactionProfile] = []  # pickled anew for each worker that is started
        self.warm = False
        self.failures = 0

    async def start(self, profiles: Sequence[RedactionProfile]) -> None:
        """Start the workers and make the profiles' engines; `warm` says that it is done. Failing is a warning."""
        self._profiles[:] = profiles
        well = True
        for profile in profiles:
            try:
                await asyncio.gather(*(self._run([""], profile, WARM_UP) for _ in range(self._workers)))
            except AnalyzerFailure as failure:
                well = False
                log.warning("redaction profile cannot be used", profile=profile.name, reason=failure.detail)
        self.warm = well

    async def analyze(self, texts: Sequence[str], profile: RedactionProfile) -> list[list[Span]]:
        """Spans per text, sorted, not overlapping. Raises AnalyzerFailure on error, crash or `profile.deadline`."""
        if sum(map(len, texts)) > LARGEST:
            raise AnalyzerFailure(f"more than {LARGEST} characters")
        answer = await self._run(list(texts), profile, profile.deadline)
        try:
            spans = [[Span(start, end, entity, score) for start, end, entity, score in one] for one in answer]
        except (TypeError, ValueError):
            raise self._failed("the worker's answer is rubbish") from None
        if len(spans) != len(texts):
            raise self._failed("the worker answered for other texts")
        return spans

    def pids(self) -> set[int]:
        """The workers, while they run."""
        if self._pool is None:
            return set()
        return set(self._pool._pool_manager.worker_manager.workers)  # noqa: SLF001  # pebble tells it nowhere else

    async def close(self) -> None:
        """End the workers."""
        self._replace()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=5)

    async def _run(self, texts: list[str], profile: RedactionProfile, seconds: float) -> Answer:
        from pebble import ProcessExpired  # noqa: PLC0415  # as said above

        came, future = asyncio.get_running_loop().time(), None
        try:
            while future is None:
                future = await self._scheduled(texts, profile, came, seconds)
            answer = future.result()
        except (FutureTimeout, TimeoutError):
            raise self._failed(f"no answer within {seconds:g} s") from None
        except ProcessExpired as expired:
            raise self._failed(f"the worker ended with code {expired.exitcode}") from None
        except (Failed, TimedOut, Unusable) as failure:
            raise self._failed(str(failure)) from None
        except Exception as error:  # noqa: BLE001  # the pool's own; its words may quote the text
            raise self._failed(type(error).__name__) from None
        self._answered += 1
        self._proven = self.pids()
        return answer

    async def _scheduled(
        self, texts: list[str], profile: RedactionProfile, came: float, seconds: float
    ) -> Future[Answer] | None:
        """A task that has ended; None where somebody who waited longer gave the pool up, and there is another. Raises
        TimeoutError."""
        from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415  # as said above

        pool = self._started()
        future: Future[Answer] = pool.schedule(self._work, args=(texts, profile), timeout=seconds)
        ended = await self._ended(pool, future, came, seconds)
        if ended and (pool is self._pool or not isinstance(future.exception(), BrokenProcessPool)):
            return future  # what breaks as its pool is given up has not ended
        if pool is self._pool or asyncio.get_running_loop().time() - came >= seconds:
            raise TimeoutError
        return None

    async def _ended(self, pool: ProcessPool, future: Future[Answer], came: float, seconds: float) -> bool:
        """Wait for the end of a task; False where nobody waits for it any longer. A client that goes away leaves it to
        its worker: ending that to save an analysis would cost everybody else a start."""
        clock, answered = asyncio.get_running_loop().time, self._answered
        end, taken = came + (seconds if self.warm else WARM_UP) + QUEUED, False
        waited = asyncio.wrap_future(future)
        waited.add_done_callback(_looked_at)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        while clock() < end and pool is self._pool:
            if (await asyncio.wait({waited}, timeout=TICK))[0]:
                return True
            if not taken and future.running():
                taken, end = True, min(end, clock() + seconds + TICK)
            elif not taken and clock() - came >= seconds and self._stopped(answered):
                break
        if pool is self._pool and not taken and answered == self._answered:
            self._replace()
        return future.done()

    def _stopped(self, answered: int) -> bool:
        """Whether no worker does anything, though all have begun: nobody works on a task, nobody ended one since."""
        idle = not any(one.running() for one in tuple(self._open))
        return idle and answered == self._answered and self.pids() <= self._proven

    def _replace(self) -> None:
        """Give the pool up, with its workers and what they have; the next task starts another."""
        pool, self._pool = self._pool, None
        self._open.clear()
        self._proven.clear()
        if pool is not None:
            leaving = asyncio.get_running_loop().run_in_executor(None, _end, pool)
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def _failed(self, detail: str) -> AnalyzerFailure:
        self.failures += 1
        return AnalyzerFailure(detail)

    def _started(self) -> ProcessPool:
        if self._pool is not None and not self._pool.active:  # broken, by an answer that cannot be read for one
            self._replace()
        if self._pool is None:
            import multiprocessing  # noqa: PLC0415  # as said above

            from pebble import ProcessPool  # noqa: PLC0415  # as said above

            # A fresh interpreter: forking one that runs threads and an event loop is asking for deadlocks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(
                max_workers=self._workers, initializer=begin, initargs=(self._profiles,), context=context
            )
        return self._pool


def _looked_at(future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        future.exception()


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble has no types
    pool.join(5)
