"""Heads that come again and again, and what was made of their fields alone. Pure.

A client sends the same head with each request of a connection, and a provider much the same with each answer. Whose
key it holds, how its body is framed and which of its fields pass on are the same each time, so whoever works that out
keeps it with the fields: with all that it depends on besides. It must not depend on `content-length`, which differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# Ends before a value that is all digits. Who takes a head apart sees to it that there is one such line at most.
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,7})(?=\r\n)")
MOST_DIGITS, ZERO = 8, ord("0")  # of a length


class Again(Generic[T]):
    """A head that came over this connection before, and what was made of it. The same bytes around another length are
    the same head, and need not be taken apart again."""

    __slots__ = ("_after", "_before", "_form", "_size", "head")

    def __init__(self, data: bytes, head: T) -> None:
        """`data` is what `head` was made of, with its empty line."""
        self.head = head
        self._size = len(data)  # with as many digits as the last one had
        at = _LENGTH.search(data)
        self._before, self._after = (data[: at.start(1)], data[at.end(1) :]) if at is not None else (b"", b"")
        self._form = b"%d".join([part.replace(b"%", b"%%") for part in (self._before, self._after)])

    def whole(self, data: bytes) -> int:
        """Where the body begins in `data`, if that is this head and a body of the length that it names, no byte more or
        less; else 0."""
        size = self._size
        # What then stands there: one look, and no digit is read. (A length that is none or less than that is no number
        # to go by: heads are read otherwise where nothing follows, and "-1" would stand there as what it is written.)
        if (left := len(data) - size) > 0 and data[:size] == self._form % left:
            return size
        found = self.length(data)
        if found is None or found[0] + found[1] != len(data):
            return 0
        self._size = found[0]
        return found[0]

    def length(self, data: bytes) -> tuple[int, int] | None:
        """Where the head ends in `data` and how long its body is, if `data` begins with this head and there is one."""
        before, after = self._before, self._after
        if not before or not data.startswith(before):
            return None
        start = len(before)
        end = data.find(after, start, start + MOST_DIGITS + len(after))
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or digits[0] == ZERO:
            return None
        return end + len(after), int(digits)


def lines_of(fields: Sequence[tuple[str, str]]) -> str:
    """Fields as they stand in a head. Raises ValueError where one of them holds a line break."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    if lines.count("\n") != len(fields) or lines.count("\r") != len(fields):
        raise ValueError("a line break in a header")
    return lines


def fields_of(lines: str) -> tuple[tuple[str, str], ...]:
    """What `lines_of` was given."""
    parted = [line.partition(": ") for line in lines.split("\r\n")[:-1]]
    return tuple([(name, value) for name, _, value in parted])


MOST_HEADERS = 100  # that a head may have
CONTROLS = bytes([*range(9), *range(10, 32), 127])  # line ends among them, a tab not
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # what a name may be made of
KEPT, LONGEST_KEPT = 1000, 200  # lines, and characters of one


class Lines(dict[str, tuple[str, str]]):
    """The name, in lower case, and value of each line of a head: `lines[line]`. Those that mostly are the same each
    time are remembered. KeyError: it is not plain."""

    __slots__ = ("_left", "_names", "_steady")

    def __init__(self, usual: Iterable[str], changing: Iterable[str], left: Iterable[str] = ()) -> None:
        """`usual` names come with nearly every head; the values of `changing` ones differ, or are secret; who has one
        of `left` is not plain."""
        super().__init__()
        self._names = {way: name for name in usual for way in (name, name.title(), name.upper())}
        self._steady = frozenset(self._names.values()) - frozenset(changing)
        self._left = frozenset(left)

    def __missing__(self, text: str) -> tuple[str, str]:
        written, colon, value = text.partition(":")
        name = self._names.get(written)
        if name is None and _TOKEN.fullmatch(written) is not None:
            name = written.lower()
        if name is None or not colon or name in self._left:
            raise KeyError(text)
        line = name, value.strip(" \t")
        if name in self._steady and len(text) <= LONGEST_KEPT:
            if len(self) >= KEPT:
                self.clear()
            self[text] = line
        return line


class Fields(dict[str, str]):
    """Lower-case names and values; `made` is what was made of them."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[Hashable, Any] = {}

    def but(self, name: str, value: str) -> Fields:
        """The same ones but for one of which nothing is made: `content-length`."""
        other = Fields()
        other.update(self)
        other[name], other.made = value, self.made
        return other


def made_of(headers: Mapping[str, str], make: Callable[[Mapping[str, str]], T]) -> T:
    """What `make` makes of the fields, made once where they may come again."""
    if type(headers) is not Fields:
        return make(headers)
    try:
        return headers.made[make]  # type: ignore[no-any-return]  # what `make` has made
    except KeyError:
        made = headers.made[make] = make(headers)
        return made
