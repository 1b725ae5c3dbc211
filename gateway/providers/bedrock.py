"""Bedrock's own dialect: Converse and ConverseStream, signed by botocore. Every client's request is
translated into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from msgspec import structs

from gateway.ports import Transport, UpstreamRequest
from gateway.providers.aws_signature import prepare, signed_headers
from gateway.providers.credentials import Credentials
from gateway.providers.event_stream import EventStreamTransport
from gateway.providers.openai import USER_AGENT, OpenAI, Within
from gateway.reading import Ask


class Bedrock(OpenAI):
    """The port Provider. `base_url` is the runtime's address in `region`, without a slash. A secret is a Bedrock API
    key, or an access key as `credentials.lines_of` writes it."""

    kind = "bedrock"
    dialect = "bedrock"
    speaks: frozenset[str] = frozenset()
    beside = False

    def __init__(
        self, name: str, base_url: str, credentials: Credentials, transport: Transport,
        within: Within | None = None, *, region: str,
    ) -> None:  # fmt: skip
        # The signer leaves a scheme's own port out of the host; what is sent must say the same.
        port = ":443" if base_url.startswith("https:") else ":80"
        base = base_url.rstrip("/").removesuffix(port)
        super().__init__(name, base, credentials, EventStreamTransport(transport), within)
        self._region = region
        prepare()

    def request(
        self, ask: Ask, model: str | None, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str],
        timeout: float | None, secret: str | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The upstream request. The body that is signed is the one that is sent: nobody changes it behind here."""
        plain = super().request(ask, model, body, {}, timeout, None)
        fields = (("content-type", "application/json"), ("user-agent", USER_AGENT))
        if secret is None or isinstance(body, AsyncIterator):
            return structs.replace(plain, headers=fields)
        signed = signed_headers(plain.method, plain.url, body or b"", secret, self._region)
        return structs.replace(plain, headers=(*fields, *signed))

    def _path(self, ask: Ask, model: str | None) -> str:
        return f"/model/{quote(model or '', safe='')}/converse{'-stream' if ask.stream else ''}"
