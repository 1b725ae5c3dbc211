"""The policy set of this moment: read, watched, swapped whole. Nothing here is made of files: others read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import structlog
from watchfiles import awatch

from gateway.errors import Rule
from gateway.identity.authenticate import Directory
from gateway.limits.scopes import Limit, Unit, Window
from gateway.policy.compiled import Key, KeySecret, PolicySet, ScopeTemplate
from gateway.policy.orders import Reading
from gateway.toml import Mistake

log = structlog.get_logger(__name__)
DEBOUNCE = 200  # milliseconds: an editor writes, renames and touches; Kubernetes swaps a link
AT_ONCE = 100  # keys of an old set that are freed before others have their turn: half a millisecond
DEMO_REQUESTS = 60  # a minute
BUILT_IN = "the built-in demo key"  # where its rules stand


class PoliciesBroken(Exception):
    """There is no set to start with: the files have mistakes, and no good one was kept."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


class PolicyFiles:
    """The set that is in force. `read` reads the files of `directory` anew, given the stamp of what is known; `first`
    is what it came to at the start. `amend` changes every new set. Raises PoliciesBroken."""

    def __init__(
        self,
        directory: Path,
        first: Reading,
        read: Callable[[bytes], Awaitable[Reading]],
        *,
        amend: Callable[[PolicySet], PolicySet] = lambda policy: policy,
    ) -> None:
        if first.policy is None:
            raise PoliciesBroken(first.mistakes)
        self._directory = directory
        self._read = read
        self._amend = amend
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[tuple[Mistake, ...]]] = []
        self.degraded = first.mistakes  # mistakes of files that are not in force
        self.warnings: tuple[str, ...] = ()
        self.reloads_ok = 0
        self.reloads_failed = 0
        for mistake in first.mistakes:
            log.error("started on the last good policies", mistake=str(mistake))
        self._warn(first)
        self._adopt(first.policy, first.stamp)

    def ask(self) -> None:
        """Have them read again, soon: what is asked for while they are being read is done once more after it."""
        self._asked.set()

    async def reload(self) -> tuple[Mistake, ...]:
        """Read again: the whole new set or none of it. The mistakes, if it is none. Others go on meanwhile."""
        done: asyncio.Future[tuple[Mistake, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self.ask()
        return await done

    async def follow(self) -> None:
        """Do what is asked, one reading after the other; runs until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            mistakes = await self._again()
            for one in waiting:
                if not one.done():  # who asked may have gone
                    one.set_result(mistakes)

    async def watch(self) -> None:
        """Ask whenever something in the folder changes; runs until cancelled."""
        async for _ in awatch(
            self._directory, debounce=DEBOUNCE, step=50, recursive=True, ignore_permission_denied=True
        ):
            self.ask()

    async def _again(self) -> tuple[Mistake, ...]:
        reading = await self._reading()
        if reading.mistakes:
            self.reloads_failed += 1
            self.degraded = reading.mistakes
            for mistake in reading.mistakes:
                log.error("policies not reloaded", mistake=str(mistake))
            return reading.mistakes
        self.degraded = ()
        self.reloads_ok += 1
        if reading.policy is not None:
            await self._swap(reading.policy, reading)
        return ()

    async def _reading(self) -> Reading:
        """What the files come to. Where it cannot even begin (no process, no memory), that is a mistake like others:
        who takes a key away must hear of it, and the next reading must come."""
        try:
            return await self._read(self._stamp)
        except Exception as error:  # whatever it is
            log.exception("policies not read", error=type(error).__name__)
            why = getattr(error, "strerror", None) or type(error).__name__
            wrong = Mistake(str(self._directory), 0, f"cannot be read: {why}", "a process and memory enough for it")
            return Reading(None, b"", (wrong,))

    async def _swap(self, policy: PolicySet, reading: Reading) -> None:
        # Freed all at once, as the last exchange on it ends, the old set would hold the event loop for as long as it
        # has keys. Here they are kept until they can go in small parts; what runs on one keeps it on.
        old = [*self.current.by_digest.values()]
        self._warn(reading)
        self._adopt(policy, reading.stamp)
        log.info("policies reloaded", policy=policy.hash[:12], keys=len(policy.keys), models=policy.model_count)
        while old:
            del old[-AT_ONCE:]
            await asyncio.sleep(0)

    def _adopt(self, policy: PolicySet, stamp: bytes) -> None:
        self.current = self._amend(policy)
        self.keys = Directory(self.current.by_digest)
        self._stamp = stamp
        self.loaded_at = time.time()  # noqa: TID251  # shown to operators, decides nothing

    def _warn(self, reading: Reading) -> None:
        if reading.unkept:
            log.warning("the last good policies cannot be kept", why=reading.unkept)
        if reading.warnings != self.warnings:
            self.warnings = reading.warnings
            for warning in reading.warnings:
                log.warning("policies", warning=warning)


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
