"""Tokens as an application and an operator meet them."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from gateway.tokens.worker import TEXT, count
from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, chat, config, gateway, keys

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
WORDS = "The quick brown fox jumps over the lazy dog. " * 100  # 4,500 bytes, some 1,000 tokens


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, ranks: Path) -> Iterator[Gateway]:
    policies = {
        "keys.toml": keys("limits = { tokens_per_minute = 20_000 }")
        + keys("limits = { tokens_per_minute = 100_000_000 }", secret="gw-rich-key-0123456789", name="rich")
        + keys("limits = { tokens_per_minute = 1_000_000 }", secret="gw-warm-key-0123456789", name="warm"),
        "models.toml": MODELS,
    }
    settings = config(upstream.url, extra=f'[tokens]\nranks = "{ranks}"\n')
    with gateway(tmp_path_factory.mktemp("counting"), settings, policies) as running:
        warm(running)
        yield running


def warm(running: Gateway) -> None:
    """Until the counting process is there: a count that would have to wait for it is an estimate."""
    for _ in range(20):
        _, request_id, _ = post(running, chat(WORDS * 10, max_tokens=1), "gw-warm-key-0123456789")
        if running.record_of(request_id)["gateway.estimate.by"] != "estimate":
            return
    raise AssertionError(running.log())


def post(running: Gateway, body: bytes, key: str = KEY) -> tuple[int, str, bytes]:
    request = Request(
        f"{running.url}/v1/chat/completions", data=body, headers={**HEADERS, "authorization": f"Bearer {key}"}
    )
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["x-request-id"], answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["x-request-id"], error.read()


def tokens(ranks: Path, text: str) -> int:
    return count(ranks, "o200k_base", [(TEXT, text.encode())], 1 << 40)[0]


def test_a_prompt_that_is_large_beside_its_limit_is_counted(counting: Gateway, ranks: Path) -> None:
    status, request_id, _ = post(counting, chat(WORDS, max_tokens=100))
    record = counting.record_of(request_id)
    exact = tokens(ranks, WORDS) + 1 + 3 + 3
    assert status == 200
    assert record["gateway.estimate.by"] == "o200k_base (unknown model)", "the echo model is in no table"
    assert record["gateway.estimate.input_tokens"] == -(-exact * 3 // 2)
    assert record["gateway.estimate.output_tokens"] == 100


def test_one_that_is_small_beside_it_is_not(counting: Gateway) -> None:
    body = chat(WORDS, max_tokens=100)
    _, request_id, _ = post(counting, body, "gw-rich-key-0123456789")
    record = counting.record_of(request_id)
    assert record["gateway.estimate.by"] == "bytes"
    assert record["gateway.estimate.input_tokens"] == len(body)


def test_what_could_never_fit_is_counted_only_as_far_as_that(counting: Gateway) -> None:
    status, _, body = post(counting, chat("bridge " * 2_000_000, max_tokens=1))
    assert status == 400
    assert json.loads(body)["error"]["code"] == "request_exceeds_limit"
    wanted = re.search(r"may take (\d+) tokens", body.decode())
    assert wanted is not None
    assert 20_000 < int(wanted[1]) < 60_000, "of two million"


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_whose_provider_says_nothing_is_counted(counting: Gateway, ranks: Path, stream: bool) -> None:
    text = "Bridges across the river, and 1,234 more of them. " * 20
    body = chat(text, model="up/echo/no-usage", stream=stream)
    _, request_id, answer = post(counting, body)
    record = counting.record_of(request_id)
    assert b"Bridges" in answer
    assert record["gateway.usage.basis"] == "counted"
    assert record["gateway.usage.by"] == "o200k_base (unknown model)"
    asked = tokens(ranks, text)
    assert record["gen_ai.usage.input_tokens"] == asked + 1 + 3 + 3 or record["gen_ai.usage.input_tokens"] > asked
    assert asked * 0.98 <= record["gen_ai.usage.output_tokens"] <= asked * 1.05 + 10


def test_without_ranks_it_is_an_estimate_and_says_so(tmp_path: Path, upstream: Upstream) -> None:
    policies = {"keys.toml": keys("limits = { tokens_per_minute = 20_000 }"), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url), policies) as running:
        _, request_id, _ = post(running, chat(WORDS, max_tokens=100))
        record = running.record_of(request_id)
        assert record["gateway.estimate.by"] == "estimate"
        assert "tokens.ranks is not set" in running.log()


def test_the_end_of_the_gateway_is_the_end_of_its_counting_process(
    tmp_path: Path, upstream: Upstream, ranks: Path
) -> None:
    policies = {"keys.toml": keys("limits = { tokens_per_minute = 20_000 }"), "models.toml": MODELS}
    with gateway(tmp_path, config(upstream.url, extra=f'[tokens]\nranks = "{ranks}"\n'), policies) as running:
        post(running, chat(WORDS))
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
        pids = [int(pid) for path in children.parent.parent.glob("*/children") for pid in path.read_text().split()]
        assert pids
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(10)
        end = time.monotonic() + 20
        while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in pids):
            time.sleep(0.05)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_rank_file_that_is_damaged_is_found_by_check(tmp_path: Path, ranks: Path) -> None:
    from click.testing import CliRunner

    from gateway.cli import main

    (tmp_path / "policies").mkdir()
    (tmp_path / "ranks").mkdir()
    (tmp_path / "ranks" / "o200k_base.tiktoken").write_bytes(b"rubbish")
    settings = tmp_path / "config.toml"
    settings.write_text('schema = 1\n[policies]\npath = "policies"\n[tokens]\nranks = "ranks"\n')
    result = CliRunner().invoke(main, ["check", "--config", str(settings)])
    assert result.exit_code == 1
    assert "config.toml:5: tokens.ranks: " in result.output
    assert "its SHA-256 is not that of o200k_base's ranks" in result.output


def test_a_count_that_the_provider_does_not_offer_is_exact_with_ranks(
    tmp_path: Path, upstream: Upstream, ranks: Path
) -> None:
    models = MODELS + '[models.gpt-4o]\nprovider = "up"\nmodel = "gpt-4o-2024-08-06"\n'
    key = keys("limits = { tokens_per_minute = 20_000 }").replace('"plain"', '"plain", "gpt-4o"')
    settings = config(upstream.url, extra=f'[tokens]\nranks = "{ranks}"\n').replace(', "messages"]', "]")
    before = len(upstream.seen())
    with gateway(tmp_path, settings, {"keys.toml": key, "models.toml": models}) as running:
        for model, by in (("gpt-4o", "o200k_base"), ("plain", "o200k_base (unknown model)")):
            body = chat(WORDS, model=model)
            for _ in range(20):  # until the counting process is there
                request = Request(f"{running.url}/v1/messages/count_tokens", data=body, headers=HEADERS)
                with urlopen(request, timeout=20) as answer:
                    told, said = json.load(answer), answer.headers["x-gateway-counted-by"]
                    record = running.record_of(answer.headers["x-request-id"])
                if said != "estimate":
                    break
            assert said == by == record["gateway.usage.by"]
            assert told == {"input_tokens": tokens(ranks, WORDS) + 1 + 3 + 3}
    assert len(upstream.seen()) == before
