"""A gateway in front of an upstream of another process, for tests that need no settings of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import MODELS, REDACTION, Gateway, Upstream, config, echo_upstream, gateway, keys
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with echo_upstream(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    """Redaction on, no limits."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    policies = {
        "keys.toml": keys('redaction = "strict"\nendpoints = ["inference"]')
        + keys(
            'provider = "up"\nendpoints = ["inference", "files", "batches"]',
            secret="gw-open-key-0123456789",
            name="open",
        ),
        "models.toml": MODELS,
        "redaction.toml": REDACTION,
    }
    with gateway(folder, config(upstream.url), policies) as running:
        yield running


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    return redis.url
