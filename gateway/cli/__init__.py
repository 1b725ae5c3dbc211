"""The command line: one file per command, imported when it is called, so that `gateway --help` is instant.

Exit codes: 0 it is well · 1 the command ran and the answer is no (mistakes found, a provider not reached, a decision
that nobody knows) · 2 the command was called wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

import click

import gateway

# name → (module, attribute, one line for --help). The line stands here because importing the module is what costs.
COMMANDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "serve": ("gateway.cli.serve", "serve", "Start the gateway."),
        "check": ("gateway.cli.check", "check", "Check settings and policies, offline; every mistake at once."),
        "keys": ("gateway.cli.keys", "keys", "Make keys for applications."),
        "usage": ("gateway.cli.usage", "usage", "Say what was used, by day."),
        "limits": ("gateway.cli.limits", "limits", "See how a key stands; raise or reset a limit for a time."),
        "diff": ("gateway.cli.diff", "diff", "Say in words what an edit of the policies means."),
        "explain": ("gateway.cli.explain", "explain", "Say what would be decided, or what was, and by which line."),
        "doctor": ("gateway.cli.doctor", "doctor", "Reach the store and every provider, and say what is found."),
        "tokenizers": (
            "gateway.cli.tokenizers",
            "tokenizers",
            "Fetch and check the files that tokens are counted with.",
        ),
        "redact": ("gateway.cli.redact", "redact", "Show what a redaction profile makes of a text of your own."),
        "import": ("gateway.cli.importing", "importing", "Come over from another gateway (LiteLLM)."),
        "echo": ("gateway.cli.echo", "echo", "Serve the built-in echo model over HTTP, as an upstream of its own."),
    }
)


class LazyGroup(click.Group):
    """Knows its commands by name, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, out of the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(gateway.__version__, "-V", "--version", prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """One door to every language model: limits and budgets, redaction, one record per request.

    Exit codes: 0 well, 1 the answer is no (mistakes, unreachable, unknown), 2 called wrongly.
    """
