"""`gateway keys new`: a secret once, and TOML that means it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.cli.keys import quoted, stanza
from gateway.identity.secrets import digest_of, parse_hash
from gateway.settings.load import load


def made(*arguments: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The secret, the stanza and the rotation that are printed."""
    result = CliRunner().invoke(main, ["keys", "new", *arguments])
    assert result.exit_code == 0, result.output
    secrets = re.findall(r"gw-[A-Za-z0-9_-]{43}", result.output)
    assert len(secrets) == 1, "the secret is shown once"
    new = re.search(r"^\[keys\..*?(?=^Or )", result.output, re.MULTILINE | re.DOTALL)
    rotation = re.search(r"^secrets = \[.*", result.output, re.MULTILINE | re.DOTALL)
    assert new is not None
    assert rotation is not None
    return secrets[0], tomllib.loads(new[0]), tomllib.loads(rotation[0])


def test_the_stanza_holds_the_hash_and_not_the_secret() -> None:
    secret, new, rotation = made("support-bot", "--team", "support", "--expires", "2999-01-01")
    key = new["keys"]["support-bot"]
    assert parse_hash(key["hash"]) == digest_of(secret)
    assert key["team"] == "support"
    assert key["expires"].isoformat() == "2999-01-01T00:00:00+00:00"
    assert re.fullmatch(r"k_[0-9a-f]{12}", key["id"])
    assert key["models"] == []
    _, second = rotation["secrets"]
    assert second["hash"] == key["hash"]
    assert second["expires"] == key["expires"]


def test_no_two_keys_are_alike() -> None:
    first, one, _ = made("a")
    second, other, _ = made("a")
    assert first != second
    assert one != other


@given(st.text(min_size=1).filter(lambda name: name.isprintable() and bool(name.strip())))
def test_any_printable_name_makes_valid_toml(name: str) -> None:
    text = stanza(name, "k_1", "sha256:0", name, None)
    assert tomllib.loads(text)["keys"] == {name: {"id": "k_1", "hash": "sha256:0", "team": name, "models": []}}
    assert tomllib.loads(f"{quoted(name)} = 1") == {name: 1}


@pytest.mark.parametrize("role", [None, "read", "all"])
def test_an_admin_token_is_one_that_the_settings_take(tmp_path: Path, role: str | None) -> None:
    result = CliRunner().invoke(main, ["keys", "new", "--admin", "on call", *(("--role", role) if role else ())])
    assert result.exit_code == 0, result.output
    (secret,) = re.findall(r"gw-[A-Za-z0-9_-]{43}", result.output)
    assert "keys.toml" not in result.output
    stanza = result.output[result.output.index("[admin.") :]
    (tmp_path / "policies").mkdir()
    (tmp_path / "config.toml").write_text(f"[admin]\nenabled = true\n{stanza}")
    settings, mistakes = load(tmp_path / "config.toml", {})
    assert settings is not None, mistakes
    (token,) = settings.admin.credentials()
    assert (token.name, token.role) == ("on call", role or "read")
    assert settings.admin.tokens["on call"].hash == digest_of(secret)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--admin", "a", "--team", "t"], "has no team"),
        (["--admin", "a", "--expires", "2999-01-01"], "does not expire"),
        (["--admin", "a", "--role", "god"], "is not one of 'read'"),
        (["a", "--role", "read"], "--role is for admin tokens"),
        (["a", "--expires", "soon"], "not a date or a time such as 2027-01-01"),
        (["a", "--expires", "2001-01-01"], "lies in the past"),
        ([" "], "printable characters"),
        (["a\nb"], "printable characters"),
        (["a", "--team", "\x1b[1m"], "printable characters"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["keys", "new", *arguments])
    assert result.exit_code == 2
    assert says in result.output
    assert "gw-" not in result.output
