"""Every method of every resource of the official SDKs, enumerated from the installed packages: what reaches the
upstream through the gateway is what reaches it without, and so is what comes back."""

from __future__ import annotations

import inspect
from contextlib import closing
from types import ModuleType
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.harness import KEY, Gateway
from tests.surface.arguments import Arguments
from tests.surface.sdks import Wire, client, methods, outcome

# These send no request, or one that is no HTTP request and answer (tests/surface/test_realtime.py).
SILENT = ("connect", "unwrap", "verify_signature", "parse_unverified")
LOCAL = ("models.list", "models.retrieve")  # the gateway's own answer: what a key may use
# Made of other methods of this list, and asking for more than a signature says: folders, results of earlier calls.
COMPOSED = frozenset((
    "beta.agents.environments.files.prepare", "beta.agents.environments.files.prepare_directory",
    "beta.agents.sessions.artifacts.for_result", "beta.agents.sessions.stream", "beta.messages.thread",
))  # fmt: skip
# These do not take together what their signatures list.
LEAST = frozenset((
    "beta.agents.sessions.create", "beta.chat.completions.parse", "beta.messages.tool_runner", "chat.completions.parse",
    "responses.stream",
))  # fmt: skip
# What a signature does not say of a value.
KNOWN: dict[str, dict[str, Any]] = {
    "beta.agents.environments.files.upload": {"path": "/workspace/ü.txt"},
    "uploads.upload_file_chunked": {"filename": "ü.txt", "bytes": 24},
    "responses.stream": {"input": "hello", "model": "m"},
}
MORE = {"extra_query": {"x[]": ["1", "2"], "q ü": "&=+/%"}, "extra_body": {"unknown": {"big": 2**63 + 1, "tiny": 1e-7}}}


def names(library: ModuleType) -> list[str]:
    made = client(library, "http://127.0.0.1:1", KEY, Wire())
    return sorted({path for path, _ in methods(made, library)})


def groups() -> list[tuple[ModuleType, str]]:
    found = {(library, path.partition(".")[0]) for library in (openai, anthropic) for path in names(library)}
    return sorted(found, key=lambda one: (one[0].__name__, one[1]))


def calls(library: ModuleType, url: str, group: str, mode: str) -> dict[str, tuple[Any, Any]]:
    wire = Wire()
    with closing(client(library, url, KEY, wire)) as made:
        return _calls(library, made, wire, group, mode)


def _calls(
    library: ModuleType, made: Any, wire: Wire, group: str, mode: str
) -> dict[str, tuple[Any, Any]]:  # fmt: skip
    found = {}
    for path, method in methods(made, library):
        if path.partition(".")[0] != group or path.rpartition(".")[2] in SILENT or path.removeprefix("beta.") in LOCAL:
            continue
        if path in COMPOSED:
            continue
        arguments = Arguments(whole=mode == "whole" and path not in LEAST).of(method) | KNOWN.get(path, {})
        parameters = inspect.signature(method).parameters
        if mode == "stream":
            if "stream" not in parameters:
                continue
            arguments["stream"] = True
        if mode == "whole":
            arguments |= {name: value for name, value in MORE.items() if name in parameters}
        if "responses." in path and "model" in parameters:
            arguments["model"] = "m"  # the gateway does not count what it cannot price
        if "stream_options" in parameters and path.endswith(("completions.create", "completions.stream")):
            arguments["stream_options"] = {"include_usage": True}  # else the gateway asks, and takes the answer out
        wire.answers.clear()
        result = outcome(method, arguments)
        found[path] = (result, list(wire.answers))
    return found


@pytest.mark.parametrize("mode", ["least", "stream", pytest.param("whole", marks=pytest.mark.long)])
@pytest.mark.parametrize(("library", "group"), groups(), ids=lambda one: getattr(one, "__name__", one))
def test_nothing_changes_on_the_way(
    recorder: str, between: Gateway, library: ModuleType, group: str, mode: str
) -> None:
    direct = calls(library, recorder, group, mode)
    through = calls(library, between.url, group, mode)
    assert [path for path, (_, answers) in direct.items() if not answers] == []
    assert {p: o for p, (o, _) in through.items()} == {p: o for p, (o, _) in direct.items()}
    assert through == direct
