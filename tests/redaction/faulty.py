"""What a worker does when a text asks for it, in a module that a fresh process can import."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.worker import Answer, analyze


def work(texts: list[str], profile: RedactionProfile) -> Answer:
    """The real analysis, unless the first text names a fault."""
    fault: Any = texts[0].partition(" ")[0]
    match fault:
        case "crash":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
        case "raise":
            raise ValueError(texts[0])
        case "nothing":
            answer: Any = None
        case "strings":
            answer = ["one", "two"]
        case "fewer":
            answer = []
        case "outside":
            answer = [[(0, 10_000, "EMAIL_ADDRESS", 1.0)] for _ in texts]
        case "backwards":
            answer = [[(5, 2, "EMAIL_ADDRESS", 1.0)] for _ in texts]
        case "unreadable":
            answer = lambda: None  # noqa: E731  # a function cannot be sent
        case _:
            return analyze(texts, profile)
    return answer  # type: ignore[no-any-return]  # that is the fault
