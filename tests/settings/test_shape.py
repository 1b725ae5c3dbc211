"""The settings as a whole: defaults, what they say of providers, and that the documentation and the example follow."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from operator import attrgetter
from pathlib import Path

import pytest

from gateway.settings.faults import every_setting
from gateway.settings.load import load, shipped_policies
from gateway.settings.model import Settings

ROOT = Path(__file__).parents[2]


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)
    settings, mistakes = load(folder / "config.toml", environ or {})
    assert mistakes == []
    assert settings is not None
    return settings


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    documented = re.findall(r"^\| `([a-z_.*]+)` \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    assert sorted(documented) == sorted(every_setting())


def test_the_documented_defaults_are_the_defaults() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`=]+)` \|", text, re.MULTILINE)
    assert len(rows) > 15
    for name, default in rows:
        if name == "policies.path":
            continue  # beside the settings file, or what is shipped
        value = attrgetter(name)(Settings())
        shown = (
            f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value).lower()
        )
        assert (name, default) == (name, shown)


def test_the_example_file_is_right_and_changes_no_default() -> None:
    settings, mistakes = load(ROOT / "config.example.toml", {})
    assert mistakes == []
    assert settings is not None
    assert settings.policies.path == ROOT / "policies"
    assert settings.demo
    facts = settings.provider_facts()
    assert (facts["echo"].available, facts["openai"].available) == (True, False)
    assert any("OPENAI_API_KEY" in warning for warning in settings.warnings())
    plain = Settings()
    assert (settings.server, settings.health, settings.admin, settings.store, settings.log) == (
        plain.server, plain.health, plain.admin, plain.store, plain.log,
    )  # fmt: skip


def test_without_a_file_everything_is_there_to_start() -> None:
    settings, mistakes = load(None, {})
    assert mistakes == []
    assert settings is not None
    assert settings.store.embedded
    assert settings.demo
    assert set(settings.providers) == {"echo", "openai", "anthropic", "gemini"}
    assert settings.policies.path == shipped_policies()
    assert list(shipped_policies().glob("*.toml"))


@pytest.mark.parametrize(
    ("host", "store", "demo"),
    [
        ("127.0.0.1", "memory://", True),
        ("127.8.8.8", "memory://", True),
        ("::1", "memory://", True),
        ("localhost", "memory://", True),
        ("0.0.0.0", "memory://", False),  # a value that is read, nothing listens
        ("::", "memory://", False),
        ("10.0.0.1", "memory://", False),
        ("localhost.example.com", "memory://", False),
        ("127.0.0.1", "redis://localhost", False),
    ],
)
def test_a_demo_key_only_where_nothing_is_at_stake(tmp_path: Path, host: str, store: str, *, demo: bool) -> None:
    assert loaded(tmp_path, f'[server]\nhost = "{host}"\n[store]\nurl = "{store}"\n').demo is demo


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    with pytest.raises(FrozenInstanceError):
        settings.server.port = 1  # type: ignore[misc]  # what the test is about
    with pytest.raises(FrozenInstanceError):
        settings.store = settings.store  # type: ignore[misc]  # what the test is about
    with pytest.raises(TypeError):
        settings.providers["x"] = settings.providers["echo"]  # type: ignore[index]  # what the test is about


def test_an_optional_provider_without_its_key_is_left_out_and_comes_with_it(tmp_path: Path) -> None:
    text = '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\noptional = true\nlabels = { region = "us", a = "b" }\n'
    without = loaded(tmp_path, text)
    assert without.provider_facts()["a"].available is False
    assert "providers.a is optional and left out" in "\n".join(without.warnings())
    with_key = loaded(tmp_path, text, {"KEY": "canary"})
    assert with_key.provider_facts()["a"].available is True
    assert with_key.provider_facts()["a"].labels == (("a", "b"), ("region", "us"))
    assert "providers.a" not in "\n".join(with_key.warnings())


def test_one_of_several_credentials_is_enough(tmp_path: Path) -> None:
    text = '[providers.a]\nkind = "openai"\n' + "".join(
        f'[[providers.a.credentials]]\nname = "{name}"\napi_key = "env:{name}"\n' for name in ("A", "B")
    )
    assert loaded(tmp_path, text, {"B": "canary"}).provider_facts()["a"].available


def test_an_upstream_of_ones_own_needs_no_key(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[providers.vllm]\nkind = "openai"\nbase_url = "http://127.0.0.1:8000/v1/"\n')
    assert settings.provider_facts()["vllm"].available
    assert settings.providers["vllm"].address == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "redis://user@h:6379/0", "rediss://h:6380/1", "redis://[::1]:6379/0",
        "redis+sentinel://user@a:26379,b,[::1]:26380/main/1", "redis+cluster://a:7000,b:7001", "rediss+cluster://a",
    ],
)  # fmt: skip
def test_addresses_of_stores(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f'[server]\nworkers = 4\n[store]\nurl = "{url}"\n').store.url == url
