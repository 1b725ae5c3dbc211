"""The analysis worker of a running gateway is killed, stopped, or given a text that it does not get done with: closed
or open as the profile says, and one record for each request says what was not covered; the next one is analysed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, keys

OPEN_KEY = "gw-key-of-the-open-profile-0123456789"
PERSONAL = "ada@example.com"
HANGS = " ".join(f"+1 212 555 {number % 10_000:04}" for number in range(60_000))  # half a minute's work at least
DEADLINE = 4
PROFILE = """
[redaction.{name}]
entities = ["EMAIL_ADDRESS", "PHONE_NUMBER"]
deadline = 4
on_error = "{on_error}"
"""
CLOSED, OPENED = "closed", "opened"


@dataclass
class Ended:
    status: int
    error: str | None
    record: dict[str, Any]
    sent: str | None  # the body that the upstream got

    @property
    def failed(self) -> str | None:
        return self.record.get("gateway.redaction.failed")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    policies = {
        "keys.toml": keys('redaction = "closed"') + keys('redaction = "opened"', secret=OPEN_KEY, name="open"),
        "models.toml": MODELS,
        "redaction.toml": PROFILE.format(name=CLOSED, on_error="deny") + PROFILE.format(name=OPENED, on_error="allow"),
    }
    with gateway(tmp_path_factory.mktemp("guarded"), config(upstream.url), policies) as running:
        yield running


def ask(running: Gateway, upstream: Upstream, text: str, key: str) -> Ended:
    """One request, of a text like no other; and what the upstream saw of it."""
    mark = f"mark-{time.monotonic_ns()}"
    request = Request(
        f"{running.url}/v1/chat/completions", data=chat(f"{mark} {text} {PERSONAL}"),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )  # fmt: skip
    try:
        with urlopen(request, timeout=30) as answer:
            status, request_id, error = answer.status, answer.headers["x-request-id"], None
    except HTTPError as failure:
        with failure:
            status, request_id = failure.code, failure.headers["x-request-id"]
            error = json.load(failure)["error"]["code"]
    record = running.record_of(request_id)
    sent = [one["body"] for one in upstream.seen() if mark in one["body"]]
    assert len(sent) <= 1
    return Ended(status, error, record, sent[0] if sent else None)


def both(running: Gateway, upstream: Upstream, text: str, act: Callable[[], None] = lambda: None) -> list[Ended]:
    """The same of both profiles, at the same time; `act` comes a moment later."""
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, running, upstream, text, key) for key in (KEY, OPEN_KEY)]
        act()
        return [one.result() for one in asked]


def workers(running: Gateway) -> list[int]:
    """The analysis workers' process ids."""
    found = []
    for path in Path(f"/proc/{running.process.pid}/task").glob("*/children"):
        for pid in path.read_text().split():
            if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(int(pid))
    return found


def the_worker(running: Gateway, *, other: int = 0) -> int:
    """The only one, once it is there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pids = workers(running)
        if len(pids) == 1 and pids[0] != other:
            return pids[0]
        time.sleep(0.05)
    raise AssertionError(f"no worker: {running.log()}")


def busy(pid: int) -> None:
    """Wait until the process has computed for a fifth of a second."""

    def computed() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, end = computed(), time.monotonic() + 10
    while computed() - before < 0.2:
        assert time.monotonic() < end, "it does nothing"
        time.sleep(0.02)


def is_closed(one: Ended, why: str) -> None:
    assert (one.status, one.error) == (503, "redaction_unavailable")
    assert one.sent is None, "the upstream got nothing"
    assert why in str(one.failed)
    assert one.record["gateway.redaction.profile"] == CLOSED
    assert one.record["gateway.charged.tokens"] == 0
    assert PERSONAL not in json.dumps(one.record)


def is_open(one: Ended, why: str) -> None:
    assert (one.status, one.error) == (200, None), one.record.get("gateway.failure")
    assert one.sent is not None
    assert PERSONAL in one.sent, "as the profile says"
    assert why in str(one.failed)
    assert one.record["gateway.redaction.profile"] == OPENED
    assert PERSONAL not in json.dumps(one.record)


def works_again(running: Gateway, upstream: Upstream, *, other: int) -> None:
    """The next request is analysed, by another worker."""
    end = time.monotonic() + 30
    for key in (KEY, OPEN_KEY):
        while (one := ask(running, upstream, "again", key)).failed is not None:
            assert time.monotonic() < end, one
        assert one.status == 200
        assert one.sent is not None
        assert PERSONAL not in one.sent
        assert one.record["gateway.redaction.spans"] == {"EMAIL_ADDRESS": 1}
    assert the_worker(running) != other


@pytest.mark.long  # 6 s
def test_a_worker_that_is_killed_at_its_work(guarded: Gateway, upstream: Upstream) -> None:
    for key, check in ((KEY, is_closed), (OPEN_KEY, is_open)):
        worker = the_worker(guarded)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, guarded, upstream, HANGS, key)
            busy(worker)
            os.kill(worker, signal.SIGKILL)
            check(asked.result(), "the worker ended with code -9")
        works_again(guarded, upstream, other=worker)


def test_a_worker_that_is_killed_while_it_waits_costs_a_moment(guarded: Gateway, upstream: Upstream) -> None:
    worker = the_worker(guarded)
    os.kill(worker, signal.SIGKILL)
    works_again(guarded, upstream, other=worker)


@pytest.mark.long  # 5 s
def test_a_worker_that_is_stopped(guarded: Gateway, upstream: Upstream) -> None:
    worker = the_worker(guarded)
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()
    closed, opened = both(guarded, upstream, "stopped")
    is_closed(closed, "no answer within 4 s")
    is_open(opened, "no answer within 4 s")
    assert time.monotonic() - began < 10 + DEADLINE, "a client does not wait for ever"
    works_again(guarded, upstream, other=worker)


@pytest.mark.long  # 9 s
def test_a_text_that_a_worker_does_not_get_done_with(guarded: Gateway, upstream: Upstream) -> None:
    worker = the_worker(guarded)
    closed, opened = both(guarded, upstream, HANGS)
    is_closed(closed, "no answer within 4 s")
    is_open(opened, "no answer within 4 s")
    works_again(guarded, upstream, other=worker)
