"""The lean connection: heads and bodies, in whatever pieces they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.app import SystemClock
from gateway.errors import ProviderBroken, ProviderTimeout
from gateway.patience import Patience
from gateway.ports import Clock, Upstream, UpstreamRequest
from gateway.providers.lean_answer import LARGEST_HEAD, StaleConnection
from gateway.providers.lean_connection import Connection, Origin, Place

REQUEST = UpstreamRequest("GET", "http://up/", (), None)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


class Pipe(asyncio.Transport):
    """Takes what is written."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def asked(connection: Connection, clock: Clock) -> asyncio.Future[Upstream]:
    answer = connection.exchange(REQUEST, b"GET / HTTP/1.1\r\n\r\n", None, clock.monotonic())
    assert answer is not None
    return answer


def answering() -> tuple[Connection, asyncio.Future[Upstream]]:
    clock = SystemClock()
    connection = Connection(Place(Origin("http", "up", 80)), Patience(clock), clock)
    connection.connection_made(Pipe())
    return connection, asked(connection, clock)


async def whole(begun: asyncio.Future[Upstream]) -> bytes:
    answer, parts = await begun, []
    while part := await answer.chunk():
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("size", [3 * LARGEST_HEAD, 1 << 20])
async def test_a_large_body_may_come_with_its_head_in_one_piece(size: int) -> None:
    connection, answer = answering()
    connection.data_received(HEAD % size + b"x" * size)
    assert await whole(answer) == b"x" * size


async def test_a_head_in_single_bytes() -> None:
    connection, answer = answering()
    for one in HEAD % 5 + b"hello":
        connection.data_received(bytes([one]))
    assert await whole(answer) == b"hello"


@pytest.mark.parametrize("piece", [100, 1000, 1 << 20])
async def test_a_head_without_end_is_given_up(piece: int) -> None:
    connection, answer = answering()
    endless = b"HTTP/1.1 200 OK\r\nx: " + b"y" * (3 * LARGEST_HEAD)
    for at in range(0, len(endless), piece):
        connection.data_received(endless[at : at + piece])
    with pytest.raises(ProviderBroken, match="head larger"):
        await answer


@pytest.mark.parametrize("cut", range(1, len(2 * (HEAD % 2 + b"{}"))))
async def test_a_second_answer_is_no_part_of_the_first_and_ends_the_connection(cut: int) -> None:
    class Socket(Pipe):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    clock, place, socket = SystemClock(), Place(Origin("http", "up", 80)), Socket()
    connection = Connection(place, Patience(clock), clock)
    connection.connection_made(socket)
    answer = asked(connection, clock)
    data = HEAD % 2 + b"{}" + HEAD % 2 + b"[]"
    connection.data_received(data[:cut])
    connection.data_received(data[cut:])
    assert await whole(answer) == b"{}"
    assert socket.aborted
    assert len(place.idle) == (cut == len(data) // 2)  # it was, for a moment: the first was all that had come


class Kept(Pipe):
    """Says whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.written.extend(map(bytes, list_of_data))

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    monotonic = now


class Open:
    """A connection with its clock and socket."""

    def __init__(self) -> None:
        self.clock, self.socket, self.place = Hand(), Kept(), Place(Origin("http", "up", 80))
        self.patience = Patience(self.clock)
        self.connection = Connection(self.place, self.patience, self.clock)
        self.connection.connection_made(self.socket)

    def asks(self, request: UpstreamRequest = REQUEST) -> asyncio.Future[Upstream] | None:
        self.place.idle.clear()  # as who takes it does
        return self.connection.exchange(request, b"GET / HTTP/1.1\r\n", b"\r\n", self.clock.at)

    def begun(self, request: UpstreamRequest = REQUEST) -> asyncio.Future[Upstream]:
        answer = self.asks(request)
        assert answer is not None
        return answer

    def waits(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.at += 0.25
            self.patience.tick()


WHOLE = HEAD % 2 + b"{}"


async def test_a_whole_answer_that_comes_late_or_in_two_pieces_is_the_same() -> None:
    on = Open()
    for cut, wait in ((len(WHOLE), 0), (len(WHOLE), 3), (9, 0), (9, 3), (len(WHOLE) - 1, 3)):
        answer = on.begun()
        on.waits(wait)
        on.connection.data_received(WHOLE[:cut])
        on.waits(wait)
        if cut < len(WHOLE):
            on.connection.data_received(WHOLE[cut:])
        upstream = await answer
        assert (upstream.status, upstream.headers["content-length"]) == (200, "2")
        assert upstream.rest_now() == b"{}"
        assert await upstream.chunk() == b""
        assert await upstream.flow(lambda _: False) is False
        upstream.close()
        assert list(on.place.idle) == [on.connection]
        assert on.socket.open


@pytest.mark.parametrize("spoken", [0, 9])
async def test_who_says_no_answer_in_time_is_left(spoken: int) -> None:
    on = Open()
    answer = on.begun(UpstreamRequest("GET", "http://up/", (), None, first_byte=5.0))
    on.waits(2)
    on.connection.data_received(WHOLE[:spoken])
    on.waits(3)
    assert not answer.done()
    on.waits(0.5)
    assert not on.socket.open
    with pytest.raises(ProviderTimeout, match="no answer within 5 s"):
        await answer


async def test_who_leaves_takes_the_connection_with_it_unless_the_answer_is_there() -> None:
    on = Open()
    first = on.begun()
    on.connection.data_received(WHOLE)
    on.connection.leave(first)  # as one does that was cancelled in the turn in which its answer came
    second = on.begun()
    on.connection.leave(first)
    assert on.socket.open
    on.connection.leave(second)
    assert not on.socket.open
    assert not on.place.idle
    on.connection.connection_lost(None)


async def test_a_cancelled_wait_whose_answer_comes_all_the_same_leaves_a_sound_connection() -> None:
    on = Open()
    answer = on.begun()
    answer.cancel()
    on.connection.data_received(WHOLE)
    on.connection.leave(answer)
    assert on.socket.open
    assert list(on.place.idle) == [on.connection]


@pytest.mark.parametrize("spoken", [0, 9])
@pytest.mark.parametrize("used", [False, True])
async def test_only_a_connection_that_was_used_and_says_nothing_is_stale(used: bool, spoken: int) -> None:
    on = Open()
    if used:
        answer = on.begun()
        on.connection.data_received(WHOLE)
        await answer
    answer = on.begun()
    if spoken:
        on.connection.data_received(WHOLE[:spoken])
    on.connection.connection_lost(None)
    with pytest.raises(StaleConnection if used and not spoken else ProviderBroken):
        await answer


async def test_a_connection_that_nobody_needs_ends_after_a_minute() -> None:
    on = Open()
    answer = on.begun()
    on.connection.data_received(WHOLE)
    await answer
    on.waits(59)
    assert on.socket.open
    on.waits(1)
    assert not on.socket.open
    assert on.asks() is None
    on.connection.connection_lost(None)
    assert not on.place.idle
    assert len(on.patience) == 0


async def test_a_connection_that_closes_carries_nothing_more() -> None:
    on = Open()
    await_first = on.begun()
    on.connection.data_received(WHOLE)
    await await_first
    on.socket.open = False  # the provider's end came, and nobody has said so yet
    written = len(on.socket.written)
    assert on.asks() is None
    assert len(on.socket.written) == written


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    on = Open()
    answer = on.begun()
    on.connection.data_received(WHOLE)
    on.connection.data_received(WHOLE)
    assert not on.socket.open
    assert (await answer).rest_now() == b"{}"
