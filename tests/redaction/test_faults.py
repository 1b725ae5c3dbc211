"""Analysis that fails, in real worker processes: closed or open as the profile says, and the next text is analysed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from gateway.errors import AnalyzerFailure, Refusal
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.presidio import LARGEST, PresidioAnalyzer
from gateway.redaction.redact import Redaction
from gateway.redaction.restore import restore_body
from gateway.redaction.safe import SafeRequest
from tests.redaction.faulty import work
from tests.redaction.redacting import Now, permit_of

STRICT = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS")
CLOSED = RedactionProfile("closed", STRICT, deadline=2.0, unscannable="allow", digest="closed")
OPEN = replace(CLOSED, name="open", on_error="allow", digest="open")
PERSONAL = "ada@example.com"
FAULTS = {
    "crash": "ended with code 3", "kill": "ended with code -9", "hang": "no answer within 2 s", "raise": "ValueError",
    "nothing": "rubbish", "strings": "rubbish", "fewer": "other texts", "outside": "do not fit",
    "backwards": "do not fit", "unreadable": "",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def analyzer() -> AsyncIterator[PresidioAnalyzer]:
    made = PresidioAnalyzer(work=work)
    await made.start([CLOSED, OPEN])
    assert made.warm
    yield made
    await made.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def redacted(analyzer: PresidioAnalyzer, text: Any, profile: RedactionProfile) -> SafeRequest:
    body = text if isinstance(text, bytes) else {"model": "m", "messages": [{"role": "user", "content": text}]}
    safe = await Redaction(analyzer, b"m" * 32, Now()).redact(permit_of("/v1/chat/completions", body, profile))
    assert not isinstance(safe, Refusal), safe
    return safe


async def still_works(analyzer: PresidioAnalyzer) -> None:
    (spans,) = await analyzer.analyze([f"to {PERSONAL}"], replace(CLOSED, deadline=30.0))
    assert [(one.start, one.entity) for one in spans] == [(3, "EMAIL_ADDRESS")]


@pytest.mark.parametrize("fault", FAULTS)
async def test_closed_means_closed(analyzer: PresidioAnalyzer, fault: str) -> None:
    with pytest.raises(AnalyzerFailure) as raised:
        await redacted(analyzer, f"{fault} {PERSONAL}", CLOSED)
    assert FAULTS[fault] in raised.value.detail
    assert PERSONAL not in raised.value.detail, "no text in what is logged"
    await still_works(analyzer)


@pytest.mark.parametrize("fault", ["crash", "raise", "fewer"])
async def test_open_means_open_and_is_said(analyzer: PresidioAnalyzer, fault: str) -> None:
    safe = await redacted(analyzer, f"{fault} {PERSONAL}", OPEN)
    assert safe.body is not None
    assert PERSONAL.encode() in safe.body
    assert safe.restore == {}
    assert safe.coverage is not None
    assert FAULTS[fault] in str(safe.coverage.failed)
    assert safe.coverage.parts == 1
    await still_works(analyzer)


async def test_a_worker_killed_from_outside_is_replaced(analyzer: PresidioAnalyzer) -> None:
    await still_works(analyzer)
    (before,) = {one.pid for one in multiprocessing.active_children() if "worker" in one.name}
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await asyncio.sleep(0.5)
    await still_works(analyzer)


@pytest.mark.parametrize(
    "text", [f"to {PERSONAL}", f"to {PERSONAL} " + "and 12 words " * 50_000], ids=["short", "long"]
)
async def test_a_worker_that_is_stopped_takes_nothing_and_is_replaced(analyzer: PresidioAnalyzer, text: str) -> None:
    await still_works(analyzer)
    (before,) = analyzer.pids()
    os.kill(before, signal.SIGSTOP)
    late = [redacted(analyzer, text, CLOSED), redacted(analyzer, f"{text}.", OPEN)]
    closed, opened = await asyncio.wait_for(asyncio.gather(*late, return_exceptions=True), CLOSED.deadline + 5)
    assert isinstance(closed, AnalyzerFailure)
    assert closed.detail == "no answer within 2 s"
    assert isinstance(opened, SafeRequest)
    assert opened.coverage is not None
    assert opened.coverage.failed == "no answer within 2 s"
    await still_works(analyzer)
    assert before not in analyzer.pids()


async def test_one_that_is_stopped_at_its_work_is_given_up_in_time(analyzer: PresidioAnalyzer) -> None:
    await still_works(analyzer)
    (before,) = analyzer.pids()
    waiting = asyncio.ensure_future(redacted(analyzer, f"hang {PERSONAL}", CLOSED))
    await asyncio.sleep(0.5)
    os.kill(before, signal.SIGSTOP)
    with pytest.raises(AnalyzerFailure, match="no answer within 2 s"):
        await asyncio.wait_for(waiting, CLOSED.deadline + 3)
    await still_works(analyzer)


async def test_who_came_late_to_a_stopped_worker_has_the_next(analyzer: PresidioAnalyzer) -> None:
    await still_works(analyzer)
    (before,) = analyzer.pids()
    os.kill(before, signal.SIGSTOP)
    early = asyncio.ensure_future(analyzer.analyze([f"to {PERSONAL}"], CLOSED))
    await asyncio.sleep(1)
    ((span,),) = await analyzer.analyze([f"to {PERSONAL}"], replace(CLOSED, deadline=30.0))
    assert span.entity == "EMAIL_ADDRESS"
    with pytest.raises(AnalyzerFailure):
        await early


async def test_many_at_once_with_one_that_hangs(analyzer: PresidioAnalyzer) -> None:
    texts = [f"to {PERSONAL}", "hang me@example.com", f"from {PERSONAL}"]
    patient = replace(CLOSED, deadline=3.0)
    ended = await asyncio.gather(*(analyzer.analyze([one], patient) for one in texts), return_exceptions=True)
    assert [isinstance(one, AnalyzerFailure) for one in ended] == [False, True, False]


async def test_a_client_that_goes_away_costs_nobody_a_worker(analyzer: PresidioAnalyzer) -> None:
    waiting = asyncio.ensure_future(analyzer.analyze(["hang me@example.com"], CLOSED))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await still_works(analyzer)


@pytest.mark.parametrize(
    "text",
    [
        f"\x00{PERSONAL}\x00", f"\u202e{PERSONAL}",
        f"{PERSONAL}" + "\n" * 5000,
        "a\u0301" * 3000 + f" {PERSONAL}", "🙂" * 3000 + PERSONAL,
    ],
    ids=["NUL", "turned around", "newlines", "combining", "emoji"],
)  # fmt: skip
async def test_odd_characters_hide_nothing(analyzer: PresidioAnalyzer, text: str) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    safe = await redacted(analyzer, body, CLOSED)
    assert safe.body is not None
    assert PERSONAL.encode() not in safe.body
    assert json.loads(restore_body(safe.body, safe.restore)) == json.loads(body)


async def test_half_of_a_pair_is_refused_when_read_and_analysed_where_it_comes_otherwise(
    analyzer: PresidioAnalyzer,
) -> None:
    text = f"half \ud800 a pair {PERSONAL} \udfff"
    with pytest.raises(AssertionError, match="not valid JSON"):
        permit_of("/v1/chat/completions", json.dumps({"model": "m", "user": text}).encode(), CLOSED)
    ((span,),) = await analyzer.analyze([text], CLOSED)
    assert text[span.start : span.end] == PERSONAL


async def test_two_megabytes(analyzer: PresidioAnalyzer) -> None:
    text = "Nothing to see here, only words and 12 numbers. " * 44_000 + PERSONAL
    safe = await redacted(analyzer, text, replace(CLOSED, deadline=30.0))
    assert safe.body is not None
    assert len(safe.body) > 2_000_000
    assert PERSONAL.encode() not in safe.body


async def test_more_than_a_worker_takes_is_a_failure(analyzer: PresidioAnalyzer) -> None:
    with pytest.raises(AnalyzerFailure, match="more than"):
        await analyzer.analyze(["@" * (LARGEST + 1)], CLOSED)


async def test_ten_thousand_values(analyzer: PresidioAnalyzer) -> None:
    text = " ".join(f"u{number}@example.com" for number in range(10_000))
    safe = await redacted(analyzer, text, replace(CLOSED, deadline=60.0))
    assert safe.body is not None
    assert b"@example.com" not in safe.body
    assert len(safe.restore) == 10_000
    assert text.encode() in restore_body(safe.body, safe.restore)


async def test_deep_json_is_refused_or_covered(analyzer: PresidioAnalyzer) -> None:
    deep = b'{"model":"m","metadata":' + b'{"a":' * 150 + b'"' + PERSONAL.encode() + b'"' + b"}" * 150 + b"}"
    safe = await redacted(analyzer, deep, CLOSED)
    assert safe.body is not None
    assert PERSONAL.encode() not in safe.body
    deeper = deep.replace(b'{"a":' * 150, b'{"a":' * 100_000).replace(b"}" * 150, b"}" * 100_000)
    with pytest.raises(AssertionError, match="nested more than 200 levels"):  # refused when it is read
        permit_of("/v1/chat/completions", deeper, CLOSED)


async def test_a_profile_that_cannot_be_used_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    profile = RedactionProfile("names", ("PERSON",), presidio=("/nowhere/presidio.yaml",), digest="names")
    made = PresidioAnalyzer()
    try:
        await made.start([profile])
        assert not made.warm
        with pytest.raises(AnalyzerFailure, match=r"/nowhere/presidio\.yaml: No such file"):
            await made.analyze(["Ada"], profile)
    finally:
        await made.close()


async def test_the_serving_process_imports_no_presidio() -> None:
    program = """
import asyncio, sys
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.presidio import PresidioAnalyzer
import gateway.app
async def main():
    analyzer = PresidioAnalyzer()
    profile = RedactionProfile("p", ("EMAIL_ADDRESS",), digest="p")
    await analyzer.start([profile])
    assert (await analyzer.analyze(["ada@example.com"], profile))[0]
    await analyzer.close()
if __name__ == "__main__":
    asyncio.run(main())
    heavy = {"presidio_analyzer", "spacy", "phonenumbers", "tldextract", "numpy"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


async def test_a_worker_has_no_network() -> None:
    made = PresidioAnalyzer(work=connects)  # type: ignore[arg-type]  # what it answers is what failed
    try:
        assert await made._run(["127.0.0.1"], CLOSED, 30.0) == ["PermissionError", "PermissionError"]  # type: ignore[comparison-overlap]  # as above
    finally:
        await made.close()


def connects(texts: list[str], _: RedactionProfile) -> list[str]:
    import socket

    said = []
    for act in (lambda: socket.create_connection((texts[0], 1)), lambda: socket.getaddrinfo("example.com", 443)):
        try:
            act()
            said.append("connected")
        except OSError as error:
            said.append(type(error).__name__)
    return said
