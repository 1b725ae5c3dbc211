"""The OpenAI dialect: OpenAI itself and everything that speaks like it (vLLM, Ollama, llama.cpp, Groq …)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from gateway import __version__
from gateway.dialects import dialect_of
from gateway.endpoints import Endpoint
from gateway.ports import Transport, UpstreamRequest
from gateway.reading import Ask

# What passes of a client's headers; all else is between it and us (credentials, cookies, hop-by-hop, tracing of SDKs).
PASSED = ("content-type", "accept", "idempotency-key")
PASSED_OPAQUE = (*PASSED, "content-encoding", "range", "if-none-match", "if-modified-since")
USER_AGENT = f"llm-gateway/{__version__}"


class OpenAI:
    """The port Provider. `base_url` ends in /v1, without a slash; `key` gives the credential of this moment (None:
    none is needed). Times in seconds."""

    kind = "openai"

    def __init__(
        self, name: str, base_url: str, key: Callable[[], str | None], transport: Transport, *,
        connect: float = 2.0, first_byte: float = 120.0, gap: float = 120.0, total: float = 600.0,
    ) -> None:  # fmt: skip
        self.name = name
        self.transport = transport
        self._base = base_url.rstrip("/")
        self._key = key
        self._connect, self._first_byte, self._gap, self._total = connect, first_byte, gap, total

    def request(
        self, ask: Ask, model: str | None, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
        timeout: float | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The upstream request: the same path and query below our base URL, our credential, an allow-list of headers.
        Raises what reading the credential raises."""
        endpoint = ask.endpoint
        url = self._base + endpoint.path + (f"?{endpoint.raw_query}" if endpoint.raw_query else "")
        total = self._total if timeout is None else min(self._total, timeout)
        # Only a stream's first byte has a time of its own: a plain answer begins when it is finished.
        streaming = ask.stream or not endpoint.visible
        return UpstreamRequest(
            endpoint.method,
            url,
            tuple(self._headers(endpoint, body, headers)),
            body,
            connect=self._connect,
            first_byte=min(self._first_byte, total) if streaming else total,
            gap=min(self._gap, total),
            total=total,
        )

    def _headers(self, endpoint: Endpoint, body: object, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        names = (*(PASSED if endpoint.visible else PASSED_OPAQUE), *dialect_of(endpoint).asked)
        passed = [(name, headers[name]) for name in names if name in headers]
        passed.append(("accept-encoding", "identity"))  # what is restored, metered and looked through must be readable
        if isinstance(body, AsyncIterator) and "content-length" in headers:
            passed.append(("content-length", headers["content-length"]))
        key = self._key()
        if key is not None:
            passed.append(("authorization", f"Bearer {key}"))
        passed.append(("user-agent", USER_AGENT))
        return passed
