"""What settings must agree on with each other and with the machine, once each is right by itself.

A rule names the settings it rests on. Where one of those was wrong by itself the rule is not asked: what it would say
could be a consequence of the first mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

from gateway.limits.redis_url import parse
from gateway.settings.faults import path as name_of
from gateway.settings.model import APPLICATIONS, Auth, Kind, Provider, Settings
from gateway.settings.secret import Secret, SecretUnavailable
from gateway.settings.sources import Loc
from gateway.tokens.encodings import ENCODINGS
from gateway.tokens.ranks import broken, present


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`at` is the setting to point at, `of` all that the rule rests on."""

    at: Loc
    of: tuple[Loc, ...]
    what: str
    allowed: str


def disagreements(settings: Settings) -> Iterator[Disagreement]:
    """Every rule that is broken. Reads referenced secrets and looks whether folders exist."""
    yield from _processes(settings)
    yield from _listeners(settings)
    yield from _admin(settings)
    yield from _store(settings)
    yield from _folders(settings)
    if not settings.providers:
        yield _one(("providers",), "providers is empty", 'at least one, such as [providers.echo] with kind = "echo"')
    for name, provider in settings.providers.items():
        yield from _provider(("providers", name), provider)


def _one(at: Loc, what: str, allowed: str, *of: Loc) -> Disagreement:
    return Disagreement(at, (at, *of), what, allowed)


def _processes(settings: Settings) -> Iterator[Disagreement]:
    workers = settings.server.workers
    if settings.store.embedded and workers > 1:
        yield _one(
            ("server", "workers"),
            f"server.workers is {workers} with store.url memory://, where every process would count for itself and "
            "admit each limit once more",
            "workers = 1, or a redis:// store",
            ("store", "url"),
        )


def _listeners(settings: Settings) -> Iterator[Disagreement]:
    taken: dict[tuple[str, int], str] = {}
    listeners = [("server", settings.server.host, settings.server.port)]
    listeners.append(("health", settings.health.host, settings.health.port))
    if settings.admin.enabled:
        listeners.append(("admin", settings.admin.host, settings.admin.port))
    for name, host, port in listeners:
        other = taken.setdefault((host, port), name)
        if other != name and port != 0:
            yield _one(
                (name, "port"), f"{name}.port is {port}, as {other}.port is", "a port of its own", (other, "port")
            )


def _admin(settings: Settings) -> Iterator[Disagreement]:
    admin = settings.admin
    if admin.enabled and not admin.tokens:
        yield _one(
            ("admin", "enabled"),
            "admin is enabled and has no token, so nobody could use it",
            "at least one [admin.tokens.NAME] with hash and role",
            ("admin", "tokens"),
        )
    for name, other in _repeated({name: token.hash for name, token in admin.tokens.items()}):
        at: Loc = ("admin", "tokens", name, "hash")
        yield _one(at, f"admin.tokens.{name} has the hash of admin.tokens.{other}", "a token of its own for each name")


def _store(settings: Settings) -> Iterator[Disagreement]:
    store = settings.store
    address = None if store.embedded else parse(store.url)
    sentinel: Loc = ("store", "sentinel_password")
    if store.sentinel_password is not None:
        if address is None or address.topology != "sentinel":
            what = "store.sentinel_password is set, and store.url has no Sentinels"
            yield _one(sentinel, what, "a redis+sentinel:// store", ("store", "url"))
        else:
            yield from _readable(sentinel, store.sentinel_password)
    for name, path in (("ca", store.tls.ca), ("certificate", store.tls.certificate), ("key", store.tls.key)):
        at: Loc = ("store", "tls", name)
        if path is not None and (address is None or not address.tls):
            yield _one(
                at, f"store.tls.{name} is set, and store.url is without TLS", "a rediss… store", ("store", "url")
            )
        elif path is not None and not path.is_file():
            yield _one(at, f"store.tls.{name}: there is no file {path}", "a PEM file")
    if (store.tls.certificate is None) != (store.tls.key is None):
        what = "store.tls has one of certificate and key"
        yield _one(("store", "tls"), what, "both or none", ("store", "tls", "certificate"), ("store", "tls", "key"))
    if store.password is not None:
        if store.embedded:
            at = ("store", "password")
            yield _one(at, "store.password is set, and memory:// has none", "a redis:// store", ("store", "url"))
        else:
            yield from _readable(("store", "password"), store.password)
    if settings.secrets.master is not None:
        yield from _readable(("secrets", "master"), settings.secrets.master)


def _folders(settings: Settings) -> Iterator[Disagreement]:
    at: Loc
    path = settings.policies.path
    if path is not None and not path.is_dir():
        yield _one(
            ("policies", "path"), f"policies.path: there is no folder {path}", "a folder with *.toml files in it"
        )
    ranks = settings.tokens.ranks
    if ranks is not None:
        at = ("tokens", "ranks")
        if not present(ranks):
            names = ", ".join(one.file for one in ENCODINGS.values())
            allowed = f"a folder with {names} (gateway tokenizers pull)"
            yield _one(at, f"tokens.ranks: there is no rank file in {ranks}", allowed)
        for what in broken(ranks):
            yield _one(at, f"tokens.ranks: {what}", "the file as it was published (gateway tokenizers pull)")
    if settings.store.journal is not None:
        # It is in the contract: to be refused is better than to be silently without it.
        what = "store.journal is set, and this version writes no journal of settlements"
        yield _one(("store", "journal"), what, "this setting left out; a Redis with appendonly yes forgets least")


def _provider(at: Loc, provider: Provider) -> Iterator[Disagreement]:
    path = name_of(at)
    if provider.kind is Kind.ECHO:
        for name in ("base_url", "api_key", "credentials"):
            if getattr(provider, name):
                yield _one(
                    (*at, name), f"{path}.{name} is set, and kind echo answers inside the process", "nothing here"
                )
        return
    if provider.kind is Kind.AZURE and provider.base_url is None:
        yield _one(
            (*at, "base_url"), f"{path} has no base_url", "the resource's address: https://NAME.openai.azure.com", at
        )
    yield from _clouds(at, provider)
    yield from _shown(at, provider)
    if provider.kind is not Kind.OPENAI and provider.speaks is not None:
        yield _one((*at, "speaks"), f"{path}.speaks is set, and kind {provider.kind} says that itself", "nothing here")
    if provider.api_key is not None and provider.credentials:
        yield _one((*at, "api_key"), f"{path} has api_key and credentials", "one of the two", (*at, "credentials"))
    for index, _ in _repeated({i: one.name for i, one in enumerate(provider.credentials)}):
        what = f"{path}.credentials: the name '{provider.credentials[index].name}' stands twice"
        yield _one((*at, "credentials", index, "name"), what, "a name of its own for each")
    if not provider.optional and (reason := provider.missing_key()) is not None:
        key = "credentials" if provider.credentials else "api_key"
        yield _one((*at, key), f"{path} cannot be called: {reason}", "the key set, or optional = true", at)


AUTHS = {
    Kind.AZURE: (Auth.KEY, Auth.ENTRA, Auth.CLIENT_SECRET, Auth.FEDERATED), Kind.VERTEX: (Auth.KEY, Auth.WORKLOAD),
}  # fmt: skip


def _shown(at: Loc, provider: Provider) -> Iterator[Disagreement]:
    """What a provider is shown, and what belongs to it."""
    path, kind, auths = name_of(at), provider.kind, AUTHS.get(provider.kind, (Auth.KEY,))
    if kind is not Kind.AZURE and provider.api_version is not None:
        yield _one((*at, "api_version"), f"{path}.api_version is set, and kind {kind} has none", "nothing here")
    if provider.auth not in auths:
        what = f"{path}.auth is set, and kind {kind} has none" if len(auths) == 1 else (
            f"{path}.auth is '{provider.auth}', which kind {kind} has not"
        )  # fmt: skip
        yield _one((*at, "auth"), what, "nothing here" if len(auths) == 1 else ", ".join(auths))
    for name in ("tenant_id", "client_id"):
        if provider.auth in APPLICATIONS and getattr(provider, name) is None:
            yield _one((*at, name), f"{path} has no {name}", "that of the application in Entra", at)
        if provider.auth not in APPLICATIONS and getattr(provider, name) is not None:
            what = f"{path}.{name} is set, and no token is got with it"
            yield _one((*at, name), what, 'auth = "client_secret" or "federated" beside it')
    if (
        kind is Kind.VERTEX
        and provider.auth is Auth.WORKLOAD
        and (provider.api_key is not None or provider.credentials)
    ):
        name = "credentials" if provider.credentials else "api_key"
        yield _one((*at, name), f'{path}.{name} is set, and auth = "workload" shows no key', "nothing here")


# What a cloud's kind needs, and no other kind has; and the package that it is called with.
CLOUDS = {Kind.BEDROCK: (("region",), "botocore"), Kind.VERTEX: (("region", "project"), "google.auth")}
NEEDED = {"region": "the one that is called: us-east-1 …", "project": "the id of the project that is charged"}


def _clouds(at: Loc, provider: Provider) -> Iterator[Disagreement]:
    path, kind = name_of(at), provider.kind
    needs, package = CLOUDS.get(kind, ((), None))
    for name, allowed in NEEDED.items():
        if name in needs and getattr(provider, name) is None:
            yield _one((*at, name), f"{path} has no {name}", allowed, at)
        if name not in needs and getattr(provider, name) is not None:
            yield _one((*at, name), f"{path}.{name} is set, and kind {kind} has none", "nothing here")
    if package is not None and not _installed(package):
        what = f"{path} needs the package {package}, which is not installed"
        yield _one((*at, "kind"), what, "llm-gateway installed with its extra: llm-gateway[clouds]")
    inner = [((*at, "credentials", index), one) for index, one in enumerate(provider.credentials)]
    for where, one in [(at, provider), *inner]:
        for name in ("access_key_id", "session_token"):
            if getattr(one, name) is None:
                continue
            if kind is not Kind.BEDROCK:
                yield _one((*where, name), f"{name_of(where)}.{name} is set, and kind {kind} has none", "nothing here")
            elif one.api_key is None or one.access_key_id is None:
                what = f"{name_of(where)}.{name} is set without the rest of its key"
                yield _one((*where, name), what, "access_key_id and, in api_key, the secret access key")


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _readable(at: Loc, secret: Secret) -> Iterator[Disagreement]:
    try:
        secret.read()
    except SecretUnavailable as error:
        yield _one(at, f"{name_of(at)}: {error}", "it set, or this setting left out")


K = TypeVar("K")


def _repeated(values: Mapping[K, object]) -> Iterator[tuple[K, K]]:
    """Each key whose value stood before, with the key it stood at."""
    first: dict[object, K] = {}
    for key, value in values.items():
        other = first.setdefault(value, key)
        if other != key:
            yield key, other
