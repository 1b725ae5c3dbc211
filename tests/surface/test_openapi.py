"""The OpenAPI document against a running gateway, by schemathesis: whatever is sent, right and wrong, the answer is no
5xx and one that the document names, in its type and shape; what it forbids is refused; no path is open without a
credential.

schemathesis stands in requirements/clients.txt (`make clients`), apart from what we use ourselves.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import KEY, Gateway, config, gateway, key_hash

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SCHEMATHESIS = ROOT / ".cache" / "clients" / "bin" / "schemathesis"
ADMIN = "gw-admin-all"
POLICIES = {
    "keys.toml": f'[keys.app]\nhash = "{key_hash()}"\nmodels = ["*"]\nendpoints = ["*"]\n'
    "[keys.app.limits]\nrequests_per_minute = 1_000_000\n[keys.app.budget]\ntokens_per_day = 1_000_000_000\n"
    "usd_per_month = 1_000_000\n",
    "models.toml": '[models.chat]\nprovider = "echo"\nmodel = "echo"\n'
    '[[prices]]\nprovider = "echo"\nmodel = "*"\ninput = 1.0\noutput = 2.0\n',
}
ALL = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    if not SCHEMATHESIS.exists():
        pytest.skip("schemathesis: the environment of requirements/clients.txt is not there (make clients)")
    with gateway(tmp_path_factory.mktemp("openapi"), config(None, admin=True), POLICIES) as one:
        yield one


def served(running: Gateway) -> dict[str, Any]:
    answer = httpx.get(
        f"{running.admin}/gateway/v1/openapi.json", headers={"authorization": "Bearer gw-admin-read"}, timeout=20
    )
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def narrowed(document: dict[str, Any], tag: str, url: str) -> dict[str, Any]:
    """The document of one listener, where it is in this test, with the names that this gateway knows where a chance
    to hit one would be none."""
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        operations = {name: one for name, one in item.items() if name != "servers" and one["tags"] == [tag]}
        for one in operations.values():
            for field in [*one.get("parameters", ()), *members(one)]:
                if field["name"] in ("key", "model"):
                    field["schema"]["enum"] = ["app", "nobody"] if field["name"] == "key" else ["chat", "nobody"]
                    field["schema"].pop("minLength", None)
        if operations:
            paths[path] = operations
    return {**document, "servers": [{"url": url}], "paths": paths}


def members(operation: dict[str, Any]) -> list[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return [{"name": name, "schema": one} for name, one in schema.get("properties", {}).items()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("tag", "checks", "examples"),
    [
        ("admin", f"{ALL},negative_data_rejection,unsupported_method", 25),
        ("applications", f"{ALL}", 25),
    ],
)
def test_whatever_is_sent_the_answer_is_one_that_the_document_names(
    running: Gateway, tag: str, checks: str, examples: int, tmp_path: Path
) -> None:
    url, secret = (running.admin, ADMIN) if tag == "admin" else (running.url, KEY)
    assert url is not None
    file = tmp_path / f"{tag}.json"
    file.write_text(json.dumps(narrowed(served(running), tag, url)))
    done = subprocess.run(
        [str(SCHEMATHESIS), "run", str(file), "--url", url, "--header", f"Authorization: Bearer {secret}",
         "--checks", checks, "--max-examples", str(examples), "--seed", "1", "--phases", "examples,coverage,fuzzing",
         "--continue-on-failure", "--warnings", "off", "--no-color"],
        capture_output=True, text=True, check=False, timeout=110, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    bugs = [line for line in running.err.all if "Traceback" in line and "BadHttpMessage" not in line]
    assert not bugs, bugs[-1]
