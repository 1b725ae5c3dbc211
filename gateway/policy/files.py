"""Policy files: read, watched, swapped whole; the last good set is kept over a restart."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import structlog
from watchfiles import awatch

from gateway.errors import Rule
from gateway.identity.authenticate import Directory
from gateway.limits.scopes import Limit, Unit, Window
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import Key, KeySecret, PolicySet, ProviderFacts, ScopeTemplate
from gateway.toml import Mistake

log = structlog.get_logger(__name__)
LAST_GOOD = "last-good-policies.json"
DEBOUNCE = 200  # milliseconds: an editor writes, renames and touches; Kubernetes swaps a link
LARGEST_FILE = 32 << 20  # bytes: 100,000 keys with limits in one file
DEMO_REQUESTS = 60  # a minute
BUILT_IN = "the built-in demo key"  # where its rules stand


class PoliciesBroken(Exception):
    """There is no set to start with: the files have mistakes, and no good one was kept."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


class Unreadable(Exception):
    """A folder or a file that cannot be read; the mistake says which and why."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


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


class PolicyFiles:
    """The policy set of this moment. `providers` gives the facts anew at each reload, since a key's file may have
    come; `state` is the folder where the last good files are kept (None: nowhere); `amend` changes every new set."""

    def __init__(
        self,
        directory: Path,
        providers: Callable[[], Mapping[str, ProviderFacts]],
        *,
        state: Path | None = None,
        amend: Callable[[PolicySet], PolicySet] = lambda policy: policy,
    ) -> None:
        self._directory = directory
        self._providers = providers
        self._state = state
        self._amend = amend
        self.degraded: tuple[Mistake, ...] = ()  # mistakes of files that are not in force
        self.warnings: tuple[str, ...] = ()
        self.reloads_ok = 0
        self.reloads_failed = 0
        policy, mistakes = self._read()
        if policy is None:
            policy = self._last_good(mistakes)
        self._adopt(policy)

    def _adopt(self, policy: PolicySet) -> None:
        self.current = policy
        self.keys = Directory(policy.by_digest)
        self.loaded_at = time.time()  # noqa: TID251  # shown to operators, decides nothing

    def reload(self) -> tuple[Mistake, ...]:
        """Read again: the whole new set or none of it. The mistakes, if it is none."""
        policy, mistakes = self._read()
        if policy is None:
            self.reloads_failed += 1
            self.degraded = tuple(mistakes)
            for mistake in mistakes:
                log.error("policies not reloaded", mistake=str(mistake))
            return self.degraded
        self.degraded = ()
        self.reloads_ok += 1
        if policy.hash != self.current.hash or policy != self.current:
            log.info("policies reloaded", policy=policy.hash[:12], keys=len(policy.keys), models=policy.model_count)
            self._adopt(policy)
        return ()

    async def watch(self) -> None:
        """Reload whenever something in the folder changes; runs until cancelled."""
        async for _ in awatch(
            self._directory, debounce=DEBOUNCE, step=50, recursive=True, ignore_permission_denied=True
        ):
            self.reload()

    def _read(self) -> tuple[PolicySet | None, list[Mistake]]:
        try:
            files = load(self._directory)
        except Unreadable as error:
            return None, [error.mistake]
        with _no_search_for_cycles():
            policy, mistakes, warnings = compile_policies(files, self._providers())
        if policy is None:
            return None, mistakes
        if tuple(warnings) != self.warnings:
            self.warnings = tuple(warnings)
            for warning in warnings:
                log.warning("policies", warning=warning)
        self._keep(files)
        return self._amend(policy), []

    def _keep(self, files: Mapping[str, str]) -> None:
        """The texts of a good set, for a process that starts beside a bad one."""
        if self._state is None:
            return
        text = json.dumps(files)
        path = self._state / LAST_GOOD
        try:
            if path.exists() and path.read_text() == text:
                return
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            new.replace(path)
        except OSError as error:
            log.warning("the last good policies cannot be kept", path=str(path), error=error.strerror)

    def _last_good(self, mistakes: list[Mistake]) -> PolicySet:
        policy = None
        if self._state is not None:
            try:
                files = json.loads((self._state / LAST_GOOD).read_text())
                with _no_search_for_cycles():
                    policy, _, _ = compile_policies({str(k): str(v) for k, v in files.items()}, self._providers())
            except (OSError, ValueError, AttributeError):
                policy = None
        if policy is None:
            raise PoliciesBroken(mistakes)
        self.degraded = tuple(mistakes)
        for mistake in mistakes:
            log.error("started on the last good policies", mistake=str(mistake))
        return self._amend(policy)


def with_demo_key(policy: PolicySet, digest: bytes, name: str = "demo") -> PolicySet:
    """A set without keys and the demo key, which lives in this process only: every model, inference, a few requests a
    minute, redaction by the profile `strict` if there is one. `digest` is SHA-256 of its secret."""
    rule = Rule(len(policy.rules) + 1, f"keys.{name}", BUILT_IN, 0)
    rate = Rule(len(policy.rules) + 2, f"keys.{name}.limits.requests_per_minute", BUILT_IN, 0)
    limit = Limit("requests_per_minute", Unit.REQUESTS, Window.MINUTE, DEMO_REQUESTS, rate, DEMO_REQUESTS)
    secret = KeySecret("demo", digest, None, rule)
    key = Key(
        name=name,
        id=f"k_{name}",
        secrets=(secret,),
        rule=rule,
        models=(("*",),),
        redaction=policy.redaction.get("strict"),
        scopes=(ScopeTemplate(f"key:k_{name}", (limit,), key_name=name),),
    )
    return replace(
        policy,
        keys={**policy.keys, name: key},
        by_digest={**policy.by_digest, digest: (key, secret)},
        rules=(*policy.rules, rule, rate),
    )
