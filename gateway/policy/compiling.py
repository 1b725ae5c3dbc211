"""The process that reads policy files for one that serves: an order on its standard input, the reading on its standard
output, and its end."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from typing import BinaryIO

from gateway.policy.files import read
from gateway.policy.frames import pack
from gateway.policy.orders import Order, Reading
from gateway.toml import Mistake

KINDLY = 10  # added to its priority while requests are served: they come first


def main() -> None:
    """Be that process."""
    out = opened()
    order = pickle.load(sys.stdin.buffer)  # noqa: S301  # of the process that started this one
    assert isinstance(order, Order)  # noqa: S101  # INVARIANT: `apart.py` sends nothing else
    answer(order, out)
    os._exit(0)  # to take many objects apart one by one would only take time


def opened() -> BinaryIO:
    """Where the reading goes. A terminal's interrupt is for who started this process, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # whatever else is printed is no reading
    return out


def answer(order: Order, out: BinaryIO) -> None:
    """Carry out an order."""
    if not order.starts:
        os.nice(KINDLY)
    try:
        reading = read(order)
    except Exception:  # noqa: BLE001  # the set in force must survive whatever this is
        traceback.print_exc()
        wrong = Mistake(str(order.directory), 0, "cannot be compiled: a fault of the gateway, its traceback is above")
        reading = Reading(None, b"", (wrong,))
    try:
        out.writelines(pack(reading))
        out.flush()
    except BrokenPipeError:
        pass  # who asked has gone


if __name__ == "__main__":
    main()
