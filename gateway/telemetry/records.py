"""The record: one line for each exchange, written off the event loop.

`write` takes a record and returns. Of every `TOGETHER` of them it makes lines and counts them into the metrics, while
they are still in the processor's cache: a thread that did it would bring all of that from one core to another, and the
memory of those that wait, once freed there, back to the kernel. What the thread does is to write, and ten times a
second to take what has not come to so many. A record is lost only by kill -9 (at most the last tenth of a second) or
when the output is blocked for so long that the queue is full; then it is counted in `dropped`.
"""

from __future__ import annotations

import fcntl
import os
import queue
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from gateway.record import Record, ToldMore, as_json, one_line

log = structlog.get_logger(__name__)
INTERVAL = 0.1  # seconds that a record waits for others at most
TOGETHER = 64  # records; their lines are 80 KB, and take the event loop some 80 µs
MOST_WAITING = 100_000  # records; some 120 MB, and minutes of blocked output


class Output(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class RecordLines:
    """The port `RecordSink`. `out` takes bytes; `render` makes the lines of records, each with its end; `count` is told
    of each record (the metrics). `write` belongs to one thread."""

    def __init__(
        self, out: Output, render: Callable[[Sequence[Record]], bytes], count: Callable[[Record], None] = lambda _: None
    ) -> None:
        self.written = 0
        self._refused = 0  # records that could not be taken or rendered
        self._lost = 0  # lines that the output did not take
        self._taken = 0
        self._out = out
        self._render = render
        self._count = count
        self._waiting: deque[Record] = deque()
        self._taking = threading.Lock()
        self._pieces: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()  # lines, and how many
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def write(self, record: Record) -> None:
        """Take one record without waiting."""
        waiting = self._waiting
        waiting.append(record)
        if len(waiting) >= TOGETHER:
            self._take()

    def bug(self, request_id: str, error: BaseException) -> None:
        """An exception that nobody expected: its traceback goes to the log, under the request's id."""
        log.error("unexpected exception", request_id=request_id, error=type(error).__name__, exc_info=error)

    @property
    def waiting(self) -> int:
        """How many records are not written yet."""
        return len(self._waiting) + self._behind()

    @property
    def dropped(self) -> int:
        """How many records could not be written."""
        return self._refused + self._lost

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, in at most `timeout` seconds."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join(timeout)

    def _behind(self) -> int:
        """Records that were taken up and are not written."""
        return self._taken - self.written - self.dropped

    def _take(self) -> None:
        """Count what waits and hand its lines over. Two threads may do so; the lock keeps the order of records."""
        with self._taking:
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._taken += len(records)
            if self._behind() > MOST_WAITING:
                self._refused += len(records)
                return
            for record in records:
                try:
                    self._count(record)
                except Exception as bug:  # noqa: BLE001  # one record must not take others with it
                    self._say(record, bug)
            try:
                lines, made = self._render(records), len(records)
            except Exception:  # noqa: BLE001  # as above
                lines, made = self._one_by_one(records)
            if made:
                self._pieces.put((lines, made))

    def _one_by_one(self, records: Sequence[Record]) -> tuple[bytes, int]:
        """The lines of those that have one, where not all of them do."""
        lines = []
        for record in records:
            try:
                lines.append(self._render((record,)))
            except Exception as bug:  # noqa: BLE001  # as above
                self._refused += 1
                self._say(record, bug)
        return b"".join(lines), len(lines)

    def _run(self) -> None:
        while True:
            try:
                piece = self._pieces.get(timeout=INTERVAL)
            except queue.Empty:
                self._take()
                continue
            if piece is None:
                break
            self._put(*piece)
        self._take()
        while not self._pieces.empty():
            if (piece := self._pieces.get()) is not None:
                self._put(*piece)

    def _put(self, lines: bytes, count: int) -> None:
        try:
            self._out.write(lines)
            self._out.flush()
            self.written += count
        except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
            self._lost += count
            log.warning("records lost: the output failed", records=count, error=type(error).__name__)

    def _say(self, record: Record, bug: Exception) -> None:
        log.error("record failed", request_id=record.told.request_id, error=type(bug).__name__, exc_info=bug)


class SharedOutput:
    """An output that several processes write to. `lock` is a file that all of them have, so that no line stands inside
    of another's; the kernel frees it where its holder is killed. A pipe takes up to PIPE_BUF bytes as one piece, so one
    that is killed leaves whole lines, unless a single one is longer."""

    def __init__(self, descriptor: int, lock: int) -> None:
        self._descriptor, self._lock = descriptor, lock
        self._pipe = not stat.S_ISREG(os.fstat(descriptor).st_mode)  # a file takes all of it in one piece

    def write(self, data: bytes) -> None:
        """Write whole lines. Raises OSError."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            if not self._pipe:
                self._put(data)
                return
            pending = b""
            for line in data.split(b"\n")[:-1]:
                if pending and len(pending) + len(line) >= select.PIPE_BUF:
                    self._put(pending)
                    pending = b""
                pending += line + b"\n"
            self._put(pending)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Nothing is held back."""


_encoder = msgspec.json.Encoder()


def json_lines(records: Sequence[Record]) -> bytes:
    """Each record as one line of JSON."""
    told = [record.told for record in records]
    try:
        return one_line(_encoder.encode_lines(told))
    except UnicodeEncodeError:  # some client's header was not UTF-8
        return b"".join([as_json(one) + b"\n" for one in told])


def console_lines(records: Sequence[Record]) -> bytes:
    """Each record as a person at a terminal reads it."""
    return b"".join([_console_line(record) + b"\n" for record in records])


def _console_line(record: Record) -> bytes:
    """What, who, what came of it, what it took."""
    told, standing = record.told, record.standing
    more = told if isinstance(told, ToldMore) else None
    tokens = f"{told.input_tokens}+{told.output_tokens} tokens" if told.input_tokens is not None else ""
    parts = [
        str(standing.status or "-"),
        standing.method,
        standing.path,
        standing.key_name or "-",
        standing.asked_model or "-",
        tokens,
        f"{told.ms_total or 0:.1f} ms",
        _found(more.spans if more is not None else None),
        "" if standing.ending == "answered" else standing.ending,
        (more.message or more.failure or "") if more is not None else "",
        told.request_id,
    ]
    text = "  ".join(part for part in parts if part)
    return "".join(char if char.isprintable() else "?" for char in text).encode("utf-8", "replace")


def _found(spans: Mapping[str, int] | None) -> str:
    return "redacted " + ", ".join(f"{count} {entity}" for entity, count in spans.items()) if spans else ""
