"""What runs inside of an analysis worker. Importing this costs nothing; the first call imports Presidio.

Whatever goes wrong leaves here as one of the exceptions below: the serving process would import a foreign exception's
module to read it, and its words may quote the text.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.spans import Unusable

if TYPE_CHECKING:
    from gateway.redaction.detection.profile import ProfileAnalyzer

Answer = list[list[tuple[int, int, str, float]]]  # per text: start, end, entity, score
MOST_PROFILES = 64
_OUTWARD = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


class TimedOut(Exception):
    """A pattern was given up by its library's own time limit, which otherwise counts as "nothing found"."""


class Failed(Exception):
    """A recognizer raised: the name of the exception's class."""


class _Alarm(logging.Handler):
    """Presidio logs a pattern that timed out, and goes on without it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.rung = False

    def emit(self, record: logging.LogRecord) -> None:
        said = str(record.msg).lower()
        self.rung = self.rung or "timed out" in said or "timeout" in said


@lru_cache(maxsize=1)
def _alarm() -> _Alarm:
    """The one of this process."""
    alarm = _Alarm()
    logging.getLogger("presidio-analyzer").addHandler(alarm)
    return alarm


@lru_cache(maxsize=MOST_PROFILES)
def _engine(profile: RedactionProfile) -> ProfileAnalyzer:
    """The engine that this process has of a profile."""
    from gateway.redaction.detection.profile import ProfileAnalyzer  # noqa: PLC0415  # this is what costs a second

    return ProfileAnalyzer(profile)


def begin(warm: Sequence[RedactionProfile] = ()) -> None:
    """Called once in a new worker, before it is given work: its owner ends it, not the terminal; nothing of a text goes
    to a log, nothing at all to a network. The engines of `warm` are made, so that no analysis pays for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers[:] = [logging.NullHandler()]
    sys.addaudithook(_stay_home)
    for profile in warm:
        try:
            _engine(profile)
        except Exception:  # noqa: BLE001, S112  # whoever asks for this profile is told
            continue


def _stay_home(event: str, _: tuple[object, ...]) -> None:
    if event in _OUTWARD:
        raise PermissionError("an analysis worker has no network")


def analyze(texts: list[str], profile: RedactionProfile) -> Answer:
    """Spans of each text. Raises TimedOut, Failed, Unusable."""
    try:
        engine, alarm = _engine(profile), _alarm()
        alarm.rung = False
        answer = [[(one.start, one.end, one.entity, one.score) for one in engine.analyze(text)] for text in texts]
    except Unusable:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a recognizer raises
        raise Failed(type(error).__name__) from None
    if alarm.rung:
        raise TimedOut("a pattern ran into its time limit")
    return answer
