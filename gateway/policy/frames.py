"""How a reading crosses from the process that made it: in frames, each of so few objects that an event loop which
decodes one is held for about a millisecond.

A frame is a pickle of its own, since what a pickle remembers of its objects is given up all at once. What many keys
have in common crosses first, once, and is called by its number from then on. Both ends are our own and of one version;
nobody else can write to the pipe between them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from gateway.policy.compiled import Key, KeySecret, PolicySet, RedactionProfile, RequestRules, ScopeTemplate
from gateway.policy.orders import Reading

MANY = 20  # keys to a frame, or what several of them have in common
LENGTH = 4  # bytes before each frame; a frame of none ends a reading


def pack(reading: Reading) -> Iterator[bytes]:
    """The frames, with their lengths."""
    common: dict[object, int] = {}
    policy = reading.policy
    if policy is not None:
        for kind, many in (("common", _words(policy)), ("common", _shared(policy)), ("keys", [*policy.keys.values()])):
            for start in range(0, len(many), MANY):
                part = many[start : start + MANY]
                yield _frame(kind, part, common)
                if kind == "common":
                    common |= {_called(one): len(common) + place for place, one in enumerate(part)}
        # All rules in a row are for `gateway explain`; what serves has each where it holds. Without a key they are
        # few, and those of the demo key are numbered behind them.
        policy = replace(policy, keys={}, by_digest={}, rules=policy.rules if not policy.keys else ())
    yield _frame("reading", replace(reading, policy=policy), common)
    yield bytes(LENGTH)


class Unpacking:
    """The other end: `feed` each frame, without its length; then there is `reading`."""

    def __init__(self) -> None:
        self._common: list[object] = []
        self._keys: dict[str, Key] = {}
        self._by_digest: dict[bytes, tuple[Key, KeySecret]] = {}
        self.reading: Reading | None = None

    def feed(self, frame: bytes) -> None:
        """One more."""
        kind, value = _Unpickler(frame, self._common).load()
        match kind:
            case "common":
                self._common += value
            case "keys":
                for key in value:
                    self._keys[key.name] = key
                    for secret in key.secrets:
                        self._by_digest[secret.digest] = (key, secret)
            case _:
                self.reading = self._whole(value)

    def _whole(self, reading: Reading) -> Reading:
        if reading.policy is None:
            return reading
        return replace(reading, policy=replace(reading.policy, keys=self._keys, by_digest=self._by_digest))


def _words(policy: PolicySet) -> list[object]:
    """Texts that stand in several keys."""
    found: dict[object, None] = {}
    for key in policy.keys.values():
        names = (key.tenant, key.team, key.time_zone, key.rule.file, *(name for group in key.models for name in group))
        limits = (limit.name for scope in key.scopes for limit in scope.limits)
        found |= dict.fromkeys((*names, *limits, *key.endpoints))
    return [one for one in found if one is not None]


def _shared(policy: PolicySet) -> list[object]:
    """What the keys of a team, a tenant or a profile have from there."""
    seen: dict[int, object] = {}
    again: dict[int, object] = {}
    for key in policy.keys.values():
        for one in (*key.scopes, key.redaction, key.request):
            if one is None:
                continue
            if id(one) in seen:
                again[id(one)] = one
            seen[id(one)] = one
    return list(again.values())


def _called(value: object) -> object:
    """By what a common value is known again: a text by what it says, an object by being the same."""
    return value if isinstance(value, str | frozenset) else id(value)


def _frame(kind: str, value: object, common: dict[object, int]) -> bytes:
    out = io.BytesIO()
    _Pickler(out, common).dump((kind, value))
    return framed(out.getvalue())


def framed(data: bytes) -> bytes:
    """With its length."""
    return len(data).to_bytes(LENGTH, "big") + data


_COMMON = (str, frozenset, ScopeTemplate, RedactionProfile, RequestRules)


class _Pickler(pickle.Pickler):
    """Dataclasses as calls of their classes: half the time of the way that frozen ones with slots are given."""

    def __init__(self, out: io.BytesIO, common: dict[object, int]) -> None:
        super().__init__(out, protocol=5)
        self._common = common
        self._fields: dict[type, tuple[str, ...]] = {}

    def persistent_id(self, value: Any) -> int | None:
        """The number of what is common."""
        return self._common.get(_called(value)) if isinstance(value, _COMMON) else None

    def reducer_override(self, value: Any) -> Any:
        """How to make a value anew: what to call, and with what."""
        kind = type(value)
        names = self._fields.get(kind)
        if names is None:
            if isinstance(value, type) or not is_dataclass(value):
                return NotImplemented
            names = self._fields[kind] = tuple(one.name for one in fields(value) if one.init)
        return kind, tuple([getattr(value, name) for name in names])


class _Unpickler(pickle.Unpickler):  # both ends are ours
    def __init__(self, frame: bytes, common: list[object]) -> None:
        super().__init__(io.BytesIO(frame))
        self._common = common

    def persistent_load(self, number: int) -> object:
        """What is common, by its number."""
        return self._common[number]
