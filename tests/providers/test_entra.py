"""Kind azure with an application of Entra's: a token is got once for its secret or its workload's token, renewed before
it ends, got anew where it was withdrawn; the secret reaches nobody but Entra."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.endpoints import Endpoint
from gateway.errors import ConnectFailed
from gateway.ports import UpstreamRequest
from gateway.providers.aiohttp_transport import AiohttpTransport
from gateway.providers.azure import Azure
from gateway.providers.credentials import Application, Credentials
from gateway.providers.entra_tokens import EntraOffice
from gateway.providers.service_tokens import Granted, TokenTransport
from gateway.reading import Ask
from tests.providers.entra_office import SECRET, Entra, entra_office
from tests.providers.test_vertex import Seen

ASK = Ask(Endpoint("chat", "chat", "POST", "/chat/completions"), b"{}", model="m")


def application(office: Entra, *, federated: bool = False) -> Application:
    return Application("tenant/1", "app-1", office.url, "https://cognitiveservices.azure.com/.default", federated)


def played(scene: Callable[[TokenTransport, Seen, Entra], Awaitable[None]], *, federated: bool = False) -> Entra:
    async def run() -> None:
        bytes_of, seen = AiohttpTransport(), Seen()
        try:
            await scene(
                TokenTransport(seen, EntraOffice(bytes_of, application(office, federated=federated))), seen, office
            )
        finally:
            await bytes_of.close()

    with entra_office() as office:
        asyncio.run(run())
    return office


def asked(secret: str = SECRET) -> Granted:
    return Granted("POST", "http://x/", (("accept", "*/*"),), b"{}", account=secret)


def test_a_token_is_got_once_and_the_secret_stays_here() -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        await asyncio.gather(*(transport.send(asked()) for _ in range(5)))
        assert seen.tokens == ["Bearer entra-1"] * 5
        assert all(type(request) is UpstreamRequest for request in seen.requests)
        assert SECRET not in str(seen.requests)

    office = played(scene)
    assert office.asked == [("/tenant%2F1/oauth2/v2.0/token", {
        "grant_type": "client_credentials", "client_id": "app-1", "client_secret": SECRET,
        "scope": "https://cognitiveservices.azure.com/.default",
    })]  # fmt: skip


def test_a_workload_shows_its_own_token_and_a_new_one_when_that_is_replaced() -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        office.assertions = {"eyJ.1", "eyJ.2"}
        for token in ("eyJ.1\n", "eyJ.1\n", "eyJ.2"):
            await transport.send(asked(token))
        assert seen.tokens == ["Bearer entra-1", "Bearer entra-1", "Bearer entra-2"]

    office = played(scene, federated=True)
    assert [form["client_assertion"] for _, form in office.asked] == ["eyJ.1", "eyJ.2"]
    assert office.asked[0][1]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in office.asked[0][1]


@pytest.mark.parametrize("lasts", [60, "60"])
def test_a_token_is_renewed_before_it_ends_and_kept_where_that_fails(lasts: object) -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        office.lasts = lasts  # less than is left when it is replaced
        await transport.send(asked())
        await transport.send(asked())
        for office.status in (400, 503):
            await transport.send(asked())
        assert seen.tokens == ["Bearer entra-1", "Bearer entra-2", "Bearer entra-2", "Bearer entra-2"]

    played(scene)


def test_a_token_that_was_withdrawn_is_got_anew() -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        seen.status = 401
        await transport.send(asked())
        await transport.send(asked())
        assert seen.tokens == ["Bearer entra-1", "Bearer entra-2"]

    played(scene)


def test_a_secret_that_entra_refuses_is_refused_as_the_provider_would() -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        answer = await transport.send(asked("wrong"))
        assert answer.status == 401
        assert b"canary" not in await answer.chunk()
        assert not seen.requests
        assert await transport.granted(asked("wrong")) is None

    played(scene)


@pytest.mark.parametrize(("status", "lasts"), [(503, 3599), (429, 3599), (200, None)])
def test_an_office_that_fails_says_nothing_about_the_secret(status: int, lasts: object) -> None:
    async def scene(transport: TokenTransport, seen: Seen, office: Entra) -> None:
        office.status, office.lasts = status, lasts
        with pytest.raises(ConnectFailed, match="no token"):
            await transport.send(asked())

    played(scene)


def test_an_office_that_is_gone_says_nothing_either() -> None:
    with entra_office() as office:
        pass

    async def scene() -> None:
        bytes_of = AiohttpTransport()
        with pytest.raises(ConnectFailed, match="no token"):
            await TokenTransport(Seen(), EntraOffice(bytes_of, application(office))).send(asked())
        await bytes_of.close()

    asyncio.run(scene())


def test_a_request_of_kind_azure_carries_its_secret_to_the_transport_alone() -> None:
    provider = Azure("az", "https://x.openai.azure.com", Credentials(), Seen(), auth="client_secret",
                     application=Application("t", "c", "https://login.microsoftonline.com", "s"))  # fmt: skip
    request = provider.request(ASK, "m", b"{}", {}, None, SECRET)
    assert isinstance(request, Granted)
    assert request.account == SECRET
    assert SECRET not in str(request.headers)
    assert request.url == "https://x.openai.azure.com/openai/v1/chat/completions"
