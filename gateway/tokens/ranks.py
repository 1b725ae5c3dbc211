"""Rank files on disk: read, and checked against the table each time that they are. Nothing here touches the network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from gateway.tokens.encodings import ENCODINGS


class RanksBroken(Exception):
    """A rank file that is not there or not the one of the table; the message names it."""


def read(folder: Path, name: str) -> bytes:
    """The rank file of an encoding. Raises RanksBroken."""
    path = folder / ENCODINGS[name].file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RanksBroken(f"{path}: {error.strerror or error}") from None
    if not is_right(name, content):
        raise RanksBroken(f"{path}: its SHA-256 is not that of {name}'s ranks ({ENCODINGS[name].sha256[:12]}…)")
    return content


def is_right(name: str, content: bytes) -> bool:
    """Whether these are an encoding's ranks."""
    return hashlib.sha256(content).hexdigest() == ENCODINGS[name].sha256


def present(folder: Path) -> frozenset[str]:
    """The encodings whose files are there, right or not."""
    return frozenset(name for name, one in ENCODINGS.items() if (folder / one.file).is_file())


def broken(folder: Path) -> Iterator[str]:
    """What is wrong with the files that are there."""
    for name in sorted(present(folder)):
        try:
            read(folder, name)
        except RanksBroken as error:
            yield str(error)
