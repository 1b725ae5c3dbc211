"""An answer that flows: its pieces are taken in the callback in which they come, and what waits is as it was."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientGone, ProviderBroken, ProviderTimeout
from gateway.patience import Patience
from gateway.ports import UpstreamRequest
from gateway.providers.lean_answer import HIGH_WATER, Answer
from gateway.providers.lean_connection import Connection, Origin, Place
from tests.providers.test_lean import Pipe

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Socket(Pipe):
    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.open = True

    def abort(self) -> None:
        self.open = False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Provider:
    """A connection with one answer, which says what the test wants."""

    def __init__(self) -> None:
        self.clock, self.socket = Clock(), Socket()
        self.patience = Patience(self.clock)
        self.connection = Connection(Place(Origin("http", "up", 80)), self.patience, self.clock)
        self.connection.connection_made(self.socket)
        request = UpstreamRequest("POST", "http://up/", (), b"{}", gap=10.0, total=60.0)
        begun = self.connection.exchange(request, b"POST / HTTP/1.1\r\n\r\n", b"{}", self.clock.time)
        assert begun is not None
        self.says(HEAD)
        answer = begun.result()
        assert isinstance(answer, Answer)
        self.answer = answer

    def says(self, data: bytes) -> None:
        self.connection.data_received(data)

    def waits(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.time += 0.25
            self.patience.tick()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Taker:
    """Takes, until it is full."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.full = False

    def __call__(self, data: bytes) -> bool:
        self.got.append(data)
        return not self.full


async def flowing(provider: Provider, taker: Taker) -> asyncio.Task[bool]:
    task = asyncio.create_task(provider.answer.flow(taker))
    await asyncio.sleep(0)
    return task


async def test_a_piece_is_taken_in_the_callback_in_which_it_comes() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    provider.says(chunk(b"one"))
    assert taker.got == [b"one"]
    provider.says(chunk(b"two") + chunk(b"three"))
    assert taker.got == [b"one", b"twothree"]
    provider.says(END)
    assert not await task
    assert await provider.answer.chunk() == b""


@pytest.mark.parametrize("full", [False, True])
async def test_what_comes_with_the_end_is_taken_before_it(full: bool) -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    taker.full = full
    provider.says(chunk(b"last") + END)
    assert await task is full
    assert taker.got == [b"last"]
    assert not await provider.answer.flow(taker)
    assert await provider.answer.chunk() == b""


async def test_what_was_there_before_is_taken_first() -> None:
    provider, taker = Provider(), Taker()
    provider.says(chunk(b"early"))
    task = await flowing(provider, taker)
    assert taker.got == [b"early"]
    provider.says(chunk(b"late"))
    assert taker.got == [b"early", b"late"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_full_taker_makes_the_provider_wait() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    taker.full = True
    provider.says(chunk(b"one"))
    assert await task
    part = b"x" * (HIGH_WATER // 4)
    for _ in range(5):
        assert provider.socket.reads
        provider.says(chunk(part))
    assert not provider.socket.reads
    assert taker.got == [b"one"]
    taker.full = False
    task = await flowing(provider, taker)
    assert provider.socket.reads
    assert taker.got == [b"one", part * 5]
    provider.says(END)
    assert not await task


async def test_full_at_once() -> None:
    provider, taker = Provider(), Taker()
    taker.full = True
    provider.says(chunk(b"early"))
    assert await provider.answer.flow(taker)
    provider.says(chunk(b"late"))
    assert taker.got == [b"early"]


async def test_what_the_taker_raises_is_heard_by_its_task() -> None:
    provider = Provider()

    def take(_: bytes) -> bool:
        raise ClientGone("the connection is closed")

    task = asyncio.create_task(provider.answer.flow(take))
    await asyncio.sleep(0)
    provider.says(chunk(b"one"))
    provider.says(chunk(b"two"))  # before the task has heard
    with pytest.raises(ClientGone):
        await task
    assert provider.socket.open
    provider.answer.close()
    assert not provider.socket.open


async def test_bytes_before_an_error_come_before_it() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    provider.says(chunk(b"good") + b"no length\r\n")
    assert not await task
    assert taker.got == [b"good"]
    with pytest.raises(ProviderBroken):
        await provider.answer.chunk()
    assert not provider.socket.open


async def test_a_provider_that_goes_away() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    provider.says(chunk(b"good"))
    provider.connection.connection_lost(None)
    assert not await task
    with pytest.raises(ProviderBroken, match="closed before the end"):
        await provider.answer.chunk()


async def test_each_piece_is_worth_the_whole_gap() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    for _ in range(4):
        provider.waits(9.0)
        provider.says(chunk(b"still here"))
    provider.waits(9.0)
    await asyncio.sleep(0)
    assert not task.done()
    provider.waits(2.0)
    assert not await task
    with pytest.raises(ProviderTimeout, match="nothing more within 10 s"):
        await provider.answer.chunk()
    assert not provider.socket.open


async def test_a_flow_without_end_has_its_total_time() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    for _ in range(15):
        provider.waits(4.5)
        provider.says(chunk(b"on and on"))
    assert not await task
    while await asyncio.wait_for(anext_of(provider.answer), 1):
        pass


async def anext_of(answer: Answer) -> bytes:
    try:
        return await answer.chunk()
    except ProviderTimeout as late:
        assert "not complete in its time of 60 s" in str(late)  # noqa: PT017  # what came before it comes first
        return b""


async def test_who_is_cancelled_takes_nothing_more() -> None:
    provider, taker = Provider(), Taker()
    task = await flowing(provider, taker)
    task.cancel()
    provider.says(chunk(b"too late"))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taker.got == []
    assert not provider.socket.open


parts = st.lists(st.binary(min_size=1, max_size=20), max_size=6)


@given(body=parts, cuts=st.lists(st.integers(1, 40), max_size=12), full=st.sets(st.integers(0, 8)))
def test_all_bytes_come_once_and_in_order(body: list[bytes], cuts: list[int], full: set[int]) -> None:
    """However they are cut, and whenever the taker is full."""
    raw = b"".join(map(chunk, body)) + END

    async def run() -> bytes:
        provider, got = Provider(), []

        def take(data: bytes) -> bool:
            got.append(data)
            return len(got) not in full

        async def read() -> None:
            while True:
                while await provider.answer.flow(take):
                    await asyncio.sleep(0)
                data = await provider.answer.chunk()
                if not data:
                    return
                got.append(data)

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        left = raw
        for cut in [*cuts, len(raw)]:
            provider.says(left[:cut])
            left = left[cut:]
            if cut % 2:
                await asyncio.sleep(0)
            if not left:
                break
        await task
        return b"".join(got)

    assert asyncio.run(run()) == b"".join(body)
