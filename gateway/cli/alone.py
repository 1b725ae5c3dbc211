"""`gateway serve` in one process, which is what most need: from settings to its end."""

from __future__ import annotations

import asyncio
import signal
import sys

import click
import uvloop

from gateway.app import Gateway, open_gateway
from gateway.cli.opening import refuse
from gateway.policy.apart import Apart
from gateway.policy.in_force import PoliciesBroken
from gateway.server.listeners import PortTaken
from gateway.settings.model import Settings


def alone(settings: Settings, begun: Apart, *, console: bool) -> None:
    """Serve until a signal ends it. `begun`: the reading of the policies."""
    try:
        gateway = open_gateway(settings, console=console, begun=begun)
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
