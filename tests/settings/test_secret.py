"""Secrets by reference: read late, read again, shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.settings.load import load
from gateway.settings.secret import Secret, SecretUnavailable


def test_a_variable_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    secret = Secret("env:KEY", environ, tmp_path)
    assert not secret.available()
    environ["KEY"] = " canary\n"
    assert secret.read() == "canary"


def test_a_file_is_read_again_when_it_changes_and_not_before(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\n")
    secret = Secret("file:key", {}, tmp_path)
    assert secret.read() == "one"
    stamp = file.stat()
    file.write_text("two\n")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert secret.read() == "one", "same size, time and file: nothing says that it changed"
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert secret.read() == "two"


def test_a_file_swapped_behind_a_link_is_read_again(tmp_path: Path) -> None:
    """As Kubernetes swaps a mounted secret."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "key"
    link.symlink_to("one")
    secret = Secret("file:key", {}, tmp_path)
    assert secret.read() == "one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert secret.read() == "two"


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"a\nb", b"\xff\xfe"])
def test_a_half_done_rotation_keeps_the_last_value(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    file.write_text("canary-value")
    secret = Secret(f"file:{file}", {}, tmp_path)
    assert secret.read() == "canary-value"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert secret.read() == "canary-value"
    with pytest.raises(SecretUnavailable) as caught:
        Secret(f"file:{file}", {}, tmp_path).read()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("reference", ["", "sk-canary", "env:", "env:sk-canary", "env:canary", "file:", "vault:canary"])
def test_a_literal_is_refused_without_being_repeated(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ValueError, match="env:NAME") as caught:
        Secret(reference, {}, tmp_path)
    assert "canary" not in str(caught.value)


def test_control_characters_cannot_reach_a_header(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="control characters") as caught:
        Secret("env:KEY", {"KEY": "canary\r\nx-evil: 1"}, tmp_path).read()
    assert "canary" not in str(caught.value)


def test_settings_show_references_and_never_values(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "key").write_text("canary")
    file = tmp_path / "config.toml"
    file.write_text(
        '[secrets]\nmaster = "env:MASTER"\n[store]\nurl = "redis://h"\npassword = "file:key"\n'
        '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\n'
    )
    settings, mistakes = load(file, {"MASTER": "canary", "KEY": "canary"})
    assert settings is not None, mistakes
    key = settings.providers["a"].api_key
    assert key is not None
    assert key.read() == "canary"
    shown = (
        repr(settings),
        str(settings),
        repr(key),
        f"{key}",
        f"{settings.provider_facts()}",
    )
    assert "env:KEY" in shown[0]
    assert not any("canary" in text for text in shown)
