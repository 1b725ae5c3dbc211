"""config.toml and the environment → Settings, or every mistake in them at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from pydantic import Field, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import gateway
from gateway.policy.compiled import ProviderFacts
from gateway.settings.agreement import disagreements
from gateway.settings.faults import meant, sentence
from gateway.settings.kinds import Origin
from gateway.settings.model import Kind, Settings
from gateway.settings.sources import Fixed, Loc, from_environment, variable_name, with_origin
from gateway.toml import Document, Mistake, parse


def shipped_policies() -> Path:
    """The policies that come with the gateway: inside the installed package, or beside it in a checkout."""
    package = Path(gateway.__file__).parent
    installed = package / "_policies"
    return installed if installed.is_dir() else package.parent / "policies"


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file and an environment come to. `settings` are whole even beside mistakes, each wrong value replaced by
    its default, so that what depends on them can be checked too; None where there is nothing to go by. `providers`
    then holds those with mistakes as well."""

    settings: Settings | None
    mistakes: tuple[Mistake, ...]
    providers: Mapping[str, ProviderFacts]


# Without a settings file: what the shipped policies name. A maker's models are there when its key is.
SHIPPED: Mapping[str, Any] = MappingProxyType(
    {
        "providers": {
            "echo": {"kind": "echo"},
            "openai": {
                "kind": "openai",
                "api_key": "env:OPENAI_API_KEY",
                "optional": True,
                "labels": {"region": "us"},
            },
            "anthropic": {"kind": "anthropic", "api_key": "env:ANTHROPIC_API_KEY", "optional": True},
            "gemini": {"kind": "gemini", "api_key": "env:GEMINI_API_KEY", "optional": True},
        }
    }
)


def load(path: Path | None, environ: Mapping[str, str]) -> tuple[Settings | None, list[Mistake]]:
    """Settings out of a file and of the variables that are ours (`sources.is_ours`), which count above the file.

    No path: defaults, which need nothing but this machine. Relative paths in the file start at its folder, those in a
    variable at the working directory. The settings are None exactly where there is a mistake; no message repeats a
    secret. Reads files, never the network.
    """
    found = examine(path, environ)
    return (None if found.mistakes else found.settings), list(found.mistakes)


def examine(path: Path | None, environ: Mapping[str, str]) -> Examined:
    """The same, for those who want to go on beside mistakes."""
    document, mistakes = _document(path)
    if document is None and mistakes:
        return Examined(None, tuple(mistakes), {})
    base = path.parent if path is not None else Path()
    in_file = with_origin(document.values if document is not None else {}, Origin(environ, base, variable=False))
    in_environment, given = from_environment(environ, Origin(environ, Path(), variable=True), in_file)
    if path is None and "providers" not in in_environment:
        in_file = with_origin(SHIPPED, Origin(environ, base, variable=False))
    named = [*_names(in_file.get("providers")), *_names(in_environment.get("providers"))]
    _default_policies(in_file, path)
    places = Places(str(path or ""), document, given)
    read = _Reading(in_file, in_environment)
    settings = read.settle(places, mistakes)
    if settings is None:
        return Examined(None, tuple(sorted(mistakes, key=_order)), {})
    for one in disagreements(settings):
        if not any(_overlap(bad, loc) for bad in read.pruned for loc in one.of):
            mistakes.append(places.mistake(one.at, one.what, one.allowed))
    facts = {name: ProviderFacts(name, Kind.OPENAI.value) for name in named} | settings.provider_facts()
    return Examined(settings, tuple(sorted(mistakes, key=_order)), facts)


@dataclass(frozen=True, slots=True)
class Places:
    """Where each setting was written."""

    file: str
    document: Document | None
    given: Mapping[Loc, str]

    def mistake(self, loc: Loc, what: str, allowed: str) -> Mistake:
        """A mistake at a setting: at its variable (which has no lines: 0), or at the line of it or of the closest
        table around it. What is written nowhere is said at the file, or at the variable that could set it."""
        for known in (loc[:end] for end in range(len(loc), 0, -1)):
            if known in self.given:
                return Mistake(self.given[known], 0, what, allowed)
            if self.document is not None and (line := self.document.line(known)) is not None:
                return Mistake(self.file, line, what, allowed)
            for inner, variable in self.given.items():
                if inner[: len(known)] == known:
                    return Mistake(variable, 0, what, allowed)
        if self.document is None:
            return Mistake(variable_name(loc), 0, what, allowed)
        return Mistake(self.file, 1, what, allowed)


class _Reading:
    """Checks values; takes out what is wrong and checks again, so that one mistake does not hide another."""

    def __init__(self, in_file: dict[str, Any], in_environment: dict[str, Any]) -> None:
        self.in_file = in_file
        self.in_environment = in_environment
        self.pruned: set[Loc] = set()

    def settle(self, places: Places, mistakes: list[Mistake]) -> Settings | None:
        """Settings in which every wrong value is replaced by its default. None where that cannot be done."""
        while True:
            try:
                return self._validated()
            except ValidationError as error:
                errors = error.errors(include_url=False, include_input=False)
                misspelt = {likely for one in errors if (likely := meant(one)) is not None}
                before = frozenset(self.pruned)
                cured = False
                for one in errors:
                    loc = one["loc"]
                    consequence = any(_overlap(loc, bad) for bad in before)
                    if not consequence and not (one["type"] == "missing" and loc in misspelt):
                        mistakes.append(places.mistake(loc, *sentence(one)))
                    self.pruned |= {loc, *misspelt}
                    cured |= self._prune(loc[:-1] if one["type"] == "missing" else loc)
                if not cured:
                    return None

    def _validated(self) -> Settings:
        checked = _checking((self.in_environment, self.in_file))()
        return Settings(**{one.name: getattr(checked, f"{one.name}_") for one in fields(Settings)})

    def _prune(self, loc: Loc) -> bool:
        """Take a value out, if it is there; of an array all, since the others' numbers would change."""
        found = False
        loc = tuple(itertools.takewhile(lambda part: isinstance(part, str), loc))
        for root in (self.in_file, self.in_environment):
            table: Any = root
            for part in loc[:-1]:
                if not _holds(table, part):
                    break
                table = table[part]
            else:
                if _holds(table, loc[-1]):
                    del table[loc[-1]]
                    found = True
        return found


def _checking(values: tuple[dict[str, Any], ...]) -> type[BaseSettings]:
    """What checks settings from these sources, the first counting above the second. Its own fields have a `_` behind
    their names, since methods of pydantic's have some of the names."""

    class Sources(BaseSettings):
        """Nothing but what is passed in."""

        model_config = SettingsConfigDict(extra="forbid", hide_input_in_errors=True)

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(Fixed(settings_cls, one) for one in values)

    hints = get_type_hints(Settings, include_extras=True)
    defined: dict[str, Any] = {}
    for one in fields(Settings):
        default = {"default": one.default} if one.default is not MISSING else {"default_factory": one.default_factory}
        defined[f"{one.name}_"] = (hints[one.name], Field(alias=one.name, **default))
    return create_model("Checked", __base__=Sources, **defined)


def _document(path: Path | None) -> tuple[Document | None, list[Mistake]]:
    if path is None:
        return None, []
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return None, [Mistake(str(path), 1, "is not UTF-8 text", "TOML, which is UTF-8")]
    except OSError as error:
        reason = (error.strerror or "no such file").lower()
        return None, [Mistake(str(path), 1, f"cannot be read: {reason}", "a file such as config.example.toml")]
    return parse(str(path), text)


def _default_policies(in_file: dict[str, Any], path: Path | None) -> None:
    """`policies` beside the settings file; without a file, what is shipped."""
    table = in_file.setdefault("policies", {})
    if isinstance(table, dict):
        table.setdefault("path", str(path.parent / "policies" if path is not None else shipped_policies()))


def _names(table: object) -> list[str]:
    return list(table) if isinstance(table, dict) else []


def _holds(table: object, part: str | int) -> bool:
    if isinstance(table, dict):
        return part in table
    return isinstance(table, list) and isinstance(part, int) and part < len(table)


def _overlap(one: Loc, other: Loc) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _order(mistake: Mistake) -> tuple[str, int]:
    return mistake.file, mistake.line
