"""A stream that flows from a provider's connection to a client: who is slow, who leaves, what breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.errors import ClientGone, ProviderBroken, ProviderTimeout
from gateway.ports import Head
from gateway.providers.lean_answer import HIGH_WATER
from gateway.redaction.safe import SafeRequest
from gateway.shapes.chat import CHAT
from gateway.stream.incoming import Incoming
from gateway.stream.relay import _Flow
from gateway.stream.sse import LARGEST_EVENT, Decoder
from gateway.stream.stages import Stages
from tests.providers.test_flow import END, Provider, chunk

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'


class Client:
    """The port `Reply`, as far as a stream needs it."""

    begun = True

    def __init__(self, *, at_once: bool = True) -> None:
        self.got = b""
        self.full: asyncio.Future[None] | None = None
        self.gone = False
        self._at_once = at_once

    def put(self) -> Callable[[bytes], bool] | None:
        return self._put if self._at_once else None

    def _put(self, data: bytes) -> bool:
        if self.gone:
            raise ClientGone("the connection is closed")
        self.got += data
        return self.full is None

    async def room(self) -> None:
        while self.full is not None:
            await self.full
        if self.gone:
            raise ClientGone("the connection is closed")

    async def send(self, head: Head, body: bytes) -> None:
        raise NotImplementedError

    async def begin(self, head: Head, first: bytes = b"") -> None:
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def stops(self) -> None:
        self.full = asyncio.get_running_loop().create_future()

    def goes_on(self) -> None:
        full, self.full = self.full, None
        assert full is not None
        full.set_result(None)


class Stream:
    """One that flows already."""

    def __init__(self, client: Client | None = None) -> None:
        self.provider, self.client, self.meter = Provider(), client or Client(), CHAT.meter(True)
        incoming = Incoming(Decoder(), None)
        incoming.feed(EVENT)
        stages = Stages(self.meter, SafeRequest(b""), CHAT, json_text=False)
        flow = _Flow(self.provider.answer, self.client, incoming, self.meter, stages)
        self.over = asyncio.create_task(flow.over())

    async def rest(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def says(self, *events: bytes) -> None:
        for event in events:
            self.provider.says(chunk(event))


async def test_a_client_that_takes_no_more_makes_the_provider_wait() -> None:
    stream = Stream()
    await stream.rest()
    stream.client.stops()
    large = EVENT.replace(b"word", b"w" * (HIGH_WATER // 4))
    stream.says(EVENT)
    await stream.rest()
    stream.says(large, large, large)
    assert stream.provider.socket.reads
    stream.says(large)
    assert not stream.provider.socket.reads
    stream.provider.waits(30.0)  # that is the client's time, not the provider's
    await stream.rest()
    assert stream.client.got == EVENT
    stream.client.goes_on()
    await stream.rest()
    assert stream.provider.socket.reads
    assert stream.client.got == EVENT + large * 4
    stream.says(EVENT)
    assert stream.client.got == EVENT + large * 4 + EVENT
    stream.provider.says(END)
    await stream.over
    assert await stream.provider.answer.chunk() == b""


async def test_a_client_that_leaves_in_the_middle_of_a_piece() -> None:
    stream = Stream()
    await stream.rest()
    stream.client.gone = True
    stream.says(EVENT, EVENT)
    with pytest.raises(ClientGone):
        await stream.over
    assert stream.client.got == b""
    assert stream.meter.passed.size == 4, "what the provider has said of the first is counted; the second is nobody's"


async def test_a_client_that_leaves_while_it_takes_no_more() -> None:
    stream = Stream()
    await stream.rest()
    stream.client.stops()
    stream.says(EVENT)
    await stream.rest()
    stream.client.gone = True
    stream.client.goes_on()
    with pytest.raises(ClientGone):
        await stream.over


async def test_a_client_that_leaves_while_nothing_comes() -> None:
    stream = Stream()
    await stream.rest()
    stream.over.cancel("gone")
    with pytest.raises(asyncio.CancelledError, match="gone"):
        await stream.over
    assert not stream.provider.socket.open
    stream.says(EVENT)
    assert stream.client.got == b""


async def test_a_provider_that_is_silent() -> None:
    stream = Stream()
    await stream.rest()
    stream.says(EVENT)
    stream.provider.waits(10.5)
    await stream.over
    with pytest.raises(ProviderTimeout):
        await stream.provider.answer.chunk()
    assert stream.client.got == EVENT


async def test_an_event_that_does_not_end() -> None:
    stream = Stream()
    await stream.rest()
    stream.says(EVENT)
    part = b"data: " + b"x" * (LARGEST_EVENT // 4)
    stream.says(*[part] * 5)
    with pytest.raises(ProviderBroken, match="larger than"):
        await stream.over
    assert stream.client.got == EVENT


async def test_a_provider_that_breaks_off() -> None:
    stream = Stream()
    await stream.rest()
    stream.says(EVENT)
    stream.provider.connection.connection_lost(ConnectionResetError())
    await stream.over
    with pytest.raises(ProviderBroken, match="ConnectionResetError"):
        await stream.provider.answer.chunk()
    assert stream.client.got == EVENT


async def test_a_client_that_can_only_be_waited_for_has_no_flow() -> None:
    stream = Stream(Client(at_once=False))
    await stream.over
    stream.says(EVENT)
    assert await stream.provider.answer.chunk() == EVENT
