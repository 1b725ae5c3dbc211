"""`gateway import litellm`: what it writes is what the gateway takes, and keys keep working."""

from __future__ import annotations

import hashlib
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.e2e.harness import gateway

SECRET = "sk-litellm-secret-0123456789"
YAML = """
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/OPENAI_API_KEY, rpm: 60}
    model_info: {input_cost_per_token: 2.5e-7, output_cost_per_token: 0.000002}
  - model_name: gpt
    litellm_params: {model: azure/gpt-5-mini, api_base: https://a.openai.azure.com, api_key: literal, weight: 3}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet, api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: own/*
    litellm_params: {model: hosted_vllm/*, api_base: UPSTREAM/v1}
  - model_name: sage
    litellm_params: {model: sagemaker/thing}
router_settings:
  routing_strategy: least-busy
  fallbacks: [{gpt: [claude]}]
general_settings: {master_key: sk-master}
"""
COLUMNS = (
    "token,key_alias,models,rpm_limit,max_parallel_requests,max_budget,budget_duration,expires,blocked,team_id,spend"
)


def dump(*rows: str) -> str:
    return "\n".join((COLUMNS, *rows)) + "\n"


def imported(folder: Path, upstream: str = "http://127.0.0.1:1", keys: str | None = None) -> tuple[Path, str]:
    (folder / "config.yaml").write_text(YAML.replace("UPSTREAM", upstream))
    arguments = ["import", "litellm", str(folder / "config.yaml"), "--out", str(folder / "out")]
    if keys is not None:
        (folder / "keys.csv").write_text(keys)
        arguments += ["--keys", str(folder / "keys.csv")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return folder / "out", result.output


def digest(secret: str = SECRET) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


ROWS = (
    f'{digest()},app,"{{own/*,gpt}}",60,5,12.5,30d,2099-01-01 00:00:00,f,,3.2',
    f'{digest("b")},app,"[]",,,1,1h,,t,team-1,0',
)


def test_what_is_written_passes_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = imported(tmp_path, keys=dump(*ROWS))
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(name, "x")
    result = CliRunner().invoke(main, ["check", "--config", str(out / "config.toml")])
    assert result.exit_code == 0, result.output
    models: Any = tomllib.loads((out / "policies" / "models.toml").read_text())
    assert models["models"]["gpt"]["fallback"] == ["claude"]
    assert [(one["provider"], one["weight"]) for one in models["models"]["gpt"]["versions"]] == [
        ("openai", 1), ("azure", 3),
    ]  # fmt: skip
    assert models["prices"] == [{"provider": "openai", "model": "gpt-5-mini", "input": 0.25, "output": 2}]
    first, second = tomllib.loads((out / "policies" / "keys.toml").read_text())["keys"].values()
    assert first["models"] == ["own/*", "gpt"]
    assert first["limits"] == {"requests_per_minute": 60, "concurrent_requests": 5}
    assert first["budget"] == {"usd_per_month": 12.5}
    assert second["models"] == ["*"]
    assert second["disabled"]["reason"]


def test_what_did_not_translate_is_said_and_no_secret_is(tmp_path: Path) -> None:
    out, said = imported(tmp_path, keys=dump(*ROWS, "short,x,,,,,,,,,"))
    for part in (
        "'sagemaker/thing'", "router_settings.routing_strategy", "general_settings: master_key", "AZURE_API_KEY",
        "litellm_params.rpm", "a budget for '1h'", "it had spent 3.2 USD", "key 3: its token is no SHA-256", "teams:",
    ):  # fmt: skip
        assert part in said, part
    written = said + "".join(one.read_text() for one in out.rglob("*.toml"))
    assert "literal" not in written
    assert "sk-master" not in written


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    imported(tmp_path)
    result = CliRunner().invoke(
        main, ["import", "litellm", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "is there already" in result.output


def test_keys_keep_working(tmp_path: Path) -> None:
    out, _ = imported(tmp_path, keys=dump(*ROWS))
    policies = {one.name: one.read_text() for one in (out / "policies").iterdir()}
    settings = (
        (out / "config.toml")
        .read_text()
        .replace("schema = 1\n", "schema = 1\n[server]\nport = 0\n[health]\nport = 0\n")
    )
    with gateway(tmp_path / "run", settings, policies, ready=False) as running:
        status = {}
        for secret in (SECRET, "another"):
            request = urllib.request.Request(
                f"{running.url}/v1/models", headers={"authorization": f"Bearer {secret}"}, data=None
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    status[secret] = answer.status
            except urllib.error.HTTPError as error:
                with error:
                    status[secret] = error.code
        assert status == {SECRET: 200, "another": 401}
