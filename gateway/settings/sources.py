"""Where settings come from, and where each one was written: config.toml, and GATEWAY_* variables above it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.settings.kinds import Origin, Written

Loc = tuple[str | int, ...]
PREFIX = "GATEWAY_"
DELIMITER = "__"


class Fixed(PydanticBaseSettingsSource):
    """A source whose values are there already."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self.values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One top-level value."""
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self.values


def with_origin(value: object, origin: Origin) -> Any:
    """The same value, every text in it carrying its origin."""
    if isinstance(value, str):
        return Written(value, origin)
    if isinstance(value, Mapping):
        return {key: with_origin(inner, origin) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_origin(inner, origin) for inner in value]
    return value


def is_ours(variable: str) -> bool:
    """Whether a variable is a setting: `GATEWAY_SERVER__PORT` is. `GATEWAY_PORT`, which Kubernetes injects for a
    Service called gateway, and a plain `GATEWAY_MASTER_KEY` are not."""
    return variable.startswith(PREFIX) and DELIMITER in variable.removeprefix(PREFIX)


def from_environment(
    environ: Mapping[str, str], origin: Origin, beside: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[Loc, str]]:
    """The settings that variables give, nested, and which variable gave which. `beside` are the file's values: a
    name in there that differs only in case or in `-` for `_` is the one that is meant, since few shells can set
    `GATEWAY_PROVIDERS__MY-OWN__KIND`. A value that is a JSON object or array is taken as one."""
    values: dict[str, Any] = {}
    given: dict[Loc, str] = {}
    for variable in sorted(filter(is_ours, environ)):
        loc: list[str] = []
        level: Any = beside
        table = values
        parts = variable.removeprefix(PREFIX).split(DELIMITER)
        for place, part in enumerate(parts):
            name = _known_as(part, level)
            level = level.get(name) if isinstance(level, Mapping) else None
            loc.append(name)
            if place < len(parts) - 1:
                inner = table.get(name)
                if not isinstance(inner, dict):  # GATEWAY_X__Y beside GATEWAY_X__Y__Z: the more exact one counts
                    inner = table[name] = {}
                table = inner
        table[loc[-1]] = _json_or_text(environ[variable], origin)
        given[tuple(loc)] = variable
    return values, given


def variable_name(loc: Loc) -> str:
    """The variable that gives a setting."""
    return PREFIX + DELIMITER.join(str(part).upper().replace("-", "_") for part in loc)


def _known_as(part: str, beside: object) -> str:
    plain = part.lower()
    if isinstance(beside, Mapping) and plain not in beside:
        for name in beside:
            if str(name).lower().replace("-", "_") == plain.replace("-", "_"):
                return str(name)
    return plain


def _json_or_text(text: str, origin: Origin) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return with_origin(json.loads(text), origin)
        except (ValueError, RecursionError):
            pass  # said where it is checked: neither a table nor an array
    return Written(text, origin)
