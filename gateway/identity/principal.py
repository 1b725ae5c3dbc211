"""The first evidence: who calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.policy.compiled import Key


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose secret was checked. `secret_id` says which of the key's secrets it was; neither is secret."""

    key: Key
    secret_id: str
