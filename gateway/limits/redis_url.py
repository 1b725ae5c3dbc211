"""The address of a Redis, taken apart. Pure.

    redis://[USER@]HOST[:PORT][/DB]                                   one server
    redis+sentinel://[USER@]HOST[:PORT],HOST[:PORT],…/SERVICE[/DB]    whichever server the Sentinels call the master
    redis+cluster://[USER@]HOST[:PORT],HOST[:PORT],…                  a Cluster; of the hosts one is asked for the rest

`rediss` in place of `redis` is TLS towards every host. USER is an ACL user, percent-encoded. A password never stands
here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

Topology = Literal["single", "sentinel", "cluster"]

SCHEMES: dict[str, tuple[Topology, bool, int]] = {  # what there is, whether over TLS, and the usual port
    "redis": ("single", False, 6379),
    "rediss": ("single", True, 6379),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
ALLOWED = (
    "memory://, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or "
    "redis+cluster://HOST:PORT,HOST:PORT; rediss… for TLS"
)
WITHOUT = 'no password in it: [store] password = "env:NAME" or "file:PATH"'


class WrongAddress(ValueError):
    """`what` continues a sentence that begins with the setting's name; it never repeats the text."""

    def __init__(self, what: str, allowed: str = ALLOWED) -> None:
        super().__init__(what)
        self.what, self.allowed = what, allowed


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is. `hosts` are servers, Sentinels or nodes of a Cluster, by topology."""

    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    user: str | None = None
    service: str = ""
    database: int = 0


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files. Without `ca` the system's authorities count; a certificate is shown where one is given."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def options(self) -> dict[str, str]:
        """As redis-py names them."""
        named = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        return {name: path for name, path in named.items() if path is not None}


def parse(url: str) -> Address:
    """Raises WrongAddress."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in SCHEMES or not url.isprintable() or " " in url:
        raise WrongAddress("is not a store's address")
    topology, tls, port = SCHEMES[scheme]
    authority, path, query = _split(rest)
    user, at, hosts = authority.rpartition("@")
    if (at and ":" in user) or "password" in query.lower():
        raise WrongAddress("holds a password", WITHOUT)
    if query:
        raise WrongAddress("holds a query or a fragment", "nothing behind its path; [store.tls] says what TLS needs")
    found = tuple(_host(one, port) for one in hosts.split(","))
    if topology == "single" and len(found) > 1:
        raise WrongAddress("names several hosts", "one host, or redis+sentinel:// or redis+cluster://")
    service, database = _path(topology, path)
    return Address(topology, found, tls, unquote(user) or None, service, database)


def _split(rest: str) -> tuple[str, str, str]:
    """Authority, path, and what follows."""
    before, mark, query = rest.partition("?")
    before, hash_mark, fragment = before.partition("#")
    authority, _, path = before.partition("/")
    return authority, path.rstrip("/"), mark + query + hash_mark + fragment


def _host(text: str, usual: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]*))(?::([0-9]{1,5}))?", text)
    if found is None:
        raise WrongAddress("is not a store's address")
    host, port = found[1] or found[2], int(found[3] or usual)
    if not host:
        raise WrongAddress("names no host")
    if not 0 < port < 65536:
        raise WrongAddress(f"names port {port}", "a port from 1 to 65535")
    return host, port


def _path(topology: Topology, path: str) -> tuple[str, int]:
    """(service, database)."""
    service, database = "", path
    if topology == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise WrongAddress("names no service", "the name that the Sentinels give the master: …/SERVICE")
    if topology == "cluster" and database:
        raise WrongAddress("names a database", "none: a Cluster has only one")
    if database and not re.fullmatch(r"[0-9]{1,5}", database):
        raise WrongAddress("names a database that is no number", "the number of a database, as in …/0")
    return unquote(service), int(database or 0)
