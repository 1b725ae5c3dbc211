"""WebSockets to providers over aiohttp: the port `Sockets`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import ConnectFailed, ProviderBroken, ProviderTimeout
from gateway.ports import Head, Socket, UpstreamRequest
from gateway.websocket import HEARTBEAT, LARGEST, AiohttpSocket

_SKIPPED = frozenset(("User-Agent", "Accept", "Accept-Encoding"))
_OURS = frozenset(("content-type", "content-length", "accept-encoding"))  # of a request with a body, which this is not


class AiohttpSockets:
    """One session, made with the first connection."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def connect(self, request: UpstreamRequest, protocols: Sequence[str]) -> Socket | Head:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        headers = CIMultiDict([one for one in request.headers if one[0] not in _OURS])
        try:
            async with asyncio.timeout(request.connect + request.first_byte):
                socket = await self._session.ws_connect(
                    URL(request.url, encoded=True), headers=headers, protocols=protocols, heartbeat=HEARTBEAT,
                    max_msg_size=LARGEST, autoclose=False, compress=0,
                )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            found = [(name.lower(), value) for name, value in (error.headers or {}).items()]
            return Head(error.status if error.status >= 400 else 502, tuple(found))
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise ConnectFailed(type(error).__name__) from None
        except TimeoutError:
            raise ProviderTimeout("no WebSocket in time") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ProviderBroken(type(error).__name__) from None
        return AiohttpSocket(socket, socket.protocol)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
