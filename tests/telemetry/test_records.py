"""Every record gets its line, whatever stands in it and whatever breaks over another."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.record import Record, Standing, Told
from gateway.telemetry import records as module
from gateway.telemetry.records import RecordLines, console_line, json_line

ANY = some.text(some.characters(), max_size=8)  # halves of surrogate pairs among them


def record(number: int = 0, *, labels: dict[str, str] | None = None, **more: Any) -> Record:
    standing = Standing("POST", "/v1/x", "p", "d", labels=labels)
    return Record(Told(1.0, f"req_{number}", "127.0.0.1", "answered", **more), standing)


@given(ANY, some.dictionaries(ANY, ANY, max_size=2))
def test_what_many_records_have_in_common_stands_in_each_of_them(text: str, labels: dict[str, str]) -> None:
    standing = Standing("POST", f"/v1/{text}", "p", "d", labels=labels)
    alone = Standing("POST", f"/v1/{text}", "p", "d", labels=labels)
    for number in range(3):
        told = json.loads(json_line(Record(Told(1.0, f"req_{number}", text, "answered"), standing)))
        assert told == json.loads(json_line(Record(Told(1.0, f"req_{number}", text, "answered"), alone)))
        assert told["gateway.request_id"] == f"req_{number}"
        assert told["url.path"].startswith("/v1/")
        alone.line = msgspec.UNSET


@given(ANY, some.lists(ANY, max_size=3), some.dictionaries(ANY, ANY, max_size=2))
def test_any_text_makes_one_line_that_can_be_read(text: str, tags: list[str], labels: dict[str, str]) -> None:
    one = record(conversation=text, client_request_id=text, tags=tuple(tags), labels=labels)
    line = json_line(one)
    assert len(line.decode().splitlines()) == 1
    told = json.loads(line)
    assert list(told) == list(json.loads(json_line(record(conversation="c", client_request_id="i", tags=tuple(
        "t" for _ in tags), labels={"l": "l"} if labels else {}))))  # fmt: skip
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert told["gen_ai.conversation.id"] == text
    assert len(console_line(one).decode().splitlines()) == 1


def test_a_byte_that_is_no_utf8_is_told_as_its_escape() -> None:
    told = json.loads(json_line(record(client_request_id=b"a\xffb".decode("utf-8", "surrogateescape"))))
    assert told["gateway.client_request_id"] == "a\\udcffb"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.005)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("breaks", ["render", "count"])
def test_a_record_that_breaks_takes_no_other_with_it(breaks: str) -> None:
    counted: list[str] = []

    def render(one: Record) -> bytes:
        if breaks == "render" and one.told.request_id == "req_1":
            raise TypeError("of another kind")
        return msgspec.json.encode(one.told.request_id)

    def count(one: Record) -> None:
        if breaks == "count" and one.told.request_id == "req_1":
            raise KeyError(one.told.request_id)
        counted.append(one.told.request_id)

    out = io.BytesIO()
    lines = RecordLines(out, render, count)
    lines.start()
    for number in range(2):
        lines.write(record(number))
    while lines.waiting:  # the second was taken, and the thread lives on
        pass
    lines.write(record(2))
    lines.close()
    assert lines.waiting == 0
    written, seen = out.getvalue().decode().split(), [f'"req_{number}"' for number in range(3)]
    assert written == (seen if breaks == "count" else [seen[0], seen[2]])
    assert counted == (["req_0", "req_2"] if breaks == "count" else ["req_0", "req_1", "req_2"])
    assert lines.dropped == (breaks == "render")
