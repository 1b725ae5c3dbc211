"""`gateway check`: settings and policies, offline, every mistake in one run."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.cli.opening import CONFIG, policies_of, read_policy_set
from gateway.policy.compiled import PolicySet
from gateway.settings.load import examine


@click.command()
@CONFIG
def check(config: Path | None) -> None:
    """Check settings and policies, offline: nothing is started, nothing is reached.

    Every mistake is a line of its own, FILE:LINE: what is wrong; what is allowed. A mistake in the environment has
    its variable's name in the place of the file. Exit code 1 where there is any.
    """
    found = examine(config, os.environ)
    mistakes = list(found.mistakes)
    warnings: list[str] = []
    policy = None
    if found.settings is not None:
        warnings += found.settings.warnings()
        folder = policies_of(found.settings)
        if folder.is_dir():
            opened = read_policy_set(folder, found.providers)
            policy = opened.policy
            mistakes += opened.mistakes
            warnings += opened.warnings
    for mistake in mistakes:
        click.echo(str(mistake))
    for warning in warnings:
        click.echo(f"warning: {warning}")
    if policy is not None:
        for rule in policy.not_enforced:
            click.echo(f"{rule.file}:{rule.line}: {rule.path} is not enforced yet: this version only checks it")
    if found.settings is None:
        click.echo("The policies were not checked: the settings say where they are, and cannot be read.")
    if mistakes:
        click.echo(f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}.")
        raise SystemExit(1)
    if policy is not None:
        click.echo(summary(policy))


def summary(policy: PolicySet) -> str:
    """One line on a policy set that is in order."""
    parts = (
        (len(policy.keys), "key"),
        (policy.model_count, "model"),
        (len(policy.providers), "provider"),
        (len(policy.rules), "rule"),
    )
    counted = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in parts)
    return f"All is well: {counted}; policy set {policy.hash[:12]}."
