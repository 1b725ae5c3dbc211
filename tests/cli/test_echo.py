"""`gateway echo --record`: what is written down of a request."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
from click.testing import CliRunner

from gateway.cli import main
from tests.e2e.harness import echo_upstream

CANARY = "canary-of-a-credential"
SENT = {
    "authorization": f"Bearer {CANARY}", "proxy-authorization": f"AWS4-HMAC-SHA256 Credential={CANARY}, Signature=1",
    "x-api-key": CANARY, "api-key": f"Two {CANARY}", "X-Goog-Api-Key": CANARY, "cookie": f"a={CANARY}; b={CANARY}",
    "x-amz-security-token": CANARY,
}  # fmt: skip
SAID = dict.fromkeys((name.lower() for name in SENT), "***")
SAID |= {"authorization": "Bearer ***", "proxy-authorization": "AWS4-HMAC-SHA256 ***"}


def test_credentials_are_masked_and_the_file_is_its_owners(tmp_path: Path) -> None:
    with echo_upstream(tmp_path) as upstream:
        assert stat.S_IMODE(upstream.file.stat().st_mode) == 0o600
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        url = f"{upstream.url}/v1/chat/completions?key={CANARY}&alt=sse&monkey=1"
        httpx.post(url, json=body, headers={**SENT, "x-other": "kept"}, timeout=20).raise_for_status()
        httpx.post(url, json=body, headers={"authorization": f"{CANARY} more"}, timeout=20).raise_for_status()
        first, second = upstream.seen(2)
        assert CANARY not in upstream.file.read_text()
    assert {name: first["headers"][name] for name in SAID} == SAID
    assert second["headers"]["authorization"] == "***"  # no scheme: a credential may hold a space
    assert (first["headers"]["x-other"], first["query"]) == ("kept", "key=***&alt=sse&monkey=1")
    assert "hello" in first["body"]


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "received.jsonl"
    file.write_text("before\n")
    file.chmod(0o644)
    result = CliRunner().invoke(main, ["echo", "--host", "256.0.0.1", "--port", "0", "--record", str(file)])
    assert result.exit_code == 1  # there is no such address
    assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o600, "before\n")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["echo", "--port", "0", "--record", str(tmp_path / "none" / "file")])
    assert (result.exit_code, "cannot write " in result.output) == (1, True)
