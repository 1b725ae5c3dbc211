"""An upstream for every path there is: its answer says what it received, so that two answers are the same only if both
requests were, and both answers came back whole. Run as a process: `python recorder.py`; it prints its address.

The answer's form follows what the official SDKs expect of a path: JSON that satisfies every parser, events, lines or
plain bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

from aiohttp import WSMsgType, web

PIECE = 9973  # bytes; a prime, so that pieces end where nothing ends
# What differs between a call that goes direct and one that goes through a gateway by design: the credential, the
# connection, what an SDK says of itself, and which account of the credential's is meant, which is not the client's to
# say.
OWN = re.compile(
    r"host|connection|user-agent|authorization|x-api-key|accept-encoding|content-length|transfer-encoding|x-stainless-.*"
    r"|openai-organization|openai-project|anthropic-workspace-id|baggage|traceparent"
)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "input_tokens": 3, "output_tokens": 2,
         "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip


def seen(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """What came in, as far as the two ways to get here must agree."""
    path, _, query = request.raw_path.partition("?")
    named = sorted((name.lower(), value) for name, value in request.headers.items())
    headers = {name: value for name, value in named if not OWN.fullmatch(name)}
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/"):  # the SDK draws a new boundary for each call
        mark = kind.partition("boundary=")[2].strip('"')
        headers["content-type"] = kind.replace(mark, "BOUNDARY")
        body = body.replace(mark.encode(), b"BOUNDARY")
    said = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "start": body[:2000].decode("latin-1")}
    return {"method": request.method, "path": path, "query": query, "headers": headers, "body": said}


def answer(path: str, what: dict[str, Any]) -> dict[str, Any]:
    """One object that every parser of the SDKs takes for the answer it waits for."""
    usage: Any = USAGE
    if path.endswith(("/images/generations", "/images/edits")):
        usage = {**USAGE, "input_tokens_details": {"image_tokens": 0, "text_tokens": 3}}
    return {
        "id": "obj_1", "object": "list" if path.endswith("/embeddings") else "thing", "created": 1, "created_at": 1,
        "model": "m", "type": "message", "role": "assistant", "stop_reason": "end_turn", "stop_sequence": None,
        "status": "processed" if re.search(r"/files/[^/]+$", path) and "vector_stores" not in path else "completed",
        "file_counts": {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1},
        "choices": [{"index": 0, "text": "{}", "message": {"role": "assistant", "content": "{}"},
                     "finish_reason": "stop", "logprobs": None}],
        "content": [{"type": "text", "text": "{}"}],
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "{}", "annotations": []}]}],
        "data": [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}] if path.endswith("/embeddings") else [],
        "thread_id": "thread_1", "has_more": False, "first_id": None, "last_id": None, "next_page": None,
        "last_error": None, "error": None, "required_action": None, "incomplete_details": None, "tools": [],
        "results_url": "/v1/results", "usage": usage, "processing_status": "ended", "input_tokens": 3, "text": "{}",
        "large": 12345678901234567890, "tiny": 1e-07, "unknown": {"umlaut": "\u00fc", "seen": what},
    }  # fmt: skip


def wished(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """What a test asks of an answer: by the body's `metadata`, or by `?ids=` the elements of a list."""
    if ids := request.query.get("ids"):
        return {"data": [{"id": one, "object": "thing", "n": 1e-07} for one in ids.split(",")]}
    if request.content_type != "application/json" or b'"wished"' not in body:
        return {}
    found: dict[str, Any] = json.loads(body)["metadata"]["wished"]
    return found


def events(path: str, whole: dict[str, Any]) -> bytes:
    """The same as a stream: of chat chunks, of Anthropic's events, or of events that carry their name twice."""
    if path.endswith("completions"):
        delta = {"index": 0, "text": "{}", "delta": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}
        chunk = {**whole, "choices": [delta], "usage": None}
        return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    if path.endswith("/messages"):
        text = {"type": "text", "text": ""}
        named: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": text},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "{}"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
            {"type": "message_stop"},
        ]
    else:
        part = {"type": "output_text", "text": "", "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        named = [
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", **place, "part": part},
            {"type": "response.output_text.delta", **place, "delta": "{}", "logprobs": []},
            {"type": "response.output_text.done", **place, "text": "{}", "logprobs": []},
            {"type": "response.completed", "response": whole},
        ]
        named = [{**one, "sequence_number": number} for number, one in enumerate(named)]
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in named)


def wants_stream(request: web.BaseRequest, body: bytes) -> bool:
    if "text/event-stream" in request.headers.get("accept", "") or "stream=true" in request.query_string:
        return True
    if request.content_type == "application/json":
        try:
            asked = json.loads(body or b"{}")
        except ValueError:
            return False
        return isinstance(asked, dict) and asked.get("stream") is True
    return re.search(rb'name="stream"\r\n\r\ntrue', body) is not None


async def realtime(request: web.BaseRequest) -> web.StreamResponse:
    """A session: what was asked for, then an echo; `response.create` is answered with usage, `bye` with an end,
    `flood` with more than a slow reader takes."""
    if "refuse" in request.query_string:
        return web.json_response({"error": {"message": "no", "code": "nope"}}, status=int(request.query["refuse"]))
    socket = web.WebSocketResponse(protocols=("realtime",), max_msg_size=0, autoclose=False)
    await socket.prepare(request)
    what = seen(request, b"")
    what["authorization"] = request.headers.get("authorization")
    what["offered"] = request.headers.get("sec-websocket-protocol")
    await socket.send_json({"type": "session.created", "session": {"id": "sess_1"}, "event_id": "e", "seen": what})
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
            continue
        event = json.loads(message.data)
        asked = event.get("type")
        if asked == "response.create" and event.get("response", {}).get("output_modalities") == ["text"]:
            for one in spoken(event):
                await socket.send_json(one)
        elif asked == "response.create":
            usage = {"total_tokens": 7, "input_tokens": 4, "output_tokens": 3}
            await socket.send_json({"type": "response.done", "event_id": "e", "response": {"usage": usage}})
        elif asked == "bye":
            await socket.close(code=4001, message=b"as you wish")
        elif asked == "flood":
            for number in range(400):
                await socket.send_str(json.dumps({"type": "flood", "n": number, "x": "y" * 100_000}))
                print(f"sent {number}", flush=True)
        else:
            await socket.send_str(message.data)
    return socket


def spoken(event: dict[str, Any]) -> list[dict[str, Any]]:
    """What OpenAI says of a response in words: it repeats the instructions."""
    words = event["response"]["instructions"]
    head = {"id": "resp_1", "object": "realtime.response", "output_modalities": ["text"]}
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    item = {"id": "item_1", "object": "realtime.item", "type": "message", "role": "assistant"}
    whole = {**item, "status": "completed", "content": [{"type": "output_text", "text": words}]}
    usage = {"total_tokens": 7, "input_tokens": 4, "output_tokens": 3}
    done = {**head, "status": "completed", "output": [whole], "usage": usage}
    added = {**item, "status": "in_progress", "content": []}
    named: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**head, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "response_id": "resp_1", "output_index": 0, "item": added},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in re.findall(r"\S+\s*", words)),
        {"type": "response.output_text.done", **place, "text": words},
        {"type": "response.output_item.done", "response_id": "resp_1", "output_index": 0, "item": whole},
        {"type": "response.done", "response": done},
    ]
    return [{"event_id": f"event_{number}", **one} for number, one in enumerate(named)]


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("upgrade", "").lower() == "websocket":
        return await realtime(request)
    body = await request.content.read()  # of any size
    path = request.raw_path.partition("?")[0]
    what = seen(request, body)
    accept = request.headers.get("accept", "")
    whole = answer(path, what) | wished(request, body)
    own = {"x-request-id": "up_1", "request-id": "up_1"}
    if path.endswith("/realtime/calls"):
        return web.Response(status=201, text=json.dumps(what), content_type="application/sdp",
                            headers={**own, "location": "/v1/realtime/calls/rtc_1"})  # fmt: skip
    if path.endswith("/results"):
        line = json.dumps({"custom_id": "a", "result": {"type": "canceled", "seen": what}})
        return await in_pieces(request, own, "application/x-jsonl", f"{line}\n{line}\n".encode())
    data = bytes(range(256)) * (int(request.query.get("bytes", "10240")) // 256) + json.dumps(what).encode()
    if "octet-stream" in accept or "binary" in accept or path.endswith("/content"):
        return await in_pieces(request, own, "application/octet-stream", data)
    if wants_stream(request, body):
        return await in_pieces(request, own, "text/event-stream", events(path, whole))
    return web.Response(text=json.dumps(whole), content_type="application/json", headers=own)


async def in_pieces(request: web.BaseRequest, own: dict[str, str], kind: str, data: bytes) -> web.StreamResponse:
    """Chunked."""
    response = web.StreamResponse(headers={**own, "content-type": kind})
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    for at in range(0, len(data), PIECE):
        await response.write(data[at : at + PIECE])
    await response.write_eof()
    return response


async def main() -> None:
    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
