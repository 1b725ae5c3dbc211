"""What does not depend on an SDK: how an upstream cuts its bytes, and bad input of every kind."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import httpx
import pytest

from tests.e2e.harness import KEY, Gateway, Upstream, chat

HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
PERSONAL = "Write to ada.lovelace@example.com, call +1 212 555 0142, from 192.168.7.13, card 4111 1111 1111 1111."


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 1000])
async def test_restored_however_the_upstream_cuts_its_bytes(served: Gateway, upstream: Upstream, size: int) -> None:
    before = len(upstream.seen())
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{served.url}/v1/chat/completions",
            data=chat(PERSONAL, model=f"up/echo/chunk-{size}", stream=True),
            headers=HEADERS,
        ) as answer,
    ):
        assert answer.status == 200
        lines = (await answer.text()).split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(c["delta"].get("content") or "" for one in chunks for c in one["choices"]) == PERSONAL
    assert lines[-2] == "data: [DONE]"
    sent = upstream.seen(before + 1)[-1]["body"]
    assert "<EMAIL_ADDRESS_" in sent
    for value in ("ada.lovelace", "555 0142", "192.168.7.13", "4111 1111"):
        assert value not in sent


BAD = [
    (b"", 400, None),
    (b"{", 400, None),
    (b"[]", 400, None),
    (b'"text"', 400, None),
    (b'{"messages": []}', 400, "model"),
    (b'{"model": 1, "messages": []}', 400, "model"),
    (b'{"model": null, "messages": []}', 400, "model"),
    (b'{"model": "plain", "model": "echo", "messages": []}', 400, None),
    (b'{"model": "plain", "mod\\u0065l": "echo", "messages": []}', 400, None),
    (b'{"model": "plain", "messages": [{"role": "user", "content": "a@example.com", "content": "b"}]}', 400, None),
    (b'{"model": "plain", "messages": [], "stream": "yes"}', 400, "stream"),
    (b'{"model": "plain", "messages": [], "max_tokens": -1}', 400, "max_tokens"),
    (b'{"model": "plain", "messages": [], "max_tokens": 1.5}', 400, "max_tokens"),
    (b'{"model": "plain", "messages": [], "n": 0}', 400, "n"),
    (b'{"model": "plain", "messages": [], "n": 1000000}', 400, "n"),
    (b'{"model": "plain", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
    ('{"model": "plain", "messages": []}'.encode("utf-16"), 400, None),
    (b'{"model": "plain", "messages": [{"role": "user", "content": "\xff"}]}', 400, None),
    (b'{"model": "plain\\u0000", "messages": []}', 404, "model"),
    (b'{"model": "' + b"x" * 100_000 + b'", "messages": []}', 404, "model"),
]


@pytest.mark.parametrize(("body", "status", "param"), BAD)
async def test_bad_bodies_get_the_envelope_and_go_nowhere(
    served: Gateway, upstream: Upstream, body: bytes, status: int, param: str | None
) -> None:
    before = len(upstream.seen())
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/v1/chat/completions", data=body, headers=HEADERS) as answer,
    ):
        assert answer.status == status
        error = (await answer.json())["error"]
        request_id = answer.headers["x-request-id"]
        assert answer.headers["x-should-retry"] == "false"
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param or param is None
    assert len(error["message"]) < 400
    assert len(upstream.seen()) == before
    record = await asyncio.to_thread(served.record_of, request_id)
    assert record["http.response.status_code"] == status


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/v1/chat/completions", {}, 403, None),
        ("POST", "/v1/../v1/chat/completions", {}, 404, "unknown_url"),
        ("POST", "/v1//chat/completions", {}, 404, "unknown_url"),
        ("POST", "/v1/%2e%2e/chat", {}, 404, "unknown_url"),
        ("POST", "/", {}, 404, "unknown_url"),
        ("POST", "/v1/chat/completions", {"content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
        ("POST", "/v1/chat/completions", {"x-gateway-timeout": "soon"}, 400, None),
        ("POST", "/v1/chat/completions", {"x-api-key": "another"}, 401, "invalid_api_key"),
    ],
)
async def test_bad_requests(
    served: Gateway, upstream: Upstream, method: str, path: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    """Sent as they are: a client library would tidy the path up."""
    before = len(upstream.seen())
    body = chat("hello")
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = {**HEADERS, **headers, "host": "gateway", "content-length": str(len(body)), "connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert code is None or error["code"] == code
    assert len(upstream.seen()) == before


def test_a_path_that_is_not_served_is_told_in_the_words_of_the_client(served: Gateway) -> None:
    asked = {"authorization": HEADERS["authorization"], "anthropic-version": "2023-06-01"}
    for path in ("/nothing", "/v1//messages", "/gateway/v1/nothing"):
        answer = httpx.get(f"{served.url}{path}", headers=asked)
        body = answer.json()
        assert (answer.status_code, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")
        assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    refused = httpx.get(f"{served.url}/nothing", headers={"anthropic-version": "2023-06-01"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert "type" not in httpx.get(f"{served.url}/nothing", headers=HEADERS).json()


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "PATCH"])
def test_a_wrong_method_on_a_path_of_our_own_is_405_with_allow(served: Gateway, method: str) -> None:
    answer = httpx.request(method, f"{served.url}/gateway/v1/key", headers=HEADERS)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["x-should-retry"] == "false"
    assert httpx.get(f"{served.url}/gateway/v1/key", headers=HEADERS).status_code == 200


@pytest.mark.parametrize(
    "data",
    [b"rubbish\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n",
     b"POST /v1/x HTTP/1.1\r\nbad header\r\n\r\n",
     b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
     b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"],  # no longer: who still sends is reset by TCP
)  # fmt: skip
async def test_what_is_no_http_gets_a_plain_400_and_a_record(served: Gateway, data: bytes) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer[:200]
    assert b'"error"' in answer
    assert b"Traceback" not in answer


async def test_a_body_that_never_comes_is_given_up(served: Gateway) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}content-length: 99\r\n\r\n".encode())
    await asyncio.sleep(0.2)
    writer.close()
    await asyncio.sleep(0.2)
    gone = [one for one in served.records() if one["gateway.ending"] == "client_gone"]
    assert len(gone) >= 1


async def test_a_websocket_is_refused_and_does_not_hang(served: Gateway) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await asyncio.wait_for(session.ws_connect(f"{served.url}/v1/realtime?model=plain", headers=HEADERS), 10)
    assert refused.value.status in (403, 501)
