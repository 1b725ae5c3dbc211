"""`gateway redact`: a text of one's own, as a profile lets it leave."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main

PROFILES = """\
[redaction.strict]
entities = ["EMAIL_ADDRESS", "PHONE_NUMBER", "SECRET"]
actions = { SECRET = "block", PHONE_NUMBER = "mask" }
[redaction.names]
entities = ["PERSON"]
presidio = "/nowhere/presidio.yaml"
"""
TEXT = "Hello,\nwrite to ada@example.com\nor call +49 30 1234567. ÄÖ\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "redaction.toml").write_text(PROFILES)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "own.txt").write_text(TEXT)
    return tmp_path


def run(folder: Path, *arguments: str, given: bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["redact", "--config", str(folder / "config.toml"), *arguments], input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_text_as_it_would_leave_and_the_spans(folder: Path) -> None:
    code, out, err = run(folder, str(folder / "own.txt"))
    assert code == 0
    assert re.fullmatch(r"Hello,\nwrite to <EMAIL_ADDRESS_[0-9a-f]{8}>\nor call \*{14}\. ÄÖ\n", out), (
        "e-mail replaced, phone masked"
    )
    assert err == (
        "2:10 EMAIL_ADDRESS 1 replace, 15 characters\n3:9 PHONE_NUMBER 0.75 mask, 14 characters\n"
        "Profile strict: 1 EMAIL_ADDRESS, 1 PHONE_NUMBER.\n"
    )
    assert "ada@" not in out + err


def test_as_json_from_standard_input(folder: Path) -> None:
    code, out, _ = run(folder, "--json", "-", given=b"api_key = abcdef0123456789")
    assert code == 0
    said = json.loads(out)
    assert said["profile"] == "strict"
    assert [(one["start"], one["end"], one["entity"], one["action"]) for one in said["spans"]] == [
        (10, 26, "SECRET", "block")
    ]


def test_what_would_be_refused_is_said(folder: Path) -> None:
    _, _, err = run(folder, "-", given=b"api_key = abcdef0123456789")
    assert err.endswith("A request with this text would be refused: SECRET.\n")


@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        (["nowhere.txt"], None, "nowhere.txt: No such file"),
        (["-"], b"\xff", "is not UTF-8 (byte 0)"),
        (["-", "--profile", "strct"], b"x", "no redaction profile 'strct'; there are: names, strict"),
        (["-", "--profile", "names"], b"x", "/nowhere/presidio.yaml: No such file or directory"),
    ],
)
def test_mistakes_are_said(folder: Path, arguments: list[str], given: bytes | None, says: str) -> None:
    code, out, err = run(folder, *arguments, given=given)
    assert (code, out) == (1, "")
    assert says in err


def test_a_mistake_elsewhere_is_said_and_changes_nothing(folder: Path) -> None:
    (folder / "policies" / "keys.toml").write_text('[keys.bot]\nhash = "sha256:0"\nteam = "nobody"\n')
    (folder / "config.toml").write_text("[server]\nport = 1.5\n")
    code, out, err = run(folder, "-", given=b"to ada@example.com")
    assert code == 0
    assert re.fullmatch(r"to <EMAIL_ADDRESS_[0-9a-f]{8}>\n?", out)
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [re.sub(r".*/|: .*", "", line.removeprefix("warning: ")) for line in warnings] == [
        "config.toml:2", "keys.toml:2", "keys.toml:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        'action = "hide"',  # wrong by itself
        "scores = { IBAN_CODE = 0.5 }",  # at odds with itself
        '[redaction.x]\nentities = ["SECRET"]\n[redaction."y"]\nentities = []',  # another profile
    ],
)
def test_a_profile_with_a_mistake_of_its_own_is_not_used(folder: Path, more: str) -> None:
    (folder / "policies" / "redaction.toml").write_text(f'[redaction.strict]\nentities = ["EMAIL_ADDRESS"]\n{more}\n')
    code, out, err = run(folder, "-", given=b"to ada@example.com")
    assert "warning: " in err
    if "redaction.x" in more:
        assert code == 0
    else:
        assert (code, out) == (1, "")
        assert "the redaction profile 'strict' has mistakes, see above" in err


def test_a_profile_that_stands_in_two_files_is_not_used(folder: Path) -> None:
    (folder / "policies" / "other.toml").write_text('[redaction.strict]\nentities = ["SECRET"]\n')
    code, _, err = run(folder, "-", given=b"x")
    assert code == 1
    assert "stands also in" in err
    assert "'strict' has mistakes" in err


def test_with_the_policies_that_are_shipped(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("card 4111 1111 1111 1111\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "redact", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"card <CREDIT_CARD_[0-9a-f]{8}>\n", done.stdout)
