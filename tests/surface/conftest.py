"""A recording upstream as a process, and a gateway before it that lets everything through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Gateway, Lines, config, environment, gateway, keys

POLICIES = {
    "keys.toml": keys('provider = "up"\nendpoints = ["*"]').replace('["up/*"', '["*", "up/*"'),
    "models.toml": '[models."*"]\nprovider = "up"\n',
}


@pytest.fixture(scope="session")
def recorder() -> Iterator[str]:
    """Its address."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("recorder.py"))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    lines = Lines(process.stdout)
    try:
        yield lines.wait_for("listening on ").rpartition(" ")[2]
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory, recorder: str) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("surface"), config(recorder), POLICIES) as running:
        yield running
