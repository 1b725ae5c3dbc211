"""What a model writes by itself, over processes: found, replaced, masked, blocked, or only counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.harness import MODELS, Gateway, Upstream, config, gateway, keys

FOUND = "Ask eve@example.com, or call +1 212 555 0142; the card is 4111 1111 1111 1111. " + "Thank you kindly. " * 20
# The echo model repeats what it is asked, so a profile that leaves requests alone makes it write of itself.
PROFILES = """
[redaction.mask]
entities = ["EMAIL_ADDRESS", "PHONE_NUMBER"]
input = false
output = true
output_action = "mask"
[redaction.block]
entities = ["EMAIL_ADDRESS", "CREDIT_CARD"]
input = false
output = true
output_action = "detect"
output_actions = { CREDIT_CARD = "block" }
[redaction.watch]
entities = ["EMAIL_ADDRESS"]
input = false
output = true
shadow = true
"""
MASKED = FOUND.replace("eve@example.com", "*" * 15).replace("+1 212 555 0142", "*" * 15)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    written = "".join(
        keys(f'redaction = "{name}"', secret=f"gw-{name}-0123456789", name=name) for name in ("mask", "block", "watch")
    )
    policies = {"keys.toml": written, "models.toml": MODELS, "redaction.toml": PROFILES}
    with gateway(tmp_path_factory.mktemp("replies"), config(upstream.url), policies) as running:
        yield running


def oai(served: Gateway, profile: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=f"gw-{profile}-0123456789", max_retries=0)


def texts_of(served: Gateway, profile: str, *, stream: bool, model: str = "up/echo/piece-5") -> Iterator[str]:
    """What a client reads in each shape."""
    said: Any = [{"role": "user", "content": FOUND}]
    with (
        oai(served, profile) as client,
        anthropic.Anthropic(base_url=served.url, api_key=f"gw-{profile}-0123456789", max_retries=0) as other,
    ):
        if not stream:
            yield client.chat.completions.create(model=model, messages=said).choices[0].message.content or ""
            yield client.responses.create(model=model, input=said).output_text
            (block,) = other.messages.create(model=model, max_tokens=9, messages=said).content
            assert block.type == "text"
            yield block.text
            return
        chunks = client.chat.completions.create(model=model, messages=said, stream=True)
        yield "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        events = list(client.responses.create(model=model, input=said, stream=True))
        yield "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert events[-1].type == "response.completed"
        yield events[-1].response.output_text
        with other.messages.stream(model=model, max_tokens=9, messages=said) as streamed:
            yield "".join(streamed.text_stream)


def records_of(served: Gateway, profile: str, count: int) -> list[dict[str, Any]]:
    """The last records of a profile's key, once there are so many."""
    end = time.monotonic() + 10
    while True:
        found = [one for one in served.records() if one.get("gateway.key.name") == profile]
        if len(found) >= count or time.monotonic() > end:
            assert len(found) == count
            return found
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_masked_in_every_shape(guarded: Gateway, stream: bool) -> None:
    before = sum(one["gateway.key.name"] == "mask" for one in guarded.records())
    assert set(texts_of(guarded, "mask", stream=stream)) == {MASKED}
    for record in records_of(guarded, "mask", before + 3)[before:]:
        assert record["gateway.redaction.profile"] == "mask"
        assert record["gateway.redaction.reply.spans"] == {"EMAIL_ADDRESS": 1, "PHONE_NUMBER": 1}
        assert record["gateway.redaction.reply.bytes"] >= len(FOUND)


@pytest.mark.parametrize("stream", [False, True])
def test_watching_changes_nothing_and_says_what_it_saw(guarded: Gateway, stream: bool) -> None:
    before = sum(one["gateway.key.name"] == "watch" for one in guarded.records())
    assert set(texts_of(guarded, "watch", stream=stream)) == {FOUND}
    records = records_of(guarded, "watch", before + 3)[before:]
    assert {str(one["gateway.redaction.reply.spans"]) for one in records} == {"{'EMAIL_ADDRESS': 1}"}
    assert all("eve@" not in str(one) for one in records)


def test_a_blocked_reply_is_an_error_in_both_modes(guarded: Gateway) -> None:
    with oai(guarded, "block") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="plain", messages=[{"role": "user", "content": FOUND}])
        assert caught.value.code == "content_policy_violation"
        assert "4111" not in str(caught.value)
        seen = ""
        with pytest.raises(openai.APIError, match="may not be passed on"):
            for event in client.responses.create(model="up/echo/piece-5", input="Well. " * 50 + FOUND, stream=True):
                seen += event.delta if event.type == "response.output_text.delta" else ""
        assert "Well." in seen
        assert "4111" not in seen
    first, second = records_of(guarded, "block", 2)
    assert (first["gateway.ending"], second["gateway.ending"]) == ("failed", "truncated")
    assert first["gateway.failure"] == "BlockedReply: CREDIT_CARD"
    assert first["gateway.usage.basis"] == "provider"
    assert first["gateway.charged.tokens"] > 0, "the provider did the work"
    assert second["gateway.charged.tokens"] > 0
    assert second["gateway.redaction.reply.spans"]["CREDIT_CARD"] == 1
