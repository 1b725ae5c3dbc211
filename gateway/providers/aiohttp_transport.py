"""Bytes to and from providers over aiohttp's own client: the port `Transport`, on documented API alone.

The reference that the lean transport is tested against, and the one that carries bodies which stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import ConnectFailed, Failure, ProviderBroken, ProviderTimeout
from gateway.ports import Upstream, UpstreamRequest

LARGEST_FIELD = 64 << 10  # bytes of a line of an answer's head
READ_BUFFER = 64 << 10
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)
_SKIPPED = frozenset(("User-Agent", "Accept", "Accept-Encoding", "Content-Type"))


class AiohttpTransport:
    """One session, made with the first request. Never follows a redirect, never decompresses, keeps no cookies."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest) -> Upstream:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken, and what reading a streamed body raises."""
        began = asyncio.get_running_loop().time()
        body = _Body(request.body) if isinstance(request.body, AsyncIterator) else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=request.connect, sock_read=None)
        try:
            async with asyncio.timeout(request.connect + min(request.first_byte, request.total)):
                response = await self._open().request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=CIMultiDict(request.headers),
                    data=body if body is not None else request.body,
                    allow_redirects=False,
                    timeout=timeout,
                    skip_auto_headers=_SKIPPED,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise ConnectFailed(type(error).__name__) from None
        except TimeoutError:
            raise ProviderTimeout(f"no answer within {request.first_byte:g} s") from None
        except aiohttp.ClientError as error:
            if body is not None and body.failure is not None:
                raise body.failure from None
            raise ProviderBroken(type(error).__name__) from None
        except ValueError as error:  # a header that is none
            raise ConnectFailed(type(error).__name__) from None
        return _Answer(response, request.gap, began + request.total, body)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_NO_TIMEOUT,
                trust_env=False,
                max_line_size=LARGEST_FIELD,
                max_field_size=LARGEST_FIELD,
                read_bufsize=READ_BUFFER,
            )
        return self._session


class _Body:
    """A body that streams; remembers why it broke off, which the library would turn into its own error."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self.failure: Failure | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                yield part
        except Failure as failure:
            self.failure = failure
            raise


class _Answer:
    """One answer: the port `Upstream`."""

    def __init__(self, response: aiohttp.ClientResponse, gap: float, until: float, body: _Body | None) -> None:
        self._response = response
        self._gap = gap
        self._until = until  # loop time
        self._body = body
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    def rest_now(self) -> None:
        """It comes in pieces."""

    async def chunk(self) -> bytes:
        """Next bytes as they came off the wire; b"" at the orderly end. Raises ProviderTimeout, ProviderBroken."""
        left = self._until - asyncio.get_running_loop().time()
        seconds = min(self._gap, left)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self._response.content.readany()
        except TimeoutError:
            raise ProviderTimeout(f"nothing more within {seconds:g} s") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._why(error) from None

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """The library's reader has no such way."""
        return False

    def _why(self, error: Exception) -> Failure:
        if self._body is not None and self._body.failure is not None:
            return self._body.failure
        return ProviderBroken(type(error).__name__)

    def close(self) -> None:
        """Nobody wants more of it; an answer that is not complete takes its connection with it."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()
