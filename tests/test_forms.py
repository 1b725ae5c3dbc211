"""Forms, however they are cut, and with another model's name in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints import find
from gateway.errors import LateRefusal, Reason, Refusal
from gateway.forms import Form, read_form
from gateway.multipart import FormWatch

TYPE = "multipart/form-data; boundary=XyZ"


def part(disposition: str, value: bytes) -> bytes:
    return f"--XyZ\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + value + b"\r\n"


BODY = (
    part('name="n"', b"2")
    + part('name="file"; filename="Pr\u00fcfung.txt"', b"a line\nmodel\r\n--XyY\x00\xff\nlast")
    + part('name="model"', b"support-chat")
    + part('name="size"', "gro\u00df".encode())
    + b"--XyZ--\r\n"
)


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@asynccontextmanager
async def form_of(data: bytes, size: int = 7, path: str = "/v1/images/edits") -> AsyncIterator[Form]:
    endpoint = find("POST", path)
    assert endpoint is not None
    found = await read_form(pieces(data, size), TYPE, endpoint, 10_000)
    assert isinstance(found, Form), found
    yield found
    found.close()


@given(st.integers(1, len(BODY)))
def test_fields_and_files_do_not_depend_on_how_a_form_is_cut(size: int) -> None:
    watch, data = FormWatch(b"XyZ"), bytearray()
    watch.file = data.extend
    for at in range(0, len(BODY), size):
        watch.feed(BODY[at : at + size])
    assert [(one.name, one.value) for one in watch.fields] == [("n", "2"), ("model", "support-chat"), ("size", "groß")]
    assert all(BODY[one.start : one.end].decode() == one.value for one in watch.fields)
    assert bytes(data) == b"a line\nmodel\r\n--XyY\x00\xff\nlast"


@pytest.mark.parametrize("size", [1, 13, 1000])
@pytest.mark.parametrize("name", ["gpt-image", "x", "a-much-longer-name-of-a-model", ""])
async def test_a_model_is_renamed_in_place(size: int, name: str) -> None:
    async with form_of(BODY, size) as form:
        assert form.model == "support-chat"
        longer = form.rename(name)
        sent = b"".join([chunk async for chunk in form])
        assert sent == BODY.replace(b"support-chat", name.encode())
        assert len(sent) == len(BODY) + longer


async def test_a_form_that_keeps_its_model_keeps_its_bytes() -> None:
    async with form_of(BODY) as form:
        assert b"".join([chunk async for chunk in form]) == BODY


class Rules:
    def __init__(self, denied: str = "") -> None:
        self.lines: list[bytes] = []
        self._denied = denied

    def field(self, name: str, value: str) -> Refusal | None:
        return Refusal(Reason.PARAMETER_NOT_ALLOWED, "no", name) if name == self._denied else None

    def line(self, line: bytes) -> Refusal | None:
        self.lines.append(line)
        return Refusal(Reason.MODEL_NOT_ALLOWED, "no") if line == b"model" else None


async def test_what_comes_late_is_held_to_the_rules() -> None:
    async with form_of(BODY) as form:
        form.rules = Rules("size")
        with pytest.raises(LateRefusal) as late:
            async for _ in form:
                pass
        assert late.value.refusal.param == "size"
        assert late.value.wire.status == 400


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_the_lines_of_a_file_are_read_where_they_are_asked_for(size: int) -> None:
    async with form_of(BODY.replace(b'name="model"', b'name="other"'), size, "/v1/files") as form:
        form.rules, form.read_lines = (rules := Rules()), True
        with pytest.raises(LateRefusal) as late:
            async for _ in form:
                pass
        assert late.value.refusal.reason is Reason.MODEL_NOT_ALLOWED
        assert rules.lines == [b"a line", b"model"]


async def test_a_second_model_is_refused() -> None:
    async with form_of(part('name="model"', b"chat") + BODY) as form:
        with pytest.raises(LateRefusal):
            async for _ in form:
                pass
