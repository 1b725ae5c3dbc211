"""The supervisor: several serving processes behind one listening socket.

It binds the ports once and serves nothing but health, so a worker that dies takes no connection with it but its own:
what waits to be accepted is accepted by another. It starts workers as fresh interpreters, hears from each twice a
second, replaces one that ended, and kills one whose event loop has not turned for `HUNG` seconds. Metrics are added up
here, those of workers that have ended included.

It runs no exchange, holds no key and no policy, and can end at any time: a worker whose supervisor is gone drains and
ends as well, so nobody is left holding the port.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from gateway.server.health import WELL, Check, Finding
from gateway.server.link import Order, Part, Report, frame, receive
from gateway.telemetry.totals import Snapshot, lasting, together

if TYPE_CHECKING:
    from gateway.telemetry.tasks import Background

log = structlog.get_logger(__name__)
HUNG = 5.0  # seconds without a word after which a worker is taken for hung
STARTING = 120.0  # seconds until a worker must be ready; analysis workers take some
LOOK = 0.25  # seconds between two looks
STEADY = 60.0  # seconds of life after which a worker's next end counts as its first again
FIRST, LONGEST = 0.5, 10.0  # seconds before a slot is filled again, from its second end in a row on
ANSWER = 0.25  # seconds that a scrape waits for fresh numbers
LAST_WORDS = 20.0  # seconds beyond the drain until a worker that will not end is killed


@dataclass(eq=False)
class Worker:
    """One serving process, in one of the `slots` that are to be filled."""

    slot: int
    pid: int
    started: float
    writer: asyncio.StreamWriter
    heard: float
    report: Report | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)  # set by each report
    leaving: bool = False  # it was told to end
    code: int = 0

    @property
    def serves(self) -> bool:
        """Whether traffic may come to it."""
        report = self.report
        if self.leaving or report is None or not report.started:
            return False
        return all(finding.ready for finding in report.checks.values())


def of_all(findings: Sequence[Finding]) -> Finding:
    """What workers that looked at the same thing found: ready where one is, and in the words of one that is not well,
    since well is only how it should be."""
    unwell = [one for one in findings if one != WELL]
    if not unwell:
        return WELL
    worst = min(unwell, key=lambda one: one.ready)
    some = f" ({len(unwell)} of {len(findings)} workers)" if len(unwell) < len(findings) else ""
    return Finding(any(one.ready for one in findings), worst.words + some)


class Supervisor:
    """`command` starts a worker, `sockets` are what it listens on (by name, with their addresses in `urls`), `master`
    is the secret that all share. `run` ends when it was told to."""

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        sockets: Mapping[str, socket.socket],
        urls: Mapping[str, str],
        *,
        count: int,
        master: bytes,
        drain: float,
        environment: Mapping[str, str],
        background: Background,
    ) -> None:
        self._command, self._sockets, self._urls = command, sockets, urls
        self._count, self._master, self._drain = count, master, drain
        self._environment, self._background = environment, background
        self._workers: dict[int, Worker] = {}  # by process id
        self._slots: dict[int, Worker] = {}  # who is to fill each
        self._ends_in_a_row: dict[int, int] = {}
        self._lock = os.memfd_create("turns")  # of the workers at the output
        self._speaking: set[Worker] = set()  # whose link is open
        self._leader: Worker | None = None
        self._ended = Snapshot()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._rolling = asyncio.Lock()
        self.ends = {"crashed": 0, "hung": 0, "replaced": 0}
        self.started = False
        self._one_was_ready = False

    # what the process' signals call

    def stop(self) -> None:
        """End all workers, each after what runs in it."""
        self._stop.set()

    def reload(self) -> None:
        """Have every worker read its policies again."""
        for worker in self._workers.values():
            self._signal(worker, signal.SIGHUP)

    def restart(self) -> None:
        """Put a new process in the place of each, one after the other, each when the new one is ready."""
        self._do("rolling restart", self._roll())

    def reap(self) -> None:
        """Take notice of processes that have ended, those that were left to us (as process 1) included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                worker.code = os.waitstatus_to_exitcode(status)
                self._over(worker)

    # its life

    async def run(self) -> int:
        """Start the workers and keep them. Returns the process' exit code: 1 where the first cannot start."""
        first = await self._start(0)
        await self._until_ready(first)
        if not first.ready.is_set() and not self._stop.is_set():
            log.error("no worker can start", code=first.code)
            await self._end_all()
            return 1
        self._one_was_ready = True
        watching = self._background.spawn("watch workers", self._watch())
        await asyncio.gather(*[self._filled(slot) for slot in range(1, self._count)])
        self.started = True
        log.info("ready", workers=len(self._slots))
        await self._stop.wait()
        watching.cancel()
        await self._end_all()
        return 0

    async def _filled(self, slot: int) -> None:
        await self._until_ready(await self._start(slot))

    async def _until_ready(self, worker: Worker) -> bool:
        events = [worker.ready, worker.gone, self._stop]
        waits = [self._background.spawn("wait for a worker", event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=STARTING, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return worker.ready.is_set()

    async def _start(self, slot: int, *, into: bool = True) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            sockets = {name: one.fileno() for name, one in self._sockets.items()}
            part = Part(sockets, dict(self._urls), theirs.fileno(), self._lock, os.getpid())
            process = subprocess.Popen(  # noqa: S603, ASYNC220  # our own interpreter; it returns once that has begun
                self._command(json.dumps(asdict(part))),
                pass_fds=[theirs.fileno(), self._lock, *sockets.values()],
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
            )
        process.returncode = 0  # INVARIANT: `reap` alone waits for it; Popen must not
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        now = time.monotonic()
        worker = Worker(slot, process.pid, now, writer, now)
        self._workers[worker.pid] = worker
        if into:
            self._slots[slot] = worker
        self._speaking.add(worker)
        writer.write(frame(Order("begin", self._master)))
        self._do(f"hear worker {worker.pid}", self._hear(worker, reader))
        log.info("worker started", worker=worker.pid, slot=slot)
        self.reap()  # it may be gone already, before we knew its number
        return worker

    async def _hear(self, worker: Worker, reader: asyncio.StreamReader) -> None:
        while (report := await receive(reader, Report)) is not None:
            worker.report, worker.heard = report, time.monotonic()
            worker.told.set()
            if report.started and not worker.ready.is_set():
                worker.ready.set()
                self._lead()
            if report.why == "reloaded":
                for other in self._workers.values():
                    if other is not worker:
                        self._signal(other, signal.SIGHUP)
        # It is gone, and this was all that it said; its process may have been reaped before.
        self._speaking.discard(worker)
        worker.writer.close()
        if worker.report is not None:
            self._ended = lasting(self._ended, worker.report.metrics)

    def _lead(self) -> None:
        """See to it that one worker serves the admin listener."""
        if "admin" not in self._sockets or (self._leader is not None and not self._leader.leaving):
            return
        able = [one for one in self._slots.values() if one.ready.is_set() and not one.leaving]
        self._leader = min(able, key=lambda one: one.started, default=None)
        if self._leader is not None:
            self._leader.writer.write(frame(Order("lead")))

    def _over(self, worker: Worker) -> None:
        """A worker has ended, and was reaped."""
        worker.gone.set()
        if self._leader is worker:
            self._leader = None
            self._lead()
        if worker.leaving:
            log.info("worker ended", worker=worker.pid, code=worker.code)
            return
        worker.leaving = True
        if self._stop.is_set() or self._slots.get(worker.slot) is not worker or not self._one_was_ready:
            return
        self.ends["crashed"] += 1
        lived = time.monotonic() - worker.started
        ends = self._ends_in_a_row[worker.slot] = (
            1 if lived > STEADY else self._ends_in_a_row.get(worker.slot, 0) + 1
        )  # fmt: skip
        delay = 0.0 if ends == 1 else min(LONGEST, FIRST * 2.0 ** (ends - 2))
        log.error("worker lost", worker=worker.pid, code=worker.code, lived=round(lived, 1), again_in=delay)
        self._do(f"fill slot {worker.slot}", self._again(worker.slot, delay))

    async def _again(self, slot: int, delay: float) -> None:
        await asyncio.sleep(delay)
        if not self._stop.is_set():
            await self._start(slot)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            for worker in list(self._workers.values()):
                hung = worker.ready.is_set() and not worker.leaving and now - worker.heard > HUNG
                if hung or (not worker.ready.is_set() and now - worker.started > STARTING):
                    log.error("worker hangs", worker=worker.pid, silent=round(now - worker.heard, 1))
                    self.ends["hung"] += 1
                    self._signal(worker, signal.SIGKILL)
                    worker.heard = now

    async def _roll(self) -> None:
        async with self._rolling:
            log.info("rolling restart", workers=len(self._slots))
            for slot, old in sorted(self._slots.items()):
                new = await self._start(slot, into=False)
                if not await self._until_ready(new) or self._stop.is_set():
                    if not self._stop.is_set():
                        log.error("rolling restart given up: a new worker is not ready", worker=new.pid, code=new.code)
                    new.leaving = True
                    self._signal(new, signal.SIGKILL)
                    return
                self._slots[slot] = new
                self._leave(old)
                self.ends["replaced"] += 1
            log.info("rolled", workers=len(self._slots))

    def _leave(self, worker: Worker) -> None:
        worker.leaving = True
        self._signal(worker, signal.SIGTERM)
        self._lead()

    async def _end_all(self) -> None:
        workers = list(self._workers.values())
        for worker in workers:
            worker.leaving = True
            self._signal(worker, signal.SIGTERM)
        waits = [self._background.spawn("wait for an end", one.gone.wait()) for one in workers]
        if not waits:
            return
        await asyncio.wait(waits, timeout=self._drain + LAST_WORDS)
        late = [one for one in workers if not one.gone.is_set()]
        for worker in late:
            log.error("worker will not end", worker=worker.pid)
            self._signal(worker, signal.SIGKILL)
        await asyncio.wait(waits, timeout=5.0)

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._background.spawn(name, work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _signal(self, worker: Worker, number: int) -> None:
        if worker.pid in self._workers:  # not reaped, so the number is still its own
            os.kill(worker.pid, number)

    # what is shown of it

    def checks(self) -> list[Check]:
        """Ready is who has a worker that is: a worker that is being replaced takes nobody out of rotation."""

        async def draining() -> Finding:
            return Finding(ready=False, words="stopping") if self._stop.is_set() else WELL

        async def workers() -> Finding:
            serving = any(one.serves for one in self._slots.values())
            return WELL if serving else Finding(ready=False, words=f"none of {self._count} workers is ready")

        async def of(name: str) -> Finding:
            reports = (one.report for one in self._slots.values() if not one.leaving)
            return of_all([one.checks[name] for one in reports if one is not None and name in one.checks])

        shared = (Check(name, partial(of, name)) for name in ("policies", "store", "analysis"))
        return [Check("not draining", draining), Check("workers", workers), *shared]

    async def total(self) -> Snapshot:
        """What all workers have counted together, as fresh as they answer at once."""
        asked = [one for one in self._speaking if one.ready.is_set()]
        for worker in asked:
            worker.told.clear()
            worker.writer.write(frame(Order("report")))
        waits = [self._background.spawn("wait for a report", one.told.wait()) for one in asked]
        if waits:
            _, late = await asyncio.wait(waits, timeout=ANSWER)
            for wait in late:
                wait.cancel()
        reports = [one.report.metrics for one in self._speaking if one.report is not None]
        total = together(reports, self._ended)
        total.words["gateway_workers"] = "Worker processes that serve now."
        total.gauges["gateway_workers"] = float(sum(one.serves for one in self._slots.values()))
        for why, ends in self.ends.items():
            total.counters.setdefault("gateway_worker_ends", []).append(((why,), [float(ends)]))
        return total
