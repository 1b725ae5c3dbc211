"""What a process does before it serves: take its ports, find its secret, say where it listens."""

from __future__ import annotations

import os
from collections.abc import Mapping

import structlog

from gateway import __version__
from gateway.policy.compiled import PolicySet, RedactionProfile
from gateway.server.listeners import Bound, bind
from gateway.settings.model import Settings

log = structlog.get_logger("gateway.app")


def bind_all(settings: Settings) -> Mapping[str, Bound]:
    """The listening sockets, by the table that each is set in. Raises PortTaken."""
    server, health, admin = settings.server, settings.health, settings.admin
    bound = {
        "server": bind("server", server.host, server.port, server.backlog),
        "health": bind("health", health.host, health.port),
    }
    return {**bound, "admin": bind("admin", admin.host, admin.port)} if admin.enabled else bound


def master_secret(settings: Settings) -> bytes:
    """The secret that others are derived of; another with each start where none is set."""
    secret = settings.secrets.master
    return secret.read().encode() if secret is not None else os.urandom(32)


def say_listening(settings: Settings, bound: Mapping[str, Bound], policy: str | None = None) -> None:
    """Tell the log what the settings lack, and where we listen."""
    for warning in settings.warnings():
        log.warning("settings", warning=warning)
    known = {"policy": policy[:12]} if policy is not None else {}
    urls = {name: one.url for name, one in bound.items()}
    log.info("listening", version=__version__, pid=os.getpid(), **known, **urls)


def profiles_used(policy: PolicySet) -> list[RedactionProfile]:
    """The profiles that some key is under."""
    found = {key.redaction.digest: key.redaction for key in policy.keys.values() if key.redaction is not None}
    return list(found.values())
