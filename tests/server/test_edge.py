"""The edge when what must not happen does: an exchange that ends in an exception takes its connection with it."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.identity.authenticate import Directory
from gateway.patience import Patience
from gateway.policy.compile import compile_policies
from gateway.server.edge import Edge, Manners
from tests.server.test_hot import HEAD, Clock, Wire


class NoSpace:
    """Takes no record: the last step of a journey, behind all that catches."""

    def write(self, record: object) -> None:
        raise OSError("no space")


async def test_an_exchange_that_dies_leaves_no_connection_that_nobody_serves() -> None:
    policy, _, _ = compile_policies({}, {})
    policies = SimpleNamespace(current=policy, keys=Directory({}))
    rooms: Any = SimpleNamespace(
        clock=Clock(), policies=policies, max_body=1 << 20, records=NoSpace(), objects=None
    )  # fmt: skip
    edge = Edge(rooms, Manners(), Patience(rooms.clock), random.Random(1))
    connection, wire = edge(), Wire()
    connection.connection_made(wire)
    connection.data_received(2 * (HEAD % 1 + b"x"))
    (task,) = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    with pytest.raises(OSError, match="no space"):
        await task
    assert wire.out.count(b"HTTP/1.1 401") == 1  # it was answered; the second would never be
    assert wire.closed
    assert not edge.running
