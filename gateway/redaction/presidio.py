"""The port `Analyzer` over Presidio in worker processes. This process never imports Presidio.

The pool owns its workers: it starts them, kills the one whose task outlasts its deadline, and starts another in its
place, which makes its engines before it takes work. A worker that crashes, hangs or is killed costs the task that it
had, which ends as AnalyzerFailure; the journey then does what the profile's `on_error` says.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout

import structlog
from pebble import ProcessExpired, ProcessPool

from gateway.errors import AnalyzerFailure
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.spans import Span, Unusable
from gateway.redaction.worker import Answer, Failed, TimedOut, analyze, begin

log = structlog.get_logger(__name__)
WARM_UP = 60.0  # seconds for a worker's first analysis, import included
LARGEST = 4 << 20  # characters of one analysis
QUEUED = 10.0  # seconds that a task waits for a worker at most: one that hangs is ended, another started


class PresidioAnalyzer:
    """`workers` processes, started with the first `start` or `analyze`. `work` is what they do (tests give others)."""

    def __init__(self, workers: int = 1, work: Callable[[list[str], RedactionProfile], Answer] = analyze) -> None:
        self._workers = workers
        self._work = work
        self._pool: ProcessPool | None = None
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

    async def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop()  # type: ignore[no-untyped-call]  # pebble has no types
            await asyncio.to_thread(pool.join, 5)

    async def _run(self, texts: list[str], profile: RedactionProfile, seconds: float) -> Answer:
        try:
            future = self._started().schedule(self._work, args=(texts, profile), timeout=seconds)
        except RuntimeError as error:
            raise self._failed(type(error).__name__) from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), (seconds if self.warm else WARM_UP) + QUEUED)
        except (FutureTimeout, TimeoutError):
            raise self._failed(f"no answer within {seconds:g} s") from None
        except ProcessExpired as expired:
            raise self._failed(f"the worker ended with code {expired.exitcode}") from None
        except asyncio.CancelledError:
            future.cancel()  # type: ignore[no-untyped-call]  # pebble has no types
            raise
        except (Failed, TimedOut, Unusable) as failure:
            raise self._failed(str(failure)) from None
        except Exception as error:  # noqa: BLE001  # the pool's own; its words may quote the text
            raise self._failed(type(error).__name__) from None

    def _failed(self, detail: str) -> AnalyzerFailure:
        self.failures += 1
        return AnalyzerFailure(detail)

    def _started(self) -> ProcessPool:
        if self._pool is not None and not self._pool.active:  # broken, by an answer that cannot be read for one
            self._pool.stop()  # type: ignore[no-untyped-call]  # pebble has no types
            self._pool = None
        if self._pool is None:
            # A fresh interpreter: forking one that runs threads and an event loop is asking for deadlocks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(
                max_workers=self._workers, initializer=begin, initargs=(self._profiles,), context=context
            )
        return self._pool
