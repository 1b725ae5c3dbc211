"""`gateway usage`: what keys, teams, tenants and labels came to, day by day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.asking import ADMIN, ask
from gateway.cli.opening import CONFIG
from gateway.limits.answer import key_words


@click.command()
@CONFIG
@ADMIN
@click.option("--key", metavar="NAME", help="One key, by name or id.")
@click.option("--team", metavar="NAME", help="One team.")
@click.option("--tenant", metavar="NAME", help="One tenant.")
@click.option("--label", metavar="NAME[=VALUE]", help="One label, or one value of it.")
@click.option("--model", metavar="NAME", help="One model, by the policies' name.")
@click.option("--by", type=click.Choice(["key", "team", "tenant", "label", "model"]), help="A line for each of them.")
@click.option("--since", metavar="DATE", help="The first day, such as 2026-11-01; by default the first of this month.")
@click.option("--until", metavar="DATE", help="The last day.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of a table.")
def usage(  # one for each option
    config: Path | None, admin: str | None, key: str | None, team: str | None, tenant: str | None, label: str | None,
    model: str | None, by: str | None, since: str | None, until: str | None, *, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Say what was used: requests, tokens and USD, a line for each day and key (or team, tenant, label, model).

    A day is the tenant's (time_zone). Asks the admin listener; the token is in GATEWAY_ADMIN_TOKEN, any role may.
    """
    chosen = {"key": key, "team": team, "tenant": tenant, "label": label, "model": model}
    named = {name: value for name, value in chosen.items() if value is not None}
    if len(named) > 1 or (named and by not in (None, *named)):
        raise click.UsageError("one of --key, --team, --tenant, --label and --model")
    if as_json and as_csv:
        raise click.UsageError("--json or --csv")
    query = {"by": by or next(iter(named), "key")}
    if named:
        query["name"] = next(iter(named.values()))
    query |= {name: value for name, value in (("since", since), ("until", until)) if value is not None}
    text = ask("/usage", config, admin, query | ({"format": "csv"} if as_csv else {}))
    if as_csv:
        click.echo(text, nl=False)
        return
    rows = json.loads(text)["rows"]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for line in table(rows):
        click.echo(line)


def _scope(row: dict[str, Any]) -> str:
    kind, _, name = row["scope"].partition(" ")
    return f"{kind} {key_words(name, row.get('name') or '')}" if kind == "key" else row["scope"]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows, and their sum, as lines of a table."""
    if not rows:
        return ["Nothing was used."]
    total = {name: sum(row[name] for row in rows) for name in ("requests", "tokens", "nano_usd")}
    cells = [("day", "scope", "requests", "tokens", "USD")]
    cells += [
        (row["day"], _scope(row), f"{row['requests']}", f"{row['tokens']}", f"{row['nano_usd'] / 1e9:.6f}")
        for row in rows
    ]
    cells.append(("", "in all", f"{total['requests']}", f"{total['tokens']}", f"{total['nano_usd'] / 1e9:.6f}"))
    widths = [max(len(line[at]) for line in cells) for at in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
