"""What a dialect cannot express, and what becomes of it: refused by name, or dropped and said. Pure.

Content is never dropped: without a picture or a tool the question is another one. A parameter is, where policy says
`drop_params = true`. A hint, which changes no answer (a cache mark, an end user's id), always is. What was dropped
stands in the record and in the header `x-gateway-dropped`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_CONVERSATION = frozenset(("messages", "input", "system"))  # what stands in them is content, whatever it is
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_NOUNS = {
    str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "an array",
}  # fmt: skip


class Untranslatable(Exception):
    """`field` is in the client's words; the message is written for the client."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Losses:
    """`to` names the provider's dialect. `names` are the client's words for the neutral form's."""

    def __init__(self, to: str, *, drop: bool = False) -> None:
        self.to = to
        self.dropped: list[str] = []
        self.names: dict[str, str] = {}
        self._drop = drop

    def _name(self, field: str) -> str:
        if field in self.names:
            return self.names[field]
        name, more, which = field.partition(" (")
        return self.names.get(name, name) + more + which

    def parameter(self, field: str) -> None:
        """A parameter that changes the answer. Raises Untranslatable, unless policy lets it be dropped."""
        self.unknown(self._name(field))

    def unknown(self, name: str) -> None:
        """As `parameter`, for a field in the client's own words."""
        if not self._drop:
            raise Untranslatable(
                name,
                f"'{name}' cannot be expressed in the provider's dialect ({self.to}); leave it out, use another "
                "model, or have the policy say `drop_params = true`.",
            )
        self.drop(name)

    def content(self, field: str) -> None:
        """A part of the conversation. Raises Untranslatable."""
        name = self._name(field)
        raise Untranslatable(
            name, f"'{name}' cannot be expressed in the provider's dialect ({self.to}), and content is never dropped."
        )

    def hint(self, field: str) -> None:
        """What changes no answer."""
        self.drop(self._name(field))

    def drop(self, name: str) -> None:
        """As `hint`, for a field in the client's own words."""
        if name not in self.dropped:
            self.dropped.append(name)


class Fields:
    """A JSON object that must be used up: `take` what is known, then `rest` names what nobody took."""

    def __init__(self, value: object, at: str, losses: Losses) -> None:
        if not isinstance(value, dict):
            raise Untranslatable(at, f"'{at}' must be an object.")
        self._left: dict[str, Any] = dict(value)
        self._at = at
        self._losses = losses

    def name(self, key: str) -> str:
        """A key's whole path, without numbers. What is no name is not repeated: it goes into records and headers."""
        key = key if _NAME.fullmatch(key) else "(unknown)"
        return f"{self._at}.{key}" if self._at else key

    def take(self, key: str, kind: type[T]) -> T | None:
        """A value, None where it is absent or null. Raises Untranslatable where it is of another kind."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return value  # type: ignore[return-value]  # an integer is a number
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Untranslatable(self.name(key), f"'{self.name(key)}' must be {_NOUNS[kind]}.")
        return value

    def need(self, key: str, kind: type[T]) -> T:
        """As `take`. Raises Untranslatable where it is absent too."""
        value = self.take(key, kind)
        if value is None:
            raise Untranslatable(self.name(key), f"'{self.name(key)}' is missing.")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of texts, or one text alone. Raises Untranslatable."""
        value = self._left.pop(key, None)
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise Untranslatable(self.name(key), f"'{self.name(key)}' must be an array of strings.")
        return tuple(values)

    def any(self, key: str) -> Any:
        """A value of any kind."""
        return self._left.pop(key, None)

    def rest(self, hints: frozenset[str] = frozenset(), idle: Mapping[str, object] | None = None) -> None:
        """What was not taken: `hints` are dropped, `idle` values say what holds anyway, all else is a loss: content
        where it stands in the conversation, else a parameter."""
        for key, value in self._left.items():
            if value is None or (idle is not None and key in idle and value == idle[key]):
                continue
            if key in hints:
                self._losses.drop(self.name(key))
            elif self._at.partition(".")[0] in _CONVERSATION:
                self._losses.content(self.name(key))
            else:
                self._losses.unknown(self.name(key))
