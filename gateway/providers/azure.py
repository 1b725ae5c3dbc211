"""OpenAI's dialect on Azure: a deployment stands in the path, or, with the v1 API, in the body as a model does."""

from __future__ import annotations

import re
from urllib.parse import quote

from gateway.ports import Transport
from gateway.providers.credentials import Credentials
from gateway.providers.openai import OpenAI, Within
from gateway.reading import Ask

# The paths below a deployment, as Azure's clients know them; all others name the model in the body, or none.
DEPLOYED = frozenset((
    "/completions", "/chat/completions", "/embeddings", "/audio/transcriptions", "/audio/translations", "/audio/speech",
    "/images/generations", "/images/edits",
))  # fmt: skip


class Azure(OpenAI):
    """The port Provider. `base_url` is the resource's address, without a slash: https://NAME.openai.azure.com. Without
    an `api_version` it is the v1 API. `auth` says whether the credential is an API key or a token of Entra."""

    kind = "azure"

    def __init__(
        self, name: str, base_url: str, credentials: Credentials, transport: Transport,
        within: Within | None = None, *, api_version: str | None = None, auth: str = "key",
    ) -> None:  # fmt: skip
        root = base_url.rstrip("/").removesuffix("/openai/v1").removesuffix("/openai")
        super().__init__(name, f"{root}/openai", credentials, transport, within)
        self._version, self._auth = api_version, auth

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
