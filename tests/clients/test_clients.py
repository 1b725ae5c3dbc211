"""The packages that applications use, as they are published, against a running gateway: chat, stream, tools, structured
output, embeddings, errors, retries, a spent budget, an end in mid-stream.

They live in an environment of their own (`make clients`: requirements/clients.txt, tests/clients/package-lock.json),
since several of them pin what we use in another version.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Gateway, config, gateway, key_hash

pytestmark = pytest.mark.long
HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".cache" / "clients" / "bin" / "python"
WORDS = "Grüße an Ada, und an alle anderen auch."
MODELS = '[models.chat]\nprovider = "echo"\nmodel = "echo"\n[models."echo/*"]\nprovider = "echo"\n'
MODELS += '[models.text-embedding-3-small]\nprovider = "echo"\nmodel = "echo"\n'
FORCED = {"llm": 'request.force = { tool_choice = "required" }\n'}  # of what a client cannot ask for itself

# What comes of each case, the same for every client unless it is said below.
EXPECTED: dict[str, Any] = {
    "chat": WORDS, "stream": WORDS, "responses": WORDS, "messages": WORDS, "tools": WORDS, "structured": "Ada",
    "embeddings": 2, "count": True, "models": ["model"],
}  # fmt: skip
# Client → the class of the error for a model that is not there, for a provider that is down, for a spent budget.
ERRORS = {
    "openai_sdk": ("NotFoundError", "InternalServerError", "RateLimitError"),
    "anthropic_sdk": ("NotFoundError", "OverloadedError", "RateLimitError"),
    "langchain_openai": ("OpenAIModelNotFoundError", "OpenAIAPIError", "OpenAIRateLimitError"),
    "langchain_anthropic": ("AnthropicModelNotFoundError", "AnthropicOverloadedError", "AnthropicRateLimitError"),
    "llama_index": ("NotFoundError", "InternalServerError", "RateLimitError"),
    "pydantic_ai": ("ModelHTTPError", "ModelHTTPError", "ModelHTTPError"),
    "instructor": ("InstructorRetryException", "InstructorRetryException", "InstructorRetryException"),
    "litellm": ("NotFoundError", "ServiceUnavailableError", "RateLimitError"),
    "llm": ("exit 1", "exit 1", "exit 1"),
    "openai": ("NotFoundError", "InternalServerError", "RateLimitError"),
    "anthropic": ("NotFoundError", "OverloadedError", "RateLimitError"),
    "ai": ("APICallError", "RetryError", "APICallError"),
}
IN_NODE = ("openai", "anthropic", "ai")
# Attempts at a provider that is down: the first and two more; this one stacks tries of its own on the SDK's.
ATTEMPTS, SPENT = {"llama_index": 6}, {"llama_index": 3}


def secret(name: str) -> str:
    return f"gw-secret-of-the-client-{name}-0123456789"


def policies() -> dict[str, str]:
    tables = [
        f'[keys."{name}"]\nhash = "{key_hash(secret(name))}"\nmodels = ["*"]\n'
        + FORCED.get(name, "")
        + ("budget = { requests_total = 1 }\n" if name.endswith(" spent") else "")
        for client in ERRORS
        for name in (client, f"{client} spent")
    ]
    return {"keys.toml": "".join(tables), "models.toml": MODELS}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("clients"), config(None), policies()) as running:
        yield running


def command(client: str) -> list[str]:
    """What runs a client, or a skip that names what is missing."""
    if client not in IN_NODE:
        if not PYTHON.exists():
            pytest.skip(f"{client}: the environment of requirements/clients.txt is not there (make clients)")
        return [str(PYTHON), str(HERE / "in_python.py")]
    node = shutil.which("node")
    if node is None:
        pytest.skip(f"{client}: node is not on PATH")
    if not (HERE / "node_modules" / "openai").is_dir():
        pytest.skip(f"{client}: tests/clients/node_modules is not there (make clients)")
    return [node, str(HERE / "in_node.mjs")]


def records_of(served: Gateway, name: str, model: str | None = None) -> list[dict[str, Any]]:
    return [
        one
        for one in served.records()
        if one.get("gateway.key.name") == name and model in (None, one.get("gen_ai.request.model"))
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", ERRORS)
def test_a_client_does_not_notice_the_gateway(served: Gateway, client: str, tmp_path: Path) -> None:
    run = command(client)
    done = subprocess.run(
        [*run, client, served.url, secret(client), secret(f"{client} spent")],
        capture_output=True, text=True, check=False, timeout=170, cwd=HERE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8",
             "TIKTOKEN_CACHE_DIR": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    unknown, down, spent = ERRORS[client]
    expected = {**EXPECTED, "error": unknown, "retries": down, "budget": spent}
    got = {case: value for case, value in found.items() if case in expected}
    if client == "llm":
        got = {case: value[:6] if str(value).startswith("exit") else value for case, value in got.items()}
    assert got == {case: expected[case] for case in got}
    if "retries" in found:
        assert len(records_of(served, client, "echo/status-503")) == ATTEMPTS.get(client, 3)
    assert len(records_of(served, f"{client} spent")) == SPENT.get(client, 2), "a spent budget is asked for once"
    if "abort" in found:
        assert found["abort"] in ("chat.completion.chunk", "message_start", "closed"), found["abort"]
        for _ in range(100):
            if (records := records_of(served, client, "echo/slow")) and records[-1]["gateway.ending"] == "client_gone":
                return
            time.sleep(0.05)
        assert [one["gateway.ending"] for one in records_of(served, client, "echo/slow")] == ["client_gone"]
