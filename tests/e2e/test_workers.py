"""Several workers behind one port, as processes: what is lost when one dies, hangs or is replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import pytest

from tests.e2e.harness import KEY, MODELS, REDACTION, Gateway, Upstream, chat, config, gateway, keys
from tests.redis_server import RedisServer

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
WORKERS = 2


@contextmanager
def several(folder: Path, upstream: Upstream, redis: RedisServer) -> Iterator[Gateway]:
    settings = config(upstream.url, store=redis.url, admin=True).replace(
        "[server]\n", f"[server]\nworkers = {WORKERS}\ndrain_seconds = 10\n"
    )
    with gateway(folder, settings, {"keys.toml": keys(), "models.toml": MODELS}) as started:
        yield started


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, shared_redis: RedisServer
) -> Iterator[Gateway]:
    with several(tmp_path_factory.mktemp("workers"), upstream, shared_redis) as started:
        yield started


@pytest.fixture
def running(shared: Gateway) -> Gateway:
    """As many as there should be, whatever the test before has done to them."""
    until(lambda: len(workers(shared)) == WORKERS and metric(shared, "gateway_workers") == WORKERS)
    return shared


@pytest.fixture
def own(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> Iterator[Gateway]:
    with several(tmp_path, upstream, redis) as started:
        yield started


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def workers(running: Gateway) -> list[int]:
    """The serving processes: children of the supervisor that serve on its port."""
    task = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    found = [int(pid) for pid in task.read_text().split()]
    return [pid for pid in found if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def get(url: str, token: str | None = None, data: bytes | None = None) -> tuple[int, str]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, data=data, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metric(running: Gateway, name: str) -> float:
    """The sum over all label values."""
    text = get(f"{running.health}/metrics")[1]
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? ([\d.e+]+)$", text, re.MULTILINE))


def settled(running: Gateway) -> float:
    """The number of requests, once those of the tests before are all in it."""
    seen = -1.0
    while seen != (now := metric(running, "gateway_requests_total")):
        seen = now
        time.sleep(1.0)
    return seen


class Load:
    """Clients that ask as fast as they are answered, each with one try, over connections that they keep."""

    def __init__(self, running: Gateway, clients: int = 8) -> None:
        self.seen: Counter[str] = Counter()
        self._url = f"{running.url}/v1/chat/completions"
        self._clients = clients
        self._stop = False

    async def run(self, meanwhile: Callable[[], None]) -> Counter[str]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            asking = [asyncio.create_task(self._ask(session)) for _ in range(self._clients)]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(meanwhile)
            await asyncio.sleep(0.5)
            self._stop = True
            await asyncio.gather(*asking)
        return self.seen

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while not self._stop:
            try:
                async with session.post(self._url, data=chat("hi"), headers=HEADERS) as answer:
                    await answer.read()
                    self.seen[str(answer.status)] += 1
            except aiohttp.ClientConnectorError:
                self.seen["refused"] += 1
            except aiohttp.ClientError:
                self.seen["broken"] += 1


@pytest.mark.long
async def test_a_worker_that_is_killed_takes_only_what_it_had_in_hand(running: Gateway) -> None:
    load, ends = Load(running), metric(running, "gateway_worker_ends_total")

    def kill() -> None:
        for _ in range(2):
            victim = workers(running)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in workers(running) and len(workers(running)) == WORKERS)  # type: ignore[misc]  # a default of a lambda
            until(lambda: metric(running, "gateway_workers") == WORKERS)

    seen = await load.run(kill)
    print(dict(seen))
    assert seen["refused"] == 0
    assert seen["broken"] <= 2 * 8, "at most what eight clients had under way, twice"
    assert seen["200"] > 100
    assert set(seen) <= {"200", "broken", "refused"}
    assert metric(running, "gateway_worker_ends_total") == ends + 2


@pytest.mark.long
async def test_metrics_add_up_over_workers_dead_ones_included(running: Gateway) -> None:
    before, lines = settled(running), len(running.records())
    ends = metric(running, "gateway_worker_ends_total")
    seen = await Load(running).run(lambda: time.sleep(0.5))
    until(lambda: metric(running, "gateway_requests_total") == before + seen["200"])
    assert metric(running, "gateway_request_seconds_count") == before + seen["200"]
    os.kill(workers(running)[0], signal.SIGKILL)
    until(lambda: metric(running, "gateway_worker_ends_total") == ends + 1)
    assert metric(running, "gateway_requests_total") == before + seen["200"], "it had told all of it"
    assert metric(running, "gateway_policies_degraded") == 0
    assert len(running.records(lines + seen["200"])) == lines + seen["200"]
    assert all(line.startswith("{") and line.endswith("}") for line in running.out.all)


@pytest.mark.long
def test_one_that_hangs_is_killed_and_replaced(running: Gateway) -> None:
    victim = workers(running)[0]
    os.kill(victim, signal.SIGSTOP)
    until(lambda: victim not in workers(running) and len(workers(running)) == WORKERS)
    assert '"worker hangs"' in running.log()
    until(lambda: metric(running, "gateway_workers") == WORKERS)
    status, _ = get(f"{running.url}/v1/models", KEY)
    assert status == 200


@pytest.mark.long
async def test_a_rolling_restart_costs_nobody_anything(running: Gateway) -> None:
    before = set(workers(running))
    load = Load(running)

    async def stream(session: aiohttp.ClientSession) -> bool:
        body = chat("word " * 60, model="up/echo/gap=0.05", stream=True)
        async with session.post(f"{running.url}/v1/chat/completions", data=body, headers=HEADERS) as answer:
            text = await answer.text()
        return "[DONE]" in text

    def roll() -> None:
        running.process.send_signal(signal.SIGUSR2)
        until(lambda: '"rolled"' in running.log())

    async with aiohttp.ClientSession() as session:
        streams = [asyncio.create_task(stream(session)) for _ in range(8)]
        await asyncio.sleep(0.3)
        seen = await load.run(roll)
        finished = await asyncio.gather(*streams)
    print(dict(seen), finished)
    assert all(finished), "streams survive the drain"
    assert seen["refused"] == 0
    assert seen["broken"] == 0
    assert set(seen) == {"200"}
    until(lambda: not before & set(workers(running)))
    assert len(workers(running)) == WORKERS


@pytest.mark.long
def test_readiness_and_admin_are_of_all(running: Gateway) -> None:
    status, text = get(f"{running.health}/readyz")
    assert status == 200
    assert "workers: ok" in text
    assert "policies: ok" in text
    assert get(f"{running.health}/livez")[0] == 200
    assert get(f"{running.health}/startupz")[0] == 200
    admin = f"{running.admin}/gateway/v1/admin"
    hashes = set()
    for _ in range(2):
        assert get(f"{admin}/status", "gw-admin-all")[0] == 200
        status, body = get(f"{admin}/policies", "gw-admin-all")
        hashes.add(json.loads(body)["policy"])
        victim = min(workers(running))  # whoever serves it may go: another takes over
        os.kill(victim, signal.SIGKILL)
        until(lambda victim=victim: victim not in workers(running))  # type: ignore[misc]  # a lambda's default
    assert len(hashes) == 1


@pytest.mark.long
def test_every_worker_hears_of_a_reload(running: Gateway) -> None:
    (running.folder / "policies" / "models.toml").write_text(MODELS + '[models.new]\nprovider = "up"\nmodel = "echo"\n')
    running.process.send_signal(signal.SIGHUP)
    until(lambda: metric(running, "gateway_policies_reloads") >= 1)
    (running.folder / "policies" / "keys.toml").write_text(
        keys('labels = { a = "b" }').replace('"echo"]', '"echo", "new"]')
    )
    assert get(f"{running.admin}/gateway/v1/admin/reload", "gw-admin-all", b"")[0] == 200

    def models() -> set[bool]:
        return {"new" in get(f"{running.url}/v1/models", KEY)[1] for _ in range(12)}

    until(lambda: models() == {True})


def test_the_end_is_everybodys_and_clean(own: Gateway) -> None:
    running, pids = own, workers(own)
    assert len(pids) == WORKERS
    assert running.stop(30) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert '"worker lost"' not in running.log()


@pytest.mark.long
def test_the_log_is_json_also_when_a_worker_that_searches_is_killed(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    settings = config(upstream.url, store=redis.url).replace("[server]\n", f"[server]\nworkers = {WORKERS}\n")
    policies = {"keys.toml": keys('redaction = "strict"'), "models.toml": MODELS, "redaction.toml": REDACTION}
    with gateway(tmp_path, settings, policies) as running:
        until(lambda: get(f"{running.health}/readyz")[0] == 200)
        victim = min(workers(running))
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in workers(running) and len(workers(running)) == WORKERS)
        until(lambda: metric(running, "gateway_workers") == WORKERS)
        assert running.stop() == 0  # and whoever holds its standard error has ended
        assert "worker lost" in running.log()
        assert [line for line in running.err.all if not line.startswith("{")] == []


@pytest.mark.long
def test_nobody_holds_the_port_when_the_supervisor_is_killed(own: Gateway) -> None:
    running, pids = own, workers(own)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(10)
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{running.url}/v1/models", timeout=2)


@pytest.mark.long
def test_workers_that_cannot_start_are_not_tried_for_ever(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    settings = config(upstream.url, store=redis.url).replace("[server]\n", "[server]\nworkers = 2\n")
    policies = {"keys.toml": "[keys.app]\nnonsense = 1\n", "models.toml": MODELS}
    with gateway(tmp_path, settings, policies, ready=False) as running:
        assert running.process.wait(30) == 1
        running.err.join()
        assert "keys.toml:2" in running.log()
        assert running.log().count('"worker started"') == 1
