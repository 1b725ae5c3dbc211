"""`gateway diff`: what an edit of the policies means, before it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.asking import ADMIN, ask
from gateway.cli.opening import CONFIG, open_policies, open_settings, read_policy_set, refuse
from gateway.limits.answer import quantity
from gateway.limits.scopes import NANO, Unit
from gateway.policy.difference import Change, difference


@click.command()
@click.argument("new_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@CONFIG
@click.option("--live", is_flag=True, help="Ask the running gateway what is used, by its admin listener.")
@ADMIN
def diff(new_dir: Path, config: Path | None, admin: str | None, *, live: bool) -> None:
    """Say in words what it would mean to put the policies of NEW_DIR in the place of those that there are.

    Offline; with --live each limit that changes is held against what is used now (the token is in
    GATEWAY_ADMIN_TOKEN, any role may).
    """
    settings = open_settings(config)
    old, _ = open_policies(settings)
    opened = read_policy_set(new_dir, settings.provider_facts())
    if opened.policy is None:
        refuse(opened.mistakes)
    changes = difference(old, opened.policy)
    standing: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        words = change.words
        if live and change.key is not None:
            if change.key not in standing:
                standing[change.key] = json.loads(ask("/limits", config, admin, {"key": change.key}))["limits"]
            words += foreseen(change, standing[change.key])
        click.echo(words)
    if not changes:
        click.echo("Nothing changes." if old.hash == opened.policy.hash else "Nothing changes for callers.")


def foreseen(change: Change, standing: list[dict[str, Any]]) -> str:
    """What the changed limit means for what is used: the end of a sentence."""
    limit = change.limit
    if limit is None:
        return ""
    used = next((one["used"] for one in standing if (one["scope"], one["limit"]) == (change.scope, limit.name)), None)
    if used is None:
        return ", what is used is not known by scope alone"
    amount = round(used * NANO) if limit.unit is Unit.USD else int(used)
    rest = (limit.burst or limit.amount) - amount
    outcome = "refused at once" if rest <= 0 and not limit.shadow else f"{quantity(rest, limit.unit)} left"
    return f", {quantity(amount, limit.unit)} used: {outcome}"
