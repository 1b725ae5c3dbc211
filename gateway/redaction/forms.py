"""Forms (multipart/form-data): their fields of text are searched as they pass, their files go on as they are.

A form is written anew, part by part, since a field that is changed changes its length: the same boundary, each part's
own headers, what stands before the first and behind the last part left out. A field is held until it is whole. Whatever
breaks off a form (a block, an analysis that fails) breaks off the request: the provider never has it whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from gateway.errors import LateRefusal, Reason, Refusal
from gateway.multipart import LONGEST_HEADER, field_name, is_file
from gateway.redaction.safe import Coverage
from gateway.redaction.walk import NOT_TEXT

LONGEST_FIELD = 1 << 20  # bytes of a field of text

# Fields whose values are words of the API: model, size, language and the like.
NOT_IN_FORMS = NOT_TEXT | {"purpose", "response_format", "size", "quality", "language", "timestamp_granularities[]"}

Search = Callable[[str], Awaitable[str]]  # a text as it may leave; raises AnalyzerFailure, LateRefusal


class FormSearch:
    """One form's. `coverage` is what was seen so far; `search` is asked for each field of text."""

    def __init__(self, mark: bytes, search: Search, coverage: Callable[[tuple[str, ...]], Coverage]) -> None:
        self._mark = mark
        self._search = search
        self._coverage = coverage
        self._files = False
        self._out: list[bytes | _Text] = []
        self._name = self._value = self._disposition = b""
        self._text: list[bytes] | None = None
        self._size = 0
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
                "on_end": self._end,
            },
        )

    @property
    def coverage(self) -> Coverage:
        """Counts and names, never a value."""
        return self._coverage(("file",) if self._files else ())

    async def passed(self, form: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The form as it may leave. Raises LateRefusal, AnalyzerFailure, and what reading it raises."""
        async for chunk in form:
            try:
                self._parser.write(chunk)
            except MultipartParseError:
                raise LateRefusal(Refusal(Reason.BAD_REQUEST, "The multipart body is malformed.")) from None
            out, self._out = self._out, []
            ready = [one if isinstance(one, bytes) else await self._searched(one) for one in out]
            if data := b"".join(ready):
                yield data

    async def _searched(self, text: _Text) -> bytes:
        try:
            plain = text.value.decode()
        except UnicodeDecodeError:
            raise LateRefusal(Refusal(Reason.BAD_REQUEST, "A field of the form is not UTF-8.")) from None
        changed = await self._search(plain) if plain else plain
        return text.value if changed == plain else changed.encode("utf-8", "surrogatepass")

    def _part_begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._out.append(b"--" + self._mark + b"\r\n")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > LONGEST_HEADER:
            raise LateRefusal(Refusal(Reason.BAD_REQUEST, "A header in the form is too long."))

    def _header_end(self) -> None:
        if self._name.strip().lower() == b"content-disposition":
            self._disposition = self._value
        self._out.append(self._name + b": " + self._value + b"\r\n")
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        self._out.append(b"\r\n")
        file = is_file(self._disposition)
        self._files |= file
        self._text = None if file or field_name(self._disposition) in NOT_IN_FORMS else []
        self._size = 0

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self._out.append(data[start:end])
        else:
            self._size += end - start
            if self._size > LONGEST_FIELD:
                raise LateRefusal(Refusal(Reason.BODY_TOO_LARGE, f"A field is longer than {LONGEST_FIELD} bytes."))
            self._text.append(data[start:end])

    def _part_end(self) -> None:
        if self._text is not None:
            self._out.append(_Text(b"".join(self._text)))
        self._out.append(b"\r\n")

    def _end(self) -> None:
        self._out.append(b"--" + self._mark + b"--\r\n")


class _Text:
    """A field's value, to be searched."""

    def __init__(self, value: bytes) -> None:
        self.value = value
