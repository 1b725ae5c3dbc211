"""Tokens that are got for a key: a Transport that puts them into requests, around another one.

A token is got once, and anew minutes before it ends: then one request gets the next, while the others go on with the
old one. Who gives them is a function: `google_tokens.py`, `entra_tokens.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import structs

from gateway.errors import ConnectFailed, ProviderTimeout
from gateway.ports import Transport, Upstream, UpstreamRequest

AHEAD = 240.0  # seconds before its end that a token is replaced
SPARE = 10.0  # seconds before its end that it is not shown any more: clocks differ
AGAIN = 10.0  # seconds until that is tried again, where it failed and the old one still holds
WITHIN = 20.0  # seconds for getting one, its retries included
MOST = 64  # keys whose tokens are held: a key that was replaced in its file leaves one behind


class TokenRefused(Exception):
    """The key is none, or is not known any more. Never says what it holds."""


class TokenUnreachable(Exception):
    """Nobody gave a token; it says nothing about the key."""


class Token(msgspec.Struct, frozen=True):
    """`lasts` is in seconds, from when it was given."""

    text: str
    lasts: float


Office = Callable[[str], Awaitable[Token]]  # for an account's key; raises TokenRefused, TokenUnreachable


class Granted(UpstreamRequest, frozen=True, kw_only=True):
    """A request in the name of an account. `account` is its key, which never leaves: a token of it does."""

    account: str


class _Held:
    """What was got for one key. Times are of the loop."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.again = self.stale = self.ends = float("-inf")
        self.text = ""


class TokenTransport:
    """The port `Transport`; `inner` moves the bytes, and is closed by whoever made it."""

    def __init__(self, inner: Transport, office: Office) -> None:
        self._inner = inner
        self._office = office
        self._held: dict[str, _Held] = {}

    async def send(self, request: UpstreamRequest) -> Upstream:
        """As `inner` does; where no token is given for a key, an answer that refuses it. Raises ConnectFailed and
        ProviderTimeout where nobody could say."""
        bare = await self.granted(request)
        if bare is None:
            return _Refusal()
        answer = await self._inner.send(bare)
        if answer.status == 401 and isinstance(request, Granted):  # it was withdrawn before its time
            self._held.pop(request.account, None)
        return answer

    async def granted(self, request: UpstreamRequest) -> UpstreamRequest | None:
        """What may go on the wire: with the token, without the key. None: nobody gives one for this key. Raises
        ConnectFailed and ProviderTimeout where nobody could say."""
        if not isinstance(request, Granted):
            return request
        try:
            async with asyncio.timeout(min(WITHIN, request.total)):
                token = await self._token(request.account)
        except TokenRefused:
            return None
        except TokenUnreachable as error:
            raise ConnectFailed(f"no token: {error}") from None
        except TimeoutError:
            raise ProviderTimeout("no token in time") from None
        bare = UpstreamRequest(**{name: getattr(request, name) for name in UpstreamRequest.__struct_fields__})
        return structs.replace(bare, headers=(*bare.headers, ("authorization", f"Bearer {token}")))

    async def close(self) -> None:
        """Nothing of its own is open."""

    async def _token(self, account: str) -> str:
        if account not in self._held and len(self._held) >= MOST:
            self._held.clear()
        held, now = self._held.setdefault(account, _Held()), asyncio.get_running_loop().time
        waits = held.lock.locked() or now() < held.again
        if now() < held.stale or (now() < held.ends and waits):
            return held.text
        async with held.lock:
            if now() >= held.stale:
                try:
                    token = await self._office(account)
                except (TokenRefused, TokenUnreachable):
                    if now() >= held.ends:
                        raise
                    held.again = now() + AGAIN
                else:
                    held.text = token.text
                    held.stale, held.ends = now() + token.lasts - AHEAD, now() + token.lasts - SPARE
            return held.text


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
