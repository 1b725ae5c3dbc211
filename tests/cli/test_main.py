"""The command line as a whole: help, version, exit codes, and that it starts at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

import gateway
from gateway.cli import COMMANDS, main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_version() -> None:
    assert run("--version") == (0, f"gateway {gateway.__version__}\n")


def test_help_lists_every_command_and_imports_none() -> None:
    """As a process of its own, since this one has imported everything by now."""
    program = (
        "import sys\n"
        "from gateway.cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted(name.partition('.')[0] for name in sys.modules if '.' not in name))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)
    for heavy in ("aiohttp", "pydantic", "redis", "presidio_analyzer", "tree_sitter", "asyncio"):
        assert f"'{heavy}'" not in done.stdout


def test_every_command_of_the_table_is_there() -> None:
    for module, _, _ in COMMANDS.values():
        assert find_spec(module) is not None, module


@pytest.mark.parametrize("command", ["check", "keys", "explain", "doctor", "redact"])
def test_the_line_in_the_list_is_what_the_command_says_of_itself(command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    first = COMMANDS[command][2].split(" ")[0]
    assert f"  {first} " in output


def test_no_help_shows_the_environment() -> None:
    environ = {"GATEWAY_STORE__PASSWORD": "canary", "OPENAI_API_KEY": "canary", "GATEWAY_SERVER__PORT": "canary"}
    for arguments in (["--help"], *([name, "--help"] for name in ("check", "keys", "explain", "doctor", "redact"))):
        result = CliRunner().invoke(main, arguments, env=environ)
        assert result.exit_code == 0
        assert "canary" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [["chek"], ["keys"], ["keys", "new"], ["check", "--confg", "x"], ["explain"], ["explain", "--key", "a"],
     ["explain", "1a2b3c4d5e6f.1", "--key", "a", "--model", "b"]],
)  # fmt: skip
def test_called_wrongly_is_exit_code_2_and_usage(arguments: list[str]) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert "Usage: " in output
    assert "Traceback" not in output


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    """Mistakes of a user are lines and an exit code, never a traceback."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "config.toml").write_text('[server]\nprot = 1\n[store]\nurl = "redis://u:canary@h"\n')
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--config", "config.toml"],
        capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(gateway.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.startswith("config.toml:2: unknown key 'prot' in [server], did you mean 'port'?; host, port, ")
    assert "config.toml:4: store.url holds a password; " in done.stdout
    assert "canary" not in done.stdout


def test_the_settings_file_by_variable_and_above_it_by_option(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(f"{name} = 1\n")
    environ = {"GATEWAY_CONFIG": str(tmp_path / "one.toml")}
    assert "one.toml:1: unknown table or key 'one'" in CliRunner().invoke(main, ["check"], env=environ).output
    by_option = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "two.toml")], env=environ).output
    assert "two.toml:1: unknown table or key 'two'" in by_option
    assert "one.toml" not in by_option
