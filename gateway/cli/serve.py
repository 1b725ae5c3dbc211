"""`gateway serve`: start the gateway, and end it well."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.cli.beginning import Beginning
from gateway.cli.opening import CONFIG
from gateway.settings.model import Format

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
    # Settings are checked and policies read, by a process that has begun here, while this one imports what serves.
    begun = Beginning(config, worker=part is not None)
    try:
        _without_rich()
        from gateway.cli.alone import alone  # noqa: PLC0415  # as said above
        from gateway.telemetry.logs import set_up  # noqa: PLC0415  # as said above

        settings = begun.settings()
        console = settings.log.format is Format.CONSOLE or (settings.log.format is Format.AUTO and sys.stdout.isatty())
        set_up(settings.log.level, "console" if console else "json")
        if part is not None:
            from gateway.cli.workers import work  # noqa: PLC0415  # not what a single process needs

            work(settings, part, begun.policies, console=console)
        elif settings.server.workers > 1:
            from gateway.cli.workers import supervise  # noqa: PLC0415  # not what a single process needs

            begun.policies.give_up()
            raise SystemExit(supervise(settings, config))
        else:
            alone(settings, begun.policies, console=console)
    finally:
        begun.policies.give_up()  # unless it has ended, as it should have


def _without_rich() -> None:
    """Structlog imports rich where it finds it, and rich pygments: 3 MB for good, for tracebacks in colours that we do
    not want (`telemetry/logs.py`). What brings rich along is spaCy, in processes of its own."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # the way to say: there is none
    import structlog  # noqa: F401, PLC0415  # which looks for it now

    del sys.modules["rich"]
