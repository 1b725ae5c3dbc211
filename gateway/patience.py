"""How long we wait for somebody, client or provider: a few looks a second over all that wait, not a timer for each.

A wait is registered with the moment when patience ends and what is then done; who gets what it waited for takes it
back. So a write that does not block costs two dictionary operations, and an attacker's slow bytes cost one tick. Who
waits again and again, for each piece of a stream, is watched instead: it costs nothing but a look at each tick.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from collections.abc import Callable
from typing import Any

from gateway.ports import Clock

TICK = 0.25  # seconds; patience may last this much longer than asked
LOOKS = 4  # within the time in which something must be taken


def waiting(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the other end has not acknowledged, in our buffer and in the kernel's."""
    ours, socket = transport.get_write_buffer_size(), transport.get_extra_info("socket")
    if socket is None:
        return ours
    try:
        kernels = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # closed, or no such question on this system
        return ours
    return ours + memoryview(kernels).cast("i")[0]


class Patience:
    """Waits of one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: dict[Any, tuple[float, Callable[[], None]]] = {}
        self._watched: dict[Any, Callable[[float], None]] = {}
        self.now = clock.monotonic

    def begin(self, who: Any, seconds: float, out_of_patience: Callable[[], None]) -> None:
        """`who` waits from now on; `out_of_patience` is called once if that lasts longer than `seconds`."""
        self._waits[who] = (self._clock.monotonic() + seconds, out_of_patience)

    def taking(
        self, who: Any, seconds: float, transport: asyncio.Transport | None, out_of_patience: Callable[[], None]
    ) -> None:
        """`who` waits for what was written to be taken: `out_of_patience` is called when nothing of it has been for
        `seconds`, a quarter more at most. What the other end's machine has acknowledged is taken: behind large buffers
        of the kernel nothing may leave our own for minutes, though the client reads all the time. None: it has gone."""
        if transport is None:
            return
        looks = seconds / LOOKS
        since, left = self._clock.monotonic(), waiting(transport)

        def look() -> None:
            nonlocal since, left
            now, still = self._clock.monotonic(), waiting(transport)
            if still < left:
                since = now
            elif now - since >= seconds:
                out_of_patience()
                return
            left = still
            self.begin(who, looks, look)

        self.begin(who, looks, look)

    def end(self, who: Any) -> None:
        """`who` waits no more."""
        self._waits.pop(who, None)

    def watch(self, who: Any, look: Callable[[float], None]) -> None:
        """From now on `look` is called at each tick with the monotonic time."""
        self._watched[who] = look

    def unwatch(self, who: Any) -> None:
        """`look` is called no more."""
        self._watched.pop(who, None)

    def __len__(self) -> int:
        return len(self._waits) + len(self._watched)

    def tick(self) -> None:
        """Act on every wait whose patience has ended."""
        now = self._clock.monotonic()
        for who, (_, act) in [wait for wait in self._waits.items() if wait[1][0] <= now]:
            del self._waits[who]
            act()
        for look in tuple(self._watched.values()):
            look(now)

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(TICK)
            self.tick()
