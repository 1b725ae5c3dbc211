"""The lean connection: heads and bodies, in whatever pieces they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.app import SystemClock
from gateway.errors import ProviderBroken
from gateway.patience import Patience
from gateway.ports import UpstreamRequest
from gateway.providers.lean_connection import LARGEST_HEAD, Answer, Connection, Origin

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


class Nobody:
    def keep(self, connection: Connection) -> None:
        pass

    def drop(self, connection: Connection) -> None:
        pass


def answering() -> tuple[Connection, Answer]:
    clock = SystemClock()
    connection = Connection(Origin("http", "up", 80), Nobody(), Patience(clock), clock)
    connection.connection_made(Pipe())
    return connection, connection.exchange(REQUEST, b"GET / HTTP/1.1\r\n\r\n")


async def whole(answer: Answer) -> bytes:
    await answer.head()
    parts = []
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
        await answer.head()


@pytest.mark.parametrize("cut", range(1, len(2 * (HEAD % 2 + b"{}"))))
async def test_a_second_answer_is_no_part_of_the_first_and_ends_the_connection(cut: int) -> None:
    class Socket(Pipe):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    class Pool(Nobody):
        kept = 0

        def keep(self, connection: Connection) -> None:
            self.kept += 1

    clock, pool, socket = SystemClock(), Pool(), Socket()
    connection = Connection(Origin("http", "up", 80), pool, Patience(clock), clock)
    connection.connection_made(socket)
    answer = connection.exchange(REQUEST, b"GET / HTTP/1.1\r\n\r\n")
    data = HEAD % 2 + b"{}" + HEAD % 2 + b"[]"
    connection.data_received(data[:cut])
    connection.data_received(data[cut:])
    assert await whole(answer) == b"{}"
    assert socket.aborted
    assert pool.kept == (cut == len(data) // 2)  # it was, for a moment: the first was all that had come
