"""Settings cross a process whole, and without the values of secrets."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from gateway.settings.crossing import Checked, packed, unpacked
from gateway.settings.load import load
from gateway.toml import Mistake

TEXT = """
[server]
port = 0
max_body_bytes = 2048
[admin]
enabled = true
[admin.tokens.ci]
hash = "sha256:00f0c8e1a8a6d8d5f1c8b5a1e7f5d8c1b2a3948576655443322110ffeeddccbb"
role = "read"
[secrets]
master = "file:master"
[store]
url = "redis://h"
password = "env:STORE"
on_failure = { mode = "closed" }
[providers.a]
kind = "openai"
speaks = ["messages"]
labels = { region = "eu" }
[[providers.a.credentials]]
name = "one"
api_key = "env:KEY"
tenants = ["acme"]
weight = 3
[providers.b]
kind = "bedrock"
region = "us-east-1"
access_key_id = "env:ID"
api_key = "env:KEY"
"""
ENVIRON = {"STORE": "canary-store", "KEY": "canary-key", "ID": "canary-id"}


def checked(folder: Path) -> Checked:
    (folder / "policies").mkdir()
    (folder / "master").write_text("canary-master")
    (folder / "config.toml").write_text(TEXT)
    settings, mistakes = load(folder / "config.toml", ENVIRON)
    assert mistakes == []
    return Checked(settings)


def test_they_are_the_same_on_the_other_side(tmp_path: Path) -> None:
    here = checked(tmp_path)
    there = unpacked(packed(here, ENVIRON), dict(ENVIRON))
    assert there == here
    assert there.settings is not None
    assert repr(there.settings) == repr(here.settings)
    assert there.settings.secrets.master is not None
    assert there.settings.secrets.master.read() == "canary-master"
    assert there.settings.providers["a"].credentials[0].api_key.read() == "canary-key"
    assert there.settings.provider_facts() == here.settings.provider_facts() if here.settings else False
    with pytest.raises(TypeError):
        there.settings.providers["x"] = there.settings.providers["a"]  # type: ignore[index]  # what the test is about
    with pytest.raises(FrozenInstanceError):
        there.settings.server.port = 1  # type: ignore[misc]  # what the test is about


def test_no_secret_crosses_even_where_it_was_read(tmp_path: Path) -> None:
    here = checked(tmp_path)
    assert here.settings is not None
    master = here.settings.secrets.master
    assert master is not None
    assert master.read() == "canary-master"
    crossing = packed(here, ENVIRON)
    assert b"env:KEY" in crossing
    assert b"canary" not in crossing


def test_a_secret_is_looked_for_where_it_arrives(tmp_path: Path) -> None:
    there = unpacked(packed(checked(tmp_path), ENVIRON), {"STORE": "another"})
    assert there.settings is not None
    assert there.settings.store.password is not None
    assert there.settings.store.password.read() == "another"
    assert not there.settings.provider_facts()["a"].available


def test_mistakes_cross() -> None:
    wrong = Checked(None, (Mistake("config.toml", 3, "what", "allowed"), Mistake("GATEWAY_SERVER__PORT", 0, "what")))
    assert unpacked(packed(wrong, os.environ), os.environ) == wrong
