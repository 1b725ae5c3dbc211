"""Objects of several tenants on one credential, behind two gateways that share a Redis: whichever process made one,
every process keeps it to its tenant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from tests.e2e.harness import config, gateway
from tests.redis_server import RedisServer
from tests.surface.test_objects import SECRETS, make, policies

Clients = dict[str, list[openai.OpenAI]]  # of a tenant: towards either gateway


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, recorder: str, shared_redis: RedisServer) -> Iterator[Clients]:
    shared_redis.call("FLUSHALL")
    folder = tmp_path_factory.mktemp("shared-objects")
    with ExitStack() as stack:
        found: Clients = {name: [] for name in SECRETS}
        for name in ("one", "two"):
            running = stack.enter_context(gateway(folder / name, config(recorder, store=shared_redis.url), policies()))
            for tenant, secret in SECRETS.items():
                client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=0)
                found[tenant].append(stack.enter_context(client))
        yield found


def soon(call: Callable[[], object]) -> None:
    """The other process learns of an object a moment later."""
    end = time.monotonic() + 5
    while True:
        try:
            call()
        except openai.NotFoundError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def test_whichever_process_made_it_every_process_keeps_it_to_its_tenant(pair: Clients) -> None:
    made: dict[str, str] = {}
    for number in range(12):  # files and batches, by two tenants, at either process
        tenant, kind = ("acme", "globex")[number % 2], ("file-", "batch_")[number // 2 % 2]
        one = f"{kind}S{number}"
        make(pair[tenant][number // 4 % 2], id=one)
        made[one] = tenant

    def asked(client: openai.OpenAI, one: str) -> Any:
        return client.files.retrieve(one) if one.startswith("file-") else client.batches.retrieve(one)

    for one, tenant in made.items():
        for client in pair[tenant]:
            soon(lambda client=client, one=one: asked(client, one))  # type: ignore[misc]  # bound now
    for one, tenant in made.items():
        for other in SECRETS.keys() - {tenant}:
            for client in pair[other]:
                with pytest.raises(openai.NotFoundError):
                    asked(client, one)
    query = {"ids": ",".join([*made, "file-never"])}
    for tenant, clients in pair.items():
        own = [one for one, owner in made.items() if owner == tenant] + ["file-never"] * (tenant == "open")
        for client in clients:
            assert [one.id for one in client.files.list(extra_query=query).data] == own


def test_many_at_once_are_each_its_makers(pair: Clients) -> None:
    owners = {f"file-T{number}": ("acme", "globex")[number // 3 % 2] for number in range(40)}

    def work(number: int) -> None:
        make(pair[owners[f"file-T{number}"]][number % 2], id=f"file-T{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    query = {"ids": ",".join(owners)}
    wanted = {name: {one for one, owner in owners.items() if owner == name} for name in SECRETS}
    end = time.monotonic() + 5
    while True:
        shown = {
            name: [{one.id for one in client.files.list(extra_query=query).data} for client in clients]
            for name, clients in pair.items()
        }
        if shown == {name: [some, some] for name, some in wanted.items()}:
            return
        assert time.monotonic() < end, shown
        time.sleep(0.05)


def test_a_response_that_one_process_streamed_goes_on_at_the_other(pair: Clients) -> None:
    for _ in pair["globex"][0].responses.create(model="m", input="x", stream=True):
        pass
    soon(lambda: pair["globex"][1].responses.create(model="m", input="y", previous_response_id="obj_1"))
    for tenant in ("acme", "open"):
        for client in pair[tenant]:
            with pytest.raises(openai.NotFoundError):
                client.responses.create(model="m", input="y", previous_response_id="obj_1")
