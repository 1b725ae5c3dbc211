"""The wheel, built as the image builds it, holds what runs: code, scripts for the store, and the shipped policies."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_it_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    code = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    policies = {f"gateway/_policies/{path.name}" for path in (ROOT / "policies").iterdir()}
    assert {one for one in names(wheel) if ".dist-info/" not in one} == code | policies
    assert any(one.endswith(".lua") for one in code)


def test_it_says_what_it_is(wheel: Path) -> None:
    info = f"llm_gateway-{gateway.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        metadata = email.message_from_bytes(opened.read(f"{info}/METADATA"))
        commands = opened.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == gateway.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in names(wheel)
    assert "gateway = gateway.cli:main" in commands


def test_it_runs_away_from_the_tree(wheel: Path, tmp_path: Path) -> None:
    """Without a settings file the shipped policies are those inside the package."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import gateway.cli; gateway.cli.main()", "check"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well" in done.stdout
