"""A token endpoint as Google's: it proves a service account's assertion with its public key, and gives out tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt


@dataclass
class Office:
    account: dict[str, Any] = field(default_factory=dict)
    lasts: int = 3600  # seconds
    status: int = 200
    given: int = 0
    subjects: set[str] = field(default_factory=set)
    federated: dict[str, Any] = field(default_factory=dict)


@contextmanager
def token_office() -> Iterator[Office]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    office = Office()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            status = office.status
            said: dict[str, Any] = {"error": "invalid_grant"}
            if status == 200 and "subject_token" in form:  # of a workload that another provider knows
                assert form["audience"] == ["//iam.googleapis.com/projects/1/pool"]
                status = 200 if form["subject_token"][0] in office.subjects else 400
            elif status == 200:
                verify: Any = jwt.decode  # has no types
                claims = verify(
                    form["assertion"][0], certs=public, verify=True, audience="https://oauth2.googleapis.com/token"
                )
                assert claims["iss"] == office.account["client_email"]
                assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
            if status == 200:
                office.given += 1
                issued = "urn:ietf:params:oauth:token-type:access_token"
                said = {"access_token": f"token-{office.given}", "expires_in": office.lasts, "token_type": "Bearer",
                        "issued_token_type": issued}  # fmt: skip
            self.reply(status, said)

        def do_GET(self) -> None:
            """As Google's metadata server, to those who say that they mean it."""
            assert self.headers["metadata-flavor"] == "Google"
            said: dict[str, Any] = {"email": "gateway@my-project.iam.gserviceaccount.com", "scopes": []}
            if "/token" in self.path:
                office.given += 1
                said = {"access_token": f"token-{office.given}", "expires_in": office.lasts, "token_type": "Bearer"}
            self.reply(200, said)

        def reply(self, status: int, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("metadata-flavor", "Google")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    office.account = {
        "type": "service_account", "project_id": "my-project", "private_key_id": "1", "private_key": private.decode(),
        "client_email": "gateway@my-project.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": f"http://127.0.0.1:{server.server_address[1]}/token",
    }  # fmt: skip
    office.federated = {
        "type": "external_account", "audience": "//iam.googleapis.com/projects/1/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"http://127.0.0.1:{server.server_address[1]}/sts",
    }  # fmt: skip
    try:
        yield office
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
