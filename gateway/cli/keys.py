"""`gateway keys`: make a key's or an admin token's secret, and say what to write where. Writes no file: those belong to
admins."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, date, datetime, time, tzinfo

import click

from gateway.identity.admin import Role
from gateway.identity.secrets import KEY_ID_BYTES, SECRET_BYTES, hash_secret, new_key_id, new_secret

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@click.group()
def keys() -> None:
    """Make keys for applications."""


@keys.command("new")
@click.argument("name")
@click.option("--team", metavar="TEAM", help="The team whose limits and models the key shares.")
@click.option("--expires", metavar="WHEN", help="A date or a time in ISO 8601, such as 2027-01-01; UTC unless it says.")
@click.option("--admin", is_flag=True, help="Not a key but a token for the admin listener.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="What the token is for; without it: read."
)
def new(name: str, team: str | None, expires: str | None, *, admin: bool, role: str | None) -> None:
    """Make a key called NAME: print its secret, once, and the TOML to paste into policies/keys.toml.

    With --admin: make an admin token of that name, and print the TOML to paste into config.toml. The secret is kept
    nowhere: only its hash goes into the file.
    """
    for hint, text in (("NAME", name), ("--team", team)):
        if text is not None and not (text.strip() and text.isprintable()):
            raise click.BadParameter("a name of printable characters is needed", param_hint=hint)
    if admin and (team is not None or expires is not None):
        raise click.UsageError("an admin token has no team and does not expire: taken out of config.toml, it ends")
    if role is not None and not admin:
        raise click.UsageError("--role is for admin tokens: --admin")
    until = _expiry(expires, UTC) if expires is not None else None
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    click.echo("The secret, shown this once:\n")
    click.echo(f"    {secret}\n")
    if admin:
        click.echo("A new admin token; paste into config.toml, where [admin] has enabled = true:\n")
        click.echo(token_stanza(name, hash_secret(secret), Role(role or Role.READ)))
        return
    click.echo("A new key; paste into policies/keys.toml:\n")
    click.echo(stanza(name, new_key_id(secrets.token_bytes(KEY_ID_BYTES)), hash_secret(secret), team, until))
    click.echo("Or a further secret of a key that is there (rotation): replace its hash by this, and put its old")
    click.echo("hash in; both are valid until the old one expires or is taken out:\n")
    click.echo(rotation(hash_secret(secret), datetime.now(UTC).date(), until))


def stanza(name: str, key_id: str, digest: str, team: str | None, until: datetime | None) -> str:
    """The TOML of a new key. It may use no model until `models` names some: no model is opened by default."""
    lines = [f"[keys.{quoted(name)}]", f'id = "{key_id}"', f'hash = "{digest}"']
    if team is not None:
        lines.append(f"team = {json.dumps(team, ensure_ascii=False)}")
    lines.append("models = []                          # name what it may use; none until then")
    if until is not None:
        lines.append(f"expires = {_toml_time(until)}")
    return "\n".join(lines) + "\n"


def token_stanza(name: str, digest: str, role: Role) -> str:
    """The TOML of an admin token."""
    return f'[admin.tokens.{quoted(name)}]\nhash = "{digest}"\nrole = "{role.value}"\n'


def rotation(digest: str, today: date, until: datetime | None) -> str:
    """The TOML that gives a key a second secret."""
    ends = f", expires = {_toml_time(until)}" if until is not None else ""
    return "\n".join(
        (
            "secrets = [",
            '  { id = "before", hash = "sha256:(the hash that stands there now)" },',
            f'  {{ id = "{today:%Y-%m-%d}", hash = "{digest}"{ends} }},',
            "]",
        )
    )


def quoted(name: str) -> str:
    """A name as a TOML key: bare where that is allowed. JSON's escapes are TOML's."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _toml_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _expiry(text: str, zone: tzinfo) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("not a date or a time such as 2027-01-01", param_hint="--expires") from None
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text):
        when = datetime.combine(when.date(), time())
    when = when if when.tzinfo is not None else when.replace(tzinfo=zone)
    if when <= datetime.now(UTC):
        raise click.BadParameter("lies in the past", param_hint="--expires")
    return when
