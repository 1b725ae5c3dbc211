"""Values as they were written → Settings, and every fault of them: which setting, what is wrong, what is allowed.

The shape is declared once, in `model.py`: a dataclass is a table, an annotation says what a setting may be. A wrong
value is left out, so that its default counts; a table that lacks what it needs is left out of the one around it; of an
array all is, since the others' numbers would change. So the settings are whole beside any fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from gateway.settings.kinds import Wrong, suggestion
from gateway.settings.model import Settings
from gateway.settings.sources import Loc


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the setting at `loc`, and what is allowed there. No text that was checked is repeated."""

    loc: Loc
    what: str
    allowed: str


def checked(values: Mapping[str, Any]) -> tuple[Settings, tuple[Fault, ...], frozenset[Loc]]:
    """The settings, the faults, and what was left out: no rule may rest on it."""
    checking = _Checking()
    settings = checking.table(Settings, values, ())
    assert isinstance(settings, Settings)  # noqa: S101  # INVARIANT: it needs nothing that has no default
    return settings, tuple(checking.faults), frozenset(checking.left_out)


class _LeftOut:
    """In the place of a value that cannot be used."""


LEFT_OUT = _LeftOut()


class _Checking:
    """One pass over all values."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.left_out: set[Loc] = set()
        self._shapes: dict[type, Mapping[str, Any]] = {}

    def table(self, shape: type, value: object, loc: Loc) -> object:
        """A table with the keys that `shape` declares."""
        if not isinstance(value, Mapping):
            return self._fault(loc, f"{path(loc)} is not a table", ", ".join(settings_of(loc)))
        known = self._shapes.setdefault(shape, hints(shape))
        strange = [key for key in value if key not in known]
        meant = {key for key in (_nearest(one, known) for one in strange) if key}
        found, whole = {}, True
        for one in fields(shape):
            inner: Loc = (*loc, one.name)
            if one.name in value:
                found[one.name] = self.value(known[one.name], value[one.name], inner)
            elif one.default is MISSING and one.default_factory is MISSING:
                found[one.name] = LEFT_OUT
                self.left_out.add(inner)
                if one.name not in meant:
                    self._fault(inner, f"{path(loc)} has no {one.name}", ", ".join(known))
            if found.get(one.name) is LEFT_OUT:
                del found[one.name]
                whole = whole and not (one.default is MISSING and one.default_factory is MISSING)
        for key in strange:
            what = f"unknown {_key_of(loc, str(key))}{suggestion(str(key), known)}"
            self._fault((*loc, key), what, ", ".join(known))
        self.left_out.update((*loc, key) for key in meant)
        return shape(**found) if whole else LEFT_OUT

    def value(self, annotation: Any, value: object, loc: Loc) -> object:
        """A value of any kind, or LEFT_OUT."""
        bare, checks = _parts(annotation)
        try:
            for check in checks:
                value = check(value)
        except Wrong as wrong:
            return self._fault(loc, f"{path(loc)} {wrong.what}", wrong.allowed)
        if is_dataclass(bare):
            assert isinstance(bare, type)  # noqa: S101  # INVARIANT: annotations name classes
            return self.table(bare, value, loc)
        if get_origin(bare) is Mapping:
            return self._named(get_args(bare)[1], value, loc)
        if get_origin(bare) is tuple and isinstance(value, tuple):
            elements = [self.value(get_args(bare)[0], one, (*loc, place)) for place, one in enumerate(value)]
            return LEFT_OUT if LEFT_OUT in elements or self._within(loc) else tuple(elements)
        return value

    def _named(self, annotation: Any, value: object, loc: Loc) -> object:
        if not isinstance(value, Mapping):
            return self._fault(loc, f"{path(loc)} is not a table", "a table of names")
        found = {name: self.value(annotation, one, (*loc, name)) for name, one in value.items()}
        return MappingProxyType({name: one for name, one in found.items() if one is not LEFT_OUT})

    def _within(self, loc: Loc) -> bool:
        return any(one[: len(loc)] == loc for one in self.left_out)

    def _fault(self, loc: Loc, what: str, allowed: str) -> _LeftOut:
        self.faults.append(Fault(loc, what, allowed))
        self.left_out.add(loc)
        return LEFT_OUT


def path(loc: Loc) -> str:
    """A setting's name as the documentation has it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def hints(shape: type) -> Mapping[str, Any]:
    """What each setting of a table may be, in the order of its declaration."""
    known = get_type_hints(shape, include_extras=True)
    return {one.name: known[one.name] for one in fields(shape)}


def settings_of(table: Loc) -> tuple[str, ...]:
    """What a table may hold; empty for one of free names."""
    found: Any = Settings
    for part in table:
        if is_dataclass(found):
            assert isinstance(found, type)  # noqa: S101  # INVARIANT: annotations name classes
            found = hints(found).get(str(part))
        elif get_origin(found) in (Mapping, tuple):
            found = get_args(found)[1 if get_origin(found) is Mapping else 0]
        else:
            return ()
        found = _parts(found)[0]
    return tuple(one.name for one in fields(found)) if is_dataclass(found) else ()


def every_setting(kind: type = Settings, above: str = "") -> Iterator[str]:
    """All settings by name, `*` standing for a name that is free: `server.port`, `providers.*.kind` …"""
    for name, annotation in hints(kind).items():
        inner, here = _parts(annotation)[0], f"{above}{name}"
        if get_origin(inner) in (Mapping, tuple):
            inner = _parts(get_args(inner)[1 if get_origin(inner) is Mapping else 0])[0]
            here += ".*"
        if is_dataclass(inner):
            assert isinstance(inner, type)  # noqa: S101  # INVARIANT: annotations name classes
            yield from every_setting(inner, f"{here}.")
        else:
            yield here.removesuffix(".*")


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type without None, and the checks that stand beside it."""
    checks: tuple[Any, ...] = ()
    while hasattr(annotation, "__metadata__"):
        annotation, *more = get_args(annotation)
        checks = (*checks, *more)
    options = [one for one in get_args(annotation) if one is not type(None)]
    if type(None) in get_args(annotation) and len(options) == 1:
        annotation = options[0]
    return annotation, checks


def _nearest(key: object, known: Mapping[str, Any]) -> str:
    """The setting that a misspelt key most likely stands for, or ""."""
    near = suggestion(str(key), known).split("'")
    return near[1] if len(near) > 1 else ""


def _key_of(table: Loc, key: str) -> str:
    return f"key '{key}' in [{path(table)}]" if table else f"table or key '{key}'"
