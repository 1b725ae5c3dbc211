"""What this version accepts and checks, and does not enforce yet. Pure; a later version deletes a line of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.errors import Rule
from gateway.policy.entries import Entries, Entry, Rules

# Section → paths in one of its tables; * is any one name.
NOT_ENFORCED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "models": (("fallback",),),
}
# What holds in this version already: to write it is no wish that stays open.
_IN_FORCE: Mapping[str, object] = {
    "fallback": [],
}  # fmt: skip


def not_enforced(entries: Entries, rules: Rules) -> Iterator[Rule]:
    """The rules that are written and not enforced, in the order of sections and names."""
    for section, paths in NOT_ENFORCED.items():
        for entry in _entries(entries, section):
            for pattern in paths:
                for path in _found(entry.written, pattern):
                    yield rules.at(entry, *path)


def _entries(entries: Entries, section: str) -> Iterator[Entry]:
    if section == "defaults":
        if entries.defaults is not None:
            yield entries.defaults
        return
    for _, entry in entries.good(section):
        yield entry


def _found(value: Any, pattern: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(value, dict):
        return
    first, *rest = pattern
    for name in sorted(value) if first == "*" else (first,):
        if name not in value:
            continue
        if rest:
            yield from ((name, *path) for path in _found(value[name], tuple(rest)))
        elif value[name] != _IN_FORCE[name]:
            yield (name,)
