"""Policy files → the set that they mean, or every mistake; the last good files are kept over a restart.

Reading takes CPU and memory that grow with the number of keys, and libraries that nothing else needs: what serves has
it done in a process that ends (`apart.py`). Commands call `read` in their own.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.policy.compile import compile_policies
from gateway.policy.compiled import ProviderFacts
from gateway.policy.orders import Order, Reading
from gateway.toml import Mistake

LAST_GOOD = "last-good-policies.json"
LARGEST_FILE = 32 << 20  # bytes: 100,000 keys with limits in one file


class Unreadable(Exception):
    """A folder or a file that cannot be read; the mistake says which and why."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


def read(order: Order) -> Reading:
    """What the files of an order come to. Where they have mistakes and a process is to start on them: the last good
    ones, beside the mistakes."""
    try:
        files = load(order.directory)
    except Unreadable as error:
        return _last_good(order, (error.mistake,))
    stamp = _stamp(files, order.providers)
    if stamp == order.known:
        return Reading(None, stamp)
    with _no_search_for_cycles():
        policy, mistakes, warnings = compile_policies(files, order.providers)
    if policy is None:
        return _last_good(order, tuple(mistakes))
    return Reading(policy, stamp, warnings=tuple(warnings), unkept=_keep(order, files))


def load(directory: Path) -> dict[str, str]:
    """The *.toml files of a folder, by path: what messages call them. Raises Unreadable."""
    try:
        names = sorted(path for path in directory.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except OSError as error:
        raise Unreadable(_cannot(directory, error, "a folder with *.toml files in it")) from None
    files = {}
    for path in names:
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise Unreadable(Mistake(str(path), 1, "is too large", f"at most {LARGEST_FILE >> 20} MiB"))
            files[str(path)] = path.read_bytes().decode("utf-8")
        except OSError as error:
            raise Unreadable(_cannot(path, error, "a file that this user may read")) from None
        except UnicodeDecodeError as error:
            raise Unreadable(
                Mistake(str(path), 1, f"is not UTF-8 text (byte {error.start})", "TOML, which is UTF-8")
            ) from None
    return files


def _cannot(path: Path, error: OSError, allowed: str) -> Mistake:
    return Mistake(str(path), 1, f"cannot be read: {(error.strerror or type(error).__name__).lower()}", allowed)


def _stamp(files: Mapping[str, str], providers: Mapping[str, ProviderFacts]) -> bytes:
    """SHA-256 of all that a set is made of, the places of its rules included."""
    return hashlib.sha256(json.dumps([files, repr(sorted(providers.items()))]).encode()).digest()


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Compiling makes many objects that stay and hardly a cycle: to look for them takes a third of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _keep(order: Order, files: Mapping[str, str]) -> str:
    """Keep the texts of a good set for a process that starts beside a bad one. Why they could not be kept, or ""."""
    if order.state is None:
        return ""
    text = json.dumps(files)
    path = order.state / LAST_GOOD
    try:
        if path.exists() and path.read_text() == text:
            return ""
        order.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def _last_good(order: Order, mistakes: tuple[Mistake, ...]) -> Reading:
    """Nothing but the mistakes, unless a process is to start and good files were kept."""
    if order.starts and order.state is not None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            files = {str(k): str(v) for k, v in json.loads((order.state / LAST_GOOD).read_text()).items()}
            with _no_search_for_cycles():
                policy, _, _ = compile_policies(files, order.providers)
            if policy is not None:
                return Reading(policy, _stamp(files, order.providers), mistakes)
    return Reading(None, b"", mistakes)
