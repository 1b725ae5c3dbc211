"""What a profile finds in a form does not leave: not in a field, not in a line of a file, wherever the body is cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs

from gateway.endpoints import find
from gateway.errors import AnalyzerFailure, Failure, LateRefusal, Reason
from gateway.forms import Form, read_form
from gateway.policy.compiled import RedactionProfile
from gateway.reading import Ask
from gateway.redaction.safe import Coverage
from gateway.redaction.walk import NOT_TEXT
from tests.redaction.redacting import EMAILS, Emails, permit_of, redaction

MARK = "XyZ"
PERSON = "ada@example.com"


def line(content: str, **more: Any) -> bytes:
    body = {"model": "m-202611240000", "messages": [{"role": "user", "content": content}]}
    return json.dumps(
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body, **more}
    ).encode()


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    out = b""
    for name, filename, content in parts:
        says = f'; filename="{filename}"' if filename is not None else ""
        out += f'--{MARK}\r\nContent-Disposition: form-data; name="{name}"{says}\r\n'.encode()
        out += (b"Content-Type: application/octet-stream\r\n" if filename is not None else b"") + b"\r\n" + content
        out += b"\r\n"
    return out + f"--{MARK}--\r\n".encode()


def file_of(content: bytes, name: str = "f.jsonl", **fields: str) -> bytes:
    return form(*((name, None, value.encode()) for name, value in fields.items()), ("file", name, content))


async def sent(
    body: bytes, cuts: Iterable[int] = (), profile: RedactionProfile = EMAILS, path: str = "/v1/files",
    analyzer: Emails | None = None,
) -> tuple[bytes, Failure | None, Coverage]:  # fmt: skip
    """What went on, what ended it, and what was seen."""
    marks = sorted({0, *(cut % (len(body) + 1) for cut in cuts), len(body)})

    async def incoming() -> AsyncIterator[bytes]:
        for start, end in pairwise(marks):
            yield body[start:end]

    endpoint = find("POST", path)
    assert endpoint is not None
    read = await read_form(incoming(), f"multipart/form-data; boundary={MARK}", endpoint, 1 << 20)
    assert isinstance(read, Form)
    permit = structs.replace(
        permit_of("/v1/chat/completions", {"model": "m"}, profile), ask=Ask(endpoint, None, rest=read)
    )
    safe: Any = await redaction(analyzer).redact(permit)
    assert safe.body is None
    out, failure = b"", None
    try:
        async for chunk in read:
            out += chunk
    except Failure as error:
        failure = error
    finally:
        read.close()
    return out, failure, safe.late.coverage


CLEAN = b"\n".join(line(f"nothing {number}") for number in range(5))


@given(cuts=some.lists(some.integers(0, 3000), max_size=30))
async def test_what_holds_nothing_passes_as_it_came(cuts: list[int]) -> None:
    for content in (
        CLEAN,
        CLEAN + b"\n",
        b"",
        b"\n\n",
        b"plain words\r\nof two lines",
        "ü\n".encode() * 20,
        b'["a"]\n{',
    ):
        body = file_of(content, purpose="batch")
        out, failure, coverage = await sent(body, cuts)
        assert (out, failure) == (body, None)
        assert (coverage.unscanned, coverage.spans) == ((), {})
        assert coverage.recognizers == ("EMAIL_ADDRESS", "PHONE_NUMBER")


BODIES = {
    "a line": file_of(b"\n".join((CLEAN, line(f"ask {PERSON} of it"), CLEAN)), purpose="batch"),
    "the last line": file_of(CLEAN + b"\n" + line(f"ask {PERSON}"), purpose="batch"),
    "an escaped text": file_of(line("ask ada\\u0040example.com").replace(b"\\\\u0040", b"\\u0040"), purpose="batch"),
    "an escaped text behind a byte order mark": file_of(
        b"\xef\xbb\xbf" + line("ask ada\\u0040example.com").replace(b"\\\\u0040", b"\\u0040")
    ),
    "a request's own id": file_of(line("x", custom_id=PERSON)),
    "a tool call": file_of(line("x", body={"messages": [{"tool_calls": [{"function": {
        "arguments": json.dumps({"to": PERSON})}}]}]})),
    "plain text": file_of(f"one\ntwo {PERSON}\nthree\n".encode(), "notes.txt"),
    "no UTF-8": file_of(f"Stra\xdfe, {PERSON}\n".encode("latin-1"), "notes.csv"),
    "a name of a file": file_of(CLEAN, f"{PERSON}.jsonl"),
    "a field": form(("purpose", None, b"batch"), ("note", None, f"of\n{PERSON}".encode()), ("file", "f", CLEAN)),
    "a field behind the file": form(("file", "f", CLEAN), ("note", None, PERSON.encode())),
    "the second file": form(("files[]", "a", b"\x00\x01\n"), ("files[]", "b", f"{PERSON}\n".encode())),
    "a body that just stops": file_of(CLEAN + b"\n" + line(f"ask {PERSON}"))[: -len(MARK) - 8],
}  # fmt: skip


@pytest.mark.parametrize("where", BODIES)
@given(cuts=some.lists(some.integers(0, 3000), max_size=30))
async def test_what_is_found_does_not_leave(where: str, cuts: list[int]) -> None:
    body = BODIES[where]
    for pieces in (cuts, range(0, len(body), 7)):
        out, failure, coverage = await sent(body, pieces)
        assert isinstance(failure, LateRefusal)
        assert failure.refusal.reason is Reason.BLOCKED_CONTENT
        assert "EMAIL_ADDRESS" in failure.refusal.message
        assert b"ada" not in out
        assert body.startswith(out)
        assert coverage.spans == {"EMAIL_ADDRESS": 1}


@pytest.mark.parametrize(
    "twice",
    [
        b'{"messages":[{"content":"ask ada@example.com","content":"x"}]}',
        b'{"body":{"model":"m","messages":"ada@example.com"},"body":{"model":"m","messages":"x"}}',
        b'{"body":{"messages":[{"content":"ada@example.com"}],"messages":[]}}',
    ],
)
async def test_a_line_that_has_a_key_twice_is_refused(twice: bytes) -> None:
    out, failure, _ = await sent(file_of(CLEAN + b"\n" + twice + b"\n" + CLEAN))
    assert isinstance(failure, LateRefusal)
    assert failure.refusal.reason is Reason.BAD_REQUEST
    assert "same key twice" in failure.refusal.message
    assert b"ada" not in out


@pytest.mark.parametrize("name", sorted(NOT_TEXT | {"purpose", "language", "response_format", "url", "method"}))
async def test_a_line_is_searched_whatever_its_keys_are_called(name: str) -> None:
    words = [{"role": "user", "content": PERSON}]
    for content in ({name: words}, {name: PERSON}, {"body": {"messages": "x", name: words}}, {name: words, "body": {}}):
        out, failure, _ = await sent(file_of(json.dumps(content).encode() + b"\n"))
        assert isinstance(failure, LateRefusal), content
        assert b"ada" not in out


async def test_a_field_is_searched_whatever_it_is_called_but_for_four() -> None:
    for name in NOT_TEXT - {"model"} | {"purpose[]", "note"}:
        _, failure, _ = await sent(form((name, None, PERSON.encode())))
        assert isinstance(failure, LateRefusal), name
    for name in ("purpose", "language", "response_format"):
        assert (await sent(form((name, None, PERSON.encode()))))[1] is None


async def test_lines_before_what_is_no_text_are_searched_wherever_it_is_cut() -> None:
    body = file_of(f"to {PERSON}\n{'x' * 40}\n{'y' * 40}\0\n".encode(), "a.csv")
    for cut in range(len(body)):
        out, failure, coverage = await sent(body, (cut,))
        assert isinstance(failure, LateRefusal), cut
        assert b"ada" not in out
        assert coverage.spans == {"EMAIL_ADDRESS": 1}


async def test_every_place_to_cut_a_small_upload() -> None:
    body = file_of(line("x") + b"\n" + line(PERSON) + b"\n" + line("y"), purpose="batch")
    for cut in range(len(body)):
        out, failure, _ = await sent(body, (cut,))
        assert isinstance(failure, LateRefusal)
        assert b"ada" not in out


async def test_models_and_other_words_of_the_api_are_nobodys() -> None:
    body = file_of(line("x", url="/v1/123456789"), purpose="123456789")
    assert (await sent(body))[:2] == (body, None)


@pytest.mark.parametrize(("path", "kind"), [("/v1/files", "file"), ("/v1/images/edits", "image"),
                                            ("/v1/audio/transcriptions", "audio")])  # fmt: skip
async def test_what_is_no_text_passes_and_is_named(path: str, kind: str) -> None:
    for content in (bytes(range(256)) * 500, b"%PDF-1.7\nask ada@example.com\n", b"RIFF\x00" + b"x" * 300_000):
        model = () if path == "/v1/files" else (("model", None, b"m-123456789"),)
        body = form(*model, ("file", "f", content))
        out, failure, coverage = await sent(body, range(0, len(body), 30_000), path=path)
        assert (out == body, failure, coverage.unscanned) == (True, None, (kind,))
    picture = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}
    assert (await sent(file_of(line("x", body=picture))))[2].unscanned == ("image",)


async def test_what_is_only_watched_passes_and_is_counted() -> None:
    body = BODIES["a line"]
    for profile in (replace(EMAILS, shadow=True, digest="s"), replace(EMAILS, action="detect", digest="d")):
        out, failure, coverage = await sent(body, (100, 400), profile)
        assert (out, failure, coverage.spans) == (body, None, {"EMAIL_ADDRESS": 1})


async def test_an_analysis_that_fails_does_what_the_profile_says() -> None:
    body = BODIES["a line"]
    out, failure, _ = await sent(body, (100, 400), analyzer=Emails(fails=True))
    assert isinstance(failure, AnalyzerFailure)
    assert b"ada" not in out
    allowed = replace(EMAILS, on_error="allow", digest="a")
    out, failure, coverage = await sent(body, (100, 400), allowed, analyzer=Emails(fails=True))
    assert (out, failure, coverage.failed) == (body, None, "it was asked to")
