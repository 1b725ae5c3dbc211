"""The edge towards applications: aiohttp's low-level server, one handler, no middlewares.

What stands here is body-blind: the request's id, the connection's manners (slow heads, malformed heads, draining),
and the hand-over to the journey.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import aiohttp.http_parser as parsers
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler

from gateway.endpoints import Endpoint, find
from gateway.envelopes import refused
from gateway.errors import Reason, Refusal
from gateway.exchange import Ending, Exchange
from gateway.journey import DRAINING, Rooms, journey, left_before
from gateway.patience import Patience
from gateway.ports import Arrival
from gateway.recording import record_of
from gateway.server.arrival import HttpArrival
from gateway.server.hot import HotConnection
from gateway.server.hot_exchange import HotExchange
from gateway.server.reply import NAME, HttpReply
from gateway.server.shared import Limits
from gateway.telemetry.tasks import start

LARGEST_LINE = 16 << 10  # bytes of a request line or of one header
MOST_HEADERS = 100
LINGER = 1.0  # seconds that idle connections are served on, when we stop
LOOK = 0.02  # seconds between two looks whether any is left
KEPT = 1000  # paths whose endpoint is remembered


@dataclass(frozen=True, slots=True)
class Manners:
    """`[server]` of config.toml, as far as the edge follows it: seconds that it waits for a client."""

    header: float = 10.0
    body: float = 30.0
    write: float = 30.0
    keepalive: float = 75.0
    fast: bool = True  # whether the paths below aiohttp's documented API are used


class Edge(web.Server):
    """Serves applications. `entropy` makes request ids; they name, and never prove, anything."""

    def __init__(self, rooms: Rooms, manners: Manners, patience: Patience, entropy: random.Random) -> None:
        if HttpRequestParser is parsers.HttpRequestParserPy:
            raise RuntimeError("aiohttp's C parser is not there; its pure-Python one is no parser for an open port")
        super().__init__(
            self.handle,
            request_factory=self._request,
            handler_cancellation=True,  # a client that has gone ends its exchange at once
            auto_decompress=False,  # what was checked is what is sent; and no bombs
            access_log=None,  # None switches it off (aiohttp: RequestHandler.access_log)
            keepalive_timeout=manners.keepalive,
            max_line_size=LARGEST_LINE,
            max_field_size=LARGEST_LINE,
            max_headers=MOST_HEADERS,
        )
        self._rooms = rooms
        self._manners = manners
        self._entropy = entropy
        self.patience = patience
        self._handled: set[asyncio.Task[object]] = set()  # of aiohttp's requests
        self._served: set[HotConnection] = set()
        self.draining = False
        self._endpoints: dict[tuple[str, str, str, bool], Endpoint | None] = {}
        self._hot = Limits(
            header=manners.header, silence=manners.body, write=manners.write, keepalive=manners.keepalive,
            body=rooms.max_body,
        )  # fmt: skip

    def __call__(self) -> Any:
        """A connection, for asyncio's `create_server`."""
        if not self._manners.fast:
            return self._plain()
        connection = HotConnection(self._serve, self._plain, self.patience, self._hot)
        connection.closing = self.draining
        return connection

    def _plain(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """From now on a whole head must come in time; idle connections later on have `keepalive` to do so."""
        super().connection_made(handler, transport)
        self.patience.begin(handler, self._manners.header, handler.force_close)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Nobody is there any more; a request that had its turn, but no journey yet, has its record."""
        self.patience.end(handler)
        super().connection_lost(handler, exc)
        assert isinstance(handler, Connection)  # noqa: S101  # INVARIANT: an Edge makes no others
        if (request := handler.unserved()) is not None:
            arrival = self._arrival(request)
            left_before(arrival, self._endpoint(arrival), self._rooms)

    def _request(
        self, message: RawRequestMessage, payload: StreamReader, protocol: RequestHandler,
        writer: AbstractStreamWriter, task: asyncio.Task[None],
    ) -> web.BaseRequest:  # fmt: skip
        """A request of aiohttp's. From now on it waits for its journey, unless there is none for what is no HTTP."""
        request = self._make_request(message, payload, protocol, writer, task)
        if isinstance(protocol, Connection) and message is not ERROR:
            protocol.waiting = request
        return request

    def _arrival(self, request: web.BaseRequest) -> HttpArrival:
        return HttpArrival(request, self._request_id(), self._rooms.clock.monotonic(), self._manners.body)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request: its journey, and what aiohttp wants to have back."""
        self.patience.end(request.protocol)
        if isinstance(request.protocol, Connection):
            request.protocol.waiting = None
        arrival = self._arrival(request)
        reply = HttpReply(request, self.patience, self._manners.write, closing=self.draining)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # INVARIANT: aiohttp runs handlers in tasks
        self._handled.add(task)
        try:
            await journey(arrival, self._endpoint(arrival), reply, self._rooms)
        finally:
            self._handled.discard(task)
        if reply.response is None:  # broken off before a head was sent; nothing reads this
            reply.abort()
            return web.Response(status=499)
        return reply.response

    @property
    def running(self) -> set[asyncio.Task[object]]:
        """The tasks of the exchanges that run now."""
        return self._handled | {task for one in self._served if (task := one.running) is not None}

    def _serve(self, connection: HotConnection) -> asyncio.Task[None]:
        self._served.add(connection)
        task = start(self._serve_all(connection))
        task.add_done_callback(lambda _: self._over(connection))  # also where it never began
        return task

    def _over(self, connection: HotConnection) -> None:
        """Nobody serves the connection any more."""
        self._served.discard(connection)
        self._left_before(connection)

    def _left_before(self, connection: HotConnection) -> None:
        """Record the request that came so shortly before its client left that nobody served it."""
        if (exchange := connection.arrived) is not None:
            connection.arrived = None
            exchange.request_id = self._request_id()
            left_before(exchange, self._kept(exchange)[0], self._rooms)

    async def _serve_all(self, connection: HotConnection) -> None:
        rooms, now, entropy = self._rooms, self._rooms.clock.now, self._entropy
        while True:
            if (exchange := connection.arrived) is None:
                if (turn := connection.turn()) is None:
                    return
                await turn
                continue
            connection.arrived = None
            exchange.request_id = request_id(now(), entropy)
            try:
                known = exchange.headers.made.get(Endpoint) or self._kept(exchange)
                await journey(exchange, known[0], exchange, rooms)
            except BaseException:
                connection.abort()  # nobody is left to serve what else comes over it
                raise
            finally:
                connection.ended(exchange)

    def _kept(self, exchange: HotExchange) -> tuple[Endpoint | None]:
        """The endpoint of a request, found once for each head that comes again."""
        known: tuple[Endpoint | None] | None = exchange.headers.made.get(Endpoint)
        if known is None:
            known = exchange.headers.made[Endpoint] = (self._endpoint(exchange),)
        return known

    def _endpoint(self, arrival: Arrival) -> Endpoint | None:
        """The endpoint of a request. Few are asked for again and again, so they are kept."""
        anthropic = "anthropic-version" in arrival.headers
        asked = arrival.method, arrival.path, arrival.raw_query, anthropic
        try:
            return self._endpoints[asked]
        except KeyError:
            if len(self._endpoints) >= KEPT:
                self._endpoints.clear()
            found = find(arrival.method, arrival.path, arrival.raw_query, anthropic=anthropic)
            self._endpoints[asked] = found
            return found

    def malformed(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to bytes that are no HTTP request, and its record."""
        refusal = Refusal(Reason.BAD_REQUEST, "The request's head is not valid HTTP.")
        peer = request.get_extra_info("peername")
        now = self._rooms.clock.monotonic()
        exchange = Exchange(
            self._request_id(), now, self._rooms.clock.now(), "-", "-", str(peer[0]) if peer else "",
            self._rooms.policies.current,
        )  # fmt: skip
        exchange.refusal = refusal
        wire, headers, body = refused(refusal, exchange.request_id)
        exchange.ending, exchange.status = Ending.REFUSED, wire.status
        exchange.end(now)
        self._rooms.records.write(record_of(exchange))
        own = {"content-type": "application/json", "x-request-id": exchange.request_id, "Server": NAME}
        response = web.Response(status=wire.status, headers={**own, **dict(headers)}, body=body)
        response.force_close()
        return response

    async def drain(self, seconds: float) -> int:
        """Let running exchanges end by themselves for `seconds`, then end them; how many had to be ended. Each of
        them settles and is recorded. A connection on which nothing runs is closed only after `LINGER`: its client may
        be sending at this moment, and gets an answer that asks it to come back on another."""
        self.draining = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        for connection in tuple(self._hot.connections):
            connection.closing = True
        while self._open() and loop.time() - began < min(LINGER, seconds):  # noqa: ASYNC110  # no event says it
            await asyncio.sleep(LOOK)
        for connection in tuple(self._hot.connections):
            connection.drain()
        while self.running and (left := began + seconds - loop.time()) > 0:
            await asyncio.wait(tuple(self.running), timeout=left)
        late = tuple(self.running)
        for task in late:
            task.cancel(DRAINING)
        if late:
            await asyncio.wait(late, timeout=5.0)
        return len(late)

    def _open(self) -> bool:
        return bool(self._hot.connections or self.connections)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # aiohttp's signature
        """Close what is still open."""
        for connection in tuple(self._hot.connections):
            self._left_before(connection)
            connection.abort()
        await super().shutdown(timeout)

    def _request_id(self) -> str:
        return request_id(self._rooms.clock.now(), self._entropy)


class Connection(RequestHandler):
    """aiohttp's connection, with our words where the library would answer by itself. `waiting` is the request whose
    journey is about to begin."""

    __slots__ = ("waiting",)

    def __init__(self, edge: Edge, *, loop: asyncio.AbstractEventLoop, **more: Any) -> None:
        super().__init__(edge, loop=loop, **more)
        self.waiting: web.BaseRequest | None = None

    def unserved(self) -> web.BaseRequest | None:
        """The request whose turn it was when the connection ended, if its journey has not begun and never will."""
        task = self._task_handler  # None: the last answer was to be the last
        if self.waiting is not None or self._request_in_progress or not self._messages or task is None:
            return self.waiting
        message, payload = self._messages.popleft()
        if not isinstance(message, RawRequestMessage):
            return None  # no head that could be read
        return web.BaseRequest(message, payload, self, StreamWriter(self, self._loop), task, self._loop)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """A head that is no HTTP. (A handler never raises: the journey has caught what there is to catch.)"""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        edge = self._manager
        assert isinstance(edge, Edge)  # noqa: S101  # INVARIANT: only an Edge makes Connections
        return edge.malformed(request)


def request_id(now: float, entropy: random.Random) -> str:
    """`req_` and 32 hexadecimal digits, the first 12 of which are milliseconds: ids sort by time. `now` in Unix
    seconds."""
    number = int(now * 1000) << 80 | entropy.getrandbits(80)
    return "req_" + number.to_bytes(16, "big").hex()  # by bytes: three times as fast as to format an int
