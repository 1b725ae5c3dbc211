"""How a process stands, in words for an operator: whether traffic should come to it, and what becomes of its store."""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from gateway.limits.failure import Guarded, News
from gateway.policy.in_force import PolicyFiles
from gateway.server.health import WELL, Check, Finding

log = structlog.get_logger(__name__)
_REFUSING = "requests that have limits are refused with 503"


def checks(
    policies: PolicyFiles, store: Guarded, analysis: Callable[[], bool], stopping: Callable[[], bool]
) -> list[Check]:
    """What `/readyz` looks at. `analysis`: whether those that must search for personal data can."""

    async def not_draining() -> Finding:
        return Finding(ready=False, words="stopping") if stopping() else WELL

    async def policies_in_force() -> Finding:
        if not policies.degraded:
            return WELL
        first = policies.degraded[0]
        return Finding(ready=True, words=f"{first.file}:{first.line} has a mistake, the last good set is in force")

    async def limit_store() -> Finding:
        return store_finding(store)

    async def analysis_workers() -> Finding:
        return WELL if analysis() else Finding(ready=False, words="the analysis workers are not warm")

    return [
        Check("not draining", not_draining),
        Check("policies", policies_in_force),
        Check("store", limit_store),
        Check("analysis", analysis_workers),
    ]


def store_finding(store: Guarded) -> Finding:
    """A store that is away keeps traffic away where `store.on_failure` admits nothing, or nothing any more."""
    if not store.away:
        return WELL
    if not store.gone:
        return Finding(ready=True, words=f"partly away, {store.mode} for the tenants there")
    match store.mode:
        case "open":
            return Finding(ready=True, words="away, open: nothing is limited")
        case "bounded" if (left := store.allowance) > 0:
            return Finding(ready=True, words=f"away, bounded for {left:.0f} s more")
        case "bounded":
            return Finding(ready=False, words=f"away, bounded allowance used up: {_REFUSING}")
        case _:
            return Finding(ready=False, words=f"away, closed: {_REFUSING}")


def tell(news: News, part: str, store: Guarded) -> None:
    """One line in the log when the store goes, when the allowance of that is used up, and when it comes back."""
    known = {"part": part, "pid": os.getpid()} if part else {"pid": os.getpid()}
    match news:
        case "away" if store.mode == "bounded":
            log.warning("store away", mode=store.mode, seconds_left=round(store.allowance), **known)
        case "away":
            log.warning("store away", mode=store.mode, **known)
        case "used up":
            log.error("store away: bounded allowance used up", now=_REFUSING, **known)
        case "back":
            log.warning("store back", **known)
