"""config.toml and the environment → Settings, or every mistake in them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gateway
from gateway.policy.compiled import ProviderFacts
from gateway.settings.agreement import disagreements
from gateway.settings.checked import checked
from gateway.settings.kinds import Origin
from gateway.settings.model import Kind, Settings
from gateway.settings.sources import Loc, above, from_environment, variable_name, with_origin
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
    settings, faults, wrong = checked(above(in_environment, in_file))
    mistakes += [places.mistake(fault.loc, fault.what, fault.allowed) for fault in faults]
    for one in disagreements(settings):
        if not any(_overlap(bad, loc) for bad in wrong for loc in one.of):
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


def _overlap(one: Loc, other: Loc) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _order(mistake: Mistake) -> tuple[str, int]:
    return mistake.file, mistake.line
