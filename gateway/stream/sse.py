"""Server-sent events, sans-io: bytes in any pieces → events, each with the very bytes that it came as. Pure.

Source: the HTML standard, "Server-sent events" (a line ends in LF, CR or CRLF; a blank line ends an event; one BOM at
the start is ignored; a line that begins with a colon is a comment).
"""

from __future__ import annotations

import re

import msgspec

from gateway.json_object import dumped

LARGEST_EVENT = 8 << 20  # bytes; an image in base64 can come in one event


class TooLong(ValueError):
    """An event that does not end."""


class Event(msgspec.Struct):
    """`raw` is what is written on, blank line included. `data` is None where the event has no data line (a comment,
    a bare id); several lines of data are joined with LF."""

    raw: bytes
    data: bytes | None = None
    name: str | None = None


def data_event(data: bytes) -> Event:
    """An event of one line of data."""
    return Event(b"data: " + data + b"\n\n", data)


def rewritten(event: Event, tree: object) -> Event:
    """The event with other data, its name kept."""
    anew = data_event(dumped(tree))
    if event.name is not None:
        anew.raw = b"event: " + event.name.encode() + b"\n" + anew.raw
        anew.name = event.name
    return anew


_END = re.compile(rb"\r\n(?:\r\n|\r(?!\n)|\n)|\n(?:\r\n|\n|\r)|\r(?:\r\n|\r)")
_LINES = re.compile(rb"\r\n|\n|\r")


class Decoder:
    """Feed it what comes; it gives the events that are complete. `finish` gives what is left at the end."""

    def __init__(self, largest: int = LARGEST_EVENT) -> None:
        self._buffer = b""
        self._searched = 0
        self._started = False
        self._largest = largest

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises TooLong."""
        if not self._started:
            data = self._buffer + data
            self._buffer = b""
            if len(data) < 3 and b"\xef\xbb\xbf".startswith(data):
                self._buffer = data
                return []
            self._started = True
            data = data.removeprefix(b"\xef\xbb\xbf")
        if not self._buffer and data.endswith(b"\n\n") and b"\r" not in data:  # whole events, as they mostly come
            return [
                Event(part + b"\n\n", part[6:])  # of one line, as they mostly are
                if 10 not in part and part.startswith(b"data: ")
                else _event(part + b"\n\n")
                for part in data[:-2].split(b"\n\n")
            ]
        buffer = self._buffer + data if self._buffer else data
        events, start, at = [], 0, self._searched
        while (end := _END.search(buffer, at)) is not None:
            stop = end.end()
            if stop == len(buffer) and buffer.endswith(b"\r"):
                break  # its LF may be still to come
            events.append(_event(buffer[start:stop]))
            start = at = stop
        self._buffer = buffer[start:]
        self._searched = max(0, len(self._buffer) - 4)
        if len(self._buffer) > self._largest:
            raise TooLong(f"an event larger than {self._largest} bytes")
        return events

    def plain(self, data: bytes) -> list[bytes] | None:
        """The data of the events that `data` is, where it is nothing but whole events, each a `data: ` line and a blank
        one (one event may have its name before that). None: it is something else, or the end of an event; `feed` it."""
        if self._buffer or not self._started or 13 in data:  # a CR; of one byte as a number, `in` takes a twentieth
            return None
        if data[:6] == b"data: " and data[-2:] == b"\n\n" and 10 not in (line := data[6:-2]):
            return [line]  # one of one line, as they mostly come
        lines = data.split(b"\n")
        if len(lines) == 4 and lines[0].startswith(b"event: "):
            del lines[0]
        found = [line[6:] for line in lines[:-1:2] if line.startswith(b"data: ")]
        return found if 2 * len(found) + 1 == len(lines) and not any(lines[1::2]) and not lines[-1] else None

    def finish(self) -> list[Event]:
        """What is left when no more bytes come. An event that lacks its blank line is given with one: it would be
        lost on a strict client, and providers do end that way."""
        rest, self._buffer, self._searched = self._buffer, b"", 0
        if not rest.strip(b"\r\n"):
            return []
        return [_event(rest.rstrip(b"\r\n") + b"\n\n")]


def _event(raw: bytes) -> Event:
    if raw.startswith(b"data: ") and raw.count(b"\n") == 2 and b"\r" not in raw:
        return Event(raw, raw[6:-2])
    data: list[bytes] = []
    name = None
    for line in _LINES.split(raw):
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data" and (colon or line == b"data"):
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return Event(raw, b"\n".join(data) if data else None, name)
