"""Ask the admin listener of a running gateway. One way for all stores: it knows the roles and writes the audit log
(docs/decisions/0031-limits-are-changed-through-the-admin-listener.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import click

from gateway.cli.opening import open_settings
from gateway.settings.model import Settings

TOKEN = "GATEWAY_ADMIN_TOKEN"  # noqa: S105  # the name of a variable
BASE = "/gateway/v1/admin"
SECONDS = 30.0

ADMIN = click.option(
    "--admin", "admin", metavar="URL", help="The admin listener; by default the one of the settings, here."
)


def ask(
    path: str, config: Path | None, admin: str | None, query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The text of a 200. A body makes it a change. Ends the command with the listener's own words otherwise."""
    token = os.environ.get(TOKEN)
    if not token:
        raise click.ClickException(f"set {TOKEN} to an admin token ([admin.tokens] in config.toml)")
    url = f"{(admin or _address(open_settings(config))).rstrip('/')}{BASE}{path}"
    if query:
        url += "?" + urlencode(query)
    if not url.startswith(("http://", "https://")):
        raise click.ClickException("--admin must be an http:// or https:// URL")
    data = json.dumps(body).encode() if body is not None else None
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    request = Request(url, data=data, headers=headers, method="POST" if body is not None else "GET")  # noqa: S310  # http alone, see above
    try:
        # No proxy of the environment: the token is for this listener alone.
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        with error:
            raise click.ClickException(_words(error)) from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(f"the admin listener at {url.partition(BASE)[0]} is not reached: {reason}") from None


def _address(settings: Settings) -> str:
    admin = settings.admin
    if not admin.enabled:
        raise click.ClickException("these settings have no admin listener: set [admin] enabled, or give --admin URL")
    if admin.port == 0:
        raise click.ClickException("the admin listener of these settings has any free port: give --admin URL")
    return f"http://{admin.host}:{admin.port}"


def _words(error: HTTPError) -> str:
    try:
        said = json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = "no more is known"
    return f"{error.code}: {said}"
