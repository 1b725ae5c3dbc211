"""A provider that plays a cassette: whole answers, streams and errors in its own dialect, and what it was asked."""

from __future__ import annotations

import json
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.stream.sse import Decoder
from gateway.translation.pairs import Translation

KINDS = {"bedrock": "application/vnd.amazon.eventstream"}
NOTHING: Mapping[str, str] = {}
CASSETTES = Path(__file__).parent / "cassettes"


def cassette(provider: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASSETTES / f"{provider}.json").read_text())
    return found


def events(provider: str, name: str) -> list[bytes]:
    """A stream's events as the provider sends them."""
    if provider == "bedrock":
        return [frame(name, body) for event in cassette(provider)["streams"][name] for name, body in event.items()]
    found, tape = [], cassette(provider)
    for event in (tape["streams"] | tape.get("broken", {}))[name]:
        named = f"event: {event['type']}\n" if provider == "anthropic" else ""
        found.append(f"{named}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    return [*found, b"data: [DONE]\n\n"] if provider == "openai" else found


def frame(name: str, body: object, kind: str = "event") -> bytes:
    """A frame of AWS's event stream: its length, that of its headers, both summed; headers, payload, the sum of all."""
    payload = json.dumps(body, ensure_ascii=False).encode()
    fields = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        struct.pack(f">B{len(key)}sBH{len(value)}s", len(key), key.encode(), 7, len(value), value.encode())
        for key, value in fields.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def badly_signed(method: str, url: str, headers: Mapping[str, str], body: bytes, secret: str) -> str | None:
    """What is wrong with AWS's signature of a request, as botocore makes it anew of what has arrived."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), "
        r"Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if found is None:
        return "no signature"
    key, day, region, service, names, signature = found.groups()
    if service != "bedrock" or not {"host", "x-amz-date"} <= set(names.split(";")):
        return "not all that must be is signed"
    if day != headers["x-amz-date"][:8]:
        return "another day"
    signer = SigV4Auth(Credentials(key, secret), service, region)
    request = AWSRequest(method, url, {name: headers[name] for name in names.split(";")}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return None if wanted == signature else "another signature"


@dataclass
class Player:
    url: str
    play: str = "tools"
    status: int = 200
    refuses: dict[str, int] = field(default_factory=dict)  # by bearer
    raw: bytes | None = None  # a stream that is played in place of the tape's
    secret: str = "upstream-secret-canary"  # that what comes is signed with
    cut: int | None = None  # leave a stream after so many events
    script: list[bytes] | None = None  # the events of a stream, in place of the cassette's
    seen: list[dict[str, Any]] = field(default_factory=list)


def as_responses(provider: str, play: str, body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The cassette of a chat provider, as one that speaks Responses too would play it."""
    translation = Translation("responses", "chat", 7)
    if not body.get("stream"):
        return translation.whole(json.dumps(cassette(provider)["whole"][play]).encode()), "application/json"
    stream = translation.stream()
    sent = [one for event in Decoder().feed(b"".join(events(provider, play))) for one in stream.feed(event)]
    return b"".join(event.raw for event in (*sent, *stream.end())), "text/event-stream"


def played(provider: str, player: Player, path: str, body: Mapping[str, Any]) -> tuple[bytes, str]:
    """An answer, and its media type."""
    if path.partition("?")[0].endswith("/responses"):
        return as_responses(provider, player.play, body)
    if body.get("stream") or "stream" in path:
        sent = (player.script or events(provider, player.play))[: player.cut]
        return b"".join(sent), KINDS.get(provider, "text/event-stream")
    return json.dumps(cassette(provider)["whole"][player.play]).encode(), "application/json"


@contextmanager
def playing(provider: str) -> Iterator[Player]:
    tape = cassette(provider)
    player = Player("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            body = json.loads(raw)
            headers = {name.lower(): value for name, value in self.headers.items()}
            player.seen.append({"path": self.path, "headers": headers, "body": body})
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            wrong = None
            if provider == "bedrock":
                wrong = badly_signed("POST", player.url + self.path, headers, raw, player.secret)
            if wrong is not None:
                self.reply(403, json.dumps({"message": wrong}).encode(), "application/json")
            elif player.raw is not None:
                self.reply(200, player.raw, KINDS.get(provider, "text/event-stream"))
            elif bearer in player.refuses:
                self.reply(player.refuses[bearer], b'{"error": {"message": "no", "code": "no"}}', "application/json")
            elif player.play in tape["errors"]:
                status, error, *more = tape["errors"][player.play]
                self.reply(status, json.dumps(error).encode(), "application/json", *more)
            else:
                self.reply(200, *played(provider, player, self.path, body))

        def reply(self, status: int, data: bytes, kind: str, more: Mapping[str, str] = NOTHING) -> None:
            self.send_response(status)
            own = {"content-type": kind, "content-length": str(len(data))}
            for name, value in {**tape["headers"], **more, **own}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(data)
            except ConnectionError:  # the gateway has heard enough
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    player.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield player
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
