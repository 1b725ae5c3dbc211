"""What is in the tree: nothing of the machine it was written on, one version, and what the documents name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import gateway

ROOT = Path(__file__).parents[2]
TRACKED = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()
) if (ROOT / ".git").exists() else []  # fmt: skip  # a tree without its history has no list of what belongs to it
DOCUMENTS = [path for path in TRACKED if path.suffix == ".md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

# Homes, scratch folders and registries of whoever wrote a line; words that only its workplace knows.
FOREIGN = re.compile(
    r"/(?:root|home/\w+|Users/\w+|work|opt/pypi\w*)/[\w.]"
    r"|/tmp/\w{2,}"
    r"|(?:extra-)?index-url\s*[=:]|--find-links"
    r"|(?:pypi|files\.pythonhosted|registry\.npmjs)\.(?:org|python\.org)"
)
# A path in code font or in a link: it begins with a folder or a file at the top, so that it can be looked up.
TOP = "gateway|tests|docs|bench|helm|policies|requirements|tools|\\.ci"
NAMED = re.compile(rf"`((?:{TOP})/[\w./-]*|[A-Z][\w-]*\.md|[\w.]+\.toml|Dockerfile|Makefile)`")
LINKED = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TRACKED, ids=short)
def test_nothing_says_where_it_was_written(path: Path) -> None:
    if path.parent == Path(__file__).parent or path.suffix in {".png", ".whl", ".gz"}:
        return
    found = [match.group() for match in FOREIGN.finditer(text_of(path))]
    assert found == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_what_a_document_names_exists(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    # A file of an admin's own (keys.toml, config.toml) is named without a folder and is not in the tree's top.
    admins = {"config.toml", "keys.toml", "models.toml", "redaction.toml", "prices.toml", "secrets.toml"}
    named = {one for one in NAMED.findall(text) if one not in admins}
    lost = {one for one in named if not (ROOT / one).exists() and not (path.parent / one).exists()}
    lost |= {one for one in LINKED.findall(text) if not (path.parent / one).exists()}
    assert lost == set()


@pytest.mark.parametrize(
    "name",
    ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/ARCHITECTURE.md",
     "docs/operations.md", "docs/decisions/README.md", ".editorconfig", ".pre-commit-config.yaml"),
)  # fmt: skip
def test_what_a_newcomer_looks_for_is_there(name: str) -> None:
    assert len(text_of(ROOT / name)) > 100


def test_the_licence_is_whole_and_the_one_declared() -> None:
    text = text_of(ROOT / "LICENSE")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert all(f"   {number}. " in text for number in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text


def test_one_version_everywhere() -> None:
    chart = yaml.safe_load(text_of(ROOT / "helm" / "llm-gateway" / "Chart.yaml"))
    changes = re.findall(r"^## (\d+\.\d+\.\d+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert {PROJECT["version"], gateway.__version__, chart["appVersion"], changes[0]} == {PROJECT["version"]}


def test_decisions_are_numbered_once_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = text_of(folder / "README.md")
    records = sorted(path for path in folder.glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in records]
    assert len(set(numbers)) == len(numbers) > 0
    for path in records:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
        first = text_of(path).splitlines()[0]
        assert first.startswith("# "), path.name
        assert f"({path.name})" in index, f"{path.name} is not in docs/decisions/README.md"


def test_what_is_ignored_is_not_tracked() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert tracked == ""
