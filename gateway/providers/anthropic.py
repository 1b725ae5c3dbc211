"""Anthropic's own dialect: Messages as they are, every other dialect translated into them."""

from __future__ import annotations

from gateway.endpoints import Endpoint
from gateway.providers.openai import OpenAI
from gateway.reading import Ask

VERSION = "2023-06-01"  # of the API, where the client names none


class Anthropic(OpenAI):
    """The port Provider. `base_url` ends in /v1, without a slash."""

    kind = "anthropic"
    dialect = "messages"
    speaks = frozenset(("messages", "count_tokens"))

    def _path(self, ask: Ask, model: str | None) -> str:
        return super()._path(ask, model) if self._native(ask.endpoint) else "/messages"

    def _credential(self, key: str) -> tuple[str, str]:
        return ("x-api-key", key)

    def _own(self, endpoint: Endpoint, given: frozenset[str]) -> list[tuple[str, str]]:
        return [] if "anthropic-version" in given else [("anthropic-version", VERSION)]
