"""A provider that plays a cassette: whole answers, streams and errors in its own dialect, and what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CASSETTES = Path(__file__).parent / "cassettes"


def cassette(provider: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASSETTES / f"{provider}.json").read_text())
    return found


def events(provider: str, name: str) -> list[bytes]:
    """A stream's events as the provider sends them."""
    found = []
    for event in cassette(provider)["streams"][name]:
        named = f"event: {event['type']}\n" if provider == "anthropic" else ""
        found.append(f"{named}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    return [*found, b"data: [DONE]\n\n"] if provider == "openai" else found


@dataclass
class Player:
    url: str
    play: str = "tools"
    status: int = 200
    refuses: dict[str, int] = field(default_factory=dict)  # by bearer
    cut: int | None = None  # leave a stream after so many events
    seen: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def playing(provider: str) -> Iterator[Player]:
    tape = cassette(provider)
    player = Player("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
            headers = {name.lower(): value for name, value in self.headers.items()}
            player.seen.append({"path": self.path, "headers": headers, "body": body})
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            if bearer in player.refuses:
                self.reply(player.refuses[bearer], b'{"error": {"message": "no", "code": "no"}}', "application/json")
            elif player.play in tape["errors"]:
                status, error = tape["errors"][player.play]
                self.reply(status, json.dumps(error).encode(), "application/json")
            elif body.get("stream") or "stream" in self.path:
                sent = events(provider, player.play)[: player.cut]
                self.reply(200, b"".join(sent), "text/event-stream")
            else:
                self.reply(200, json.dumps(tape["whole"][player.play]).encode(), "application/json")

        def reply(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            for name, value in {**tape["headers"], "content-type": kind, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

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
