"""Gemini's own dialect: generateContent. Every client's request is translated into it."""

from __future__ import annotations

from urllib.parse import quote

from gateway.providers.openai import OpenAI
from gateway.reading import Ask


class Gemini(OpenAI):
    """The port Provider. `base_url` ends in the API's version (…/v1beta), without a slash."""

    kind = "gemini"
    dialect = "gemini"
    speaks: frozenset[str] = frozenset()

    def _path(self, ask: Ask, model: str | None) -> str:
        if self._native(ask.endpoint):
            return super()._path(ask, model)
        name = quote((model or "").removeprefix("models/"), safe="")
        # The key goes in a header: in the address it would reach logs.
        return f"/models/{name}:streamGenerateContent?alt=sse" if ask.stream else f"/models/{name}:generateContent"

    def _credential(self, key: str) -> tuple[str, str]:
        return ("x-goog-api-key", key)
