"""What is to be read of policies, as the settings say; and where a process keeps what outlives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.identity.secrets import digest_of
from gateway.policy.orders import Order
from gateway.settings.model import Settings

STATE = "llm-gateway"  # the folder in the user's state folder


def order_of(settings: Settings, environ: Mapping[str, str], known: bytes | None = None) -> Order:
    """`known` is the stamp of the set in force; None at the start. The facts on providers are those of this moment,
    since a key's file may have come."""
    path = settings.policies.path
    assert path is not None  # noqa: S101  # INVARIANT: `settings.load` gives one
    state = state_folder(settings, environ)
    return Order(path, settings.provider_facts(), state, starts=known is None, known=known or b"")


def state_folder(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Where the last good policies are kept: a folder of their own for each folder of policies."""
    if settings.policies.state is not None:
        return settings.policies.state
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")  # the user's, no setting
    return Path(base) / STATE / digest_of(str(settings.policies.path)).hex()[:16]
