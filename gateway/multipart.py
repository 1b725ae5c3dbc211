"""Looks for one field in a multipart/form-data body as its bytes pass. Sans-io, over python-multipart's push parser."""

from __future__ import annotations

from email.message import Message

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

LONGEST_VALUE = 1024  # bytes; a longer value is no model name
LONGEST_HEADER = 4096


def boundary(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names (RFC 2046 section 5.1.1: 1 to 70 characters), else None."""
    value = _parameter(content_type, "boundary")
    return value.encode("latin-1", "replace") if value is not None and 1 <= len(value) <= 70 else None


def _parameter(header: str, name: str) -> str | None:
    message = Message()
    message["x"] = header.replace("\r", " ").replace("\n", " ")
    value = message.get_param(name, header="x")
    return value if isinstance(value, str) else None


class FieldWatch:
    """Feed it the body; `found` lists the values of the field so far, `broken` says that it is no multipart body."""

    def __init__(self, mark: bytes, field: str) -> None:
        self.found: list[str] = []
        self.broken = False
        self._field = field
        self._name = self._value = self._disposition = b""
        self._ours = False
        self._parser = MultipartParser(
            mark,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.broken:
            return
        try:
            self._parser.write(data)
        except MultipartParseError:
            self.broken = True

    def _part_begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._ours = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end][:LONGEST_HEADER]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if len(self._value) < LONGEST_HEADER:
            self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.strip().lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        name = _parameter(self._disposition.decode("utf-8", "replace"), "name")
        self._ours = name == self._field
        self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._ours and len(self._value) <= LONGEST_VALUE:
            self._value += data[start:end]

    def _part_end(self) -> None:
        if self._ours:
            self.found.append(self._value[:LONGEST_VALUE].decode("utf-8", "replace").strip())
        self._ours = False
