"""What can still be read of a table with mistakes in it, so that one does not hide another. Pure."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from gateway.policy.schema import Table
from gateway.toml import Loc

# What stands in for a key that a table must have and that cannot be read; `Entry.read` tells it from a real one.
STAND_INS: dict[str, Any] = {"entities": [], "provider": "?", "model": "?", "input": 0, "output": 0}
ROUNDS = 3  # a table without its mistakes is right, but for what it must have


def readable(value: dict[str, Any], shape: type[Table], error: ValidationError) -> tuple[Table | None, frozenset[Loc]]:
    """The table without what is wrong in it, and the places that were left out; None: nothing of it can be read."""
    rest: dict[str, Any] = deepcopy(value)
    unread = set[Loc]()
    for _ in range(ROUNDS):
        found = {_place(rest, tuple(one["loc"]), missing=one["type"] == "missing") for one in error.errors()}
        unread |= {as_written(loc, frozenset(unread)) for loc in found}
        for loc in sorted(found, key=_last_first, reverse=True):
            _leave_out(rest, loc)
        for key, instead in STAND_INS.items():
            if key in shape.model_fields and shape.model_fields[key].is_required() and (key,) in unread:
                rest[key] = deepcopy(instead)
        try:
            return shape.model_validate(rest), frozenset(unread)
        except ValidationError as another:
            error = another
    return None, frozenset(unread)


def as_written(loc: Loc, unread: frozenset[Loc]) -> Loc:
    """A place in what was left, as it stands in the file: elements of arrays that were left out are counted again."""
    out: Loc = ()
    for part in loc:
        if isinstance(part, int):
            for index in sorted(one[-1] for one in unread if one[:-1] == out and isinstance(one[-1], int)):
                part += index <= part  # noqa: PLW2901  # the place moves by each element before it
        out = (*out, part)
    return out


def _place(table: dict[str, Any], loc: Loc, *, missing: bool) -> Loc:
    """The innermost place on the way to a mistake that is written there; of a key that a table must have, the table,
    or the key where the table is the whole."""
    value: Any = table
    there: Loc = ()
    for part in loc:
        if not (isinstance(value, dict) and part in value) and not (isinstance(value, list) and isinstance(part, int)):
            return there if there or not missing else loc[:1]
        value, there = value[part], (*there, part)  # type: ignore[index]  # INVARIANT: just seen
    return there


def _last_first(loc: Loc) -> tuple[tuple[bool, int, str], ...]:
    """Orders places so that, from the end, leaving one out moves no other."""
    return tuple((isinstance(part, int), part, "") if isinstance(part, int) else (False, 0, part) for part in loc)


def _leave_out(table: dict[str, Any], loc: Loc) -> None:
    """Nothing where it is gone already, with what is around it."""
    value: Any = table
    for part in loc[:-1]:
        if isinstance(value, dict) and part not in value:
            return
        value = value[part]
    if isinstance(value, dict):
        value.pop(loc[-1], None)
    else:
        del value[loc[-1]]
