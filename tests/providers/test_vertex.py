"""Kind vertex: a token is got once, used while it holds, renewed before it ends; the account's key never leaves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from google.auth.compute_engine import _metadata

from gateway.errors import ConnectFailed
from gateway.ports import Upstream, UpstreamRequest
from gateway.providers.google_tokens import HERE, google_token
from gateway.providers.service_tokens import Granted, TokenTransport
from tests.providers.frames import Pieces
from tests.providers.token_office import Office, token_office


class Seen:
    """The port `Transport`: what is sent, and how often it is answered with 401."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.status = 200

    async def send(self, request: UpstreamRequest) -> Upstream:
        self.requests.append(request)
        answer = Pieces(b"{}", 10)
        answer.status = self.status
        return answer

    async def close(self) -> None:
        return

    @property
    def tokens(self) -> list[str]:
        return [dict(request.headers)["authorization"] for request in self.requests]


def asked(office: Office) -> Granted:
    return Granted("POST", "http://x/", (("accept", "*/*"),), b"{}", account=json.dumps(office.account))


def test_a_token_is_got_once_and_the_key_stays_here() -> None:
    async def scene(office: Office) -> None:
        seen = Seen()
        transport = TokenTransport(seen, google_token)
        await asyncio.gather(*(transport.send(asked(office)) for _ in range(5)))
        assert seen.tokens == ["Bearer token-1"] * 5
        assert all(type(request) is UpstreamRequest for request in seen.requests)
        assert "PRIVATE KEY" not in str(seen.requests)

    with token_office() as office:
        asyncio.run(scene(office))


def test_a_token_is_renewed_before_it_ends_and_kept_where_that_fails() -> None:
    async def scene(office: Office) -> None:
        seen = Seen()
        transport = TokenTransport(seen, google_token)
        office.lasts = 60  # stale at once: google-auth wants minutes
        await transport.send(asked(office))
        await transport.send(asked(office))
        office.status = 400
        await transport.send(asked(office))
        assert seen.tokens == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]

    with token_office() as office:
        asyncio.run(scene(office))


def test_a_token_that_was_withdrawn_is_got_anew() -> None:
    async def scene(office: Office) -> None:
        seen = Seen()
        transport = TokenTransport(seen, google_token)
        seen.status = 401
        await transport.send(asked(office))
        await transport.send(asked(office))
        assert seen.tokens == ["Bearer token-1", "Bearer token-2"]

    with token_office() as office:
        asyncio.run(scene(office))


def test_a_federated_workload_shows_the_token_of_its_own_provider(tmp_path: Path) -> None:
    subject = tmp_path / "token"
    subject.write_text("eyJ.subject")

    async def scene(office: Office) -> None:
        seen = Seen()
        transport = TokenTransport(seen, google_token)
        text = json.dumps({**office.federated, "credential_source": {"file": str(subject)}})
        refused = await transport.send(Granted("POST", "http://x/", (), b"{}", account=text))
        assert refused.status == 401
        office.subjects.add("eyJ.subject")
        for _ in range(2):
            await transport.send(Granted("POST", "http://x/", (), b"{}", account=text))
        assert seen.tokens == ["Bearer token-1"] * 2
        assert "eyJ" not in str(seen.requests)

    with token_office() as office:
        asyncio.run(scene(office))


def test_where_we_run_says_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(office: Office) -> None:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", urlsplit(office.account["token_uri"]).netloc)
        seen = Seen()
        transport = TokenTransport(seen, google_token)
        for _ in range(2):
            await transport.send(Granted("POST", "http://x/", (), b"{}", account=HERE))
        assert seen.tokens == ["Bearer token-1"] * 2

    with token_office() as office:
        asyncio.run(scene(office))


@pytest.mark.parametrize("account", ["{}", "no JSON", "[]", '{"type": "service_account"}'])
def test_what_is_no_key_is_refused_as_a_provider_would(account: str) -> None:
    async def scene() -> None:
        seen = Seen()
        answer = await TokenTransport(seen, google_token).send(Granted("POST", "http://x/", (), b"{}", account=account))
        assert answer.status == 401
        assert not seen.requests

    asyncio.run(scene())


def test_a_key_that_the_office_does_not_know_is_refused_and_an_office_that_is_gone_is_not_the_keys_fault() -> None:
    async def refused(office: Office) -> None:
        office.status = 400
        assert (await TokenTransport(Seen(), google_token).send(asked(office))).status == 401

    async def gone(office: Office) -> None:
        with pytest.raises(ConnectFailed, match="no token"):
            await TokenTransport(Seen(), google_token).send(asked(office))

    with token_office() as office:
        asyncio.run(refused(office))
    asyncio.run(gone(office))
