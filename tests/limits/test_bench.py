"""`python -m bench store` measures, and both sides do the same work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server: not on PATH")
def test_the_bench_of_the_store_prints_both_sides() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "store", "--rounds", "1", "--pairs", "60"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) \([\d.]+\) \| ([\d.]+) \([\d.]+\) \| [\d.]+ × \|$", done.stdout, re.MULTILINE
    )
    assert [callers for callers, *_ in rows] == ["1", "16", "64"]
    assert all(float(cost) > 0 for _, *costs in rows for cost in costs)
