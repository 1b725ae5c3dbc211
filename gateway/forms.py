"""Forms (multipart/form-data): read as far as their `model` field, then watched as they pass.

Where files are uploaded no form names a model, and it streams from its first byte on. What comes after a permit, a
second model, a field that policy speaks of, a line of a batch, is held to the same rules by `rules`: a form that breaks
one never reaches the provider whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from gateway.errors import LateRefusal, Reason, Refusal
from gateway.multipart import Field, FormWatch, boundary

if TYPE_CHECKING:
    from gateway.endpoints import Endpoint

MEMORY = 1 << 20  # bytes of a form that are held in memory before a temporary file takes them
PIECE = 1 << 16  # bytes that are read of it at a time
LONGEST_LINE = 32 << 20  # bytes of a line in a file, as far as lines are read
# Whose forms are files, of any size, and name no model.
UPLOADING = frozenset(("containers", "files", "skills", "uploads", "vector_stores"))


class FormRules(Protocol):
    """What holds for the rest of a form."""

    def field(self, name: str, value: str) -> Refusal | None: ...
    def line(self, line: bytes) -> Refusal | None:
        """A line of a file in it."""


class FormSearch(Protocol):
    """What looks for personal data in a form."""

    def field(self, name: str, value: str) -> None:
        """A field; a file's name is one too."""

    def file(self, data: bytes) -> None:
        """A piece of a file; b"" ends it."""

    @property
    def unread(self) -> bool:
        """Whether the file at hand is none that can be read."""

    async def settle(self) -> None:
        """Search what is whole. Raises LateRefusal, AnalyzerFailure."""


class Form:
    """A form on its way: an async iterator over its bytes. `fields` are those that have passed. Iterating raises
    LateRefusal, what `search` raises and what reading the client's body raises."""

    def __init__(self, mark: bytes, watch: FormWatch, held: BinaryIO | None, rest: AsyncIterator[bytes]) -> None:
        self.rules: FormRules | None = None
        self.read_lines = False
        self.search: FormSearch | None = None
        self._mark = mark
        self._watch = watch
        self._held = held
        self._rest = rest
        self._replacement: tuple[int, int, bytes] | None = None
        self._models = len(watch.models)
        self._parts = self._searched()

    @property
    def fields(self) -> list[Field]:
        """What is known of it."""
        return self._watch.fields

    @property
    def model(self) -> str | None:
        """What it asks for, as far as it was read before it is sent."""
        models = self._watch.models[: self._models]
        return models[0].value.strip() if models else None

    def rename(self, model: str) -> int:
        """Ask for another model; by how many bytes the form gets longer. Before it is iterated."""
        if not self._models:
            return 0
        field, value = self._watch.models[0], model.encode()
        self._replacement = (field.start, field.end, value)
        return len(value) - (field.end - field.start)

    def close(self) -> None:
        """Nobody wants more of it."""
        if self._held is not None:
            self._held.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._parts)

    async def _searched(self) -> AsyncIterator[bytes]:
        """All of it; where it is searched, nothing goes on before what it stands in is whole and was searched."""
        search = self.search
        if search is None:
            async for chunk in self._all():
                yield chunk
            return
        watch, waiting, known, named = FormWatch(self._mark, LONGEST_LINE), bytearray(), 0, 0
        watch.file = search.file
        async for chunk in self._all():
            watch.feed(chunk)
            for field in watch.fields[known:]:
                search.field(field.name, field.value)
            for name in watch.names[named:]:
                search.field("filename", name)
            known, named = len(watch.fields), len(watch.names)
            await search.settle()
            waiting += chunk
            if watch.in_file:
                # The parser keeps back what may be a boundary, so the lines that it has told end a little earlier.
                told = max(0, len(waiting) - len(self._mark) - BOUNDARY)
                whole = told if search.unread else waiting.rfind(b"\n", 0, told) + 1
                if whole:
                    yield bytes(waiting[:whole])
                    del waiting[:whole]
            if len(waiting) > LONGEST_LINE:
                raise LateRefusal(Refusal(Reason.BAD_REQUEST, TOO_LONG))
        search.file(b"")  # of a form that just stops
        await search.settle()
        if waiting:
            yield bytes(waiting)

    async def _all(self) -> AsyncIterator[bytes]:
        lines = _Lines() if self.rules is not None and self.read_lines else None
        if lines is not None:
            self._watch.file = lines.feed
        if self._held is not None:
            self._held.seek(0)
            if self._replacement is not None:
                start, end, value = self._replacement
                yield self._held.read(start) + value
                self._held.seek(end)
            while chunk := self._held.read(PIECE):
                yield chunk
        async for chunk in self._rest:
            known = len(self._watch.fields)
            self._watch.feed(chunk)
            if self._watch.broken or len(self._watch.models) > self._models:
                raise LateRefusal(Refusal(Reason.BAD_REQUEST, LATE))
            for field in self._watch.fields[known:]:
                _raise(self.rules.field(field.name, field.value) if self.rules is not None else None)
            if lines is not None and self.rules is not None:
                if lines.too_long:
                    raise LateRefusal(Refusal(Reason.BAD_REQUEST, TOO_LONG))
                for line in lines.taken():
                    _raise(self.rules.line(line))
            yield chunk


LATE = "The form is malformed, or names a model more than once, or where none is expected."
TOO_LONG = f"A line of the file is longer than {LONGEST_LINE} bytes, and this key's rules must be checked on each."
BOUNDARY = 8  # bytes around a boundary's own: line ends and dashes


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise LateRefusal(refusal)


class _Lines:
    """A file's pieces, as lines."""

    def __init__(self) -> None:
        self.too_long = False
        self._parts: list[bytes] = []
        self._size = 0
        self._whole: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """The next piece; b"" ends a file."""
        if not data:
            self._end()
            return
        *lines, last = data.split(b"\n")
        for line in lines:
            self._parts.append(line)
            self._end()
        self._parts.append(last)
        self._size += len(last)
        self.too_long = self.too_long or self._size > LONGEST_LINE

    def taken(self) -> list[bytes]:
        """The lines that are whole."""
        whole, self._whole = self._whole, []
        return whole

    def _end(self) -> None:
        if line := b"".join(self._parts).strip():
            self._whole.append(line)
        self._parts, self._size = [], 0


async def read_form(
    incoming: AsyncIterator[bytes], content_type: str, endpoint: Endpoint, max_body: int
) -> Form | Refusal:
    """A form, read as far as its model. Raises what reading the client's body raises."""
    mark = boundary(content_type)
    if mark is None:
        return Refusal(Reason.BAD_REQUEST, "The multipart body's Content-Type names no usable boundary.")
    watch = FormWatch(mark)
    if endpoint.name in UPLOADING:
        return Form(mark, watch, None, incoming)
    held = cast("BinaryIO", tempfile.SpooledTemporaryFile(MEMORY))  # noqa: SIM115  # closed by the form
    size = 0
    try:
        async for chunk in incoming:
            size += len(chunk)
            if size > max_body:
                held.close()
                return Refusal(
                    Reason.BODY_TOO_LARGE, f"The form holds more than {max_body} bytes before its model field."
                )
            held.write(chunk)
            watch.feed(chunk)
            if watch.models:
                break
    except BaseException:
        held.close()
        raise
    if watch.broken:
        held.close()
        return Refusal(Reason.BAD_REQUEST, "The multipart body is malformed.")
    return Form(mark, watch, held, incoming)
