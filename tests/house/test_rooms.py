"""The import rules in pyproject.toml leave no gap: a file that may touch the world is one that few may import."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONTRACTS: dict[str, dict[str, Any]] = {
    one["id"]: one
    for one in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
}
# These touch the world, and yet are imported by the files that they serve.
SERVE = {
    "gateway.forms": "spools a form that is too long for memory",
    "gateway.journey": "waits for its steps",
    "gateway.patience": "time limits on what is awaited",
    "gateway.policy.orders": "names folders, and opens none",
    "gateway.stream.tunnel": "waits for both ends of a WebSocket",
    "gateway.telemetry.tasks": "owns the tasks of everybody",
}
OUTERMOST = ("gateway.app", "gateway.cli", "gateway.settings", "gateway.server")


def named(module: str) -> bool:
    return module.startswith(OUTERMOST) or "*" in module


def test_what_touches_the_world_is_known_to_few() -> None:
    touching = {one.partition(" -> ")[0] for one in CONTRACTS["pure"]["ignore_imports"]}
    protected = {one for contract in CONTRACTS.values() for one in contract.get("protected_modules", ())}
    assert {one for one in touching if not named(one)} - protected == SERVE.keys()


def test_every_rule_is_about_files_that_there_are() -> None:
    modules = {one.partition(" -> ")[0] for one in CONTRACTS["pure"]["ignore_imports"]}
    modules |= {one for contract in CONTRACTS.values() for one in contract.get("protected_modules", ())}
    for module in modules:
        path = ROOT.joinpath(*module.removesuffix(".*").split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_the_layers_are_the_ones_that_the_map_names() -> None:
    said = (ROOT / "gateway" / "__init__.py").read_text("utf-8")
    assert "cli → app → server → journey → ports" in said
    assert CONTRACTS["direction"]["layers"] == [
        f"gateway.{one}" for one in ("cli", "app", "server", "journey", "ports")
    ]
