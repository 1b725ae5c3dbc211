"""The shape of config.toml, declared once: every table, every setting, its default and what it may be.

Defaults are those of one process on one machine. A description is what `docs/configuration.md` and the messages
about mistakes rest on. Values are immutable; `load.py` makes them, with pydantic, of which nothing is needed here: what
serves gets its settings from a process that has checked them (`crossing.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from gateway.identity.admin import AdminToken, Role
from gateway.limits.redis_url import Tls
from gateway.policy.compiled import ProviderFacts
from gateway.providers.credentials import Application, lines_of
from gateway.settings import kinds
from gateway.settings.kinds import Named, choice, integer, number
from gateway.settings.secret import Secret, SecretUnavailable

MIB = 1 << 20
LONGEST = 24 * 3600.0  # seconds; more is a slip of the pen
OPENAI = "https://api.openai.com/v1"
ADDRESSES = {
    "openai": OPENAI, "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}  # fmt: skip


class Kind(StrEnum):
    """Wire dialects that this version speaks."""

    OPENAI = "openai"
    AZURE = "azure"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"
    VERTEX = "vertex"
    ECHO = "echo"


class Speaks(StrEnum):
    """What a server with OpenAI's dialect takes itself; the rest is translated for it."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


class Auth(StrEnum):
    """What a credential is, where a kind knows several. Of `workload` there is none: where we run says who we are."""

    KEY = "key"
    ENTRA = "entra"
    CLIENT_SECRET = "client_secret"  # noqa: S105  # a name
    FEDERATED = "federated"
    WORKLOAD = "workload"


APPLICATIONS = (Auth.CLIENT_SECRET, Auth.FEDERATED)


class OnFailureMode(StrEnum):
    """What happens to requests while the limit store cannot be reached."""

    BOUNDED = "bounded"
    CLOSED = "closed"
    OPEN = "open"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """`auto` is console where stdout is a terminal, and json elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose keys are all known."""

    # pydantic's `ConfigDict`, of a dataclass
    __pydantic_config__: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"extra": "forbid", "hide_input_in_errors": True}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Table):
    """The listener that applications call."""

    host: Annotated[str, kinds.TEXT] = "127.0.0.1"
    port: Annotated[int, integer(0, 65535)] = 8080  # 0: any free one
    workers: Annotated[int, integer(1, 256)] = 1  # processes
    backlog: Annotated[int, integer(16, 65535)] = 2048  # aiohttp's 128 stalls bursts of connections for seconds
    max_body_bytes: Annotated[int, integer(1024, 1024 * MIB)] = 64 * MIB  # of a body that is held to be read
    header_seconds: Annotated[float, number(0, LONGEST)] = 10.0  # for a whole request head
    body_seconds: Annotated[float, number(0, LONGEST)] = 30.0  # longest silence while a body comes
    write_seconds: Annotated[float, number(0, LONGEST)] = 30.0  # longest time that a client may take nothing
    keepalive_seconds: Annotated[float, number(0, LONGEST)] = 75.0  # idle connections; above a balancer's usual 60
    tunnel_seconds: Annotated[float, number(0, LONGEST)] = 3600.0  # that a WebSocket may be open
    drain_seconds: Annotated[float, number(0, LONGEST)] = 30.0  # for running exchanges, at shutdown
    fast_paths: Annotated[bool, kinds.FLAG] = True  # False: documented APIs of the libraries alone; slower


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Table):
    """/livez /readyz /startupz /metrics: no credential, nothing secret."""

    host: Annotated[str, kinds.TEXT] = "127.0.0.1"
    port: Annotated[int, integer(0, 65535)] = 9090


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Table):
    """One admin token: its hash, and what it is for."""

    hash: Annotated[bytes, kinds.HASH] = field(repr=False)
    role: Annotated[Role, choice(Role)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin(Table):
    """Everything that shows or changes; off until switched on."""

    enabled: Annotated[bool, kinds.FLAG] = False
    host: Annotated[str, kinds.TEXT] = "127.0.0.1"
    port: Annotated[int, integer(0, 65535)] = 9091
    tokens: Named[Token] = field(default_factory=lambda: MappingProxyType({}))

    def credentials(self) -> tuple[AdminToken, ...]:
        """The tokens as `identity/admin.py` compares them."""
        return tuple(AdminToken(name, token.hash, token.role) for name, token in self.tokens.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets(Table):
    master: Annotated[Secret | None, kinds.SECRET] = None  # placeholders, caches and captures derive their keys of it


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFailure(Table):
    """`fraction` of each limit, shared by the known processes, for `seconds` (mode bounded)."""

    mode: Annotated[OnFailureMode, choice(OnFailureMode)] = OnFailureMode.BOUNDED
    fraction: Annotated[float, number(0, 1)] = 0.1
    seconds: Annotated[float, number(0, LONGEST)] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTls(Table):
    """What a TLS connection to the store needs beyond the system's authorities: PEM files."""

    ca: Annotated[Path | None, kinds.PATH] = None
    certificate: Annotated[Path | None, kinds.PATH] = None
    key: Annotated[Path | None, kinds.PATH] = None

    def files(self) -> Tls:
        """As a connection takes them."""
        return Tls(*(None if path is None else str(path) for path in (self.ca, self.certificate, self.key)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Store(Table):
    """Where limits are counted."""

    url: Annotated[str, kinds.STORE_URL] = "memory://"
    password: Annotated[Secret | None, kinds.SECRET] = None
    sentinel_password: Annotated[Secret | None, kinds.SECRET] = None  # the Sentinels' own, where they ask for one
    tls: StoreTls = field(default_factory=StoreTls)
    call_seconds: Annotated[float, number(0, 60)] = 0.05  # for one call; then `on_failure`
    on_failure: OnFailure = field(default_factory=OnFailure)
    journal: Annotated[Path | None, kinds.PATH] = None  # refused: not there yet

    @property
    def embedded(self) -> bool:
        """Whether counts live in this process's memory."""
        return self.url == "memory://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies(Table):
    path: Annotated[Path | None, kinds.PATH] = None  # None: `load` says which
    state: Annotated[Path | None, kinds.PATH] = (
        None  # folder that keeps the last good set; None: the user's state folder
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(Table):
    """What tokens are counted with."""

    ranks: Annotated[Path | None, kinds.PATH] = None  # folder of rank files (`gateway tokenizers`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Table):
    level: Annotated[Level, choice(Level)] = Level.INFO
    format: Annotated[Format, choice(Format)] = Format.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts(Table):
    """Seconds, towards a provider (design: routing)."""

    connect: Annotated[float, number(0, LONGEST)] = 2.0
    first_byte: Annotated[float, number(0, LONGEST)] = 120.0
    gap: Annotated[float, number(0, LONGEST)] = 120.0
    total: Annotated[float, number(0, LONGEST)] = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed(Table):
    """What a provider is shown. With an `access_key_id`, `api_key` is AWS's secret access key; `session_token` belongs
    to those that are lent for a time."""

    api_key: Annotated[Secret | None, kinds.SECRET] = None
    access_key_id: Annotated[Secret | None, kinds.SECRET] = None
    session_token: Annotated[Secret | None, kinds.SECRET] = None

    def presented(self) -> str:
        """The secret of this moment. Raises SecretUnavailable."""
        key = self.api_key.read() if self.api_key is not None else ""
        if self.access_key_id is None:
            return key
        token = self.session_token.read() if self.session_token is not None else None
        return lines_of(self.access_key_id.read(), key, token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(Keyed):
    """One of several keys of a provider; `tenants` (all, if empty) may be served by it, `weight` shares the calls."""

    name: Annotated[str, kinds.TEXT]
    api_key: Annotated[Secret, kinds.SECRET]
    tenants: Annotated[tuple[Annotated[str, kinds.TEXT], ...], kinds.ARRAY] = ()
    weight: Annotated[int, integer(1, 1_000_000)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider(Keyed):
    """One upstream."""

    kind: Annotated[Kind, choice(Kind, " (in this version)")]
    base_url: Annotated[str | None, kinds.BASE_URL] = None
    credentials: Annotated[tuple[Credential, ...], kinds.ARRAY] = ()
    optional: Annotated[bool, kinds.FLAG] = False
    labels: Named[Annotated[str, kinds.TEXT]] = field(default_factory=lambda: MappingProxyType({}))
    timeouts: Timeouts = field(default_factory=Timeouts)
    speaks: Annotated[tuple[Annotated[Speaks, choice(Speaks)], ...] | None, kinds.ARRAY] = None  # None: `spoken`
    api_version: Annotated[str | None, kinds.TEXT] = None  # Azure's; without it: the v1 API
    auth: Annotated[Auth, choice(Auth)] = Auth.KEY  # Azure's, and Google's workload
    tenant_id: Annotated[str | None, kinds.TEXT] = None  # Entra's, and so are the next three
    client_id: Annotated[str | None, kinds.TEXT] = None
    authority: Annotated[str, kinds.BASE_URL] = "https://login.microsoftonline.com"
    scope: Annotated[str, kinds.TEXT] = "https://cognitiveservices.azure.com/.default"
    region: Annotated[str | None, kinds.REGION] = None  # AWS's or Google's
    project: Annotated[str | None, kinds.PROJECT] = None  # Google's

    @property
    def address(self) -> str | None:
        """The base URL in use, without a slash at its end; None for a provider inside the process."""
        if self.base_url is None and self.kind is Kind.BEDROCK and self.region is not None:
            return (
                f"https://bedrock-runtime.{self.region}.amazonaws.com{'.cn' if self.region.startswith('cn-') else ''}"
            )
        if self.base_url is None and self.kind is Kind.VERTEX and self.region is not None:
            return f"https://{'' if self.region == 'global' else f'{self.region}-'}aiplatform.googleapis.com/v1"
        return self.base_url or ADDRESSES.get(self.kind)

    @property
    def spoken(self) -> tuple[Speaks, ...]:
        """What a server with OpenAI's dialect takes itself."""
        return self.speaks if self.speaks is not None else (Speaks.CHAT, Speaks.RESPONSES)

    @property
    def application(self) -> Application | None:
        """In whose name tokens of Entra are got; None where they are not."""
        if self.auth not in APPLICATIONS or self.tenant_id is None or self.client_id is None:
            return None
        return Application(
            self.tenant_id, self.client_id, self.authority, self.scope, federated=self.auth is Auth.FEDERATED
        )

    def missing_key(self) -> str | None:
        """Why the provider cannot be called for want of a key, in words that show no secret; None when it can.
        An upstream of one's own (`base_url`) may go without any key, a maker's own may not."""
        if self.kind is Kind.ECHO or self.auth is Auth.WORKLOAD:
            return None
        keys: list[Keyed] = [self] if self.api_key is not None else list(self.credentials)
        if not keys:
            needed = self.kind in (Kind.AZURE, Kind.BEDROCK, Kind.VERTEX) or self.address in ADDRESSES.values()
            return "it has no api_key" if needed else None
        reasons = []
        for key in keys:
            try:
                key.presented()
            except SecretUnavailable as error:
                reasons.append(str(error))
        return reasons[0] if len(reasons) == len(keys) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Table):
    """config.toml and the GATEWAY_* environment, checked."""

    schema: Annotated[int, integer(1, 1)] = 1  # the version of this file's shape
    server: Server = field(default_factory=Server)
    health: Health = field(default_factory=Health)
    admin: Admin = field(default_factory=Admin)
    secrets: Secrets = field(default_factory=Secrets)
    store: Store = field(default_factory=Store)
    policies: Policies = field(default_factory=Policies)
    tokens: Tokens = field(default_factory=Tokens)
    log: Log = field(default_factory=Log)
    providers: Named[Provider] = field(default_factory=lambda: MappingProxyType({"echo": Provider(kind=Kind.ECHO)}))

    @property
    def demo(self) -> bool:
        """Whether a demo key may be minted at the start: nothing outside of this machine and process is at stake."""
        return self.store.embedded and _loopback(self.server.host)

    def provider_facts(self) -> dict[str, ProviderFacts]:
        """What policies must know of each provider. One that is optional and lacks its key is not available."""
        return {
            name: ProviderFacts(
                name,
                one.kind.value,
                tuple(sorted(one.labels.items())),
                one.missing_key() is None,
                not one.credentials or any(len(credential.tenants) != 1 for credential in one.credentials),
            )
            for name, one in self.providers.items()
        }

    def warnings(self) -> Iterator[str]:
        """What runs, but perhaps not as meant; no secret in it."""
        if self.secrets.master is None:
            yield (
                "secrets.master is not set: it is random until the next start, so placeholders change with every "
                "restart and differ between processes"
            )
        if self.tokens.ranks is None:
            yield "tokens.ranks is not set: tokens are estimated, not counted (`gateway tokenizers pull FOLDER`)"
        for name, one in self.providers.items():
            if (reason := one.missing_key()) is not None:
                yield f"providers.{name} is optional and left out, and so are its models: {reason}"


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
