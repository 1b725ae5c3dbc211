"""What runs inside of an analysis worker. Importing this costs nothing; the first call imports Presidio."""

from __future__ import annotations

import logging
import signal
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.policy.compiled import RedactionProfile

if TYPE_CHECKING:
    from gateway.redaction.recognizers import ProfileAnalyzer

Answer = list[list[tuple[int, int, str, float]]]  # per text: start, end, entity, score
MOST_PROFILES = 64


class TimedOut(Exception):
    """A pattern was given up by its library's own time limit, which otherwise counts as "nothing found"."""


class _Alarm(logging.Handler):
    """Presidio logs a pattern that timed out, and goes on without it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.rung = False

    def emit(self, record: logging.LogRecord) -> None:
        self.rung = self.rung or "timed out" in str(record.msg).lower() or "timeout" in str(record.msg).lower()


@lru_cache(maxsize=1)
def _alarm() -> _Alarm:
    """The one of this process."""
    alarm = _Alarm()
    logging.getLogger("presidio-analyzer").addHandler(alarm)
    return alarm


@lru_cache(maxsize=MOST_PROFILES)
def _engine(profile: RedactionProfile) -> ProfileAnalyzer:
    """The engine that this process has of a profile."""
    from gateway.redaction.recognizers import ProfileAnalyzer  # noqa: PLC0415  # this is what costs a second

    return ProfileAnalyzer(profile)


def begin() -> None:
    """Called once in a new worker: its owner ends it, not the terminal; and nothing of a text goes to a log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers[:] = [logging.NullHandler()]


def analyze(texts: list[str], profile: RedactionProfile) -> Answer:
    """Spans of each text. Raises TimedOut, and whatever a recognizer raises."""
    engine, alarm = _engine(profile), _alarm()
    alarm.rung = False
    answer = [[(one.start, one.end, one.entity, one.score) for one in engine.analyze(text)] for text in texts]
    if alarm.rung:
        raise TimedOut
    return answer
