"""Fields of text in forms: searched as they pass, however they come; files go on as they are."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints import find
from gateway.errors import AnalyzerFailure, LateRefusal, Reason, Refusal
from gateway.forms import Form, read_form
from gateway.policy.compiled import RedactionProfile
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.redaction.restore import restore_body
from gateway.redaction.safe import SafeRequest
from tests.redaction.redacting import EMAILS, Emails, permit_of, redaction

MARK = b"----gateway7"
PICTURE = bytes(range(256)) * 20 + b"\r\n----gateway\r\n--" + b"ada@example.com"


def part(head: str, value: bytes) -> bytes:
    return b"--" + MARK + b"\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def form(prompt: bytes) -> bytes:
    return (
        part('Content-Disposition: form-data; name="model"', b"gpt-image-1")
        + part('Content-Disposition: form-data; name="prompt"', prompt)
        + part('Content-Disposition: form-data; name="image[]"; filename="a.png"\r\nContent-Type: image/png', PICTURE)
        + part('Content-Disposition: form-data; name="user"', b"bob@example.com")
        + b"--" + MARK + b"--\r\n"
    )  # fmt: skip


async def sent(
    data: bytes, cuts: list[int], profile: RedactionProfile = EMAILS, analyzer: Emails | None = None
) -> tuple[bytes, SafeRequest]:
    """What leaves of a form that came in these pieces."""

    async def incoming() -> AsyncIterator[bytes]:
        marks = sorted({0, *cuts, len(data)})
        for start, end in pairwise(marks):
            yield data[start:end]

    endpoint = find("POST", "/v1/images/edits")
    assert endpoint is not None
    read = await read_form(incoming(), f"multipart/form-data; boundary={MARK.decode()}", endpoint, 1 << 20)
    assert isinstance(read, Form)
    base = permit_of("/v1/embeddings", {"model": "m", "input": "x"}, profile)
    permit = Permit(
        base.policy, base.principal, Ask(endpoint, None, model=read.model, rest=read), base.rule, redaction=profile
    )
    try:
        safe = await redaction(analyzer).redact(permit)
        assert not isinstance(safe, Refusal)
        assert safe.form is not None
        return b"".join([chunk async for chunk in safe.form.passed(read)]), safe
    finally:
        read.close()


@given(seed=st.integers(0, 2**32))
async def test_fields_are_searched_and_files_are_not_however_they_come(seed: int) -> None:
    chance = random.Random(seed)
    data = form(b"like ada@example.com\r\n--" + MARK[:5] + b" and 49301234567")
    got, safe = await sent(data, chance.sample(range(len(data)), k=9))
    assert b"bob@" not in got
    assert got.count(b"ada@example.com") == 1, "the picture's own"
    assert PICTURE in got
    assert b"\r\n\r\ngpt-image-1\r\n" in got
    assert restore_body(got, safe.restore) == data
    assert safe.form is not None
    coverage = safe.form.coverage
    assert coverage.spans == {"EMAIL_ADDRESS": 2, "PHONE_NUMBER": 1}
    assert coverage.unscanned == ("file",)
    assert coverage.parts == 2


async def test_a_clean_form_leaves_as_it_came() -> None:
    data = form(b"a bridge").replace(b"bob@example.com", b"bob")
    for cuts in ([], list(range(len(data)))):
        got, safe = await sent(data, cuts)
        assert got == data
        assert not safe.restore


async def test_what_is_blocked_or_cannot_be_searched_never_leaves_whole() -> None:
    with pytest.raises(LateRefusal) as blocked:
        await sent(form(b"ada@example.com"), [], replace(EMAILS, action="block"))
    assert blocked.value.refusal.reason is Reason.BLOCKED_CONTENT
    with pytest.raises(AnalyzerFailure):
        await sent(form(b"ada@example.com"), [], EMAILS, Emails(fails=True))
    got, safe = await sent(form(b"ada@example.com"), [], replace(EMAILS, on_error="allow"), Emails(fails=True))
    assert got == form(b"ada@example.com")
    assert safe.form is not None
    assert safe.form.coverage.failed == "it was asked to"
    with pytest.raises(LateRefusal):
        await sent(form(b"\xff\xfe"), [])
    with pytest.raises(LateRefusal):
        await sent(form(b"x" * (1 << 21)), [1 << 20])


@pytest.mark.parametrize("profile", [replace(EMAILS, shadow=True), replace(EMAILS, action="detect")])
async def test_a_profile_that_only_watches_changes_nothing(profile: Any) -> None:
    got, safe = await sent(form(b"ada@example.com"), [])
    got, safe = await sent(form(b"ada@example.com"), [], profile)
    assert got == form(b"ada@example.com")
    assert safe.form is not None
    assert safe.form.coverage.spans == {"EMAIL_ADDRESS": 2}
