"""Background tasks: named, tracked, awaited at shutdown. The only file that may call `create_task`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task that its caller keeps and awaits: one exchange."""
    return asyncio.get_running_loop().create_task(work)


class Background:
    """Owns every task that outlives the call that started it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task. One that dies of an exception is logged, and does not take the process with it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", task=task.get_name(), error=type(error).__name__, exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs and wait for all of it."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
