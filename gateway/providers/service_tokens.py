"""Tokens of Google's service accounts: a Transport that puts them into requests, around another one.

google-auth gets them, in a thread: its calls block. It says too when one is stale, minutes before it expires: then one
request gets the next, while the others go on with the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from gateway.errors import ConnectFailed, ProviderTimeout
from gateway.ports import Transport, Upstream, UpstreamRequest

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AGAIN = 10.0  # seconds until that is tried again, where it failed and the old one still holds
WITHIN = 20.0  # seconds for getting one, its retries included
ONE_TRY = 8.0  # seconds
MOST = 64  # keys whose tokens are held: a key that was replaced in its file leaves one behind


class TokenRefused(Exception):
    """The key is none, or is not known any more. Never says what it holds."""


class TokenUnreachable(Exception):
    """Nobody gave a token; it says nothing about the key."""


class Granted(UpstreamRequest, frozen=True, kw_only=True):
    """A request in the name of a service account. `account` is its key, which never leaves: a token of it does."""

    account: str


def prepare() -> None:
    """Import what gets tokens: 0.1 s and 8 MB, so only where it is needed, and before a request waits for it."""
    import google.auth.transport.requests  # noqa: PLC0415  # see above
    import google.oauth2.service_account  # noqa: F401, PLC0415  # see above


def fetched(account: str) -> Any:
    """google-auth's credentials with a token; blocks. Raises TokenRefused, TokenUnreachable."""
    import requests  # noqa: PLC0415  # see `prepare`
    from google.auth.exceptions import GoogleAuthError, RefreshError  # noqa: PLC0415  # see `prepare`
    from google.auth.transport.requests import Request  # noqa: PLC0415  # see `prepare`
    from google.oauth2.service_account import Credentials  # noqa: PLC0415  # see `prepare`

    with requests.Session() as session:
        session.trust_env = False
        transport = Request(session)

        def call(*args: Any, **kwargs: Any) -> Any:
            return transport(*args, **{**kwargs, "timeout": ONE_TRY})

        made: Any = Credentials.from_service_account_info  # has no types
        try:
            one: Any = made(msgspec.json.decode(account), scopes=[SCOPE])
        except (ValueError, TypeError, AttributeError, GoogleAuthError):
            raise TokenRefused("it is no service account's key") from None
        try:
            one.refresh(call)
        except RefreshError as error:
            if error.retryable:
                raise TokenUnreachable("the token endpoint failed") from None
            raise TokenRefused("the token endpoint refused it") from None
        except (GoogleAuthError, OSError, ValueError) as error:
            raise TokenUnreachable(type(error).__name__) from None
    return one


class _Held:
    """What was got for one key."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.again = float("-inf")  # time of the loop
        self.one: Any = None

    @property
    def state(self) -> str:
        """FRESH, STALE (it holds for some minutes more) or INVALID, as google-auth sees it."""
        return self.one.token_state.name if self.one is not None else "INVALID"


class TokenTransport:
    """The port `Transport`; `inner` moves the bytes, and is closed by whoever made it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._held: dict[str, _Held] = {}
        prepare()

    async def send(self, request: UpstreamRequest) -> Upstream:
        """As `inner` does; where no token is given for a key, an answer that refuses it. Raises ConnectFailed and
        ProviderTimeout where nobody could say."""
        if not isinstance(request, Granted):
            return await self._inner.send(request)
        try:
            async with asyncio.timeout(min(WITHIN, request.total)):
                token = await self._token(request.account)
        except TokenRefused:
            return _Refusal()
        except TokenUnreachable as error:
            raise ConnectFailed(f"no token: {error}") from None
        except TimeoutError:
            raise ProviderTimeout("no token in time") from None
        # Only what goes on the wire goes on: the key stays here.
        bare = UpstreamRequest(**{name: getattr(request, name) for name in UpstreamRequest.__struct_fields__})
        headers = (*bare.headers, ("authorization", f"Bearer {token}"))
        answer = await self._inner.send(structs.replace(bare, headers=headers))
        if answer.status == 401:  # it was withdrawn before its time
            self._held.pop(request.account, None)
        return answer

    async def close(self) -> None:
        """Nothing of its own is open."""

    async def _token(self, account: str) -> str:
        if account not in self._held and len(self._held) >= MOST:
            self._held.clear()
        held, now = self._held.setdefault(account, _Held()), asyncio.get_running_loop().time
        waits = held.lock.locked() or now() < held.again
        if held.state == "FRESH" or (held.state == "STALE" and waits):
            return str(held.one.token)
        async with held.lock:
            if held.state != "FRESH":
                try:
                    held.one = await asyncio.to_thread(fetched, account)
                except (TokenRefused, TokenUnreachable):
                    if held.state == "INVALID":
                        raise
                    held.again = now() + AGAIN
            return str(held.one.token)


class _Refusal:
    """The port `Upstream`: what a provider answers to a key that it does not know."""

    status = 401

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        self._left = b'{"error":{"status":"token_refused"}}'

    def rest_now(self) -> None:
        """It comes in pieces."""

    async def chunk(self) -> bytes:
        """The body, once."""
        data, self._left = self._left, b""
        return data

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """`chunk` has all of it."""
        return False

    def close(self) -> None:
        """Nothing is open."""
