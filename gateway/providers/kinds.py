"""The table of provider kinds that are called over a network: which dialect each speaks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ports import Transport
from gateway.providers.anthropic import Anthropic
from gateway.providers.azure import Azure
from gateway.providers.bedrock import Bedrock
from gateway.providers.credentials import Application, Credentials
from gateway.providers.gemini import Gemini
from gateway.providers.openai import OpenAI, Within, openai_shapes
from gateway.providers.vertex import Vertex


def provider(
    kind: str, name: str, address: str, credentials: Credentials, transport: Transport, within: Within, *,
    speaks: Sequence[str], api_version: str | None, auth: str, region: str | None, project: str | None,
    application: Application | None,
) -> OpenAI:  # fmt: skip
    """The provider of a kind; the last six are as the settings of the same names say."""
    if kind == Azure.kind:
        return Azure(name, address, credentials, transport, within, api_version=api_version, auth=auth,
                     application=application)  # fmt: skip
    if kind == Anthropic.kind:
        return Anthropic(name, address, credentials, transport, within)
    if kind == Bedrock.kind:
        return Bedrock(name, address, credentials, transport, within, region=region or "")
    if kind == Vertex.kind:
        return Vertex(name, address, credentials, transport, within, project=project or "", region=region or "",
                      here=auth == "workload")  # fmt: skip
    if kind == Gemini.kind:
        return Gemini(name, address, credentials, transport, within)
    return OpenAI(name, address, credentials, transport, within, speaks=openai_shapes(speaks))
