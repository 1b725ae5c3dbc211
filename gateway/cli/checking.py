"""The process that checks settings and compiles policies for one that is about to serve: a `Start` on its standard
input, the settings and then the reading on its standard output, and its end."""

from __future__ import annotations

import os
import pickle
import sys

from gateway.cli.beginning import Start
from gateway.policy.compiling import answer, opened
from gateway.policy.frames import framed
from gateway.settings.crossing import Checked, packed
from gateway.settings.load import load
from gateway.settings.orders import order_of


def main() -> None:
    """Be that process."""
    out = opened()
    start = pickle.load(sys.stdin.buffer)  # noqa: S301  # of the process that started this one
    assert isinstance(start, Start)  # noqa: S101  # INVARIANT: `beginning.py` sends nothing else
    settings, mistakes = load(start.config, os.environ)
    try:
        out.write(framed(packed(Checked(settings, tuple(mistakes)), os.environ)))
        out.flush()
    except BrokenPipeError:
        settings = None  # who asked has gone
    if settings is not None and (start.worker or settings.server.workers == 1):
        answer(order_of(settings, os.environ), out)
    os._exit(0)  # to take many objects apart one by one would only take time
