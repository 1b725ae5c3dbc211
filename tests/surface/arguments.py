"""Arguments for a method, made from its signature: the required ones, or every one that it takes."""

from __future__ import annotations

import collections.abc
import datetime as dt
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union

import typing_extensions

# Ours to set: how a call is made, not what is asked.
LEFT_OUT = frozenset((
    "self", "timeout", "extra_headers", "extra_query", "extra_body", "stream", "poll_interval_ms", "max_wait_seconds",
    "idempotency_key", "max_retries", "event_handler", "chunk_size", "max_iterations", "compaction_control",
    "output_format",
))  # fmt: skip
FILE = ("Zeugnis äöü \u2713.txt", b"bytes \x00\xff of a file\r\n", "text/plain")
NOTHING = object()
DEEPEST = 4


class Arguments:
    """`whole`: every parameter and every key of a table, as deep as `DEEPEST`; else what is required."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def of(self, method: Callable[..., Any]) -> dict[str, Any]:
        function = inspect.unwrap(method)
        hints = _hints(function)
        needed = _variant(method)
        found = {}
        for name, one in inspect.signature(function).parameters.items():
            if name in LEFT_OUT or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                continue
            if one.default is not one.empty and not self._whole and name not in needed:
                continue
            value = self._value(hints.get(name, str), name, 0)
            if value is not NOTHING:
                found[name] = value
        return found

    def _value(self, kind: Any, name: str, depth: int) -> Any:
        origin, inside = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing_extensions.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
            return self._value(inside[0], name, depth)
        if origin is Literal:
            return min(inside, key=str)  # two that hold the same are one to `typing`, in any order
        if origin in (Union, types.UnionType):
            return self._choice(inside, name, depth)
        if origin in (list, tuple, collections.abc.Iterable, collections.abc.Sequence, collections.abc.Iterator):
            one = self._value(inside[0] if inside else str, name, depth + 1)
            return [] if one is NOTHING else [one, one]
        if origin in (dict, collections.abc.Mapping):
            one = self._value(inside[1], name, depth + 1)
            return {} if one is NOTHING else {"Schlüssel [a]": one}
        if typing_extensions.is_typeddict(kind):
            return self._table(kind, depth)
        return self._plain(kind, name)

    def _choice(self, kinds: tuple[Any, ...], name: str, depth: int) -> Any:
        kinds = tuple(
            one for one in kinds if one is not type(None) and getattr(one, "__name__", "") not in ("NotGiven", "Omit")
        )
        if any(one is bytes or one is os.PathLike or typing.get_origin(one) is os.PathLike for one in kinds):
            return FILE if any(typing.get_origin(one) is tuple for one in kinds) else FILE[1]
        # A text says least; a table or a list says most.
        for one in (*(k for k in kinds if self._whole and k not in (str, int, bool, float)), *kinds):
            value = self._value(one, name, depth)
            if value is not NOTHING:
                return value
        return NOTHING

    def _table(self, kind: Any, depth: int) -> Any:
        if depth > DEEPEST:
            return NOTHING
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
        needed = kind.__required_keys__
        table = {}
        for name, one in hints.items():
            if name in needed or (self._whole and depth < 2):
                value = self._value(one, name, depth + 1)
                if value is not NOTHING:
                    table[name] = value
        return table

    def _plain(self, kind: Any, name: str) -> Any:
        if kind is str:
            return "m" if name == "model" else f"{name} ü/%5B&+"
        for one, value in (
            (bool, True), (int, 1), (float, 0.5), (bytes, b"bytes \xff"), (object, "any"), (Any, "any"),
            (dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
            (dt.date, dt.date(2026, 1, 2)),
        ):  # fmt: skip
            if kind is one:
                return value
        if kind is typing.IO or typing.get_origin(kind) is typing.IO:
            return FILE
        return NOTHING


def _variant(method: Callable[..., Any]) -> frozenset[str]:
    """What the SDK itself asks for where it takes one of several sets of arguments: the first of them."""
    inner = getattr(method, "__func__", method)
    variants = inspect.getclosurevars(inner).nonlocals.get("variants") if hasattr(inner, "__wrapped__") else None
    return frozenset(variants[0]) if variants else frozenset()


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotation by annotation, since one that only a type checker can see must not take the others with it."""
    names = {**vars(typing), **vars(sys.modules[function.__module__])}
    found = {}
    for name, said in inspect.get_annotations(function).items():
        try:
            found[name] = eval(said, names) if isinstance(said, str) else said
        except Exception:  # noqa: BLE001  # whatever a name that is not there leads to
            found[name] = str
    return found
