"""The record: one line for each exchange, written off the event loop.

`write` appends to a queue and returns. A thread takes what is there ten times a second, counts it into the metrics,
and writes it in one piece. A record is lost only by kill -9 (at most the last tenth of a second) or when the output
is blocked for so long that the queue is full; then it is counted in `dropped`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import msgspec
import structlog

log = structlog.get_logger(__name__)
Record = Mapping[str, Any]
INTERVAL = 0.1  # seconds between two writes
MOST_WAITING = 100_000  # records; some 100 MB, and minutes of blocked output


class RecordLines:
    """The port `RecordSink`. `out` takes bytes; `render` makes the line of a record, without its end; `count` is told
    of each record (the metrics)."""

    def __init__(
        self, out: BinaryIO, render: Callable[[Record], bytes], count: Callable[[Record], None] = lambda _: None
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
            self._count(record)
            lines.append(self._render(record))
        if not lines:
            return
        try:
            self._out.write(b"\n".join(lines) + b"\n")
            self._out.flush()
            self.written += len(lines)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
            self.dropped += len(lines)
            log.warning("records lost: the output failed", records=len(lines), error=type(error).__name__)


def json_line(record: Record) -> bytes:
    """A record as one line of JSON: msgspec escapes every control character, so a line is a record."""
    return (
        msgspec.json.encode(record, enc_hook=str)
        .replace(b"\xe2\x80\xa8", rb"\u2028")
        .replace(b"\xe2\x80\xa9", rb"\u2029")
    )


def console_line(record: Record) -> bytes:
    """A record as a person at a terminal reads it: what, who, what came of it, what it took."""
    usage = record.get("gen_ai.usage.input_tokens")
    parts = [
        str(record.get("http.response.status_code", "-")),
        str(record.get("http.request.method", "-")),
        str(record.get("url.path", "-")),
        str(record.get("gateway.key.name", "-")),
        str(record.get("gen_ai.request.model", "-")),
        f"{usage}+{record.get('gen_ai.usage.output_tokens')} tokens" if usage is not None else "",
        f"{record.get('gateway.ms.total', 0):.1f} ms",
        _found(record.get("gateway.redaction.spans")),
        "" if record.get("gateway.ending") == "answered" else str(record.get("gateway.ending")),
        str(record.get("gateway.message") or record.get("gateway.failure") or ""),
        str(record.get("gateway.request_id")),
    ]
    text = "  ".join(part for part in parts if part)
    return "".join(char if char.isprintable() else "?" for char in text).encode("utf-8", "replace")


def _found(spans: Mapping[str, int] | None) -> str:
    return "redacted " + ", ".join(f"{count} {entity}" for entity, count in spans.items()) if spans else ""
