"""What happens where a budget runs out under an answer: finish, cut and strict, as an application sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gateway.tokens.worker import TEXT, count
from tests.e2e.harness import KEY, MODELS, REDACTION, Gateway, Upstream, chat, config, gateway, keys, listing
from tests.providers.upstream import events, playing

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
WORDS = "word " * 800  # 4000 bytes: the echo model answers with 1000 tokens
LINE = 3000  # tokens a day: the input is reserved at some 2030

PLAYED = """schema = 1
[server]
port = 0
[health]
port = 0
[secrets]
master = "env:GATEWAY_TEST_MASTER"
[policies]
path = "policies"
[log]
format = "json"
[providers.up]
api_key = "env:UPSTREAM_KEY"
KIND
"""


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


def running(folder: Path, upstream: Upstream, store: str, budget: str, more: str = "") -> Any:
    policies = {
        "keys.toml": keys(f"budget = {{ {budget} }}\n{more}"),
        "models.toml": MODELS,
        "redaction.toml": REDACTION,
    }
    return gateway(folder, patient(upstream, store), policies)


def patient(upstream: Upstream, store: str) -> str:
    """Settings under which a store on a busy machine is waited for: by default 50 ms of silence are an outage, and what
    is admitted in an outage is not cut."""
    return config(upstream.url, store=store).replace("[store]\n", "[store]\ncall_seconds = 10\n")


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def stream(one: Gateway, body: bytes, path: str = "chat/completions") -> httpx.Response:
    return httpx.post(f"{one.url}/v1/{path}", content=body, headers=HEADERS, timeout=30)


def used(one: Gateway, limit: str) -> int:
    return int(next(found["used"] for found in listing(one) if found["limit"] == limit))


def test_cut_ends_a_chat_stream_at_the_line(tmp_path: Path, upstream: Upstream, store: str) -> None:
    budget = f"tokens_per_day = {{ limit = {LINE}, at_limit = 'cut' }}"
    with running(tmp_path, upstream, store, budget) as one:
        body = chat(WORDS, stream=True, stream_options={"include_usage": True})
        answer = stream(one, body)
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if line]
        comments = [line for line in lines if line.startswith(":")]
        assert len(comments) == 1
        assert "tokens_per_day of key app (k_app) is 3000 tokens" in comments[0]
        decision = comments[0].rpartition("decision ")[2].rstrip(")")
        assert lines[-1] == "data: [DONE]"
        chunks = events_of(answer.text)
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "length"
        usage = chunks[-1]["usage"]
        assert chunks[-1]["choices"] == []
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert WORDS.startswith(text)
        assert usage["completion_tokens"] == len(text), "without ranks a token for each byte: never too few"
        assert LINE - 24 <= usage["total_tokens"] <= LINE, "to the line, as exactly as chunks allow"
        record = one.record_of(answer.headers["x-request-id"])
        assert record["gateway.ending"] == "cut"
        assert record["gateway.cut"].startswith("tokens_per_day of key:k_app (")
        assert "keys.toml:" in record["gateway.cut"]
        assert record["gateway.charged.tokens"] == usage["total_tokens"]
        assert "gateway.overshoot.tokens" not in record
        assert used(one, "tokens_per_day") == usage["total_tokens"]
        explained = one.explain(decision)
        assert "budget.tokens_per_day" in explained
        assert "keys.toml:" in explained
        again = stream(one, body)
        assert (again.status_code, again.json()["error"]["code"]) == (429, "insufficient_quota")


def test_the_sdk_reads_a_cut_stream_as_one_that_reached_its_length(
    tmp_path: Path, upstream: Upstream, store: str
) -> None:
    budget = "usd_per_month = { limit = 0.003, at_limit = 'cut' }"  # 1 and 2 USD for a million tokens
    with running(tmp_path, upstream, store, budget) as one:
        asked: Any = [{"role": "user", "content": WORDS}]
        with (
            openai.OpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=0) as client,
            client.chat.completions.stream(model="plain", messages=asked) as events,
        ):
            for _ in events:
                pass
            with pytest.raises(openai.LengthFinishReasonError):
                events.get_final_completion()
        for record in one.records(1):
            assert "gateway.overshoot.nano_usd" not in record
        assert used(one, "usd_per_month") <= 0.003


def test_cut_lets_an_answer_end_that_fits_and_gives_back_what_it_did_not_use(
    tmp_path: Path, upstream: Upstream, store: str
) -> None:
    with running(tmp_path, upstream, store, "tokens_per_day = { limit = 60_000, at_limit = 'cut' }") as one:
        answer = stream(one, chat(WORDS, stream=True))
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert not any(line.startswith(":") for line in answer.text.splitlines())
        record = one.record_of(answer.headers["x-request-id"])
        assert record["gateway.ending"] == "answered"
        assert record["gateway.usage.basis"] == "provider"
        assert used(one, "tokens_per_day") == record["gateway.charged.tokens"]


def test_a_cut_stream_restores_what_was_redacted(tmp_path: Path, upstream: Upstream) -> None:
    text = "write to ann@example.com " * 100
    budget = "tokens_per_day = { limit = 4900, at_limit = 'cut' }"
    with running(tmp_path, upstream, "memory://", budget, 'redaction = "strict"') as one:
        answer = stream(one, chat(text, stream=True))
        passed = "".join(
            choice["delta"].get("content") or "" for chunk in events_of(answer.text) for choice in chunk["choices"]
        )
        assert one.record_of(answer.headers["x-request-id"])["gateway.ending"] == "cut"
        assert "ann@example.com" in passed
        assert "EMAIL" not in passed.rpartition("@")[0]


def test_cut_on_completions_responses_and_messages(tmp_path: Path, upstream: Upstream, store: str) -> None:
    budget = f"budget = {{ tokens_total = {{ limit = {LINE}, at_limit = 'cut' }} }}"
    secrets = {name: f"gw-key-of-{name}-0123456789" for name in ("legacy", "answers", "talks")}
    policies = {
        "keys.toml": "".join(keys(budget, secret=secret, name=name) for name, secret in secrets.items()),
        "models.toml": MODELS,
    }
    with (
        gateway(tmp_path, patient(upstream, store), policies) as one,
        openai.OpenAI(base_url=f"{one.url}/v1", api_key=secrets["legacy"], max_retries=0) as client,
        anthropic.Anthropic(base_url=one.url, api_key=secrets["talks"], max_retries=0) as claude,
    ):
        chunks = list(client.completions.create(model="plain", prompt=WORDS, max_tokens=900, stream=True))
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
        answers = client.with_options(api_key=secrets["answers"])
        kinds, last = [], None
        for event in answers.responses.create(model="plain", input=WORDS, stream=True):
            kinds.append(event.type)
            last = event
        assert kinds[-4:] == [
            "response.output_text.done", "response.content_part.done", "response.output_item.done",
            "response.incomplete",
        ]  # fmt: skip
        assert last is not None
        assert last.type == "response.incomplete"
        assert last.response.incomplete_details is not None
        assert last.response.incomplete_details.reason == "max_output_tokens"
        assert WORDS.startswith(last.response.output_text)
        assert len(last.response.output_text) > 400
        said: Any = [{"role": "user", "content": WORDS}]
        with claude.messages.stream(model="plain", messages=said, max_tokens=4000) as parts:
            message = parts.get_final_message()
        assert message.stop_reason == "max_tokens"
        assert message.content[0].type == "text"
        assert WORDS.startswith(message.content[0].text)
        for record in one.records(3):
            assert record["gateway.ending"] == "cut"
            assert record["gateway.charged.tokens"] <= LINE


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_cut_ends_a_translated_stream_in_the_clients_dialect(tmp_path: Path, provider: str) -> None:
    budget = "budget = { tokens_total = { limit = 900, at_limit = 'cut' } }"
    secrets = {name: f"gw-key-of-{name}-0123456789" for name in ("chats", "answers", "talks")}
    policies = {
        "keys.toml": "".join(keys(budget, secret=secret, name=name) for name, secret in secrets.items()),
        "models.toml": '[models."*"]\nprovider = "up"\n',
    }
    asked = WORDS[:800]  # no less than what the cassette says of it, or the answer would overshoot by the difference
    said: Any = [{"role": "user", "content": asked}]
    with playing(provider) as up:
        up.script = [event for event in events(provider, "tools") for _ in range(400 if b"I will look" in event else 1)]
        base = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}[provider]
        kind = f'kind = "{provider}"\nbase_url = "{up.url}{base}"'
        kind += '\nspeaks = ["chat"]' if provider == "openai" else ""
        with gateway(tmp_path, PLAYED.replace("KIND", kind), policies) as one:
            with openai.OpenAI(base_url=f"{one.url}/v1", api_key=secrets["chats"], max_retries=0) as client:
                chunks = list(client.chat.completions.create(model="plain", messages=said, stream=True))
            assert chunks[-1].choices[0].finish_reason == "length"
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert len(text) > 100
            assert text.startswith("I will lookI will look")
            with openai.OpenAI(base_url=f"{one.url}/v1", api_key=secrets["answers"], max_retries=0) as client:
                *_, last = client.responses.create(model="plain", input=asked, stream=True)
            assert last.type == "response.incomplete"
            assert last.response.incomplete_details is not None
            assert last.response.incomplete_details.reason == "max_output_tokens"
            assert len(last.response.output_text) > 100
            with (
                anthropic.Anthropic(base_url=one.url, api_key=secrets["talks"], max_retries=0) as claude,
                claude.messages.stream(model="plain", messages=said, max_tokens=4000) as parts,
            ):
                message = parts.get_final_message()
            assert message.stop_reason == "max_tokens"
            assert len("".join(block.text for block in message.content if block.type == "text")) > 100
            for record in one.records(3):
                assert record["gateway.ending"] == "cut"
                assert record["gateway.charged.tokens"] <= 900


def test_strict_caps_what_leaves_and_never_overshoots(tmp_path: Path, upstream: Upstream, store: str) -> None:
    budget = "tokens_per_day = { limit = 6000, at_limit = 'strict' }"
    with running(tmp_path, upstream, store, budget) as one:
        before = len(upstream.seen())
        text = "word " * 100

        def ask(**more: Any) -> httpx.Response:
            return stream(one, chat(text, model="up/bounded", **more))

        assert ask().status_code == 200
        sent = upstream.seen(before + 1)[-1]["body"]
        assert json.loads(sent)["max_completion_tokens"] == 4096, "where the request names none, the assumed one leaves"
        assert ask(max_tokens=50).status_code == 200
        assert json.loads(upstream.seen(before + 2)[-1]["body"])["max_tokens"] == 50, "what fits leaves as it came"
        answers, caps = [], []
        for at in range(60):
            answer = ask(max_tokens=5000, stream=at % 2 == 1)
            answers.append(answer)
            if answer.status_code != 200:
                break
            caps.append(json.loads(upstream.seen()[-1]["body"])["max_tokens"])
        assert answers[-1].status_code == 429
        assert answers[-1].json()["error"]["code"] == "insufficient_quota"
        assert caps == sorted(caps, reverse=True)
        assert max(caps) < 5000
        total = 0
        for record in one.records(len(answers) + 2):
            assert "gateway.overshoot.tokens" not in record
            total += record.get("gateway.charged.tokens", 0)
        assert used(one, "tokens_per_day") == total <= 6000
        capped = [record for record in one.records() if record.get("gateway.capped", 9999) < 4096]
        assert len(capped) >= sum(cap < 4096 for cap in caps)


def test_an_answer_that_is_not_streamed_is_held_like_a_strict_one_where_a_budget_cuts(
    tmp_path: Path, upstream: Upstream
) -> None:
    with running(tmp_path, upstream, "memory://", "usd_per_day = { limit = 0.002, at_limit = 'cut' }") as one:
        answer = stream(one, chat("word " * 20, model="up/bounded", n=2))
        assert answer.status_code == 200
        cap = json.loads(upstream.seen()[-1]["body"])["max_completion_tokens"]
        record = one.record_of(answer.headers["x-request-id"])
        assert record["gateway.capped"] == cap
        assert record["gateway.estimate.output_tokens"] == 2 * cap
        assert record["gateway.estimate.cost_usd"] <= 0.002


def test_finish_lets_the_answer_end_and_states_its_overshoot(tmp_path: Path, upstream: Upstream, store: str) -> None:
    with running(tmp_path, upstream, store, "tokens_per_day = 2400") as one:
        answer = stream(one, chat("hi", model="up/usage-large", max_tokens=100, stream=True))
        assert answer.text.rstrip().endswith("data: [DONE]")
        record = one.record_of(answer.headers["x-request-id"])
        reserved = record["gateway.estimate.input_tokens"] + record["gateway.estimate.output_tokens"]
        assert record["gateway.ending"] == "answered"
        assert record["gateway.charged.tokens"] == 100_000
        assert record["gateway.overshoot.tokens"] == 100_000 - reserved
        assert used(one, "tokens_per_day") == 100_000
        after = stream(one, chat("hi", max_tokens=100))
        assert after.json()["error"]["code"] == "insufficient_quota"


def test_with_ranks_a_cut_stream_goes_to_the_line_in_tokens(tmp_path: Path, upstream: Upstream, ranks: Path) -> None:
    line = 4000  # by an estimate the input alone would be more
    models = MODELS + '[models.gpt-4o]\nprovider = "up"\nmodel = "gpt-4o-2024-08-06"\n'
    key = keys(f"budget = {{ tokens_per_day = {{ limit = {line}, at_limit = 'cut' }} }}").replace(
        '"plain"', '"plain", "gpt-4o"'
    )
    long = "The quick brown fox jumps over the lazy dog. " * 250  # 11 KB, 2,500 tokens
    settings = config(upstream.url, extra=f'[tokens]\nranks = "{ranks}"\n')
    with gateway(tmp_path, settings, {"keys.toml": key, "models.toml": models}) as one:
        answer = stream(one, chat(long, model="gpt-4o", stream=True))
        for _ in range(20):  # until the counting process is there
            if answer.status_code == 200:
                break
            answer = stream(one, chat(long, model="gpt-4o", stream=True))
        record = one.record_of(answer.headers["x-request-id"])
        text = "".join(
            choice["delta"].get("content") or "" for chunk in events_of(answer.text) for choice in chunk["choices"]
        )
        assert record["gateway.ending"] == "cut"
        assert record["gateway.usage.by"] == "o200k_base"
        exact = count(ranks, "o200k_base", [(TEXT, text.encode())], 1 << 40)[0]
        assert exact > 400
        print(f"{exact} tokens, counted in parts as {record['gen_ai.usage.output_tokens']}")
        assert exact <= record["gen_ai.usage.output_tokens"] <= exact * 1.15 + 5
        assert record["gateway.charged.tokens"] <= line
        assert used(one, "tokens_per_day") == record["gateway.charged.tokens"]
