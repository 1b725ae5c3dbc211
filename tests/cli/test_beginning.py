"""`gateway serve` has its settings checked and its policies read by a process that ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gateway.cli.beginning import Beginning
from tests.settings.test_crossing import TEXT


def begun(folder: Path, text: str, *, worker: bool = False) -> Beginning:
    (folder / "policies").mkdir()
    (folder / "policies" / "models.toml").write_text('[models.m]\nprovider = "echo"\n')
    (folder / "config.toml").write_text(text)
    return Beginning(folder / "config.toml", worker=worker)


def test_settings_come_first_and_policies_behind_them(tmp_path: Path) -> None:
    beginning = begun(tmp_path, "[server]\nport = 4711\n")
    assert beginning.settings().server.port == 4711
    policy = beginning.policies.finish().policy
    assert policy is not None
    assert [*policy.models] == ["m"]


@pytest.mark.parametrize("worker", [False, True])
def test_a_supervisor_reads_no_policies_and_its_workers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, worker: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    beginning = begun(tmp_path, '[server]\nworkers = 2\n[store]\nurl = "redis://h"\n', worker=worker)
    assert beginning.settings().server.workers == 2
    assert bool(beginning.policies.frame()) is worker
    beginning.policies.give_up()


def test_every_mistake_is_said_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beginning = begun(tmp_path, TEXT.replace("port = 0", "port = 70000") + "[log]\nlevl = 1\n")
    with pytest.raises(SystemExit) as caught:
        beginning.settings()
    beginning.policies.give_up()
    said = capsys.readouterr().err.replace(str(tmp_path), "HERE").splitlines()
    assert caught.value.code == 1
    assert said[0] == "HERE/config.toml:3: server.port is 70000; an integer from 0 to 65535"
    assert said[-1] == "HERE/config.toml:31: unknown key 'levl' in [log], did you mean 'level'?; level, format"


def test_a_process_that_is_killed_leaves_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "config.toml")  # whoever reads it waits for ever
    beginning = Beginning(tmp_path / "config.toml", worker=False)
    os.kill(beginning.policies.pid, signal.SIGKILL)
    with pytest.raises(SystemExit):
        beginning.settings()
    beginning.policies.give_up()
    assert capsys.readouterr().err == (
        f"{tmp_path}/config.toml: cannot be compiled: the process that reads them was ended by signal 9; "
        "memory and time enough for it\n"
    )
