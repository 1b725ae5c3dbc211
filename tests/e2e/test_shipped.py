"""What is shipped works as it is: config.example.toml and policies/ with nothing but the keys of the makers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import anthropic
import openai

from tests.e2e.harness import KEY, gateway, key_hash
from tests.providers.upstream import playing

ROOT = Path(__file__).parents[2]


def test_each_makers_models_answer_when_its_key_is_there(tmp_path: Path) -> None:
    policies = {path.name: path.read_text() for path in (ROOT / "policies").glob("*.toml")}
    policies["app.toml"] = f'[keys.app]\nhash = "{key_hash()}"\nmodels = ["*"]\nredaction = "open"\n'
    policies["app.toml"] += '[redaction.open]\nentities = ["EMAIL_ADDRESS"]\naction = "detect"\n'
    with ExitStack() as stack:
        players = {name: stack.enter_context(playing(name)) for name in ("anthropic", "gemini")}
        addresses = {
            "GATEWAY_PROVIDERS__ANTHROPIC__BASE_URL": f"{players['anthropic'].url}/v1",
            "GATEWAY_PROVIDERS__GEMINI__BASE_URL": f"{players['gemini'].url}/v1beta",
            "GATEWAY_SERVER__PORT": "0", "GATEWAY_HEALTH__PORT": "0",
            "ANTHROPIC_API_KEY": "a-key", "GEMINI_API_KEY": "g-key",
        }  # fmt: skip
        settings = (ROOT / "config.example.toml").read_text()
        running = stack.enter_context(gateway(tmp_path, settings, policies, env=addresses))
        chat = stack.enter_context(openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0))
        messages = stack.enter_context(anthropic.Anthropic(base_url=running.url, api_key=KEY, max_retries=0))
        offered = {model.id for model in chat.models.list()}
        assert {"echo", "claude-sonnet", "claude-haiku", "gemini-pro", "gemini-flash"} <= offered
        assert "gpt-5" not in offered, "there is no key of OpenAI's"
        called = {"claude-sonnet": "claude-sonnet-4-5", "anthropic/claude-opus-4-1": "claude-opus-4-1",
                  "gemini-flash": "gemini-2.5-flash", "gemini/gemini-2.5-pro": "gemini-2.5-pro"}  # fmt: skip
        for name in called:
            answer = chat.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
            assert answer.choices[0].message.content == "I will look at both."
            told = messages.messages.create(model=name, max_tokens=99, messages=[{"role": "user", "content": "hi"}])
            assert told.stop_reason == "tool_use"
        said = [request["body"]["model"] for request in players["anthropic"].seen]
        paths = [request["path"].rpartition("/")[2].partition(":")[0] for request in players["gemini"].seen]
        assert [*dict.fromkeys(said), *dict.fromkeys(paths)] == list(called.values())
        priced = [one["gateway.charged.nano_usd"] for one in running.records(9)[1:]]
        assert all(price > 0 for price in priced), "the shipped prices are these providers'"
