"""Redis killed, restarted, slow; the gateway killed with -9."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, keys
from tests.redis_server import RedisServer

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
BUDGET = "budget = { tokens_per_day = 100_000 }\nlimits = { concurrent_requests = 50 }"


def ask(running: Gateway, model: str = "plain", timeout: float = 10.0) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{running.url}/v1/chat/completions", chat("hello", model=model), HEADERS)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def remaining(running: Gateway) -> dict[str, int] | None:
    request = urllib.request.Request(f"{running.url}/gateway/v1/key", headers=HEADERS)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return {limit["limit"]: limit["remaining"] for limit in json.load(answer)["limits"]}
    except urllib.error.HTTPError as error:
        error.close()
        return None


def ready(running: Gateway) -> bool:
    with urllib.request.urlopen(f"{running.health}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)


def until(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def policies(body: str = BUDGET) -> dict[str, str]:
    return {"keys.toml": keys(body), "models.toml": MODELS}


CLOSED = '[store.on_failure]\nmode = "closed"\n'
BOUNDED = '[store.on_failure]\nmode = "bounded"\nfraction = 0.5\nseconds = 60\n'


def test_closed_refuses_while_redis_is_away_and_recovers(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    with gateway(tmp_path, config(upstream.url, store=own_redis.url, extra=CLOSED), policies()) as running:
        assert ask(running)[0] == 200
        before = len(upstream.seen())
        own_redis.stop()
        status, headers, body = ask(running)
        assert status == 503
        assert json.loads(body)["error"]["code"] == "limits_unavailable"
        assert int(headers["retry-after"]) >= 1
        until(lambda: ask(running)[0] == 503)
        assert len(upstream.seen()) == before, "nothing was sent that could not be counted"
        with pytest.raises(urllib.error.HTTPError) as unready:
            for _ in range(20):
                ask(running)
                urllib.request.urlopen(f"{running.health}/readyz", timeout=5).close()
        with unready.value as answer:
            assert b"store" in answer.read()
        own_redis.start()
        until(lambda: ask(running)[0] == 200)
        until(lambda: ready(running))
        records = running.records(3)
        assert len({record["gateway.request_id"] for record in records}) == len(records)


def readiness(running: Gateway) -> tuple[int, str]:
    """The status of /readyz and its line about the store."""
    try:
        with urllib.request.urlopen(f"{running.health}/readyz", timeout=5) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, next(line for line in text.splitlines() if line.startswith("store: "))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_readiness_and_the_log_say_in_words_what_becomes_of_the_store(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer, workers: int
) -> None:
    settings = config(upstream.url, store=own_redis.url, extra=BOUNDED.replace("= 60", "= 3"))
    settings = settings.replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with gateway(tmp_path, settings, policies()) as running:
        assert readiness(running) == (200, "store: ok")
        until(lambda: f"gateway_store_processes {workers}.0\n" in metrics(running))  # each of them sees all
        own_redis.stop()  # nobody asks: it is noticed all the same
        seen = dict[str, int]()

        def look() -> bool:
            status, line = readiness(running)
            seen[line.partition(" s more")[0].rstrip("0123456789")] = status
            return "used up" in line

        until(look)
        assert seen["store: away, bounded for "] == 200
        until(lambda: readiness(running)[0] == 503)
        line = "store: away, bounded allowance used up: requests that have limits are refused with 503"
        assert readiness(running) == (503, line)
        assert ask(running)[0] == 503
        own_redis.start()
        until(lambda: readiness(running) == (200, "store: ok"))
        until(lambda: ask(running)[0] == 200)
        log = [json.loads(one) for one in list(running.err.all)]
        for event in ("store away", "store away: bounded allowance used up", "store back"):
            told = [one["pid"] for one in log if one["event"] == event]
            assert len(told) == len(set(told)) == workers, (event, running.log())


def test_bounded_goes_on_within_its_share_and_settles_later(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    with gateway(tmp_path, config(upstream.url, store=own_redis.url, extra=BOUNDED), policies()) as running:
        assert ask(running)[0] == 200
        until(lambda: (remaining(running) or {}).get("concurrent_requests") == 50)
        own_redis.pause()  # alive and silent: slow is worse than dead
        try:
            statuses = [ask(running)[0] for _ in range(5)]
        finally:
            own_redis.resume()
        assert statuses == [200] * 5
        until(lambda: (remaining(running) or {}).get("concurrent_requests") == 50)
        records = running.records(6, endpoint="chat")
        assert [record.get("gateway.store") for record in records].count("local") >= 1
        charged = sum(record["gateway.charged.tokens"] for record in records)
        until(lambda: (remaining(running) or {}).get("tokens_per_day") == 100_000 - charged)


def test_bounded_is_divided_by_the_gateways_that_are_there(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    settings = config(upstream.url, store=own_redis.url, extra=BOUNDED)
    body = policies("limits = { requests_per_minute = 40 }")
    with gateway(tmp_path / "one", settings, body) as one, gateway(tmp_path / "two", settings, body) as two:
        for running in (one, two):
            until(lambda running=running: "gateway_store_processes 2.0" in metrics(running))
        own_redis.pause()
        try:
            passed = [[ask(running)[0] for _ in range(15)].count(200) for running in (one, two)]
        finally:
            own_redis.resume()
    assert passed == [10, 10], "half of 40 a minute, shared by two"


def metrics(running: Gateway) -> str:
    with urllib.request.urlopen(f"{running.health}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_a_gateway_that_is_killed_is_settled_by_the_next(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    settings = config(upstream.url, store=own_redis.url)
    with gateway(tmp_path / "one", settings, policies()) as running:
        for _ in range(3):
            assert ask(running)[0] == 200
        until(lambda: (remaining(running) or {}).get("concurrent_requests") == 50)
        before = remaining(running)
        assert before is not None

        async def hang() -> None:
            await asyncio.gather(*(asyncio.to_thread(_ignore, running) for _ in range(4)))

        def _ignore(target: Gateway) -> None:
            with contextlib.suppress(OSError):
                ask(target, "up/echo/slow")

        async def kill() -> None:
            task = asyncio.create_task(hang())
            await asyncio.sleep(0.5)
            during = await asyncio.to_thread(remaining, running)
            assert during is not None
            assert during["concurrent_requests"] == 46
            running.kill()
            await task

        asyncio.run(kill())
    # The dead one's leases are still open, and count; time makes them expire. (60 s here: the clock is Redis' own.)
    with gateway(tmp_path / "two", settings, policies()) as running:
        held = remaining(running)
        assert held is not None
        assert held["concurrent_requests"] == 46
        reserved = before["tokens_per_day"] - held["tokens_per_day"]
        assert reserved > 0
        assert ask(running)[0] == 200, "what is left may be used"


@pytest.mark.long
@pytest.mark.timeout(180)
def test_what_a_killed_gateway_held_is_charged_as_reserved(
    tmp_path: Path, upstream: Upstream, own_redis: RedisServer
) -> None:
    settings = config(upstream.url, store=own_redis.url)
    with gateway(tmp_path / "one", settings, policies()) as running:
        ask(running)
        until(lambda: (remaining(running) or {}).get("concurrent_requests") == 50)

        async def kill() -> None:
            task = asyncio.create_task(asyncio.to_thread(_quietly, running))
            await asyncio.sleep(0.5)
            running.kill()
            await task

        def _quietly(target: Gateway) -> None:
            with contextlib.suppress(OSError):
                ask(target, "up/echo/slow")

        asyncio.run(kill())
    with gateway(tmp_path / "two", settings, policies()) as running:
        held = remaining(running)
        assert held is not None
        assert held["concurrent_requests"] == 49
        until(lambda: (remaining(running) or {}).get("concurrent_requests") == 50, 90)
        after = remaining(running)
        assert after is not None
        assert after["tokens_per_day"] == held["tokens_per_day"], "charged as reserved: no more and no less"
