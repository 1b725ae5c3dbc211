"""What no SDK's method sends by itself: sizes, framings and paths at the edge, direct and through the gateway."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.e2e.harness import KEY, Gateway

MEGABYTE = 1 << 20
FORM = (
    '--XyZ\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
    '--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    '--XyZ\r\nContent-Disposition: form-data; name="file"; filename="Prüfung \u2713 %22.wav"\r\n'
    "Content-Type: audio/wav\r\n\r\n"
).encode()
JSON = "application/json"
FORMED = "multipart/form-data; boundary=XyZ"
CALLS: list[tuple[str, str, dict[str, str], bytes | None]] = [
    ("DELETE", "/v1/files/file_1", {"content-type": JSON}, None),
    ("DELETE", "/v1/files/file_1", {"content-type": JSON}, b""),
    ("POST", "/v1/batches/batch_1/cancel", {"content-type": JSON}, b""),
    ("POST", "/v1/responses/resp_1/cancel", {}, None),
    ("GET", "/v1/files?limit=0&order=asc&purpose=&after", {}, None),
    ("GET", "/v1/x?include%5B%5D=a.b%5B%2A%5D&include%5B%5D=c&include[]=d&m%5Bf%C3%BCo%5D=%E2%9C%93+%2B%20", {}, None),
    ("GET", "/v1/responses/resp_1?stream=true&starting_after=3", {}, None),
    ("GET", "/v1/threads/t%2Fa..b%2F1/r%C3%BCn%25/a:b@c;d=e,f+g~h'(i)*", {}, None),
    ("GET", "/v1/something/new/", {}, None),
    ("PUT", "/v1/something/new", {"content-type": "text/x-new"}, b"\x00\xff\r\n"),
    ("PATCH", "/v1/something/new", {"content-type": "application/merge-patch+json"}, b'{"a": 1e-7}'),
    ("POST", "/v1/something/new", {"content-type": JSON}, b"[1, 12345678901234567890]"),
    ("HEAD", "/v1/files/file_1/content", {}, None),
    ("OPTIONS", "/v1/files", {}, None),
    ("GET", "/v1/files/file_1/content", {"range": "bytes=0-9", "accept": "application/binary"}, None),
    ("POST", "/v1/realtime/calls", {"content-type": "application/sdp"}, b"v=0\r\n"),
    ("POST", "/v1/chat/completions", {"content-type": JSON},
     b'{ "model":"m" ,"messages":[{"role":"user","content":"' + b"x" * 6 * MEGABYTE + b'"}], "u":1234567890123456789}'),
    ("POST", "/v1/responses", {"content-type": JSON}, b'{"model":"m","input":"' + "ü".encode() * 4 * MEGABYTE + b'"}'),
    ("POST", "/v1/audio/transcriptions", {"content-type": FORMED},
     FORM + bytes(range(256)) * (8 * MEGABYTE // 256) + b"\r\n--XyZ--\r\n"),
    ("POST", "/v1/files", {"content-type": FORMED}, FORM.replace(b'"model"', b'"purpose"') + b"\xfe\r\n--XyZ--\r\n"),
]  # fmt: skip


async def call(
    base: str, method: str, path: str, headers: dict[str, str], body: bytes | AsyncIterator[bytes] | None
) -> tuple[int, dict[str, str], str, Any]:
    own = {"authorization": f"Bearer {KEY}", "accept-encoding": "identity", "accept": JSON, **headers}
    async with (
        aiohttp.ClientSession(skip_auto_headers=("content-type",)) as session,
        session.request(
            method,
            URL(base + path, encoded=True),
            headers=own,
            allow_redirects=False,
            data=BytesIO(body) if isinstance(body, bytes) else body,
        ) as answer,
    ):
        data = await answer.read()
        named = ("content-type", "location", "content-range")
        said = {name: answer.headers[name] for name in named if name in answer.headers}
        whole = json.loads(data) if data and answer.content_type == JSON else {}
        return answer.status, said, hashlib.sha256(data).hexdigest(), whole.get("unknown")


@pytest.mark.parametrize(("method", "path", "headers", "body"), CALLS, ids=[f"{one[0]}-{one[1][:40]}" for one in CALLS])
async def test_arrives_and_comes_back_as_it_was(
    recorder: str, between: Gateway, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> None:
    direct = await call(recorder, method, path, headers, body)
    assert await call(between.url, method, path, headers, body) == direct


@pytest.mark.parametrize("kind", [JSON, FORMED, "application/octet-stream"])
async def test_a_chunked_body_arrives_whole(recorder: str, between: Gateway, kind: str) -> None:
    text = FORM + b"x" * MEGABYTE + b"\r\n--XyZ--\r\n" if kind == FORMED else b'{"a": "' + b"y" * MEGABYTE + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(text), 70_001):
            yield text[at : at + 70_001]

    path = "/v1/audio/transcriptions" if kind == FORMED else "/v1/something/new"
    direct = await call(recorder, "POST", path, {"content-type": kind}, pieces())
    through = await call(between.url, "POST", path, {"content-type": kind}, pieces())
    assert through == direct
    if kind != FORMED:  # there the recorder levels the boundary
        assert through[3]["seen"]["body"]["bytes"] == len(text)


async def test_a_large_answer_comes_back_whole(recorder: str, between: Gateway) -> None:
    """The recorder's header does not pass the gateway, so the size is asked for in a file's own way: a download."""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session:
        for base in (recorder, between.url):
            async with session.get(f"{base}/v1/files/large/content?bytes={9 * MEGABYTE}") as answer:
                assert answer.status == 200
                assert len(await answer.read()) >= 9 * MEGABYTE
