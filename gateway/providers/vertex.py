"""Gemini's dialect on Vertex: another address, and the token of an account in place of a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from msgspec import structs

from gateway.ports import Transport, UpstreamRequest
from gateway.providers.credentials import Credentials
from gateway.providers.gemini import Gemini
from gateway.providers.google_tokens import HERE, google_token, prepare
from gateway.providers.openai import Within
from gateway.providers.service_tokens import Granted, TokenTransport
from gateway.reading import Ask


class Vertex(Gemini):
    """The port Provider. `base_url` ends in the API's version (…/v1), without a slash. A secret is an account: the JSON
    that Google gives out for a service account or a federated workload; the transport gets a token for it. With `here`
    there is none: the token is that of the place in which we run."""

    kind = "vertex"
    beside = False

    def __init__(
        self, name: str, base_url: str, credentials: Credentials, transport: Transport,
        within: Within | None = None, *, project: str, region: str, here: bool = False,
    ) -> None:  # fmt: skip
        place = f"{base_url.rstrip('/')}/projects/{project}/locations/{region}/publishers/google"
        super().__init__(name, place, credentials, TokenTransport(transport, google_token), within)
        self._here = here
        prepare()

    def request(
        self, ask: Ask, model: str | None, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
        timeout: float | None, secret: str | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The upstream request, for the account whose key `secret` is."""
        plain = super().request(ask, model, body, headers, timeout, None)
        account = HERE if self._here else secret
        return plain if account is None else Granted(*structs.astuple(plain), account=account)

    def _path(self, ask: Ask, model: str | None) -> str:
        name = quote((model or "").removeprefix("models/"), safe="")
        return f"/models/{name}:streamGenerateContent?alt=sse" if ask.stream else f"/models/{name}:generateContent"
