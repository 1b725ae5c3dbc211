"""The map in docs/ARCHITECTURE.md: every room is on it, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
ROWS = re.findall(r"^\| (`[^|]+) \| ", TEXT.partition("## The map")[2].partition("\n## ")[0], re.MULTILINE)
NAMED = {name.removeprefix("gateway/") for row in ROWS for name in re.findall(r"`([^`]+)`", row)}


def test_every_room_is_on_the_map() -> None:
    rooms = {f"{one.parent.name}/" for one in (ROOT / "gateway").glob("*/__init__.py")}
    assert rooms - NAMED == set()


def test_what_the_map_names_is_there() -> None:
    assert "objects/" in NAMED
    assert [name for name in NAMED if not (ROOT / "gateway" / name).exists()] == []


def test_every_path_in_it_is_there() -> None:
    paths = set(re.findall(r"`((?:gateway/)?[a-z_]+/[a-z_]+\.py)`", TEXT))
    assert len(paths) > 5
    missing = [path for path in paths if not (ROOT / "gateway" / path.removeprefix("gateway/")).exists()]
    assert missing == []
