"""`gateway serve` with several workers: the supervisor's process, and a worker's."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import uvloop
from aiohttp import web

import gateway
from gateway.app import Gateway, open_gateway
from gateway.cli.opening import refuse
from gateway.opening import bind_all, master_secret, say_listening
from gateway.policy.apart import Apart
from gateway.policy.in_force import PoliciesBroken
from gateway.server.health import health_app
from gateway.server.link import Link, Part, Seat
from gateway.server.listeners import Bound, PortTaken, serve
from gateway.server.workers import Supervisor
from gateway.settings.model import Settings
from gateway.telemetry.metrics import text_of
from gateway.telemetry.tasks import Background

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def supervise(settings: Settings, config: Path | None) -> int:
    """Bind the ports, start the workers, keep them; the exit code."""
    try:
        bound = bind_all(settings)
    except PortTaken as error:
        click.echo(str(error), err=True)
        return 1
    with asyncio.Runner() as runner:  # asyncio's own loop: uvloop reaps children by itself
        return runner.run(_supervise(settings, config, bound))


async def _supervise(settings: Settings, config: Path | None, bound: Mapping[str, Bound]) -> int:
    loop, background = asyncio.get_running_loop(), Background()

    def command(part: str) -> Sequence[str]:
        chosen = ["--config", str(config)] if config is not None else []
        return [sys.executable, "-m", "gateway", "serve", *chosen, "--worker", part]

    supervisor = Supervisor(
        command,
        {name: one.socket for name, one in bound.items() if name != "health"},
        {name: one.url for name, one in bound.items()},
        count=settings.server.workers,
        master=master_secret(settings),
        drain=settings.server.drain_seconds,
        environment=_environment(os.environ),
        background=background,
    )

    async def metrics() -> bytes:
        return text_of(await supervisor.total())

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_once, loop, supervisor)
    loop.add_signal_handler(signal.SIGCHLD, supervisor.reap)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    loop.add_signal_handler(signal.SIGUSR2, supervisor.restart)
    health = health_app(supervisor.checks(), lambda: supervisor.started, metrics)
    runner = await serve(web.AppRunner(health), bound["health"])
    say_listening(settings, bound)
    code = await supervisor.run()
    await runner.cleanup()
    await background.close()
    return code


def _stop_once(loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # a second one means it: the workers are told of our end
        loop.remove_signal_handler(number)
    supervisor.stop()


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """A worker's: the same, and the same gateway, whatever the working directory holds."""
    home = str(Path(gateway.__file__).parents[1])
    path = os.pathsep.join(part for part in (home, own.get("PYTHONPATH", "")) if part)
    return {**own, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def work(settings: Settings, text: str, begun: Apart, *, console: bool) -> None:
    """Be a worker, as a supervisor says. `begun`: the reading of the policies."""
    part = Part(**json.loads(text))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # the supervisor's end is ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for the supervisor, who tells us
    link = Link(part.link)
    begin = link.begin()
    if begin is None or os.getppid() != part.supervisor:
        return
    seat = Seat(link, begin.master, part.lock)
    bound = {name: Bound.of(number, part.urls[name]) for name, number in part.sockets.items()}
    try:
        made = open_gateway(settings, bound, console=console, seat=seat, begun=begun)
    except PoliciesBroken as broken:
        refuse(broken.mistakes)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(made))


async def _work(made: Gateway) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, made.reload)
    await made.start(stop.set)
    try:
        await stop.wait()
        loop.remove_signal_handler(signal.SIGTERM)
    finally:
        await made.stop()
