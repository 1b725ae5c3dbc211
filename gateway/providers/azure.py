"""OpenAI's dialect on Azure: a deployment stands in the path, or, with the v1 API, in the body as a model does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from msgspec import structs

from gateway.ports import Transport, UpstreamRequest
from gateway.providers.credentials import Application, Credentials
from gateway.providers.entra_tokens import EntraOffice
from gateway.providers.openai import OpenAI, Within
from gateway.providers.service_tokens import Granted, TokenTransport
from gateway.reading import Ask

# The paths below a deployment, as Azure's clients know them; all others name the model in the body, or none.
DEPLOYED = frozenset((
    "/completions", "/chat/completions", "/embeddings", "/audio/transcriptions", "/audio/translations", "/audio/speech",
    "/images/generations", "/images/edits",
))  # fmt: skip


class Azure(OpenAI):
    """The port Provider. `base_url` is the resource's address, without a slash: https://NAME.openai.azure.com. Without
    an `api_version` it is the v1 API. `auth` says whether the credential is an API key or a token of Entra; with an
    `application` it is that one's secret, and the transport gets tokens for it."""

    kind = "azure"

    def __init__(
        self, name: str, base_url: str, credentials: Credentials, transport: Transport,
        within: Within | None = None, *, api_version: str | None = None, auth: str = "key",
        application: Application | None = None,
    ) -> None:  # fmt: skip
        root = base_url.rstrip("/").removesuffix("/openai/v1").removesuffix("/openai")
        self._gets_tokens = application is not None
        if application is not None:
            transport = TokenTransport(transport, EntraOffice(transport, application))
        super().__init__(name, f"{root}/openai", credentials, transport, within)
        self._version, self._auth = api_version, auth

    def request(
        self, ask: Ask, model: str | None, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
        timeout: float | None, secret: str | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The upstream request, for the application whose secret it is where tokens are got."""
        if not self._gets_tokens or secret is None:
            return super().request(ask, model, body, headers, timeout, secret)
        plain = super().request(ask, model, body, headers, timeout, None)
        return Granted(*structs.astuple(plain), account=secret)

    def _path(self, ask: Ask, model: str | None) -> str:
        endpoint = ask.endpoint
        path = endpoint.path if self._native(endpoint) else "/chat/completions"
        query = endpoint.raw_query if self._native(endpoint) else ""
        if self._version is None:
            return f"/v1{path}" + (f"?{query}" if query else "")
        if path == "/realtime":
            query = re.sub(r"(?<![^&])model=", "deployment=", query)
        query = f"{query}&" if query else ""
        deployment = f"/deployments/{quote(model, safe='')}" if model is not None and path in DEPLOYED else ""
        return f"{deployment}{path}?{query}api-version={self._version}"

    def _credential(self, key: str) -> tuple[str, str]:
        return ("api-key", key) if self._auth == "key" else ("authorization", f"Bearer {key}")
