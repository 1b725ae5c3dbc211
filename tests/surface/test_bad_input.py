"""Bad input to every endpoint that is read: the error that its SDK raises, and no call of the provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.e2e.harness import KEY, MODELS, Gateway, Upstream, config, echo_upstream, gateway, keys

OPENAI = ["/chat/completions", "/completions", "/embeddings", "/responses", "/responses/input_tokens",
          "/moderations", "/images/generations", "/audio/speech"]  # fmt: skip
ANTHROPIC = ["/messages", "/messages/count_tokens", "/messages/batches"]
SEEN = {"/chat/completions", "/completions", "/embeddings", "/responses", "/responses/input_tokens", "/messages",
        "/messages/count_tokens"}  # fmt: skip
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with echo_upstream(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Gateway]:
    settings = config(upstream.url).replace("[server]\n", "[server]\nmax_body_bytes = 20000000\n")
    own = keys('provider = "up"\nendpoints = ["inference", "message_batches"]\n')
    with gateway(
        tmp_path_factory.mktemp("strict"), settings, {"keys.toml": own, "models.toml": MODELS}
    ) as running:  # fmt: skip
        yield running


DEEP = b'{"model": "plain", "input": ' + b"[" * 3000 + b"]" * 3000 + b"}"
BODIES: list[tuple[str, bytes, dict[str, str], int]] = [
    ("malformed", b'{"model": "plain", ', JSON, 400),
    ("not closed", b'{"model": "plain", "input": "x"', JSON, 400),
    ("a list", b"[1]", JSON, 400),
    ("a text", b'"plain"', JSON, 400),
    ("NaN", b'{"model": "plain", "temperature": NaN}', JSON, 400),
    ("twice", b'{"model": "plain", "model": "secret-model"}', JSON, 400),
    ("twice, escaped", b'{"model": "plain", "mod\\u0065l": "secret-model"}', JSON, 400),
    ("no JSON, says it is", b"model=plain", JSON, 400),
    ("no JSON, says so", b"model=plain", {"content-type": "application/x-www-form-urlencoded"}, 400),
    ("a form, says it is JSON", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--', JSON, 400),
    ("no JSON, says it is SDP", b"model=plain", {"content-type": "application/sdp"}, 400),
    ("UTF-16", '{"model": "plain"}'.encode("utf-16"), JSON, 400),
    ("latin-1", '{"model": "plain", "input": "ü"}'.encode("latin-1"), JSON, 400),
    ("deep", DEEP, JSON, 400),
    ("50 MB", b'{"model": "plain", "input": "' + b"x" * 50_000_000 + b'"}', JSON, 413),
    ("compressed", b"\x1f\x8b\x08", {**JSON, "content-encoding": "gzip"}, 415),
    ("unknown model", b'{"model": "nobody", "input": "x"}', JSON, 404),
    ("model not allowed", b'{"model": "secret-model", "input": "x"}', JSON, 403),
]  # fmt: skip
ONLY_SEEN: list[tuple[str, bytes, dict[str, str], int]] = [
    ("empty", b"", JSON, 400),
    ("no model", b'{"input": "x", "messages": []}', JSON, 400),
    ("model is a number", b'{"model": 1, "messages": []}', JSON, 400),
]
STATUS = {400: "BadRequestError", 403: "PermissionDeniedError", 404: "NotFoundError", 413: "APIStatusError",
          405: "APIStatusError", 415: "APIStatusError"}  # fmt: skip


def cases() -> Iterator[Any]:
    for path in (*OPENAI, *ANTHROPIC):
        for name, body, headers, status in (*BODIES, *(ONLY_SEEN if path in SEEN else ())):
            if path == "/messages/batches" and "model" in name:
                continue  # its models are inside (tests/policy/test_inner.py)
            yield pytest.param(path, body, headers, status, id=f"{path} {name}")


@pytest.fixture(scope="module")
def http(strict: Gateway) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{strict.url}/v1", headers={"authorization": f"Bearer {KEY}"}, timeout=30) as made:
        yield made


@pytest.mark.parametrize(("path", "body", "headers", "status"), list(cases()))
def test_is_refused_in_the_dialects_own_words(
    http: httpx2.Client,
    strict: Gateway,
    upstream: Upstream,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    before = len(upstream.seen())
    answer = http.post(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    told = answer.json()
    error = _raised(path, strict, answer)
    expected = STATUS[status]
    if path in ANTHROPIC:
        assert set(told) == {"type", "error", "request_id"}
        assert set(told["error"]) == {"type", "message"}
        assert answer.headers["request-id"] == told["request_id"]
        expected = "ContentTooLargeError" if status == 413 else expected
    else:
        assert set(told["error"]) == {"message", "type", "param", "code"}
    assert type(error).__name__ == expected
    assert told["error"]["message"] in str(error)
    assert answer.headers["x-should-retry"] == "false"
    assert len(upstream.seen()) == before


def _raised(path: str, strict: Gateway, answer: httpx2.Response) -> Exception:
    """What the path's SDK makes of an answer."""
    if path in ANTHROPIC:
        with anthropic.Anthropic(base_url=strict.url, api_key=KEY) as ant:
            return ant._make_status_error_from_response(answer)
    with openai.OpenAI(base_url=strict.url, api_key=KEY) as oai:
        return oai._make_status_error_from_response(answer)


@pytest.mark.parametrize("path", [*sorted(SEEN)])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_no_inference(http: httpx2.Client, upstream: Upstream, path: str, method: str) -> None:
    """It is another path of the provider's, which the key may use only where its endpoints say so."""
    before = len(upstream.seen())
    answer = http.request(method, path, headers={"content-type": "text/plain"})
    if answer.status_code < 400:
        assert upstream.seen(before + 1)[-1]["method"] == method
        return
    assert answer.status_code in (400, 403, 404, 405)
    assert answer.json()["error"]["message"]
    assert len(upstream.seen()) == before


def test_a_model_that_is_not_there_is_the_sdks_own_error(strict: Gateway) -> None:
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key=KEY) as oai, pytest.raises(openai.NotFoundError) as missing:
        oai.responses.create(model="nobody", input="x")
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with (
        anthropic.Anthropic(base_url=strict.url, api_key=KEY) as ant,
        pytest.raises(anthropic.NotFoundError) as unknown,
    ):
        ant.messages.create(model="nobody", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert json.loads(json.dumps(unknown.value.body))["error"]["type"] == "not_found_error"
