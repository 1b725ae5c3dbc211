"""The OpenAI dialect: OpenAI itself and everything that speaks like it (vLLM, Ollama, llama.cpp, Groq …)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec
from msgspec import structs

from gateway import __version__
from gateway.dialects import dialect_of
from gateway.endpoints import Endpoint
from gateway.fields import Fields
from gateway.ports import Transport, UpstreamRequest
from gateway.providers.credentials import Credentials
from gateway.reading import Ask

# What passes of a client's headers; all else is between it and us (credentials, cookies, hop-by-hop, tracing of SDKs).
PASSED = ("content-type", "accept", "idempotency-key")
PASSED_OPAQUE = (*PASSED, "content-encoding", "range", "if-none-match", "if-modified-since")
USER_AGENT = f"llm-gateway/{__version__}"
KEPT = 1000  # calls that are alike in all but their bodies: their addresses and headers are remembered
Head = tuple[str, tuple[tuple[str, str], ...]]  # address, and headers
OPENAI_SHAPES = frozenset(("chat", "completions", "embeddings", "responses", "input_tokens", "realtime"))


def openai_shapes(speaks: Iterable[str]) -> frozenset[str]:
    """What a compatible server takes as it is, by what it is said to speak: `chat`, `responses`, `messages`.
    Completions, embeddings and realtime have no translation."""
    beside = {"responses": "input_tokens", "messages": "count_tokens"}
    named = {name for one in speaks for name in (str(one), beside.get(one)) if name is not None}
    return frozenset(("completions", "embeddings", "realtime", *named))


class Within(msgspec.Struct, frozen=True):
    """Time limits, in seconds."""

    connect: float = 2.0
    first_byte: float = 120.0
    gap: float = 120.0
    total: float = 600.0


class OpenAI:
    """The port Provider. `base_url` ends in /v1, without a slash. `speaks` are the shapes that it takes as they are;
    what is spoken in another one is translated into `dialect`."""

    kind = "openai"
    dialect = "chat"
    speaks: frozenset[str] = OPENAI_SHAPES
    beside = True

    def __init__(
        self, name: str, base_url: str, credentials: Credentials, transport: Transport,
        within: Within | None = None, *, speaks: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        if speaks is not None:
            self.speaks = speaks
            self.dialect = "responses" if "responses" in speaks and "chat" not in speaks else "chat"
        self.transport = transport
        self._base = base_url.rstrip("/")
        self.credentials = credentials
        self._within = within or Within()
        self._heads: dict[tuple[object, ...], Head] = {}
        self._names: dict[Endpoint, tuple[str, ...]] = {}

    def request(
        self, ask: Ask, model: str | None, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
        timeout: float | None, secret: str | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The upstream request: the same path and query below our base URL (another where it was translated), our
        credential, an allow-list of headers. A head that comes again leaves as it did, with another body."""
        fields = headers if type(headers) is Fields else None
        known: UpstreamRequest
        if fields is not None and (last := fields.made.get(self)) is not None:
            endpoint, its_model, stream, its_timeout, its_secret, known = last
            if (
                endpoint is ask.endpoint and its_model == model and stream == ask.stream and its_timeout == timeout
                and its_secret == secret
            ):  # fmt: skip
                return structs.replace(known, body=body)
        endpoint, within = ask.endpoint, self._within
        url, passed = self._head(ask, model, body, headers, secret)
        total = within.total if timeout is None else min(within.total, timeout)
        # Only a stream's first byte has a time of its own: a plain answer begins when it is finished.
        streaming = ask.stream or not endpoint.visible
        made = UpstreamRequest(
            endpoint.method,
            url,
            passed,
            body,
            connect=within.connect,
            first_byte=min(within.first_byte, total) if streaming else total,
            gap=min(within.gap, total),
            total=total,
        )
        if fields is not None and endpoint.visible and "idempotency-key" not in fields:
            fields.made[self] = endpoint, model, ask.stream, timeout, secret, structs.replace(made, body=None)
        return made

    def last(self, headers: Mapping[str, str]) -> UpstreamRequest | None:
        """What is remembered with the fields."""
        if type(headers) is not Fields or (last := headers.made.get(self)) is None:
            return None
        return last[-1]  # type: ignore[no-any-return]  # what `request` has made

    def _head(self, ask: Ask, model: str | None, body: object, headers: Mapping[str, str], secret: str | None) -> Head:
        """Address and headers. A visible call's are made once for all that differ in nothing they are made of."""
        endpoint = ask.endpoint
        if not endpoint.visible or "idempotency-key" in headers:
            return self._base + self._path(ask, model), tuple(self._headers(endpoint, body, headers, secret))
        names = self._names.get(endpoint) or self._passed(endpoint)
        alike = (endpoint, model, ask.stream, secret, *map(headers.get, names))
        head = self._heads.get(alike)
        if head is None:
            head = self._base + self._path(ask, model), tuple(self._headers(endpoint, body, headers, secret))
            if len(self._heads) >= KEPT:
                self._heads.clear()
                self._names.clear()
            self._heads[alike], self._names[endpoint] = head, names
        return head

    def _passed(self, endpoint: Endpoint) -> tuple[str, ...]:
        """The client's headers that pass."""
        asked = dialect_of(endpoint).asked if self._native(endpoint) else ()
        return (*(PASSED if endpoint.visible else PASSED_OPAQUE), *asked)

    def _headers(
        self, endpoint: Endpoint, body: object, headers: Mapping[str, str], secret: str | None
    ) -> list[tuple[str, str]]:
        passed = [(name, headers[name]) for name in self._passed(endpoint) if name in headers]
        passed.append(("accept-encoding", "identity"))  # what is restored, metered and looked through must be readable
        if isinstance(body, AsyncIterator) and "content-length" in headers:
            passed.append(("content-length", headers["content-length"]))
        if secret is not None:
            passed.append(self._credential(secret))
        passed.extend(self._own(endpoint, frozenset(name for name, _ in passed)))
        passed.append(("user-agent", USER_AGENT))
        return passed

    # what another dialect has in other words

    def _native(self, endpoint: Endpoint) -> bool:
        """Whether the call goes on as it came."""
        return not endpoint.visible or endpoint.shape in self.speaks

    def _path(self, ask: Ask, model: str | None) -> str:
        """Path and query below the base URL; `model` is the provider's name of it."""
        endpoint = ask.endpoint
        if not self._native(endpoint):
            return "/responses" if self.dialect == "responses" else "/chat/completions"
        return endpoint.path + (f"?{endpoint.raw_query}" if endpoint.raw_query else "")

    def _credential(self, key: str) -> tuple[str, str]:
        """The header that carries it."""
        return ("authorization", f"Bearer {key}")

    def _own(self, endpoint: Endpoint, given: frozenset[str]) -> list[tuple[str, str]]:
        """Headers that the dialect wants besides; `given` are there already."""
        return []
