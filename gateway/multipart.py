"""Looks into a multipart/form-data body as its bytes pass. Sans-io, over python-multipart's push parser."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message

import msgspec
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


class Field(msgspec.Struct, frozen=True):
    """A field of a form. `start` and `end` are where its value stands in the body, in bytes; a value that is longer
    than `LONGEST_VALUE` is cut."""

    name: str
    value: str
    start: int
    end: int


class FormWatch:
    """Feed it the body; `fields` are those that were whole so far, `broken` says that it is no multipart body. What is
    in files goes to `file`, piece by piece, and an empty piece at the end of each; `names` are those of
    files. `longest` bounds what is kept of a value, in bytes. `in_file`: the last byte stands in a file's content."""

    def __init__(self, mark: bytes, longest: int = LONGEST_VALUE) -> None:
        self.fields: list[Field] = []
        self.names: list[str] = []
        self.broken = self.in_file = False
        self._longest = longest
        self.file: Callable[[bytes], None] | None = None
        self._fed = self._start = self._end = 0
        self._name = self._value = self._disposition = b""
        self._field: str | None = None
        self._is_file = False
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

    @property
    def models(self) -> list[Field]:
        """The fields that name a model."""
        return [one for one in self.fields if one.name == "model"]

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.broken:
            return
        try:
            self._parser.write(data)
        except MultipartParseError:
            self.broken = True
        self._fed += len(data)

    def _part_begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._field, self._is_file = None, False

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
        disposition = self._disposition.decode("utf-8", "replace")
        self._field = _parameter(disposition, "name")
        name = _parameter(disposition, "filename")
        self._is_file = name is not None or "filename*" in disposition
        self.in_file = self._is_file and self._field != "model"
        if self._is_file:
            self.names.append(name if name is not None else disposition)
        self._value = b""
        self._start = self._end = -1

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self._field != "model":  # a model is one, whatever else it says of itself
            if self.file is not None:
                self.file(data[start:end])
            return
        if len(self._value) <= self._longest:
            self._value += data[start:end]
        if self._start < 0:
            self._start = self._fed + start
        self._end = self._fed + end

    def _part_end(self) -> None:
        self.in_file = False
        if self._is_file and self._field != "model":
            if self.file is not None:
                self.file(b"")
        elif self._field is not None:
            value = self._value[: self._longest].decode("utf-8", "replace")
            self.fields.append(Field(self._field, value, self._start, self._end))
        self._field = None
