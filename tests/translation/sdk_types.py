"""Every way to say one thing more in a request, made of the types that an official SDK has for it.

A way is a minimal value in which one leaf holds something of its own: a text or a number that occurs nowhere else, each
of the words of a Literal, true and false, each member of a union.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict

MARK, NUMBER = "mark-7f3a", 7919
DEEPEST = 9
ENOUGH = frozenset(("file_data", "image_url"))  # one of several that a picture or a file is told by
REQUIRED: tuple[Any, ...] = (Required, typing_extensions.Required)
# What must fit something else, by the name of its field: with a mark in it, and without.
FITTING = {
    "arguments": (f'{{"a":"{MARK}"}}', "{}"), "url": (f"data:image/png;base64,{MARK}", "data:image/png;base64,aaaa"),
    "image_url": (f"data:image/png;base64,{MARK}", "data:image/png;base64,aaaa"),
    "file_data": (f"data:application/pdf;base64,{MARK}", "data:application/pdf;base64,aaaa"),
    "tool_call_id": (MARK, "call_0"), "tool_use_id": (MARK, "call_0"), "call_id": (MARK, "call_0"),
    "format": ("wav", "wav"),
}  # fmt: skip
Way = tuple[tuple[str, ...], Any]  # the path of the leaf, and the value that holds it


def plain(kind: Any, name: str = "") -> Any:
    """A minimal value of a type."""
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(kind, TypeAliasType):
        return plain(kind.__value__, name)
    if origin in (Required, NotRequired, Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        return plain(args[0], name)
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return plain(next(one for one in args if one is not type(None)), name)
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        # Of annotations that are strings `__required_keys__` does not know it.
        least = {key for key, hint in hints.items() if get_origin(hint) in REQUIRED} | kind.__required_keys__ | ENOUGH
        needed = (key for key in hints if key in least)
        return {key: plain(hints[key], key) for key in needed}
    if kind in (int, float, bool):
        return {int: 3, float: 0.25, bool: True}[kind]
    if kind is str or kind is object or kind is Any or not isinstance(origin, type):
        return FITTING[name][1] if name in FITTING else "f" if name == "name" else "some text"
    return {} if issubclass(origin, Mapping) else [plain(args[0], name)]


def ways(kind: Any, name: str = "", depth: int = 0) -> Iterator[Way]:  # noqa: C901, PLR0912  # one case for each kind of type
    """All ways of a type."""
    origin, args = get_origin(kind), get_args(kind)
    if depth > DEEPEST or kind is type(None):
        return
    if isinstance(kind, TypeAliasType):
        yield from ways(kind.__value__, name, depth)
    elif origin in (Required, NotRequired, Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        yield from ways(args[0], name, depth)
    elif origin is Literal:
        yield from (((), one) for one in args if len(args) > 1)
    elif origin in (Union, types.UnionType):
        for one in args:
            yield from ways(one, name, depth)
    elif is_typeddict(kind):
        hints, least = get_type_hints(kind), plain(kind)
        for key, inner in hints.items():
            for path, value in ways(inner, key, depth + 1):
                others = ENOUGH if key in ("file_id", "file_url") else frozenset[str]()
                yield (key, *path), {**{one: least[one] for one in least if one not in others}, key: value}
    elif kind is bool:
        yield from (((), True), ((), False))
    elif kind in (int, float):
        yield (), NUMBER if kind is int else NUMBER + 0.5
    elif kind is str or kind is object or kind is Any or not isinstance(origin, type):
        yield (), FITTING[name][0] if name in FITTING else MARK
    elif issubclass(origin, Mapping):
        yield (), {"a": MARK}
    else:
        yield from ((path, [value]) for path, value in ways(args[0], name, depth + 1))
