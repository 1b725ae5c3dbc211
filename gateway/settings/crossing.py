"""Settings from the process that has checked them to the one that serves. Both ends are our own and of one version;
nobody else can write to the pipe between them. The values of secrets do not cross: where they stand does."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.settings.model import Settings
from gateway.toml import Mistake

_ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Checked:
    """What `load` gives: settings, or every mistake in them."""

    settings: Settings | None
    mistakes: tuple[Mistake, ...] = ()


def packed(checked: Checked, environ: Mapping[str, str]) -> bytes:
    """As bytes. `environ` is where its secrets look; it stays here."""
    out = io.BytesIO()
    _Pickler(out, environ).dump(checked)
    return out.getvalue()


def unpacked(data: bytes, environ: Mapping[str, str]) -> Checked:
    """The same, with the secrets of this process' environment, which should be the same."""
    checked = _Unpickler(data, environ).load()
    assert isinstance(checked, Checked)  # noqa: S101  # INVARIANT: `packed` makes nothing else
    return checked


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, environ: Mapping[str, str]) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self._environ = environ

    def persistent_id(self, obj: object) -> str | None:
        return _ENVIRONMENT if obj is self._environ else None

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, MappingProxyType):  # which pickle does not know
            return _read_only, (dict(obj),)
        return NotImplemented


def _read_only(table: dict[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(table)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, environ: Mapping[str, str]) -> None:
        super().__init__(io.BytesIO(data))
        self._environ = environ

    def persistent_load(self, pid: Any) -> Mapping[str, str]:
        assert pid == _ENVIRONMENT  # noqa: S101  # INVARIANT: there is no other
        return self._environ
