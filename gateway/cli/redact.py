"""`gateway redact`: what a profile makes of a text of your own, without sending it anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.opening import CONFIG, policies_of, refuse
from gateway.errors import AnalyzerFailure
from gateway.policy.compile import compile_profiles
from gateway.policy.compiled import RedactionProfile
from gateway.policy.files import Unreadable, load
from gateway.redaction.placeholders import Placeholders
from gateway.redaction.presidio import WARM_UP, PresidioAnalyzer
from gateway.redaction.redact import checked, redacted
from gateway.redaction.reply import Found
from gateway.settings.load import examine

PREFERRED = "strict"  # where none is named and there are several


@click.command()
@click.argument("file", metavar="FILE")
@CONFIG
@click.option("--profile", metavar="NAME", help=f"The redaction profile; without it '{PREFERRED}', or the only one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the redacted text and every span.")
def redact(file: str, config: Path | None, profile: str | None, as_json: bool) -> None:  # noqa: FBT001  # click's way
    """Print FILE (- for standard input) as a profile would let it leave, and what was found where.

    The text goes to standard output. Standard error gets a line for each span: line, column, kind, score and action; no
    value. Nothing is sent anywhere or kept; placeholders are made with a key of this run alone. A mistake elsewhere in
    settings or policies is said on standard error, and changes nothing.
    """
    chosen = _chosen(_profiles(config), profile)
    text = _read(file)
    try:
        found = asyncio.run(_found(text, chosen))
    except AnalyzerFailure as failure:
        raise click.ClickException(f"the analysis failed, and a request would be refused: {failure.detail}") from None
    shown = redacted(text, found, chosen, Placeholders(secrets.token_bytes(32)))
    if as_json:
        spans = [
            {"start": one.start, "end": one.end, "entity": one.entity, "score": one.score,
             "action": chosen.action_for(one.entity)}
            for one in found
        ]  # fmt: skip
        click.echo(json.dumps({"profile": chosen.name, "text": shown, "spans": spans}, ensure_ascii=False))
        return
    click.echo(shown, nl=not shown.endswith("\n"))
    for one in found:
        line = text.count("\n", 0, one.start) + 1
        column = one.start - text.rfind("\n", 0, one.start)
        action = chosen.action_for(one.entity)
        click.echo(f"{line}:{column} {one.entity} {one.score:g} {action}, {one.end - one.start} characters", err=True)
    counts = ", ".join(f"{count} {entity}" for entity, count in sorted(Counter(one.entity for one in found).items()))
    click.echo(f"Profile {chosen.name}: {counts or 'nothing found'}.", err=True)
    if blocked := sorted({one.entity for one in found if chosen.action_for(one.entity) == "block"}):
        click.echo(f"A request with this text would be refused: {', '.join(blocked)}.", err=True)


def _profiles(config: Path | None) -> Mapping[str, RedactionProfile | None]:
    """The profiles of the policies, None for one with mistakes; the mistakes of all are said."""
    found = examine(config, os.environ)
    if found.settings is None:
        refuse(found.mistakes)
    try:
        files = load(policies_of(found.settings))
    except Unreadable as error:
        refuse((*found.mistakes, error.mistake))
    profiles, mistakes = compile_profiles(files, found.providers)
    for mistake in (*found.mistakes, *mistakes):
        click.echo(f"warning: {mistake}", err=True)
    return profiles


def _chosen(there: Mapping[str, RedactionProfile | None], name: str | None) -> RedactionProfile:
    wanted = name or (PREFERRED if PREFERRED in there or len(there) != 1 else next(iter(there)))
    if wanted not in there:
        names = ", ".join(sorted(there)) or "none"
        raise click.ClickException(f"there is no redaction profile '{wanted}'; there are: {names}")
    profile = there[wanted]
    if profile is None:
        raise click.ClickException(f"the redaction profile '{wanted}' has mistakes, see above")
    return profile


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: is not UTF-8 (byte {error.start})") from None


async def _found(text: str, profile: RedactionProfile) -> Found:
    """Its spans, by a worker as the gateway has them. Raises AnalyzerFailure."""
    analyzer = PresidioAnalyzer()
    try:
        (spans,) = await analyzer.analyze([text], replace(profile, deadline=WARM_UP))
        return checked(spans, text)
    finally:
        await analyzer.close()
