"""Entra's tokens of an application: by its client secret, or by a token of its workload (federated).

Source: learn.microsoft.com, "OAuth 2.0 client credentials flow on the Microsoft identity platform". One request over
our own transport, in our own time limits; azure-identity would be 0.5 s and 34 MB of imports for the same.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec

from gateway.errors import Failure
from gateway.ports import Transport, UpstreamRequest
from gateway.providers.credentials import Application
from gateway.providers.service_tokens import Token, TokenRefused, TokenUnreachable

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LARGEST = 1 << 16  # bytes of an answer
REFUSED = frozenset((400, 401, 403, 404))


class _Said(msgspec.Struct):
    access_token: str
    expires_in: float


_said = msgspec.json.Decoder(_Said, strict=False)  # older endpoints say the seconds as a text


class EntraOffice:
    """The port `Office`: an account's key is the application's secret, or the token of its workload."""

    def __init__(self, transport: Transport, application: Application) -> None:
        self._transport = transport
        self._application = application
        tenant = quote(application.tenant_id, safe="")
        self._url = f"{application.authority.rstrip('/')}/{tenant}/oauth2/v2.0/token"

    async def __call__(self, account: str) -> Token:
        """Raises TokenRefused, TokenUnreachable."""
        one = self._application
        secret = {"client_assertion_type": ASSERTION, "client_assertion": account.strip()} if one.federated else (
            {"client_secret": account}
        )  # fmt: skip
        form = {"grant_type": "client_credentials", "client_id": one.client_id, "scope": one.scope, **secret}
        headers = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
        try:
            status, body = await self._asked(UpstreamRequest("POST", self._url, headers, urlencode(form).encode()))
        except Failure as failure:
            raise TokenUnreachable(type(failure).__name__) from None
        if status in REFUSED:
            raise TokenRefused("Entra refused it")
        try:
            said = _said.decode(body) if status == 200 else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = None
        if said is None:
            raise TokenUnreachable(f"Entra answered with status {status}")
        return Token(said.access_token, said.expires_in)

    async def _asked(self, request: UpstreamRequest) -> tuple[int, bytes]:
        answer = await self._transport.send(request)
        try:
            body = b""
            while len(body) < LARGEST and (data := await answer.chunk()):
                body += data
            return answer.status, body
        finally:
            answer.close()
