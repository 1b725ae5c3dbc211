"""Every record gets its line, in order, whatever stands in it and whatever breaks over another."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.record import Record, Standing, ToldMore, sealed
from gateway.telemetry import records as module
from gateway.telemetry.records import TOGETHER, RecordLines, console_lines, json_lines

ANY = some.text(some.characters(), max_size=8)  # halves of surrogate pairs among them


def of_a_kind(path: str = "/v1/x", labels: dict[str, str] | None = None) -> Standing:
    return sealed(Standing("POST", path, "p", "d", "answered", labels=labels))


def record(number: int = 0, standing: Standing | None = None, **more: Any) -> Record:
    standing = standing or of_a_kind()
    return Record(ToldMore(1.0, f"req_{number}", "127.0.0.1", event=standing.line, **more), standing)


def written(out: io.BytesIO) -> list[int]:
    return [int(json.loads(line)["gateway.request_id"][4:]) for line in out.getvalue().splitlines()]


@given(ANY, some.dictionaries(ANY, ANY, max_size=2), some.lists(some.booleans(), max_size=5))
def test_what_many_records_have_in_common_stands_in_each_of_them(
    text: str, labels: dict[str, str], odd: list[bool]
) -> None:
    standing = of_a_kind(f"/v1/{text}", labels)
    alone = json.loads(json_lines([record(0, of_a_kind(f"/v1/{text}", labels))]))
    assert alone["event"] == "exchange"
    assert alone["url.path"].startswith("/v1/")
    several = [record(number, standing, conversation="\udcff" if one else None) for number, one in enumerate(odd)]
    for number, line in enumerate(json_lines(several).splitlines()):
        told = json.loads(line)
        assert told.pop("gen_ai.conversation.id", None) == ("\\udcff" if odd[number] else None)
        assert told == {**alone, "gateway.request_id": f"req_{number}"}


@given(ANY, some.lists(ANY, max_size=3), some.dictionaries(ANY, ANY, max_size=2))
def test_any_text_makes_one_line_that_can_be_read(text: str, tags: list[str], labels: dict[str, str]) -> None:
    standing = of_a_kind(labels=labels)
    one = record(0, standing, conversation=text, client_request_id=text, tags=tuple(tags))
    lines = json_lines([one])
    assert len(lines.decode().splitlines()) == 1
    told = json.loads(lines)
    assert list(told) == list(json.loads(json_lines([record(0, of_a_kind(labels={"l": "l"} if labels else {}),
        conversation="c", client_request_id="i", tags=tuple("t" for _ in tags))])))  # fmt: skip
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert told["gen_ai.conversation.id"] == text
    assert len(console_lines([one, one]).decode().splitlines()) == 2


def test_a_byte_that_is_no_utf8_is_told_as_its_escape() -> None:
    told = json.loads(json_lines([record(client_request_id=b"a\xffb".decode("utf-8", "surrogateescape"))]))
    assert told["gateway.client_request_id"] == "a\\udcffb"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.005)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("breaks", ["render", "count"])
def test_a_record_that_breaks_takes_no_other_with_it(breaks: str) -> None:
    counted: list[int] = []

    def render(those: Sequence[Record]) -> bytes:
        if breaks == "render" and any(one.told.request_id == "req_1" for one in those):
            raise TypeError("of another kind")
        return json_lines(those)

    def count(one: Record) -> None:
        if breaks == "count" and one.told.request_id == "req_1":
            raise KeyError(one.told.request_id)
        counted.append(int(one.told.request_id[4:]))

    out = io.BytesIO()
    lines = RecordLines(out, render, count)
    lines.start()
    for number in range(3):
        lines.write(record(number))
    while lines.waiting:  # the second was taken, and the thread lives on
        pass
    lines.write(record(3))
    lines.close()
    assert lines.waiting == 0
    assert written(out) == ([0, 1, 2, 3] if breaks == "count" else [0, 2, 3])
    assert counted == ([0, 2, 3] if breaks == "count" else [0, 1, 2, 3])
    assert lines.dropped == (breaks == "render")


def test_every_record_is_written_once_and_in_order_whoever_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0)  # the thread takes what it finds, as often as it can
    counted: list[int] = []
    out = io.BytesIO()
    lines = RecordLines(out, json_lines, lambda one: counted.append(int(one.told.request_id[4:])))
    lines.start()
    for number in range(100 * TOGETHER + 7):
        lines.write(record(number))
    lines.close()
    assert written(out) == counted == list(range(100 * TOGETHER + 7))
    assert (lines.waiting, lines.dropped, lines.written) == (0, 0, 100 * TOGETHER + 7)


def test_few_are_written_although_no_other_comes() -> None:
    out = io.BytesIO()
    lines = RecordLines(out, json_lines)
    lines.start()
    lines.write(record(7))
    while lines.written < 1:
        pass
    assert written(out) == [7]
    lines.close()


class Blocked(io.BytesIO):
    """Takes nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def write(self, data: Any, /) -> int:
        self.free.wait()
        return super().write(data)


def test_beyond_so_many_a_blocked_output_costs_the_latest_and_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3 * TOGETHER)
    monkeypatch.setattr(module, "INTERVAL", 60)
    out = Blocked()
    lines = RecordLines(out, json_lines)
    lines.start()
    for number in range(5 * TOGETHER):
        lines.write(record(number))
    assert (lines.waiting, lines.dropped) == (3 * TOGETHER, 2 * TOGETHER)
    out.free.set()
    while lines.waiting:
        pass
    lines.write(record(5 * TOGETHER))  # it takes records again
    lines.close()
    assert written(out) == [*range(3 * TOGETHER), 5 * TOGETHER]
    assert (lines.waiting, lines.dropped, lines.written) == (0, 2 * TOGETHER, 3 * TOGETHER + 1)


def test_what_an_output_does_not_take_is_counted() -> None:
    class Full(io.BytesIO):
        def write(self, _: Any, /) -> int:
            raise OSError(28, "No space left on device")

    lines = RecordLines(Full(), json_lines)
    lines.start()
    for number in range(TOGETHER + 1):
        lines.write(record(number))
    lines.close()
    assert (lines.waiting, lines.dropped, lines.written) == (0, TOGETHER + 1, 0)
