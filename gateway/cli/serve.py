"""`gateway serve`: start the gateway, and end it well."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click
import uvloop

from gateway.app import Gateway, open_gateway
from gateway.cli.opening import CONFIG, open_settings, refuse
from gateway.policy.files import PoliciesBroken
from gateway.server.listeners import PortTaken
from gateway.settings.model import Format, Settings
from gateway.telemetry.logs import set_up

# Python's process that cleans up after one that was killed says so on its standard error, which is ours, and is no
# JSON. It takes over how its parent was started; this says nothing to the process itself.
QUIET = "ignore:resource_tracker:UserWarning"


@click.command()
@CONFIG
@click.option("--worker", "part", hidden=True, help="What a supervisor gives to a process that it starts.")
def serve(config: Path | None, part: str | None) -> None:
    """Start the gateway. SIGTERM ends it after what runs has ended, SIGHUP reloads the policies.

    With `server.workers` above 1, SIGUSR2 puts new worker processes in the place of the old, one after the other.
    """
    sys.warnoptions.append(QUIET)
    settings = open_settings(config)
    console = settings.log.format is Format.CONSOLE or (settings.log.format is Format.AUTO and sys.stdout.isatty())
    set_up(settings.log.level, "console" if console else "json")
    if part is not None:
        from gateway.cli.workers import work  # noqa: PLC0415  # not what a single process needs

        work(settings, part, console=console)
    elif settings.server.workers > 1:
        from gateway.cli.workers import supervise  # noqa: PLC0415  # not what a single process needs

        raise SystemExit(supervise(settings, config))
    else:
        _alone(settings, console=console)


def _alone(settings: Settings, *, console: bool) -> None:
    try:
        gateway = open_gateway(settings, console=console)
    except PortTaken as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None
    except PoliciesBroken as broken:
        refuse(broken.mistakes)
    if gateway.demo_key is not None:
        click.echo(banner(gateway.url, gateway.demo_key, gateway.health_url))
        sys.stdout.flush()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(gateway))


async def _run(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    await gateway.start()
    try:
        await stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):  # a second one means it
            loop.remove_signal_handler(number)
    finally:
        await gateway.stop()


def banner(url: str, key: str, health: str) -> str:
    """What a newcomer needs. The demo key lives in this process only, and only where policies have no key, so showing
    it costs nothing."""
    return f"""
  The gateway listens on {url}   (health and metrics: {health})
  A demo key, valid until it stops or the policies have a key of their own: {key}

  Try it:

    curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
      -d '{{"model": "echo", "stream": true, "messages": [{{"role": "user", "content": "Write to ada@example.com"}}]}}'

  Or in Python, after `pip install openai`:

    OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key} python -c 'import openai; \\
      print(openai.OpenAI().chat.completions.create(model="echo", messages=[{{"role": "user", "content": "Hello"}}]))'
"""
