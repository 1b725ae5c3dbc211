"""Bad input around limits: what a client, a provider or an admin may say, and what comes of it (docs/limits.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import KEY, Gateway, config, gateway, keys, listing

MODELS = """
[models."up/*"]
provider = "echo"
[models.plain]
provider = "echo"
model = "echo"
[models.embed]
provider = "echo"
model = "echo"
[models.echo]
provider = "echo"
[models.dear]
provider = "other"
model = "gpt-unpriced"
[[prices]]
provider = "echo"
model = "*"
input = 1.0
output = 2.0
"""
BUDGETS = "budget = { tokens_per_day = 100_000, usd_per_month = 1 }"
OTHER = '[providers.other]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("bad")
    text = keys(BUDGETS).replace('"echo"]', '"echo", "dear"]')
    with gateway(folder, config(None, extra=OTHER), {"keys.toml": text, "models.toml": MODELS}) as running:
        yield running


def ask(one: Gateway, body: dict[str, Any], **headers: str) -> httpx.Response:
    whole = {"model": "plain", "messages": [{"role": "user", "content": "hi"}], **body}
    bearer = {"authorization": f"Bearer {KEY}", **headers}
    return httpx.post(f"{one.url}/v1/chat/completions", json=whole, headers=bearer, timeout=30)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 1.5}, 400, "must be an integer"),
        ({"max_tokens": "many"}, 400, "must be an integer"),
        ({"max_tokens": 0}, 200, ""),
        ({}, 200, ""),
        ({"max_tokens": 10**9}, 400, "With this prompt max_tokens of at most"),
        ({"max_tokens": 10**30}, 400, ""),
        ({"n": 0}, 400, "n must be between"),
        ({"n": 128, "max_tokens": 5000}, 400, "can never fit"),
        ({"model": "dear"}, 403, "'gpt-unpriced'"),
    ],
)
def test_what_a_client_may_say(one: Gateway, body: dict[str, Any], status: int, words: str) -> None:
    answer = ask(one, body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    record = one.record_of(answer.headers["x-request-id"])
    assert record["http.response.status_code"] == status
    if status == 400:
        assert answer.headers["x-should-retry"] == "false"
        assert "gateway.charged.tokens" not in record


def test_a_request_id_that_comes_again_identifies_nothing(one: Gateway) -> None:
    answers = [ask(one, {}, **{"x-request-id": "the-same"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    for name in ids:
        record = one.record_of(name)
        assert record["gateway.client_request_id"] == "the-same"
        assert record["gateway.charged.tokens"] > 0, "each is charged"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", ["usage-negative", "usage-absurd", "usage-fraction", "usage-text", "no-usage"])
def test_what_a_provider_may_say_of_its_usage(one: Gateway, said: str, stream: bool) -> None:
    before = used(one)
    answer = ask(one, {"model": f"up/{said}", "stream": stream, "max_tokens": 50})
    assert answer.status_code == 200
    record = one.record_of(answer.headers["x-request-id"])
    assert record["gateway.usage.basis"] == "counted"
    assert 0 < record["gateway.charged.tokens"] < 300
    assert record["gateway.charged.nano_usd"] > 0
    if stream and said != "no-usage":
        assert "usage_not_credible" in record["gateway.flags"]
    assert 0 < used(one) - before < 300


def used(one: Gateway) -> float:
    return float(next(found["used"] for found in listing(one) if found["limit"] == "tokens_per_day"))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("budget.tokens_per_day = 0", "is 0; an integer from 1"),
        ("budget.tokens_per_day = -5", "is -5; an integer from 1"),
        ("budget.tokens_per_day = 1.5", "is a number with a fraction; an integer from 1"),
        ("budget.tokens_per_day = 1_000_000_000_000_001", "is 1000000000000001; an integer from 1"),
        ('budget.tokens_per_day = "10"', "is a text; an integer from 1"),
        ("budget.usd_per_month = 0", "is 0; a number of USD above 0"),
        ("budget.usd_per_month = -0.01", "is -0.01; a number of USD above 0"),
        ("budget.usd_per_month = 1_000_001", "is 1000001; a number of USD above 0"),
        ("budget.usd_per_month = nan", "is nan; a number of USD above 0"),
        ("budget.usd_per_month = { limit = 1, warn_at = [1.5] }", "is 1.5; numbers between 0 and 1"),
        ("limits.requests_per_minute = { limit = 5, burst = 0 }", "is 0; an integer from 1"),
        ("budget.usd_per_month = { limit = 1, at_limit = 'stop' }", "at_limit"),
    ],
)
def test_what_an_admin_may_write(one: Gateway, tmp_path: Path, limits: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(MODELS)
    (tmp_path / "keys.toml").write_text(keys(limits))
    said = one.command("diff", str(tmp_path), code=1)
    assert words in said
    assert "keys.toml:5: " in said
