"""What is to be read, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.toml import Mistake


@dataclass(frozen=True, slots=True)
class Order:
    """Read the files of `directory`. `state` is the folder where the last good files are kept (None: nowhere),
    `starts` whether a process is to start on the result, `known` the stamp of the set in force (none: b"")."""

    directory: Path
    providers: Mapping[str, ProviderFacts]
    state: Path | None = None
    starts: bool = False
    known: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """What files came to. A set, `stamp` naming what it was made of. Or none: beside `mistakes`, or because the files
    are as they were (`stamp` is the one known). Both a set and mistakes: the last good files, in the place of those
    with mistakes. `unkept`: why they could not be kept."""

    policy: PolicySet | None
    stamp: bytes
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()
    unkept: str = ""
