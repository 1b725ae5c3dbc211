"""The table of provider kinds that are called over a network: which dialect each speaks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.ports import Transport
from gateway.providers.anthropic import Anthropic
from gateway.providers.azure import Azure
from gateway.providers.gemini import Gemini
from gateway.providers.openai import OpenAI, Within, openai_shapes


def provider(
    kind: str, name: str, address: str, key: Callable[[], str | None], transport: Transport, within: Within, *,
    speaks: Sequence[str], api_version: str | None, auth: str,
) -> OpenAI:  # fmt: skip
    """The provider of a kind; the last three are as the settings of the same names say."""
    if kind == Azure.kind:
        return Azure(name, address, key, transport, within, api_version=api_version, auth=auth)
    if kind == Anthropic.kind:
        return Anthropic(name, address, key, transport, within)
    if kind == Gemini.kind:
        return Gemini(name, address, key, transport, within)
    return OpenAI(name, address, key, transport, within, speaks=openai_shapes(speaks))
