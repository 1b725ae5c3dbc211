"""Read settings and policies for a command, or say every mistake and leave with exit code 1."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.settings.model import Settings
from gateway.toml import Mistake

CONFIG = click.option(
    "--config",
    "config",
    metavar="FILE",
    envvar="GATEWAY_CONFIG",
    type=click.Path(path_type=Path),
    help="The settings file; else the one that the variable GATEWAY_CONFIG names. Without either: defaults, the echo "
    "model and the policies that come with the gateway.",
)


@dataclass(frozen=True, slots=True)
class Opened:
    """Policies as they are read: the texts by file, and what they mean. `policy` is None beside mistakes."""

    files: Mapping[str, str]
    policy: PolicySet | None
    mistakes: tuple[Mistake, ...]
    warnings: tuple[str, ...]


def refuse(mistakes: Iterable[Mistake]) -> NoReturn:
    """Say the mistakes on stderr and end with exit code 1."""
    for mistake in mistakes:
        click.echo(str(mistake), err=True)
    raise SystemExit(1)


def open_settings(config: Path | None) -> Settings:
    """The settings; a command that needs them ends here where there is a mistake."""
    from gateway.settings.load import load  # noqa: PLC0415  # `serve` has this done in a process that ends

    settings, mistakes = load(config, os.environ)
    if settings is None:
        refuse(mistakes)
    return settings


def read_policy_set(folder: Path, providers: Mapping[str, ProviderFacts]) -> Opened:
    """The policies of a folder."""
    from gateway.policy import files as reading  # noqa: PLC0415  # as above
    from gateway.policy.compile import compile_policies  # noqa: PLC0415  # as above

    try:
        files = reading.load(folder)
    except reading.Unreadable as error:
        return Opened({}, None, (error.mistake,), ())
    policy, mistakes, warnings = compile_policies(files, providers, time.time())
    return Opened(files, policy, tuple(mistakes), tuple(warnings))


def open_policies(settings: Settings) -> tuple[PolicySet, Mapping[str, str]]:
    """The policy set and its files' texts; a command that needs them ends here where there is a mistake."""
    opened = read_policy_set(policies_of(settings), settings.provider_facts())
    if opened.policy is None:
        refuse(opened.mistakes)
    return opened.policy, opened.files


def policies_of(settings: Settings) -> Path:
    """The folder of policies; `load` has seen to it that there is one."""
    if settings.policies.path is None:
        raise click.ClickException("no folder of policies is set: [policies] path")
    return settings.policies.path
