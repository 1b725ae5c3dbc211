"""The edge when what must not happen does: clients that leave at any moment, exchanges that end in an exception."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.identity.authenticate import Directory
from gateway.patience import Patience
from gateway.policy.compile import compile_policies
from gateway.record import Record
from gateway.server.edge import Edge, Manners
from tests.kept import Kept
from tests.server.test_hot import HEAD, Clock, Wire

WAYS = pytest.mark.parametrize("way", ["hot", "plain", "handed over"])
MOMENTS = pytest.mark.parametrize("moment", range(8))  # turns of the loop between a request and its client's leaving
REQUEST = HEAD % 1 + b"x"
UNUSUAL = HEAD.replace(b"\r\n\r\n", b"\r\nexpect: \r\n\r\n") % 1 + b"x"


class NoSpace(Kept):
    """Takes no record: the last step of a journey, behind all that catches."""

    def write(self, record: Record) -> None:
        raise OSError("no space")


def edge_with(records: Kept, *, fast: bool = True, **more: Any) -> Edge:
    policy, _, _ = compile_policies({}, {})
    policies = SimpleNamespace(current=policy, keys=Directory({}))
    rooms: Any = SimpleNamespace(
        clock=Clock(), policies=policies, max_body=1 << 20, records=records, objects=None, **more
    )  # fmt: skip
    return Edge(rooms, Manners(fast=fast), Patience(rooms.clock), random.Random(1))


class Visit:
    """A client that connects, and leaves when it likes."""

    def __init__(self, way: str, records: Kept, *, draining: bool = False) -> None:
        self.edge = edge_with(records, fast=way != "plain")
        self.edge.draining = draining
        self.request = UNUSUAL if way == "handed over" else REQUEST
        connection, self.wire = self.edge(), Wire()
        self.wire.protocol = connection  # as a transport has it; handing over changes it
        connection.connection_made(self.wire)

    def send(self, data: bytes) -> None:
        self.wire.protocol.data_received(data)

    def leave(self) -> None:
        self.wire.closed = True
        self.wire.protocol.connection_lost(None)

    async def turns(self, number: int = 20) -> None:
        for _ in range(number):
            await asyncio.sleep(0)


def told(records: Kept) -> list[tuple[str, int | None, str]]:
    assert len({record.told.request_id for record in records.all}) == len(records.all)
    assert all(record.told.request_id.startswith("req_") for record in records.all)
    return [(record.standing.ending, record.standing.status, record.standing.method) for record in records.all]


ANSWERED, GONE = ("refused", 401, "POST"), ("client_gone", 499, "POST")


@WAYS
@MOMENTS
async def test_who_leaves_at_any_moment_leaves_one_record(way: str, moment: int) -> None:
    records = Kept()
    visit = Visit(way, records)
    visit.send(visit.request)
    await visit.turns(moment)
    visit.leave()
    await visit.turns()
    assert told(records) in ([ANSWERED], [GONE])
    if not moment:
        assert told(records) == [GONE]
        assert getattr(records.all[0].told, "failure", None) == "ClientGone: before it was served"
    assert not visit.edge.running


@WAYS
@MOMENTS
async def test_so_does_who_leaves_with_a_second_request(way: str, moment: int) -> None:
    records = Kept()
    visit = Visit(way, records)
    visit.send(visit.request)
    await visit.turns()
    assert told(records) == [ANSWERED]
    visit.send(visit.request)
    await visit.turns(moment)
    visit.leave()
    await visit.turns()
    assert told(records) in ([ANSWERED, ANSWERED], [ANSWERED, GONE])
    assert not visit.edge.running


@WAYS
@MOMENTS
async def test_so_does_who_leaves_before_a_body_is_complete(way: str, moment: int) -> None:
    records = Kept()
    visit = Visit(way, records)
    visit.send(visit.request[:-1])
    await visit.turns(moment)
    visit.leave()
    await visit.turns()
    assert told(records) in ([ANSWERED], [GONE])  # a key that is wrong is answered without the body


@pytest.mark.parametrize("way", ["hot", "plain"])
@MOMENTS
async def test_so_does_what_comes_while_the_server_stops(way: str, moment: int) -> None:
    records = Kept()
    visit = Visit(way, records)
    visit.send(visit.request)
    await visit.turns(moment)

    def abort() -> None:
        visit.wire.closed = True
        asyncio.get_running_loop().call_soon(visit.wire.protocol.connection_lost, None)

    visit.wire.abort = visit.wire.close = abort  # type: ignore[method-assign]  # as a real one does it
    await visit.edge.shutdown(1.0)
    await visit.turns()
    assert told(records) in ([ANSWERED], [GONE])


async def test_an_exchange_that_dies_leaves_no_connection_that_nobody_serves() -> None:
    edge = edge_with(NoSpace())
    connection, wire = edge(), Wire()
    connection.connection_made(wire)
    connection.data_received(2 * REQUEST)
    (task,) = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    with pytest.raises(OSError, match="no space"):
        await task
    assert wire.out.count(b"HTTP/1.1 401") == 1  # it was answered; the second would never be
    assert wire.closed
    assert not edge.running


@pytest.mark.parametrize("way", ["plain", "handed over"])
@MOMENTS
async def test_what_is_no_http_has_one_record_at_most(way: str, moment: int) -> None:
    records = Kept()
    visit = Visit(way, records)
    visit.send(b"NO\x01HTTP\r\n\r\n")
    await visit.turns(moment)
    visit.leave()
    await visit.turns()
    assert told(records) in ([], [("refused", 400, "-")])
    assert bool(records.all) or moment < 3


@WAYS
async def test_nothing_is_recorded_of_requests_whose_turn_never_comes(way: str) -> None:
    records = Kept()
    visit = Visit(way, records, draining=True)  # so the answer asks for another connection
    visit.send(3 * visit.request)
    await visit.turns()
    visit.leave()
    await visit.turns()
    assert told(records) == [ANSWERED]
