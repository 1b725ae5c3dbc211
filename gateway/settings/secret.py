"""A secret by reference: `env:NAME` or `file:PATH`. The value is read when it is needed and shown nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ALLOWED = "env:NAME (capitals, digits, underscores) or file:PATH, so that no secret stands in a settings file"
# Capitals only: a literal secret behind `env:` by mistake would otherwise be taken for a name, and names are shown.
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


class SecretUnavailable(Exception):
    """The variable or the file is not there, is empty, or holds what cannot be a secret. Never says the value."""


class Secret:
    """What is behind a reference. `read` costs one dictionary look-up, or one `stat` for a file, which is read again
    when it has changed (a mounted Kubernetes secret that was rotated)."""

    __slots__ = ("_base", "_environ", "_path", "_stamp", "_value", "reference")

    def __init__(self, reference: str, environ: Mapping[str, str], base: Path) -> None:
        """`base` is the folder that a relative PATH starts from. Raises ValueError where it is no reference; its
        message does not repeat what was given."""
        kind, _, rest = reference.partition(":")
        if not ((kind == "env" and _ENV_NAME.fullmatch(rest)) or (kind == "file" and rest)):
            raise ValueError(ALLOWED)
        self.reference = reference
        self._environ = environ
        self._base = base
        self._path = base / rest if kind == "file" else None
        self._stamp: tuple[int, int, int] | None = None
        self._value = ""

    def read(self) -> str:
        """The value, without white space around it. Raises SecretUnavailable."""
        if self._path is None:
            if not self._value:  # nobody changes a process' environment from outside
                name = self.reference.partition(":")[2]
                self._value = _checked(self._environ.get(name, ""), f"the environment variable {name}")
            return self._value
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._value = _checked(self._path.read_text("utf-8"), f"the file {self._path}")
                self._stamp = stamp
        except (OSError, UnicodeDecodeError, SecretUnavailable) as error:
            if self._stamp is None:
                if isinstance(error, SecretUnavailable):
                    raise
                raise SecretUnavailable(f"the file {self._path} cannot be read") from None
            # It was read before: a rotation that is half done must not take the gateway down.
        return self._value

    def available(self) -> bool:
        """Whether `read` would return a value now."""
        try:
            self.read()
        except SecretUnavailable:
            return False
        return True

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    def __reduce__(self) -> tuple[type[Secret], tuple[str, Mapping[str, str], Path]]:
        """Never the value: it is read again."""
        return Secret, (self.reference, self._environ, self._base)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self._path) == (other.reference, other._path)

    def __hash__(self) -> int:
        return hash((self.reference, self._path))


def _checked(value: str, place: str) -> str:
    value = value.strip()
    if not value:
        raise SecretUnavailable(f"{place} is not set or empty")
    # A JSON document (a service account's key) has lines; no header is made of it.
    shown = " ".join(value.split()) if value.startswith("{") else value
    if not shown.isprintable():
        raise SecretUnavailable(f"{place} holds control characters, which no secret has")
    return value
