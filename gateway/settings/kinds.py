"""The kinds of values a setting may have: how each is read from TOML or from the environment, and what is said when it
is wrong. Messages name types and numbers; they never repeat a text, which might be a secret in the wrong place.

Pydantic asks a `Check` for its schema; nobody else needs pydantic, which a process that serves does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from gateway.identity.secrets import parse_hash
from gateway.limits.redis_url import ALLOWED as STORE
from gateway.limits.redis_url import WrongAddress, parse
from gateway.settings.secret import ALLOWED as SECRET_ALLOWED
from gateway.settings.secret import Secret

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

E = TypeVar("E", bound=StrEnum)
V = TypeVar("V")


class Wrong(ValueError):
    """A value that its setting does not take, in our own words; `what` continues a sentence that begins with the
    setting's name."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Check:
    """How pydantic reads a setting: by `read`, which gives the value or raises Wrong, in place of what the type
    says, before it, or after it."""

    read: Callable[[Any], object]
    when: Literal["instead", "before", "after"] = "instead"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema  # noqa: PLC0415  # who asks has it

        if self.when == "instead":
            return core_schema.no_info_plain_validator_function(self.read)
        if self.when == "before":
            return core_schema.no_info_before_validator_function(self.read, handler(source))
        return core_schema.no_info_after_validator_function(self.read, handler(source))


# A table of free names. Read-only once it is checked.
Named = Annotated[Mapping[str, V], Check(lambda table: MappingProxyType(dict(table)), "after")]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a text needs of the place it was written at: `base` is the folder of relative paths, `environ` where
    `env:` references look, and `variable` says that it came from the environment, where everything is a text."""

    environ: Mapping[str, str]
    base: Path
    variable: bool


class Written(str):
    """A text with its origin."""

    __slots__ = ("origin",)
    origin: Origin

    def __new__(cls, text: str, origin: Origin) -> Self:
        self = super().__new__(cls, text)
        self.origin = origin
        return self


def noun(value: object) -> str:
    """What kind of value it is, without saying which."""
    for kind, name in (
        (bool, "a truth value"), (str, "a text"), (int, "an integer"), (float, "a number with a fraction"),
        (Mapping, "a table"), ((list, tuple), "an array"), ((date, time), "a date or time"),
    ):  # fmt: skip
        if isinstance(value, kind):
            return name
    return "nothing"


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`, did you mean 'port'?` or nothing."""
    import difflib  # noqa: PLC0415  # only where something is wrong

    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def integer(low: int, high: int) -> Check:
    """An integer from `low` to `high`, both included."""

    def check(value: object) -> int:
        if _from_environment(value) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", str(value)):
            value = int(str(value))
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(_not_one(value, "an integer"), allowed)
        if not low <= value <= high:
            raise Wrong(f"is {value}", allowed)
        return value

    allowed = f"an integer from {low} to {high}"
    return Check(check)


def number(low: float, high: float) -> Check:
    """A number above `low` and up to `high`."""

    def check(value: object) -> float:
        if _from_environment(value):
            try:
                value = float(str(value))
            except ValueError:
                raise Wrong("is not a number", allowed) from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong(f"is {noun(value)}", allowed)
        if not low < value <= high:
            raise Wrong(f"is {value}", allowed)
        return float(value)

    allowed = f"a number above {low:g} and up to {high:g}"
    return Check(check)


def _flag(value: object) -> bool:
    if _from_environment(value):
        value = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower(), value)
    if not isinstance(value, bool):
        raise Wrong(_not_one(value, "true or false"), "true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"is {noun(value)}", "a text")
    if not value.strip():
        raise Wrong("is empty", "a text")
    return str(value)


def choice(kind: type[E], note: str = "") -> Check:
    """One of an enumeration's values. The word is repeated only where it looks like a slip of the pen."""
    words = [member.value for member in kind]

    def check(value: object) -> E:
        word = str(value).strip().lower() if _from_environment(value) else value
        if word in words:
            return kind(word)
        allowed = ", ".join(words) + note
        if not isinstance(value, str):
            raise Wrong(f"is {noun(value)}", allowed)
        meant = suggestion(str(word), words)
        raise Wrong(f"is '{word}'{meant}" if meant else "is none of the allowed words", allowed)

    return Check(check)


def _secret(value: object) -> Secret:
    if not isinstance(value, str):
        raise Wrong(f"is {noun(value)}", SECRET_ALLOWED)
    origin = value.origin if isinstance(value, Written) else Origin({}, Path(), variable=False)
    try:
        return Secret(str(value), origin.environ, origin.base)
    except ValueError:
        raise Wrong("is a literal", SECRET_ALLOWED) from None


def _hash(value: object) -> bytes:
    digest = parse_hash(value) if isinstance(value, str) else None
    if digest is None:
        raise Wrong("is not a hash", "sha256: and 64 hex digits in lower case (gateway keys new prints one)")
    return digest


def _path(value: object) -> Path:
    text = _text(value)
    return value.origin.base / text if isinstance(value, Written) else Path(text)


HTTP = "an address such as https://api.example.com/v1, without user, password, query or fragment"


def _base_url(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"is {noun(value)}", HTTP)
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise Wrong("is not an HTTP address", HTTP)
    if "@" in parts.netloc:
        raise Wrong("holds a user or a password", HTTP)
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise Wrong("holds a query, a fragment or a blank", HTTP)
    return str(value).rstrip("/")


REGION_ALLOWED = "letters in lower case, digits and hyphens, such as us-east-1"


def _region(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[a-z0-9-]{2,40}", text):
        raise Wrong("is no region's name", REGION_ALLOWED)
    return text


PROJECT_ALLOWED = "letters in lower case, digits, hyphens, points and colons, such as my-project-1"


def _project(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.:-]{1,60}", text):
        raise Wrong("is no project's id", PROJECT_ALLOWED)
    return text


def _store_url(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"is {noun(value)}", STORE)
    if value != "memory://":
        try:
            parse(value)
        except WrongAddress as error:
            raise Wrong(error.what, error.allowed) from None
    return str(value)


def _tuple(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise Wrong(f"is {noun(value)}", "an array")
    return tuple(value)


def _from_environment(value: object) -> bool:
    return isinstance(value, Written) and value.origin.variable


def _not_one(value: object, meant: str) -> str:
    """What to say of a value of the wrong kind; a variable's value is always a text, so that is not news."""
    return f"is not {meant}" if _from_environment(value) else f"is {noun(value)}"


FLAG = Check(_flag)
TEXT = Check(_text)
SECRET = Check(_secret)
HASH = Check(_hash)
PATH = Check(_path)
BASE_URL = Check(_base_url)
PROJECT = Check(_project)
REGION = Check(_region)
STORE_URL = Check(_store_url)
ARRAY = Check(_tuple, "before")
