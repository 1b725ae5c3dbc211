"""`gateway limits`: how a key stands, and exceptions for a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.asking import ADMIN, ask
from gateway.cli.opening import CONFIG
from gateway.limits.answer import scope_words

SCOPE = click.option("--scope", metavar="SCOPE", help="Another of its scopes, such as team:support or tenant:acme.")
REASON = click.option("--reason", metavar="TEXT", default="", help="Why, for the audit log and the list.")


@click.group()
def limits() -> None:
    """See how a key stands; raise or reset a limit for a time.

    Asks the admin listener; the token is in GATEWAY_ADMIN_TOKEN. Changes need the role `limits` or `all`, hold in every
    process at once, end by themselves, and stand in the audit log.
    """


@limits.command("show")
@click.argument("key")
@CONFIG
@ADMIN
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def show(key: str, config: Path | None, admin: str | None, *, as_json: bool) -> None:
    """Say how each limit of KEY stands, and which line it comes from."""
    text = ask("/limits", config, admin, {"key": key})
    if as_json:
        click.echo(text)
        return
    found = json.loads(text)
    click.echo(f"{found['key']} ({found['id']}), team {found['team'] or 'none'}, tenant {found['tenant']}")
    for one in found["limits"]:
        click.echo(_line(one, found["key"]))
    if not found["limits"]:
        click.echo("  no limits")


@limits.command("list")
@CONFIG
@ADMIN
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")
def exceptions(config: Path | None, admin: str | None, *, as_json: bool) -> None:
    """List the exceptions that stand."""
    found = json.loads(ask("/limits/exceptions", config, admin))["exceptions"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for one in found:
        what = f"raised to {one['amount']:g}" if one["kind"] == "raise" else f"{one['amount']:g} forgiven"
        why = f": {one['reason']}" if one["reason"] else ""
        where = scope_words(one["scope"], one["name"] or "")
        click.echo(f"{one['limit']} of {where}: {what} until {one['until'] or 'for good'}, by {one['by']}{why}")
    if not found:
        click.echo("No exceptions stand.")


@limits.command("raise")
@click.argument("key")
@click.argument("limit")
@click.argument("amount", type=float)
@click.option("--until", required=True, metavar="WHEN", help="2026-12-01T00:00:00Z, or a span: 90m, 24h, 7d.")
@SCOPE
@REASON
@CONFIG
@ADMIN
def raise_(  # one for each option
    key: str, limit: str, amount: float, until: str, scope: str | None, reason: str, config: Path | None,
    admin: str | None,
) -> None:  # fmt: skip
    """Raise LIMIT of KEY to AMOUNT for a time, such as: raise support-bot usd_per_month 80 --until 2026-12-01."""
    number: float = int(amount) if amount.is_integer() else amount
    _change("raise", {"key": key, "limit": limit, "amount": number, "until": until, "scope": scope, "reason": reason},
            config, admin)  # fmt: skip


@limits.command("reset")
@click.argument("key")
@click.argument("limit", required=False)
@click.option("--until", metavar="WHEN", help="Until when what was used is forgiven; by default the period's end.")
@SCOPE
@REASON
@CONFIG
@ADMIN
def reset(  # one for each option
    key: str, limit: str | None, until: str | None, scope: str | None, reason: str, config: Path | None,
    admin: str | None,
) -> None:  # fmt: skip
    """Forgive what KEY has used of LIMIT, or of all its own limits. It stays in the usage and in the ledger."""
    _change("reset", {"key": key, "limit": limit, "until": until, "scope": scope, "reason": reason}, config, admin)


@limits.command("lift")
@click.argument("key")
@click.argument("limit", required=False)
@SCOPE
@REASON
@CONFIG
@ADMIN
def lift(
    key: str, limit: str | None, scope: str | None, reason: str, config: Path | None, admin: str | None
) -> None:  # fmt: skip
    """Take back the exceptions of KEY's LIMIT, or of all its own limits."""
    _change("lift", {"key": key, "limit": limit, "scope": scope, "reason": reason}, config, admin)


def _change(kind: str, body: dict[str, Any], config: Path | None, admin: str | None) -> None:
    given = {name: value for name, value in body.items() if value not in (None, "")}
    for one in json.loads(ask(f"/limits/{kind}", config, admin, body=given))["changes"]:
        click.echo(one["words"])


def _line(one: dict[str, Any], name: str) -> str:
    exception = one.get("exception")
    notes = [
        f"resets {one['resets_at']}" if one["resets_at"] else "",
        "only watched" if one["shadow"] else "",
        f"an exception until {exception['until']}; {exception['policy']:g} by the policy" if exception else "",
        one["rule"],
    ]
    told = "; ".join(note for note in notes if note)
    used = f"{one['used']:g} of {one['amount']:g} used, {one['remaining']:g} left"
    return f"  {one['limit']} of {scope_words(one['scope'], name)}: {used}; {told}"
