"""Several credentials of one provider: refused and limited ones give way to the next, tenants keep to their own."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.e2e.harness import KEY, gateway, key_hash
from tests.providers.upstream import playing

OTHER = "gw-other-tenant-0123456789"
SETTINGS = """schema = 1
[server]
port = 0
[health]
port = 0
[policies]
path = "policies"
[log]
format = "json"
[providers.up]
kind = "openai"
base_url = "URL/v1"
[[providers.up.credentials]]
name = "first"
api_key = "env:FIRST"
tenants = ["default"]
weight = 1000000
[[providers.up.credentials]]
name = "second"
api_key = "file:second"
tenants = ["default"]
"""


def test_a_call_goes_on_with_the_next_credential(tmp_path: Path) -> None:
    policies = {
        "models.toml": '[models.m]\nprovider = "up"\n',
        "keys.toml": f'[keys.app]\nhash = "{key_hash()}"\nmodels = ["m"]\n[tenants.other]\n'
        f'[keys.far]\nhash = "{key_hash(OTHER)}"\nmodels = ["m"]\ntenant = "other"\n',
    }
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "second").write_text("key-2\n")
    with playing("openai") as up:
        settings = SETTINGS.replace("URL", up.url)
        with gateway(tmp_path, settings, policies, env={"FIRST": "key-1"}) as running:

            def ask(key: str = KEY) -> None:
                with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
                    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])

            def bearers() -> list[str]:
                found = [one["headers"]["authorization"].removeprefix("Bearer ") for one in up.seen]
                up.seen.clear()
                return found

            ask()
            assert bearers() == ["key-1"]
            up.refuses = {"key-1": 401}
            ask()
            assert bearers() == ["key-1", "key-2"]
            assert running.records(2)[-1]["gateway.provider.credential"] == "second"
            ask()
            assert bearers() == ["key-2"]  # the first one rests
            up.refuses = {"key-1": 401, "key-2": 429}
            with pytest.raises(openai.APIStatusError):
                ask()
            assert sorted(bearers()) == ["key-1", "key-2"]
            (tmp_path / "second").write_text("key-3\n")
            ask()
            assert "key-3" in bearers()
            with pytest.raises(openai.PermissionDeniedError, match="tenant"):
                ask(OTHER)
            assert bearers() == []


def test_a_translated_response_is_kept_by_nobody_and_goes_on_with_the_next_credential(tmp_path: Path) -> None:
    policies = {
        "models.toml": '[models.m]\nprovider = "up"\n',
        "keys.toml": f'[keys.app]\nhash = "{key_hash()}"\nmodels = ["m"]\n',
    }
    (tmp_path / "second").write_text("key-2\n")
    with playing("openai") as up:
        settings = SETTINGS.replace('URL/v1"', f'{up.url}/v1"\nspeaks = ["chat"]')
        up.refuses = {"key-1": 401}
        with gateway(tmp_path, settings, policies, env={"FIRST": "key-1"}) as running:
            with openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0) as client:
                assert client.responses.create(model="m", input="hi").output_text == "I will look at both."
            assert [one["headers"]["authorization"] for one in up.seen] == ["Bearer key-1", "Bearer key-2"]
