"""Which objects a request names, and which an answer gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import strategies as st

from gateway.objects.ids import TooMany, given, listed, named, without
from gateway.objects.results import own_results
from tests.policy.test_decide import ask


@pytest.mark.parametrize(
    ("method", "path", "ids"),
    [
        ("GET", "/files", []),
        ("GET", "/files/file-abc123", ["file-abc123"]),
        ("GET", "/files/file-abc123/content", ["file-abc123"]),
        ("GET", "/files/file%2Dabc123", ["file-abc123"]),
        ("POST", "/vector_stores/vs_1/file_batches/vsfb_2/cancel", ["vs_1", "vsfb_2"]),
        ("POST", "/fine_tuning/jobs/ftjob-1/cancel", ["ftjob-1"]),
        ("POST", "/audio/speech", []),
        ("POST", "/realtime/client_secrets", []),
        ("GET", "/messages/batches/msgbatch_01ABC/results", ["msgbatch_01ABC"]),
        ("GET", "/responses/resp_0aB/input_items", ["resp_0aB"]),
        ("DELETE", "/chat/completions/chatcmpl-1", ["chatcmpl-1"]),
        ("GET", "/organization/projects/proj_1", []),
        ("GET", "/models/gpt-5", []),
    ],
)
def test_in_a_path(method: str, path: str, ids: list[str]) -> None:
    assert [one.id for one in named(ask(path, method=method))] == ids


def test_only_the_first_of_a_path_must_be_somebodys() -> None:
    assert [one.owned for one in named(ask("/threads/thread_1/runs/run_2", method="GET"))] == [True, False]


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"input_file_id": "file-1"}, ["file-1"]),
        ({"previous_response_id": "resp_1"}, ["resp_1"]),
        ({"conversation": "conv_1"}, ["conv_1"]),
        ({"conversation": {"id": "conv_1"}}, ["conv_1"]),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]}, ["vs_1", "vs_2"]),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]}, ["file-1"]),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, ["file-1"]),
        ({"messages": [{"content": "file-1 and file_id", "tool_call_id": "call_1"}]}, []),
        ({"container": "auto", "file_id": None}, []),
    ],
)
@pytest.mark.parametrize("path", ["/responses", "/batches", "/chat/completions"])
def test_in_a_body(path: str, body: dict[str, Any], ids: list[str]) -> None:
    assert [one.id for one in named(ask(path, {"model": "m", **body}))] == ids


def test_escapes_hide_nothing() -> None:
    asked = ask("/batches", {"a": 1})
    body = b'{"input\\u005ffile_id":"file\\u002d1"}'
    hidden = type(asked)(asked.endpoint, body, {"input_file_id": asked.fields["a"]})
    assert [one.id for one in named(hidden)] == ["file-1"]


def test_a_query_and_a_depth() -> None:
    asked = ask("/x?file_id=file-1&limit=2&vector_store_ids%5B%5D=vs_1", method="GET")
    assert named(asked) == ()  # the helper takes no query
    endpoint = type(asked.endpoint)("other", "opaque", "GET", "/x", "file_id=file-1&vector_store_ids%5B%5D=vs_1")
    assert [one.id for one in named(type(asked)(endpoint, None))] == ["file-1", "vs_1"]
    deep: Any = {"file_id": "file-9"}
    for _ in range(150):
        deep = [deep]
    assert [one.id for one in named(ask("/batches", {"a": deep}))] == ["file-9"]
    with pytest.raises(TooMany):
        named(ask("/batches", {"file_ids": [f"file-{at}" for at in range(2000)]}))


def test_what_an_answer_gives() -> None:
    body = b'{"id":"batch_1","output_file_id":"file-2","error_file_id":null,"result_files":["file-3"],"x":1e-7}'
    assert given(body, created=True) == ("batch_1", "file-2", "file-3")
    assert given(body, created=False) == ("file-2", "file-3")
    assert given(b"[1]", created=True) == given(b"\xff", created=True) == ()


@cases(st.lists(st.tuples(st.text(), st.booleans()), max_size=8), st.text())
def test_a_list_loses_what_is_not_kept_and_nothing_else(rows: list[tuple[str, bool]], more: str) -> None:
    elements = [{"id": one, "large": 2**70, "more": more} for one, _ in rows]
    body = json.dumps({"object": "list", "data": elements, "has_more": False, "first_id": more}).encode()
    assert listed(body) == tuple(one for one, _ in rows)
    kept = without(body, [stays for _, stays in rows])
    assert json.loads(kept) == json.loads(body) | {"data": [e for e, r in zip(elements, rows, strict=True) if r[1]]}


def test_results_are_at_our_own_address() -> None:
    inside = b'\\"results_url\\": \\"https://a/v1/messages/batches/b\\"'
    body = b'{"results_url": "https://api.anthropic.com/v1/messages/batches/m_1/results", "x": "%b"}' % inside
    assert own_results(body) == body.replace(b'"https://api.anthropic.com/v1', b'"/v1', 1)
    escaped = b'{"results_url":"https:\\/\\/api.anthropic.com\\/v1\\/messages\\/batches\\/m\\/results"}'
    assert json.loads(own_results(escaped)) == {"results_url": "/v1/messages/batches/m/results"}
    assert own_results(b'{"results_url":null}') == b'{"results_url":null}'
