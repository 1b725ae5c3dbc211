"""Entra's token endpoint, as far as an application's credentials go: what it was asked, and tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

SECRET = "entra-client-secret-canary"


@dataclass
class Entra:
    url: str = ""
    secret: str = SECRET
    lasts: object = 3599  # seconds
    status: int = 200
    assertions: set[str] = field(default_factory=set)  # of workloads that it trusts
    given: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def entra_office() -> Iterator[Entra]:
    office = Entra()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = {
                name: values[0]
                for name, values in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()
            }
            office.asked.append((self.path, form))
            known = form.get("client_secret") == office.secret or form.get("client_assertion") in office.assertions
            status = office.status if known else 401
            said: dict[str, object] = {"error": "invalid_client", "error_description": f"canary {SECRET}"}
            if status == 200:
                office.given += 1
                said = {"token_type": "Bearer", "expires_in": office.lasts, "access_token": f"entra-{office.given}"}
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    office.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield office
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
