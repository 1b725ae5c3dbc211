"""`gateway echo`: the built-in echo model over HTTP, as an upstream of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import click
import uvloop
from aiohttp import web

from gateway.providers.echo_core import answer
from gateway.server.arrival import lower_case

MASK = "***"
_SECRET = frozenset((
    "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "x-amz-security-token",
))  # fmt: skip
_SCHEME = re.compile(r"(?i)(?:bearer|basic|aws4-hmac-sha256) ")
_SECRET_IN_QUERY = re.compile(r"(?i)(?<![^&])(key|api[-_]key|access_token|x-amz-security-token|x-amz-signature)=[^&]*")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8081, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Append every request to this file, one JSON line each. Credentials are masked.",
)
def echo(host: str, port: int, record: Path | None) -> None:
    """Serve the echo model over HTTP. It repeats what it is sent, and fails on request (docs/providers.md)."""
    with (
        _opened(record) if record is not None else nullcontext() as out,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(host, port, out))


async def _serve(host: str, port: int, out: TextIO | None) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await _answer(request, out)

    server = web.Server(handle, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=4096)
    try:
        await site.start()
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"listening on http://{shown}:{runner.addresses[0][1]}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def _opened(record: Path) -> TextIO:
    """For its owner alone, though it was there before: what people have asked stands in it."""
    try:
        number = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if stat.S_ISREG(os.fstat(number).st_mode):  # no pipe, no terminal
            os.fchmod(number, 0o600)
    except OSError as error:
        raise click.ClickException(f"cannot write {record}: {error.strerror}") from None
    return os.fdopen(number, "a", buffering=1)


async def _answer(request: web.BaseRequest, out: TextIO | None) -> web.StreamResponse:
    body = await request.content.read()  # of any size
    headers = lower_case(request.raw_headers)
    path, _, query = request.raw_path.partition("?")
    if out is not None:
        _write(out, request.method, path, query, headers, body)
    reply = answer(request.method, path.removeprefix("/v1"), headers, body)
    behaviour = reply.behaviour
    if behaviour.stall:
        await asyncio.sleep(3600)
    if behaviour.delay:
        await asyncio.sleep(behaviour.delay)
    parts = [part for part in reply.parts if part is not None]
    if reply.ends and not behaviour.gap and len(parts) == 1:
        return web.Response(status=reply.status, headers=dict(reply.headers), body=parts[0])
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    await response.prepare(request)
    for part in parts:
        if behaviour.gap:
            await asyncio.sleep(behaviour.gap)
        await response.write(part)
    if reply.ends:
        await response.write_eof()
    elif request.transport is not None:
        await asyncio.sleep(0.01)  # what was written before is to arrive
        request.transport.abort()
    return response


def _write(out: TextIO, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
    """One request as one line. Its credentials are masked, with the scheme left to be seen: `Bearer ***`."""
    line: dict[str, object] = {
        "method": method,
        "path": path,
        "query": _SECRET_IN_QUERY.sub(rf"\1={MASK}", query),
        "headers": {name: _masked(value) if name in _SECRET else value for name, value in headers.items()},
    }
    try:
        line["body"] = body.decode()
    except UnicodeDecodeError:
        line["body_base64"] = base64.b64encode(body).decode()
    out.write(json.dumps(line) + "\n")


def _masked(credential: str) -> str:
    scheme = _SCHEME.match(credential)
    return f"{scheme[0] if scheme is not None else ''}{MASK}"
