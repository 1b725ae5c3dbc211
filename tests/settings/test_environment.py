"""GATEWAY_* variables: which are ours, what counts above what, and how their mistakes are said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.faults import every_setting
from gateway.settings.load import load
from gateway.settings.model import Kind, OnFailureMode, Settings
from gateway.settings.sources import is_ours

SERVER = (
    "host, port, workers, backlog, max_body_bytes, header_seconds, body_seconds, write_seconds, keepalive_seconds, "
    "tunnel_seconds, drain_seconds, fast_paths"
)


@pytest.fixture
def here(tmp_path: Path) -> dict[str, str]:
    """An environment that names a folder of policies."""
    return {"GATEWAY_POLICIES__PATH": str(tmp_path)}


def loaded(path: Path | None, environ: dict[str, str]) -> Settings:
    settings, mistakes = load(path, environ)
    assert mistakes == []
    assert settings is not None
    return settings


def said(environ: dict[str, str]) -> list[str]:
    settings, mistakes = load(None, environ)
    assert settings is None
    return [str(one) for one in mistakes]


def test_a_variable_counts_above_the_file_and_the_file_above_the_default(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    file = tmp_path / "config.toml"
    file.write_text(
        '[server]\nport = 1\nbacklog = 99\n[providers.echo]\nkind = "echo"\nlabels = { a = "1", b = "2" }\n'
    )
    environ = {"GATEWAY_SERVER__PORT": "2", "GATEWAY_PROVIDERS__ECHO__LABELS__B": "3"}
    settings = loaded(file, environ)
    assert (settings.server.port, settings.server.backlog, settings.server.host) == (2, 99, "127.0.0.1")
    assert dict(settings.providers["echo"].labels) == {"a": "1", "b": "3"}


def test_everything_can_be_given_by_variables_alone(here: dict[str, str]) -> None:
    settings = loaded(
        None,
        here
        | {
            "GATEWAY_SERVER__HOST": "0.0.0.0",  # a value that is read, nothing listens
            "GATEWAY_SERVER__DRAIN_SECONDS": "1.5",
            "GATEWAY_ADMIN__ENABLED": "True",
            "GATEWAY_ADMIN__TOKENS__CI__HASH": "sha256:" + "0" * 64,
            "GATEWAY_ADMIN__TOKENS__CI__ROLE": "read",
            "GATEWAY_STORE__URL": "redis://redis:6379/0",
            "GATEWAY_STORE__PASSWORD": "env:REDIS_PASSWORD",
            "GATEWAY_STORE__ON_FAILURE__MODE": "closed",
            "REDIS_PASSWORD": "canary",
            "GATEWAY_PROVIDERS__OPENAI__KIND": "openai",
            "GATEWAY_PROVIDERS__OPENAI__LABELS": '{"region": "us"}',
            "GATEWAY_PROVIDERS__OPENAI__CREDENTIALS": '[{"name": "a", "api_key": "env:KEY_A", "weight": 3}]',
            "KEY_A": "canary",
        },
    )
    assert settings.server.drain_seconds == 1.5
    assert settings.admin.credentials()[0].name == "ci"
    assert settings.store.on_failure.mode is OnFailureMode.CLOSED
    assert settings.store.password is not None
    assert settings.store.password.read() == "canary"
    openai = settings.providers["openai"]
    assert (openai.kind, openai.credentials[0].weight, openai.credentials[0].api_key.read()) == (
        Kind.OPENAI,
        3,
        "canary",
    )
    assert settings.provider_facts()["openai"].labels == (("region", "us"),)
    assert set(settings.providers) == {"openai"}


@pytest.mark.parametrize(
    ("variable", "ours"),
    [
        ("GATEWAY_SERVER__PORT", True),
        ("GATEWAY_X__Y", True),
        ("GATEWAY_PORT", False),
        ("GATEWAY_SERVICE_HOST", False),
        ("GATEWAY_PORT_8080_TCP_ADDR", False),
        ("GATEWAY_MASTER_KEY", False),
        ("GATEWAY__PORT", False),
        ("MY_GATEWAY_SERVER__PORT", False),
        ("gateway_server__port", False),
    ],
)
def test_which_variables_are_ours(variable: str, *, ours: bool) -> None:
    assert is_ours(variable) is ours


def test_what_kubernetes_injects_is_no_mistake(here: dict[str, str]) -> None:
    noise = {
        "GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT_HTTP": "8080",
        "GATEWAY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "GATEWAY_MASTER_KEY": "canary",
    }
    assert loaded(None, here | noise) == loaded(None, here)


MISTAKES = {
    ("GATEWAY_SERVER__PROT", "1"): f"unknown key 'prot' in [server], did you mean 'port'?; {SERVER}",
    ("GATEWAY_SERVER__PORT", "tcp://x"): "server.port is not an integer; an integer from 0 to 65535",
    ("GATEWAY_SERVER__PORT", "70000"): "server.port is 70000; an integer from 0 to 65535",
    ("GATEWAY_SERVER__PORT", "80.5"): "server.port is not an integer; an integer from 0 to 65535",
    ("GATEWAY_SERVER__PORT", ""): "server.port is not an integer; an integer from 0 to 65535",
    ("GATEWAY_SERVER__PORT__X", "1"): "server.port is a table; an integer from 0 to 65535",
    ("GATEWAY_SERVER", "1"): None,
    ("GATEWAY_SERVER__BODY_SECONDS", "soon"): "server.body_seconds is not a number; a number above 0 and up to 86400",
    ("GATEWAY_ADMIN__ENABLED", "maybe"): "admin.enabled is not true or false; true or false",
    ("GATEWAY_SERVER__", "1"): f"unknown key '' in [server]; {SERVER}",
    ("GATEWAY_STORE__ON_FAILURE", "closed"): "store.on_failure is not a table; mode, fraction, seconds",
    ("GATEWAY_PROVIDERS__A__CREDENTIALS", "[{"): "providers.a.credentials is a text; an array",
    ("GATEWAY_SECRETS__MASTER", "canary"): (
        "secrets.master is a literal; env:NAME (capitals, digits, underscores) or file:PATH, so that no secret stands "
        "in a settings file"
    ),
}


@pytest.mark.parametrize(("variable", "value"), MISTAKES)
def test_a_variables_mistake_names_the_variable(variable: str, value: str, here: dict[str, str]) -> None:
    expected = MISTAKES[variable, value]
    environ = here | {variable: value}
    if "PROVIDERS" in variable:
        environ["GATEWAY_PROVIDERS__A__KIND"] = "openai"
    if expected is None:
        loaded(None, environ)
    else:
        assert said(environ) == [f"{variable}: {expected}"]


def test_a_name_with_a_hyphen_is_reached_with_an_underscore(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    file = tmp_path / "config.toml"
    file.write_text('[providers.My-Own]\nkind = "openai"\nbase_url = "http://a/v1"\n')
    settings = loaded(file, {"GATEWAY_PROVIDERS__MY_OWN__BASE_URL": "http://b/v1/"})
    assert settings.providers["My-Own"].address == "http://b/v1"


@given(
    st.sampled_from(sorted(every_setting())), st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
)
def test_no_value_of_any_setting_is_ever_repeated_unless_it_is_a_number_or_nearly_a_word(
    setting: str, value: str
) -> None:
    text = f"canary-{value}"
    variable = "GATEWAY_" + setting.replace("*", "x").replace(".", "__").upper()
    if "__" in variable.removeprefix("GATEWAY_"):
        _, mistakes = load(None, {variable: text})
        path = any(part in setting for part in ("path", "journal", "ranks"))
        assert "canary" not in repr([one for one in mistakes if not path])


def test_a_relative_path_of_a_variable_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.toml").write_text('[policies]\npath = "../there"\n')
    assert loaded(tmp_path / "etc" / "config.toml", {}).policies.path == tmp_path / "etc" / ".." / "there"
    assert loaded(tmp_path / "etc" / "config.toml", {"GATEWAY_POLICIES__PATH": "there"}).policies.path == Path("there")
