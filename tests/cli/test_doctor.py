"""`gateway doctor`, against real listeners on this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from gateway.cli import main


class Models(BaseHTTPRequestHandler):
    """An upstream: /v1/models answers by the key that is presented."""

    answers: ClassVar = {
        "Bearer good": 200,
        "Bearer bad": 401,
        "Bearer odd": 404,
        "Bearer down": 503,
        "Bearer moved": 302,
    }

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("authorization")))  # type: ignore[attr-defined]  # ours
        self.send_response(self.answers.get(self.headers.get("authorization", ""), 200))
        self.send_header("content-length", "0")
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    server.seen = []  # type: ignore[attr-defined]  # what was asked, for the test
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def doctor(folder: Path, text: str, **environ: str) -> tuple[int, str]:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)
    result = CliRunner().invoke(main, ["doctor", "--config", str(folder / "config.toml")], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_what_is_inside_the_process_is_well(tmp_path: Path) -> None:
    assert doctor(tmp_path, "") == (
        0,
        (
            "ok      store memory://: inside the process; what was counted is forgotten at exit\n"
            "ok      provider echo: inside the process\n"
        ),
    )


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("good", 0, "ok      provider a HOST: answered in "),
        ("bad", 1, "FAILED  provider a HOST: reached, and it refuses the key (status 401)"),
        ("odd", 0, "warning provider a HOST: reached, and its list of models answers with status 404"),
        ("down", 1, "FAILED  provider a HOST: reached, and it answers with status 503"),
        ("moved", 1, "FAILED  provider a HOST: reached, and it answers with status 302"),
    ],
)
def test_a_provider_is_asked_for_its_models(
    tmp_path: Path, upstream: ThreadingHTTPServer, key: str, code: int, words: str
) -> None:
    host = f"127.0.0.1:{upstream.server_address[1]}"
    text = f'[providers.a]\nkind = "openai"\nbase_url = "http://{host}/v1"\napi_key = "env:KEY"\n'
    found, output = doctor(tmp_path, text, KEY=key)
    assert found == code
    assert words.replace("HOST", host) in output
    assert upstream.seen == [("/v1/models", f"Bearer {key}")]  # type: ignore[attr-defined]  # ours


def test_what_is_not_there_fails_and_no_key_is_shown(tmp_path: Path) -> None:
    port = closed_port()
    code, output = doctor(
        tmp_path,
        f'[store]\nurl = "redis://127.0.0.1:{port}/0"\npassword = "env:PASSWORD"\n'
        f'[providers.a]\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\napi_key = "env:KEY"\n',
        KEY="canary", PASSWORD="canary",
    )  # fmt: skip
    assert code == 1
    assert output == (
        f"FAILED  store redis 127.0.0.1:{port}: cannot be reached (ConnectionError)\n"
        f"FAILED  provider a 127.0.0.1:{port}: cannot be reached (ClientConnectorError)\n"
    )


def test_an_optional_provider_without_its_key_is_a_warning(tmp_path: Path) -> None:
    code, output = doctor(tmp_path, '[providers.a]\nkind = "openai"\napi_key = "env:NOT_SET"\noptional = true\n')
    assert code == 0
    assert (
        "warning provider a: left out, and so are its models: the environment variable NOT_SET is not set or empty"
        in output
    )


def test_settings_with_a_mistake_end_it_before_anything_is_reached(tmp_path: Path) -> None:
    code, output = doctor(tmp_path, "[server]\nport = -1\n")
    assert code == 1
    assert output == f"{tmp_path}/config.toml:2: server.port is -1; an integer from 0 to 65535\n"
