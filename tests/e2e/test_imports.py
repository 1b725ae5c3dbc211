"""What a serving process holds in memory is decided by what it imports: what it does not use, it does not."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.harness import KEY, MODELS, Upstream, chat, config, gateway, keys
from tests.e2e.test_operations import call

# Imported where it is used, by the processes that use it.
LEFT_OUT = {
    "what reads policies": {"tree_sitter", "tree_sitter_toml", "gateway.policy.compile"},
    "what checks settings": {"pydantic", "pydantic_core", "pydantic_settings", "gateway.settings.load"},
    "what analyses": {"presidio_analyzer", "spacy", "numpy", "phonenumbers", "tldextract", "yaml", "pebble"},
    "what counts": {"tiktoken", "regex", "gateway.tokens.tiktoken"},
    "what shows tracebacks in colours": {"rich", "pygments"},
    "what seals": {"cryptography.hazmat"},
    "what calls clouds": {"botocore", "google.auth", "requests", "urllib3"},
    "what admins see": {"gateway.administering", "gateway.server.admin", "gateway.server.openapi"},
    "what commands are made of": {"gateway.cli.doctor", "gateway.cli.check", "gateway.cli.litellm"},
    "what talks to Redis": {"redis", "hiredis", "gateway.limits.redis"},
}  # fmt: skip
AT_THE_END = """
import atexit, os, sys
path = os.path.join({folder!r}, str(os.getpid()))
atexit.register(lambda: open(path, "w").write("\\n".join(sys.modules)))
"""


def imported(folder: Path, upstream: Upstream, *, store: str = "memory://", admin: bool = False) -> set[str]:
    """The modules of a serving process that has answered a request."""
    there = folder / "imports"
    there.mkdir()
    (there / "sitecustomize.py").write_text(AT_THE_END.format(folder=str(there)))
    policies = {"keys.toml": keys("limits = { requests_per_minute = 60 }"), "models.toml": MODELS}
    settings = config(upstream.url, store=store, admin=admin)
    with gateway(folder, settings, policies, env={"PYTHONPATH": str(there)}) as running:
        url = f"{running.url}/v1/chat/completions"
        assert call(url, KEY, chat("hello"), **{"content-type": "application/json"})[0] == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        return set((there / str(running.process.pid)).read_text().split("\n"))


def test_a_plain_gateway_imports_nothing_that_it_does_not_use(tmp_path: Path, upstream: Upstream) -> None:
    found = imported(tmp_path, upstream)
    assert "gateway.journey" in found
    for why, modules in LEFT_OUT.items():
        assert (why, modules & found) == (why, set())


def test_what_is_used_is_imported_and_nothing_beside_it(tmp_path: Path, upstream: Upstream, redis_url: str) -> None:
    found = imported(tmp_path, upstream, store=redis_url, admin=True)
    for why, modules in LEFT_OUT.items():
        used = why in ("what admins see", "what talks to Redis")
        assert (why, modules & found) == (why, modules if used else set())
