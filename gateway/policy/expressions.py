r"""Whether a regular expression can take for ever on some text. Pure.

Backtracking explodes where a text can be cut into iterations of a repetition in more than one way: `(a+)+`, `(a|aa)*`,
`(\d+\s?)+`. It is told from the parsed expression, with the characters that each part may match; the answer may be
yes for an expression that is harmless, never no for one of these shapes. What slips through ends at the profile's
deadline, in a worker that is then killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import _constants as ops  # type: ignore[attr-defined]  # typeshed has it only under its deprecated name
from re import _parser  # type: ignore[attr-defined]  # likewise: `import sre_parse` warns since 3.11
from typing import Any

MANY = 10  # repetitions from which a repetition counts as unbounded
MOST_IN_A_ROW = 2  # unbounded repetitions that may share a text: three of them take its length cubed
# What stands for all characters: Latin 1, and one of each kind beyond it.
_ALL = frozenset(range(256)) | {ord("ā"), ord("Ж"), ord("中"), 0x2003, 0x1F600}
_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a sequence: how often at least and at most, and of which characters."""

    least: int
    most: int
    chars: frozenset[int]
    varies: bool  # it can match at one place in more than one length


def explodes(regex: str) -> bool:
    """Whether it has such a shape. Raises re.error where it is no expression."""
    return _explodes(_parser.parse(regex))


def _explodes(sequence: Any) -> bool:
    for op, value in sequence:
        if op in _REPEATS:
            _, most, inner = value
            if most >= MANY and _ambiguous(inner):
                return True
        if any(_explodes(inner) for inner in _inside(op, value)):
            return True
    return _in_a_row(_parts(sequence))


def _inside(op: Any, value: Any) -> Sequence[Any]:
    """The sequences within one node of the parsed expression."""
    if op in (*_REPEATS, ops.POSSESSIVE_REPEAT):
        return (value[2],)
    if op is ops.SUBPATTERN:
        return (value[3],)
    if op is ops.BRANCH:
        return tuple(value[1])
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return (value[1],)
    if op is ops.ATOMIC_GROUP:
        return (value,)
    if op is ops.GROUPREF_EXISTS:
        return tuple(one for one in value[1:] if one is not None)
    return ()


def _ambiguous(sequence: Any) -> bool:
    """Whether a text of several iterations of the sequence can be cut into them in more than one way: something in it
    varies in length, and nothing that must be there sets the iterations apart."""
    parts = list(_parts(sequence))
    for index, part in enumerate(parts):
        others = parts[:index] + parts[index + 1 :]
        if part.varies and not any(other.least >= 1 and not (other.chars & part.chars) for other in others):
            return True
    return any(_branch_ambiguous(value[1]) for value in _branches(sequence))


def _branches(sequence: Any) -> Iterator[Any]:
    for op, value in sequence:
        if op is ops.BRANCH:
            yield value
        elif op is ops.SUBPATTERN:
            yield from _branches(value[3])


def _branch_ambiguous(ways: Sequence[Any]) -> bool:
    """What varies in one alternative must end where another may begin."""
    for index, way in enumerate(ways):
        if _ambiguous(way):
            return True
        firsts = frozenset[int]().union(*(_first(list(_parts(one))) for at, one in enumerate(ways) if at != index))
        if any(part.varies and part.chars & firsts for part in _parts(way)):
            return True
    return False


def _in_a_row(parts: Iterator[_Part]) -> bool:
    row, common = 0, _ALL
    for part in parts:
        if part.least >= 1 and not (part.chars & common):
            row, common = 0, _ALL
        if part.most >= MANY and part.varies:
            row, common = (row + 1, common & part.chars) if common & part.chars else (1, part.chars)
            if row > MOST_IN_A_ROW:
                return True
    return False


def _parts(sequence: Any) -> Iterator[_Part]:
    for op, value in sequence:
        if op in (*_REPEATS, ops.POSSESSIVE_REPEAT):
            least, most, inner = value
            parts = list(_parts(inner))
            varies = op is not ops.POSSESSIVE_REPEAT and (least < most or any(part.varies for part in parts))
            yield _Part(least * _least(parts), int(most), _union(parts), varies)
        elif op is ops.SUBPATTERN:
            yield from _parts(value[3])
        elif op is ops.BRANCH:
            ways = [list(_parts(one)) for one in value[1]]
            firsts = [_first(parts) for parts in ways]
            clear = all(_least(parts) for parts in ways) and sum(map(len, firsts)) == len(frozenset().union(*firsts))
            chars = frozenset[int]().union(*(_union(parts) for parts in ways))
            yield _Part(min(_least(parts) for parts in ways), 1, chars, not clear)
        elif op is ops.ATOMIC_GROUP:
            parts = list(_parts(value))
            yield _Part(_least(parts), 1, _union(parts), varies=False)
        elif op in (ops.GROUPREF, ops.GROUPREF_EXISTS):
            yield _Part(0, 1, _ALL, varies=True)
        elif op not in (ops.AT, ops.ASSERT, ops.ASSERT_NOT):
            yield _Part(1, 1, _chars(op, value), varies=False)


def _least(parts: Sequence[_Part]) -> int:
    return min(1, sum(part.least for part in parts))


def _union(parts: Sequence[_Part]) -> frozenset[int]:
    return frozenset[int]().union(*(part.chars for part in parts))


def _first(parts: Sequence[_Part]) -> frozenset[int]:
    first = frozenset[int]()
    for part in parts:
        first |= part.chars
        if part.least:
            break
    return first


def _chars(op: Any, value: Any) -> frozenset[int]:
    """The characters that one node matches, in any case, since patterns are matched without regard to it."""
    if op is ops.ANY:
        return _ALL
    if op is ops.NOT_LITERAL:
        return _ALL - {value}
    if op is ops.LITERAL:
        return _both_cases({value})
    if op is not ops.IN:
        return _ALL
    negated = value[0][0] is ops.NEGATE
    found = set[int]()
    for kind, one in value:
        if kind is ops.LITERAL:
            found.add(one)
        elif kind is ops.RANGE:
            found |= {code for code in _ALL if one[0] <= code <= one[1]} | {one[0], one[1]}
        elif kind is ops.CATEGORY:
            found |= {code for code in _ALL if _is(one, chr(code))}
    return _ALL - found if negated else _both_cases(found)


def _both_cases(codes: set[int]) -> frozenset[int]:
    return frozenset(codes | {ord(other) for code in codes if len(other := chr(code).swapcase()) == 1})


def _is(category: Any, char: str) -> bool:
    name = str(category).removeprefix("CATEGORY_")
    kind = name.removeprefix("NOT_")
    match kind:
        case "DIGIT":
            true = char.isdigit()
        case "SPACE":
            true = char.isspace()
        case _:
            true = char.isalnum() or char == "_"
    return true != (name != kind)
