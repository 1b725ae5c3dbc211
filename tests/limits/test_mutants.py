"""The tests of both stores can fail: every mutant of scripts and ledger is noticed, and the controls hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import mutants


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda one: f"{one.file}: {one.name}")
def test_every_mutant_has_its_place(mutant: mutants.Mutant) -> None:
    source = (Path(mutants.ROOT) / "gateway" / "limits" / mutant.file).read_text("utf-8")
    assert source.count(mutant.text) == 1


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_every_mutant_is_noticed_and_the_controls_hold() -> None:
    script = Path(__file__).parent / "mutants.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nkilled") == len(mutants.MUTANTS)
