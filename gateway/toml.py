"""TOML with places: what a file says, on which line it says it, and every syntax mistake of it at once. Pure.

`tomllib` decides what is TOML and what it means; it has no positions and stops at the first mistake. tree-sitter knows
where each key stands. Further mistakes are found by leaving the broken line out and reading again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tree_sitter

Loc = tuple[str | int, ...]
MOST_MISTAKES = 50  # of one file; after so many it is no TOML file
LARGEST = 32 << 20  # characters
DEEPEST = 100  # levels of nesting


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """What is wrong where, and what is allowed. Line 0: `file` is the name of an environment variable."""

    file: str
    line: int
    what: str
    allowed: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}" + (f"; {self.allowed}" if self.allowed else "")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is TOML. `values` is what tomllib makes of it; where things stand is found when first asked for."""

    file: str
    values: dict[str, Any]
    text: str = field(repr=False)
    _lines: list[Mapping[Loc, int]] = field(default_factory=list, init=False, repr=False, compare=False)

    def line(self, loc: Loc) -> int | None:
        """The line (from 1) of a key or of an array's element; where there is none, of the nearest thing around it."""
        if not self._lines:
            self._lines.append(_places(self.text))
        lines = self._lines[0]
        while loc:
            if (line := lines.get(loc)) is not None:
                return line
            loc = loc[:-1]
        return None


def parse(file: str, text: str) -> tuple[Document | None, list[Mistake]]:
    """The document, or every syntax mistake. `file` is how messages name it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(text) > LARGEST:
        return None, [Mistake(file, 1, "the file is too large", f"at most {LARGEST >> 20} MiB")]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None, _mistakes(file, text)
    except (RecursionError, ValueError) as error:  # ValueError: an integer of more digits than Python reads
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "an integer has too many digits"
        return None, [Mistake(file, _line_of_longest(text), what, f"at most {DEEPEST} levels, 64 bits")]
    return Document(file, values, text), []


_AT = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


def _mistakes(file: str, text: str) -> list[Mistake]:
    lines = text.split("\n")
    found: list[Mistake] = []
    while len(found) < MOST_MISTAKES:
        try:
            tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            message = _AT.match(str(error))
            what = message[1] if message is not None else str(error)
            last = len(lines) - (1 if len(lines) > 1 and not lines[-1].strip() else 0)
            number = int(message[2]) if message is not None and message[2] else last
            number = min(number, len(lines))
            if not lines[number - 1].strip() and number > 1:  # the mistake is that a line ended too early
                number -= 1
            words = _again(lines, number) if _AGAIN.search(what) else ""
            words = words or f"not valid TOML: {_words(what)}"
            found.append(Mistake(file, number, words, _hint(what, lines[number - 1])))
            broken = lines[number - 1]
            if not broken.strip():
                break
            # What follows a broken header must not fall into the table before it.
            lines[number - 1] = f"[__broken_{number}]" if broken.lstrip().startswith("[") else ""
        except (RecursionError, ValueError):
            break
        else:
            break
    return found


_AGAIN = re.compile("overwrite|twice|mutate immutable|redefine")  # what tomllib says of what is there already


def _again(lines: list[str], number: int) -> str:
    """What the key or the table on a line is called, and where it stood first; "" where that cannot be told."""
    before = _places("\n".join(lines[: number - 1]))
    header = lines[number - 1].lstrip().startswith("[")
    # The line alone, under the headers that it stands under: what is at its number then is what it says.
    kept = [line if line.lstrip().startswith("[") and not header else "" for line in lines[: number - 1]]
    alone = _places("\n".join([*kept, lines[number - 1]]))
    here = max((loc for loc, line in alone.items() if line == number), key=len, default=())
    around = max(
        (loc for loc, line in alone.items() if line < number), key=lambda loc: (alone[loc], len(loc)), default=()
    )
    while here and here not in before:
        here = here[:-1]
    if not here or (not header and len(here) <= len(around)):
        return ""
    name = ".".join(str(part) for part in here if not isinstance(part, int)) if header else here[-1]
    return f"{name} is defined twice, first at line {before[here]}"


def _words(what: str) -> str:
    return what[0].lower() + what[1:200].replace("\n", " ") if what else "it cannot be read"


def _hint(what: str, line: str) -> str:
    if _AGAIN.search(what):
        return "each key and each table once in a file"
    if "Invalid value" in what or "Unescaped" in what:
        return 'strings in quotes ("…"), true, false, numbers, dates, [arrays], {tables}'
    if line.lstrip().startswith("["):
        return "[table.name] or [[array.of.tables]]; a part with other characters than A-Z a-z 0-9 - _ in quotes"
    return "key = value"


def _line_of_longest(text: str) -> int:
    lines = text.split("\n")
    return 1 + max(range(len(lines)), key=lambda index: len(lines[index]))


def _places(text: str) -> dict[Loc, int]:
    import tree_sitter  # noqa: PLC0415  # a process whose settings have no mistake never needs it
    import tree_sitter_toml  # noqa: PLC0415  # as above

    language = tree_sitter.Language(tree_sitter_toml.language())
    tree = tree_sitter.Parser(language).parse(text.encode("utf-8", "surrogatepass"))
    places: dict[Loc, int] = {}
    arrays: dict[Loc, int] = {}
    for node in tree.root_node.children:
        if node.type == "pair":
            _pair(node, (), places)
        elif node.type in ("table", "table_array_element"):
            key_node = node.children[1]
            prefix = _resolved(_keys(key_node), arrays, element=node.type == "table_array_element")
            for size in range(1, len(prefix) + 1):
                places.setdefault(prefix[:size], node.start_point[0] + 1)
            for child in node.children:
                if child.type == "pair":
                    _pair(child, prefix, places)
    return places


def _resolved(keys: tuple[str, ...], arrays: dict[Loc, int], *, element: bool) -> Loc:
    """A header's path with the indices of the arrays of tables on its way; `element` begins another element."""
    path: Loc = ()
    for position, key in enumerate(keys):
        path = (*path, key)
        if element and position == len(keys) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path


def _pair(node: tree_sitter.Node, prefix: Loc, places: dict[Loc, int]) -> None:
    path: Loc = prefix
    for key in _keys(node.children[0]):
        path = (*path, key)
        places.setdefault(path, node.start_point[0] + 1)
    _value(node.children[-1], path, places, DEEPEST)


def _value(node: tree_sitter.Node, path: Loc, places: dict[Loc, int], depth: int) -> None:
    if depth == 0:
        return
    if node.type == "inline_table":
        for child in node.children:
            if child.type == "pair":
                _pair(child, path, places)
    elif node.type == "array":
        elements = [child for child in node.children if child.is_named and child.type != "comment"]
        for index, child in enumerate(elements):
            places[(*path, index)] = child.start_point[0] + 1
            _value(child, (*path, index), places, depth - 1)


def _keys(node: tree_sitter.Node) -> tuple[str, ...]:
    if node.type == "dotted_key":
        return tuple(key for child in node.children if child.is_named for key in _keys(child))
    text = (node.text or b"").decode("utf-8", "replace")
    if node.type == "quoted_key":
        try:
            return (next(iter(tomllib.loads(f"{text} = 0"))),)
        except tomllib.TOMLDecodeError:
            return (text.strip("\"'"),)
    return (text,)
