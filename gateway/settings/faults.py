"""From pydantic's errors to sentences an admin can act on: which setting, what is wrong, what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import get_args, get_origin, get_type_hints

from pydantic_core import ErrorDetails

from gateway.settings.kinds import Wrong, suggestion
from gateway.settings.model import Settings, Table
from gateway.settings.sources import Loc

# What pydantic says of a key that nobody knows: of the settings, and of a table.
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def sentence(error: ErrorDetails) -> tuple[str, str]:
    """(what is wrong, what is allowed). No text that was checked is repeated."""
    loc = error["loc"]
    table, key = loc[:-1], str(loc[-1])
    kind = error["type"]
    if isinstance(wrong := error.get("ctx", {}).get("error"), Wrong):
        return f"{path(loc)} {wrong.what}", wrong.allowed
    if kind in UNKNOWN:
        known = settings_of(table)
        return f"unknown {_key_of(table, key)}{suggestion(key, known)}", ", ".join(known)
    if kind == "missing":
        return f"{path(table)} has no {key}", ", ".join(settings_of(table))
    if kind in ("dataclass_type", "mapping_type", "dict_type"):
        return f"{path(loc)} is not a table", ", ".join(settings_of(loc)) or "a table of names"
    return f"{path(loc)} cannot be read ({kind})", "see docs/configuration.md"


def path(loc: Loc) -> str:
    """A setting's name as the documentation has it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def meant(error: ErrorDetails) -> Loc | None:
    """The setting that a misspelt key most likely stands for."""
    if error["type"] not in UNKNOWN:
        return None
    table, key = error["loc"][:-1], str(error["loc"][-1])
    near = suggestion(key, settings_of(table)).split("'")
    return (*table, near[1]) if len(near) > 1 else None


def settings_of(table: Loc) -> tuple[str, ...]:
    """What a table may hold; empty for one of free names."""
    found: object = Settings
    for part in table:
        if isinstance(found, type) and issubclass(found, Table):
            found = next((kind for name, kind in _fields(found) if name == part), None)
        elif get_origin(found) in (Mapping, tuple):
            found = get_args(found)[1 if get_origin(found) is Mapping else 0]
        else:
            return ()
        found = _bare(found)
    if isinstance(found, type) and issubclass(found, Table):
        return tuple(name for name, _ in _fields(found))
    return ()


def every_setting(kind: type[Table] = Settings, above: str = "") -> Iterator[str]:
    """All settings by name, `*` standing for a name that is free: `server.port`, `providers.*.kind` …"""
    for name, annotation in _fields(kind):
        inner, here = _bare(annotation), f"{above}{name}"
        if get_origin(inner) in (Mapping, tuple):
            inner = _bare(get_args(inner)[1 if get_origin(inner) is Mapping else 0])
            here += ".*"
        if isinstance(inner, type) and issubclass(inner, Table):
            yield from every_setting(inner, f"{here}.")
        else:
            yield here.removesuffix(".*")


def _fields(kind: type[Table]) -> Iterator[tuple[str, object]]:
    hints = get_type_hints(kind, include_extras=True)
    return ((one.name, hints[one.name]) for one in fields(kind))


def _bare(annotation: object) -> object:
    """Without Annotated and without None."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    options = [one for one in get_args(annotation) if one is not type(None)]
    if type(None) in get_args(annotation) and len(options) == 1:
        return _bare(options[0])
    return annotation


def _key_of(table: Loc, key: str) -> str:
    return f"key '{key}' in [{path(table)}]" if table else f"table or key '{key}'"
