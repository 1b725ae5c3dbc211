"""`gateway import litellm`: coming over from another gateway."""

from __future__ import annotations

import csv
from pathlib import Path

import click

from gateway.cli.litellm import Imported


@click.group("import")
def importing() -> None:
    """Come over from another gateway."""


@importing.command()
@click.argument("config", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--keys", "dump", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The table LiteLLM_VerificationToken as CSV, with a line of column names.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("imported"), show_default=True,
    help="The folder that is written; it must not be there.",
)  # fmt: skip
def litellm(config: Path, dump: Path | None, out: Path) -> None:
    """Write config.toml and policies/ out of a LiteLLM config.yaml, and say what did not translate.

    Keys keep working: what LiteLLM stores of a key is what we store. Their secrets are not needed, and not shown.
    """
    import yaml  # noqa: PLC0415  # of all commands only this one needs it

    try:
        tree = yaml.safe_load(config.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{config} is no YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(tree, dict):
        raise click.ClickException(f"{config} holds no settings")
    if out.exists():
        raise click.ClickException(f"{out} is there already; name another folder with --out")
    made = Imported()
    made.take_config(tree)
    if dump is not None:
        with dump.open(encoding="utf-8", newline="") as lines:
            made.take_keys(list(csv.DictReader(lines)))
    (out / "policies").mkdir(parents=True)
    for name, lines_of in (
        ("config.toml", made.config),
        ("policies/models.toml", made.models),
        ("policies/keys.toml", made.keys),
    ):
        (out / name).write_text("\n".join(lines_of), "utf-8")
        click.echo(f"wrote {out / name}")
    for line in made.left:
        click.echo(f"not translated: {line}")
    click.echo(f"Next: gateway check --config {out / 'config.toml'}")
