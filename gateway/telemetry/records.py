"""The record: one line for each exchange, written off the event loop.

`write` appends to a queue and returns. A thread takes what is there ten times a second, counts it into the metrics,
and writes it in one piece. A record is lost only by kill -9 (at most the last tenth of a second) or when the output
is blocked for so long that the queue is full; then it is counted in `dropped`.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from gateway.record import Record, Standing, Told

log = structlog.get_logger(__name__)
INTERVAL = 0.1  # seconds between two writes
MOST_WAITING = 100_000  # records; some 100 MB, and minutes of blocked output


class Output(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class RecordLines:
    """The port `RecordSink`. `out` takes bytes; `render` makes the line of a record, without its end; `count` is told
    of each record (the metrics)."""

    def __init__(
        self, out: Output, render: Callable[[Record], bytes], count: Callable[[Record], None] = lambda _: None
    ) -> None:
        self.written = 0
        self.dropped = 0
        self._out = out
        self._render = render
        self._count = count
        self._waiting: deque[Record] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def write(self, record: Record) -> None:
        """Take one record without waiting."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(record)

    def bug(self, request_id: str, error: BaseException) -> None:
        """An exception that nobody expected: its traceback goes to the log, under the request's id."""
        log.error("unexpected exception", request_id=request_id, error=type(error).__name__, exc_info=error)

    @property
    def waiting(self) -> int:
        """How many records are not written yet."""
        return len(self._waiting)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, in at most `timeout` seconds."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        lines = []
        while self._waiting:
            record = self._waiting.popleft()
            try:
                lines.append(self._render(record))
            except Exception as bug:  # noqa: BLE001  # one record must not end the thread that writes all others
                self.dropped += 1
                self._say(record, bug)
            try:
                self._count(record)
            except Exception as bug:  # noqa: BLE001  # as above
                self._say(record, bug)
        if not lines:
            return
        try:
            self._out.write(b"\n".join(lines) + b"\n")
            self._out.flush()
            self.written += len(lines)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
            self.dropped += len(lines)
            log.warning("records lost: the output failed", records=len(lines), error=type(error).__name__)

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


def json_line(record: Record) -> bytes:
    """A record as one line of JSON: msgspec escapes the control characters of ASCII, so a line is a record. (U+0085,
    U+2028 and U+2029, which some readers take for line ends, are escaped too.) What many have in common is encoded
    once."""
    standing = record.standing
    if (common := standing.line) is msgspec.UNSET:
        common = standing.line = _json(standing)[1:]
    return b"%b,%b" % (_json(record.told)[:-1], common)


def _json(part: Told | Standing) -> bytes:
    try:
        line = _encoder.encode(part)
    except UnicodeEncodeError:  # what a client sent in a header is not always UTF-8
        line = _encoder.encode(_escaped(msgspec.to_builtins(part)))
    if not line.isascii():
        line = line.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
        line = line.replace(b"\xc2\x85", rb"\u0085")
    return line


def _escaped(value: Any) -> Any:
    r"""The same with `\udcff` for each byte that was no UTF-8 (PEP 383)."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, (list, tuple)) else value


def console_line(record: Record) -> bytes:
    """A record as a person at a terminal reads it: what, who, what came of it, what it took."""
    told, standing = record
    tokens = f"{told.input_tokens}+{told.output_tokens} tokens" if told.input_tokens is not None else ""
    parts = [
        str(told.status or "-"),
        standing.method,
        standing.path,
        standing.key_name or "-",
        standing.asked_model or "-",
        tokens,
        f"{told.ms_total or 0:.1f} ms",
        _found(told.spans),
        "" if told.ending == "answered" else told.ending,
        told.message or told.failure or "",
        told.request_id,
    ]
    text = "  ".join(part for part in parts if part)
    return "".join(char if char.isprintable() else "?" for char in text).encode("utf-8", "replace")


def _found(spans: Mapping[str, int] | None) -> str:
    return "redacted " + ", ".join(f"{count} {entity}" for entity, count in spans.items()) if spans else ""
