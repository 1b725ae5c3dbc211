"""The first evidence: who calls. Pure."""

from __future__ import annotations

import msgspec

from gateway.policy.compiled import Key


class Principal(msgspec.Struct, frozen=True):
    """A caller whose secret was checked. `secret_id` says which of the key's secrets it was; neither is secret."""

    key: Key
    secret_id: str
