"""Reading the files: each named table on its own, so that one mistake does not hide another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from gateway.errors import Rule
from gateway.limits.scopes import BUDGETS, RATE_LIMITS
from gateway.policy.near import suggestion
from gateway.policy.price_table import PriceTable
from gateway.policy.readable import as_written, readable
from gateway.policy.schema import SECTIONS, TOP, Defaults, Table
from gateway.toml import Document, Loc, Mistake, parse


@dataclass(frozen=True, slots=True)
class Entry:
    """One table as written: where it stands, and what it says, without what is wrong in it and has been said (None:
    nothing of it can be read). `unread`: the places of that."""

    document: Document
    loc: Loc
    table: Any
    unread: frozenset[Loc] = frozenset()

    def line(self, *more: str | int) -> int:
        """The line of something in it."""
        return self.document.line((*self.loc, *as_written(more, self.unread))) or 1

    def read(self, *keys: str) -> bool:
        """Whether `keys` say what is written: none of them, nor a misspelt one, was left out."""
        wrong = {str(loc[0]) for loc in self.unread if loc}
        return not any(
            key in keys or (key not in type(self.table).model_fields and suggestion(key, keys)) for key in wrong
        )

    @property
    def written(self) -> Any:
        """What stands there, right or wrong."""
        value: Any = self.document.values
        for part in self.loc:
            value = value[part]
        return value

    def mistake(self, what: str, allowed: str, *more: str | int) -> Mistake:
        """A mistake at something in it."""
        named = dotted((*self.loc, *as_written(more, self.unread)))
        return Mistake(self.document.file, self.line(*more), f"{named} {what}", allowed)


@dataclass(slots=True)
class Entries:
    """All tables of all files, by section and name. `whole`: every file is TOML, so what is missing is missing."""

    named: dict[str, dict[str, Entry]] = field(default_factory=lambda: {section: {} for section in SECTIONS})
    prices: list[Entry] = field(default_factory=list)
    defaults: Entry | None = None
    whole: bool = True

    def good(self, section: str) -> Iterator[tuple[str, Entry]]:
        """Those of a section that can be read, if only in part, by name: the order of files means nothing."""
        for name, entry in sorted(self.named[section].items()):
            if entry.table is not None:
                yield name, entry


class Rules:
    """Numbers rules as they are made: what `x-gateway-decision` carries. A place is one rule, however often it is
    asked for."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Loc], Rule] = {}

    @property
    def all(self) -> tuple[Rule, ...]:
        return tuple(self._made.values())

    def at(self, entry: Entry, *more: str | int) -> Rule:
        """The rule at something in an entry."""
        place = (entry.document.file, (*entry.loc, *more))
        rule = self._made.get(place)
        if rule is None:
            rule = Rule(len(self._made) + 1, dotted(place[1]), entry.document.file, entry.line(*more))
            self._made[place] = rule
        return rule


def dotted(loc: Iterable[str | int]) -> str:
    """A path as an admin writes it: `keys.bot.secrets[1].hash`; a part with other characters in quotes."""
    out = ""
    for part in loc:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            plain = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
            out += ("." if out else "") + (part if plain else f'"{part}"')
    return out


def read_entries(files: Mapping[str, str]) -> tuple[Entries, list[Mistake]]:
    """Every table of every file, and the mistakes that each has by itself."""
    entries, mistakes = Entries(), list[Mistake]()
    for file in sorted(files):
        document, found = parse(file, files[file])
        mistakes += found
        if document is None:
            entries.whole = False
            continue
        for section, value in document.values.items():
            mistakes += _section(entries, document, section, value)
    return entries, mistakes


def _section(entries: Entries, document: Document, section: str, value: Any) -> Iterator[Mistake]:
    def wrong(loc: Loc, what: str, allowed: str) -> Mistake:
        return Mistake(document.file, document.line(loc) or 1, what, allowed)

    if section not in TOP:
        yield wrong((section,), f"unknown table '{section}'{suggestion(section, TOP)}", ", ".join(sorted(TOP)))
    elif section == "schema":
        if value != 1 or isinstance(value, bool):
            yield wrong((section,), "schema is not 1", "1, the version of this shape")
    elif section == "prices":
        if not isinstance(value, list):
            yield wrong((section,), "prices is not an array of tables", "[[prices]] before each row")
            return
        for index, row in enumerate(value):
            entry, mistakes = _table(document, (section, index), row, PriceTable)
            yield from mistakes
            entries.prices.append(entry)
    elif section == "defaults":
        entry, mistakes = _table(document, (section,), value, Defaults)
        yield from mistakes
        if entries.defaults is not None:
            other = entries.defaults
            yield wrong((section,), f"defaults stands also in {other.document.file}:{other.line()}", "one such table")
        entries.defaults = entry
    elif not isinstance(value, dict):
        yield wrong((section,), f"{section} is not a table", f"[{section}.NAME]")
    else:
        for name, one in value.items():
            yield from _named(entries, document, (section, name), one)


def _named(entries: Entries, document: Document, loc: tuple[str, str], value: Any) -> Iterator[Mistake]:
    section, name = loc
    if (other := entries.named[section].get(name)) is not None:
        what = f"{dotted(loc)} stands also in {other.document.file}:{other.line()}"
        yield Mistake(document.file, document.line(loc) or 1, what, "each name in one file")
        return
    entry, mistakes = _table(document, loc, value, SECTIONS[section])
    yield from mistakes
    entries.named[section][name] = entry


def _table(document: Document, loc: Loc, value: Any, shape: type[Table]) -> tuple[Entry, list[Mistake]]:
    if not isinstance(value, dict):
        wrong = Mistake(document.file, document.line(loc) or 1, f"{dotted(loc)} is not a table", "key = value")
        return Entry(document, loc, None), [wrong]
    try:
        return Entry(document, loc, shape.model_validate(value)), []
    except ValidationError as error:
        said = [_said(document, loc, shape, one) for one in error.errors(include_url=False)]
        return Entry(document, loc, *readable(value, shape, error)), said


def _said(document: Document, loc: Loc, shape: type[Table], error: Any) -> Mistake:
    inner: Loc = tuple(error["loc"])
    line = document.line((*loc, *inner)) or 1
    name = dotted((*loc, *inner))
    context = error.get("ctx", {})
    match error["type"]:
        case "gateway":
            what, allowed = f"{name} {context['what']}", context["allowed"]
        case "extra_forbidden":
            known = _keys_at(shape, inner[:-1])
            around = dotted((*loc, *inner[:-1]))
            near = _beside(inner) or suggestion(str(inner[-1]), known)
            what = f"unknown key '{inner[-1]}' in {around}{near}"
            allowed = ", ".join(sorted(known))
        case "missing":
            line = document.line((*loc, *inner[:-1])) or 1
            what, allowed = f"{name} is missing", _allowed_for(str(inner[-1]))
        case "literal_error":
            words = re.findall("'([^']*)'", str(context["expected"]))
            near = suggestion(error["input"], words) if isinstance(error["input"], str) else ""
            what, allowed = f"{name} is none of what it may be{near}", str(context["expected"])
        case "string_pattern_mismatch":
            what, allowed = f"{name} has characters that it may not have", f"what matches {context['pattern']}"
        case "greater_than_equal" | "less_than_equal":
            what, allowed = f"{name} is out of range", "0 to 1000000"
        case "tuple_type" | "list_type":
            what, allowed = f"{name} is not an array", '[…], such as ["a", "b"]'
        case "dict_type" | "model_type" | "model_attributes_type":
            known = _keys_at(shape, inner)
            what = f"{name} is not a table"
            if inner and inner[-1] == "disabled":
                return Mistake(document.file, line, what, 'disabled = { reason = "…" }, with until = … if it is to end')
            allowed = f"a table with: {', '.join(sorted(known))}" if known else "a table: { key = value }"
        case "int_type" | "int_from_float":
            what, allowed = f"{name} is not an integer", "an integer"
        case "string_type":
            what, allowed = f"{name} is not a text", 'a text: "…"'
        case _:
            what, allowed = f"{name} is wrong: {error['msg']}", ""
    return Mistake(document.file, line, what, allowed)


def _beside(inner: Loc) -> str:
    """Where a limit belongs that stands in the other of the two tables."""
    kinds = {"limits": ("budget", BUDGETS), "budget": ("limits", RATE_LIMITS)}
    there = kinds.get(str(inner[-2])) if len(inner) > 1 else None
    return f": it stands in `{there[0]}`" if there is not None and inner[-1] in there[1] else ""


def _allowed_for(key: str) -> str:
    return {
        "hash": 'hash = "sha256:…", as `gateway keys new` prints it',
        "limit": "limit = NUMBER",
        "provider": "the name of a provider in config.toml",
        "entities": 'entities = ["EMAIL_ADDRESS", …]',
        "reason": 'reason = "…": callers read it',
        "model": "the provider's own name of the model",
        "input": "USD per million tokens",
        "output": "USD per million tokens; 0 where the model has none",
    }.get(key, f"{key} = …")


def _keys_at(shape: type[Table], loc: Loc) -> set[str]:
    """The keys that a table within a shape may have."""
    current: Any = shape
    for part in loc:
        annotation = (
            current.model_fields[part].annotation if _is_table(current) and part in current.model_fields else current
        )
        current = _inner(annotation)
    return set(current.model_fields) if _is_table(current) else set()


def _inner(annotation: Any) -> Any:
    if _is_table(annotation):
        return annotation
    for part in get_args(annotation):
        found = _inner(part)
        if _is_table(found):
            return found
    return annotation


def _is_table(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Table)
