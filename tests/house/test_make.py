"""The Makefile and its tools: what `make help` says is what there is."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PHONY = re.findall(r"^\.PHONY: ([a-z-]+)$", MAKEFILE, re.MULTILINE)
PROMISED = {
    "help", "run", "test", "test-plain", "test-long", "ci-tools", "bench", "bench-smoke", "lock", "fmt", "check",
    "package", "clean",
}  # fmt: skip


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # What an outer make hands down would change what this one does.
    environ = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def test_help_lists_every_target_once() -> None:
    listed = re.findall(r"^  make ([a-z-]+) +\S", make("help").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(PHONY)
    assert set(listed) >= PROMISED


def test_help_is_what_make_alone_says() -> None:
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize("target", PHONY)
def test_every_target_can_be_planned(target: str) -> None:
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stderr


def test_run_serves_the_example() -> None:
    assert "gateway serve --config config.example.toml" in make("--dry-run", "run").stdout


def test_continuous_integration_is_one_command() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & stat.S_IXUSR
    assert "export CI=1\nexec make ci-tools test test-plain test-long bench-smoke\n" in run.read_text("utf-8")


def find_python(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", ROOT / "tools" / "find-python", *arguments],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def pretend(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    pretend(tmp_path, "python3.11", "exit 127")
    pretend(tmp_path, "python3.12", f'exec "{sys.executable}" "$@"')
    assert Path(find_python(path=str(tmp_path)).stdout.strip()).samefile(sys.executable)


def test_no_python_that_fits_is_said_with_what_was_tried(tmp_path: Path) -> None:
    answers = "*implementation*) exit 1;; *ensurepip) exit 0;; *) echo /old/python3 3.9;;"
    pretend(tmp_path, "python3", f'case "$2" in {answers} esac')
    done = find_python(path=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs CPython 3.11 to 3.14" in done.stderr
    assert re.search(r"python3\.11 +not on PATH", done.stderr)
    assert re.search(r"python3 +/old/python3 3\.9\n", done.stderr)
    assert "PYTHON=" in done.stderr


def test_a_named_python_is_taken_or_refused_never_replaced(tmp_path: Path) -> None:
    pretend(tmp_path, "python3.11", f'exec "{sys.executable}" "$@"')
    pretend(tmp_path, "mine", "exit 1")
    assert find_python("mine", path=str(tmp_path)).returncode == 1
    assert find_python("python3.11", path=str(tmp_path)).returncode == 0


def install_debian(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = (ROOT / "tools" / "install-debian").read_text("utf-8").replace("PATH=$PATH:/usr/sbin:/sbin\n", "")
    return subprocess.run(
        ["/bin/sh", "-c", tool], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_nothing_is_installed_where_all_is_there(tmp_path: Path) -> None:
    for name in ("nginx", "redis-server", "wrk", "node", "npm"):
        pretend(tmp_path, name, "exit 0")
    pretend(tmp_path, "apt-get", "exit 9")
    done = install_debian(tmp_path)
    assert done.returncode == 0
    assert "All tools are there" in done.stdout


def test_without_root_the_command_to_run_is_said(tmp_path: Path) -> None:
    for name in ("wrk", "node", "npm"):
        pretend(tmp_path, name, "exit 0")
    pretend(tmp_path, "apt-get", "exit 9")
    pretend(tmp_path, "id", "echo 1000")
    done = install_debian(tmp_path)
    assert done.returncode == 1
    assert "sudo apt-get install --no-install-recommends nginx-light redis-server" in done.stderr


def test_root_installs_what_is_missing_and_no_more(tmp_path: Path) -> None:
    for name in ("wrk", "node", "npm"):
        pretend(tmp_path, name, "exit 0")
    pretend(tmp_path, "redis-server", "exit 0")
    pretend(tmp_path, "id", "echo 0")
    pretend(tmp_path, "env", 'while [ "${1#*=}" != "$1" ]; do shift; done; echo "$@"')
    pretend(tmp_path, "apt-get", "exit 9")
    assert install_debian(tmp_path).stdout.splitlines() == [
        "apt-get update -q",
        "apt-get install -q -y --no-install-recommends nginx-light",
    ]
