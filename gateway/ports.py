"""What the journey asks of the world. Technologies implement these; only `app.py` knows which.

Every method says what it may raise; anything else that is raised is a bug and ends as a 500 with an id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from gateway.fields import fields_of
from gateway.limits.exceptions import Exemption
from gateway.limits.scopes import Account, Charge, Claim, Crossed, Denial, Lease, Remaining, Scope
from gateway.limits.usage import Row
from gateway.policy.compiled import Key, KeySecret, RedactionProfile
from gateway.providers.credentials import Credentials
from gateway.reading import Ask
from gateway.redaction.spans import Span

if TYPE_CHECKING:
    from gateway.errors import StoreFailure
    from gateway.record import Record


class Clock(Protocol):
    """Both clocks in seconds. Deadlines use `monotonic`, which an NTP step does not move."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...


class KeyDirectory(Protocol):
    """A synchronous snapshot of the keys. `era` is of this one alone: another one has another."""

    @property
    def era(self) -> object: ...

    def find(self, digest: bytes) -> tuple[Key, KeySecret] | None:
        """The key and which of its secrets, by SHA-256 of what was presented."""


class LimitStore(Protocol):
    """Counts. All of a claim's scopes are checked and taken in one step, or none is."""

    async def admit(self, claim: Claim) -> Lease | Denial:
        """Reserve. A claim with the same request id is counted once. Raises StoreFailure."""

    async def grow(self, lease: Lease, tokens: int, nano_usd: int) -> Denial | None:
        """Let the lease's sliced limits hold so much in all; or the first that cannot, and nothing changes. Asked
        again, nothing more is taken. Raises StoreFailure."""

    async def settle(self, lease: Lease, charge: Charge) -> Sequence[Crossed]:
        """Replace the reservation by the charge, exactly once; a second call is a no-op. What it says is which
        `warn_at` shares that passed. Raises StoreFailure."""

    async def settle_all(self, closed: Sequence[tuple[Lease, Charge]]) -> list[Sequence[Crossed] | StoreFailure]:
        """The same for several at once, each by itself: what each passed, or its failure. Raises nothing."""

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Push the leases' expiry out while their exchanges are open. Raises StoreFailure."""

    async def sweep(self) -> int:
        """Charge expired leases as reserved; how many there were. Raises StoreFailure."""

    async def standing(self, tenant: str, scopes: Sequence[Scope]) -> tuple[Remaining, ...]:
        """How limits stand now; changes nothing. Raises StoreFailure."""

    async def usage(self, tenant: str, since: int) -> Sequence[Row]:
        """The usage rows of a tenant from a day on (20261124). Raises StoreFailure."""

    async def exempt(self, tenant: str, scope: Scope, asked: Exemption) -> Exemption:
        """Raise, reset or lift the one limit of `scope`, for all processes at once; what was done. Raises
        StoreFailure."""

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        """The exceptions that stand. Raises StoreFailure."""

    async def ping(self) -> None:
        """Raises StoreFailure when the store cannot be reached."""

    async def close(self) -> None: ...


class Keeper(Protocol):
    """Keeps sealed bytes under a name of a tenant's for a time."""

    async def keep(self, tenant: str, name: str, value: bytes, seconds: int) -> None:
        """In place of what was kept under that name. Raises StoreFailure."""

    async def kept(self, tenant: str, name: str) -> bytes | None:
        """None: nothing is kept, or not any more. Raises StoreFailure."""


class Analyzer(Protocol):
    """Finds personal data."""

    async def analyze(self, texts: Sequence[str], profile: RedactionProfile) -> list[list[Span]]:
        """Spans per text, sorted, not overlapping. Raises AnalyzerFailure on error, crash or `profile.deadline`."""

    async def close(self) -> None: ...


class ObjectDirectory(Protocol):
    """Which tenant made what a provider keeps: files, batches, threads, responses."""

    async def owners(self, provider: str, ids: Sequence[str]) -> list[str | None]:
        """The tenant of each, None where it was never seen. Raises StoreFailure."""

    def remember(self, provider: str, one: str, tenant: str, days: float) -> None:
        """An object is a tenant's for so many days, unless it is somebody's already. Takes no time and raises nothing;
        others may learn of it a moment later."""


class TokenCounter(Protocol):
    """Counts tokens, off the event loop."""

    async def count(self, encoding: str, pieces: Sequence[tuple[str, bytes]], stop: int) -> list[int] | None:
        """Tokens of each piece: a top-level field of a request and JSON that stands in it, or "" and a text in UTF-8.
        Ends after the piece with which the sum exceeds `stop`, whose figure is then only what was counted so far.
        None: the encoding's ranks are not there, or nobody could say in time."""

    async def close(self) -> None: ...


class UpstreamRequest(msgspec.Struct, frozen=True):
    """A request to a provider, framed by us: `headers` holds neither hop-by-hop fields nor a client's credential."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | AsyncIterator[bytes] | None
    connect: float = 2.0  # seconds
    first_byte: float = 120.0  # seconds until the head of the answer
    gap: float = 120.0  # seconds between two chunks
    total: float = 600.0  # seconds for the whole exchange


class Upstream(Protocol):
    """An answer that has begun. Always `close` it; closing early ends the provider's connection."""

    status: int
    headers: Mapping[str, str]  # lower-case names; the last of repeated ones

    async def chunk(self) -> bytes:
        """Next bytes as they came off the wire; b"" at the orderly end. Raises ProviderTimeout, ProviderBroken."""

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Give bytes to `take` in the very callback in which they come, for as long as it says True. Returns True
        when it said False, False when what is left, if only the end, is to be had by `chunk` (at once, where there is
        no such way). Raises what `take` raises."""

    def rest_now(self) -> bytes | None:
        """All that is still to come, if it has come already; what it gives is not given again."""

    def close(self) -> None: ...


class Transport(Protocol):
    """Bytes to and from providers. Never follows a redirect, never decompresses."""

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""

    async def close(self) -> None: ...


@runtime_checkable
class Granting(Protocol):
    """A Transport that puts something into requests before they go on the wire."""

    async def granted(self, request: UpstreamRequest) -> UpstreamRequest | None:
        """What goes on the wire; None: it would be refused. Raises ConnectFailed, ProviderTimeout."""


class Way(Protocol):
    """How requests leave that differ in their bodies alone."""

    async def send(self, body: bytes | None) -> Upstream:
        """One of them. Raises as `Transport.send` does."""


@runtime_checkable
class Repeating(Protocol):
    """A Transport that need not be told again what it was told before."""

    def way(self, request: UpstreamRequest) -> Way:
        """That of requests like this one. Raises ConnectFailed."""


class Provider(Protocol):
    """One wire dialect. Pure: it shapes requests; `transport` moves them. What comes back is of the shape that was
    asked for (`shapes/`) where that is one of `speaks`, else of `dialect`, into which the request was translated; with
    "realtime" among them it opens WebSockets.
    `beside`: what the gateway does not look into passes to it as it is."""

    name: str
    kind: str
    dialect: str
    speaks: frozenset[str]
    beside: bool
    credentials: Credentials
    transport: Transport

    def request(
        self,
        ask: Ask,
        model: str | None,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        timeout: float | None,
        secret: str | None,
    ) -> UpstreamRequest:
        """The upstream request for an ask, with the `secret` of one of `credentials`. `headers` are the client's
        (lower-case names), from which the dialect takes only what it knows to pass on; `model` is the provider's name
        of it."""

    def last(self, headers: Mapping[str, str]) -> UpstreamRequest | None:
        """Without its body, the last request with these headers, if another with the same endpoint, model, secret and
        timeout, a stream or none as well, would differ in its body alone."""


class Head(msgspec.Struct, frozen=True):
    """The head of our answer to the client. `lines` are further fields as `fields.lines_of` makes them, so that what
    is the same for many answers is written once; none of them is about the body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    lines: str = ""

    def fields(self) -> tuple[tuple[str, str], ...]:
        """All of them."""
        return (*self.headers, *fields_of(self.lines))


class Arrival(Protocol):
    """A request that has come in: head read, body not yet."""

    request_id: str
    received: float  # monotonic seconds
    method: str
    path: str  # raw, as it came, query excluded
    raw_query: str
    peer: str

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""

    def body_now(self, limit: int) -> bytes | None:
        """The whole body, if it has come already and is not longer than `limit` bytes."""

    async def body(self, limit: int) -> bytes | None:
        """The whole body; None when it is longer than `limit` bytes. Raises ClientTooSlow, ClientGone."""

    def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ClientTooSlow, ClientGone."""


class Reply(Protocol):
    """The way back to the client: `send` a whole answer; or `begin` once, `write` any number of times, then `end` or
    `abort`. Every await may raise ClientGone."""

    begun: bool

    async def send(self, head: Head, body: bytes) -> None: ...

    async def begin(self, head: Head, first: bytes = b"") -> None:
        """`first`: the first piece, where it is there already."""

    async def write(self, data: bytes) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""

    def put(self) -> Callable[[bytes], bool] | None:
        """What writes without waiting, from a callback: False when the client takes no more until `room` returns.
        It raises ClientGone. None: there is only `write`."""

    async def room(self) -> None:
        """Returns when the client's buffer takes more. Raises ClientGone."""

    async def end(self) -> None: ...
    def abort(self) -> None:
        """Break the connection so that the client cannot take a truncated answer for a whole one."""


class Message(msgspec.Struct, frozen=True):
    """One message of a WebSocket. `code`: it is closed, `data` is the reason."""

    data: bytes
    is_text: bool = True
    code: int | None = None


class Socket(Protocol):
    """One end of an open WebSocket."""

    protocol: str | None

    async def receive(self) -> Message:
        """The next message; one with a `code` at the end, however it came. Raises nothing but cancellation."""

    async def send(self, message: Message) -> None:
        """Returns when the other end takes more. What is sent to one that is gone is dropped."""

    async def close(self, code: int, reason: bytes) -> None: ...


@runtime_checkable
class Opening(Protocol):
    """A reply whose connection can become a WebSocket."""

    async def accept(self, protocol: str | None, headers: tuple[tuple[str, str], ...]) -> Socket:
        """Raises ClientGone."""


class Sockets(Protocol):
    """WebSockets towards providers."""

    async def connect(self, request: UpstreamRequest, protocols: Sequence[str]) -> Socket | Head:
        """An open one, or the head of a provider's answer that is none. Raises ConnectFailed, ProviderTimeout,
        ProviderBroken."""

    async def close(self) -> None: ...


class RecordSink(Protocol):
    def write(self, record: Record) -> None:
        """Takes one record without waiting for its output."""

    def bug(self, request_id: str, error: BaseException) -> None:
        """An exception that nobody expected, for the log."""


class Settler(Protocol):
    """Takes settlements synchronously, so that it can be called from a `finally` under cancellation."""

    def opened(self, lease: Lease) -> None:
        """From now on the lease is renewed."""

    def settle(self, lease: Lease, charge: Charge) -> None: ...
    def add_up(self, account: Account, request_id: str, charge: Charge) -> None:
        """What a request came to that no limit holds."""
