"""What is installed is what pyproject.toml asks for: in the lock, with hashes, and from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("run", "build", "dev", "clients")


def text_of(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")


def pins(lock: str) -> dict[str, str]:
    """Name → version and marker."""
    found = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\\\n]+?) *\\?$", text_of(lock), re.MULTILINE)
    return {canonicalize_name(name): rest for name, rest in found}


def asked(lock: str) -> list[Requirement]:
    run = PROJECT["project"]["dependencies"]
    build = PROJECT["dependency-groups"]["build"]
    dev = [one for one in PROJECT["dependency-groups"]["dev"] if isinstance(one, str)]  # a table includes a group
    clients = PROJECT["dependency-groups"]["clients"]
    lines = {"run": run, "build": build, "dev": [*run, *build, *dev], "clients": clients}
    return [Requirement(one) for one in lines[lock]]


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_asked_for_is_locked_in_a_version_that_fits(lock: str) -> None:
    locked = pins(lock)
    for requirement in asked(lock):
        version = locked[canonicalize_name(requirement.name)].partition(" ;")[0].strip()
        assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_locked_has_its_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9][A-Za-z0-9._-]*==)", text_of(lock), flags=re.MULTILINE)[1:]
    names = {canonicalize_name(one.partition("==")[0]) for one in entries}  # one may have two versions, by a marker
    assert names == pins(lock).keys() != set()
    assert [one.partition(" ")[0] for one in entries if "--hash=sha256:" not in one] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_locked_says_where_it_was_made_or_fetched(lock: str) -> None:
    assert re.findall(r"\w+://\S*|--(?:extra-)?index\S*|--find-links\S*|[ =\"'](?:/|~/)\S+", text_of(lock)) == []


def test_the_larger_lock_holds_the_smaller_ones() -> None:
    assert pins("run").items() <= pins("dev").items()
    assert pins("build").items() <= pins("dev").items()


def test_the_back_end_that_builds_is_locked() -> None:
    names = {canonicalize_name(Requirement(one).name) for one in PROJECT["build-system"]["requires"]}
    assert names <= pins("build").keys()
    assert not names & pins("run").keys()
