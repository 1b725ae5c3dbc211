"""`gateway tokenizers`: the right files, or none."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.tokens.encodings import ENCODINGS

FILES = sorted(one.file for one in ENCODINGS.values())


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["tokenizers", *map(str, arguments)])


def test_a_folder_is_copied_and_verified(ranks: Path, tmp_path: Path) -> None:
    there = tmp_path / "new" / "ranks"
    assert run("verify", there).exit_code == 1
    pulled = run("pull", there, "--from", ranks)
    assert pulled.exit_code == 0, pulled.output
    assert sorted(path.name for path in there.iterdir()) == FILES
    verified = run("verify", there)
    assert (verified.exit_code, verified.output.count(": ok")) == (0, 4)
    again = run("pull", there, "--from", tmp_path / "nowhere")
    assert (again.exit_code, again.output.count("there already")) == (0, 4)


def test_an_archive_is_searched_and_nothing_else_of_it_is_written(ranks: Path, tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as files:
        for name in FILES:
            files.add(ranks / name, f"package/data/{name}")
        evil = tarfile.TarInfo("../../escaped")
        evil.size = 4
        files.addfile(evil, io.BytesIO(b"evil"))
    there = tmp_path / "a" / "ranks"
    assert run("pull", there, "--from", archive).exit_code == 0
    assert sorted(path.name for path in there.iterdir()) == FILES
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_that_differs_is_not_kept(ranks: Path, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    source.mkdir()
    for name in FILES:
        content = (ranks / name).read_bytes()
        (source / name).write_bytes(content[:-1] if name.startswith("o200k") else content)
    pulled = run("pull", there, "--from", source)
    assert pulled.exit_code == 1
    assert "o200k_base.tiktoken: what" in pulled.output
    assert "446a9538cb6c348e" in pulled.output
    assert sorted(path.name for path in there.iterdir()) == [name for name in FILES if not name.startswith("o200k")]


def test_one_that_was_damaged_is_fetched_again(ranks: Path, tmp_path: Path) -> None:
    run("pull", tmp_path, "--from", ranks)
    (tmp_path / "r50k_base.tiktoken").write_bytes(b"rubbish")
    assert "its SHA-256 is not" in run("verify", tmp_path).output
    assert "r50k_base.tiktoken: 835,554 bytes" in run("pull", tmp_path, "--from", ranks).output
    assert run("verify", tmp_path).exit_code == 0


@pytest.mark.parametrize("source", ["nowhere", "no.tgz"])
def test_a_source_that_cannot_be_read_is_said(tmp_path: Path, source: str) -> None:
    result = run("pull", tmp_path, "--from", tmp_path / source)
    assert result.exit_code == 1
    assert source in result.output
