"""Having policy files read by a process that ends: what that takes of CPU, memory and libraries never weighs on what
serves. Only the decoding of the result is done here, in slices."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import gateway
from gateway.policy.frames import LENGTH, Unpacking
from gateway.policy.orders import Reading
from gateway.toml import Mistake

LONGEST = 300.0  # seconds for a reading while requests are served
SLICE = 0.002  # seconds for which the event loop is held at a time
# The same gateway, whatever the working directory holds.
PROGRAM = "import sys; sys.path.insert(0, {!r}); from {} import main; main()"


class Ordered(Protocol):
    """What can be ordered: it is pickled."""

    @property
    def directory(self) -> Path: ...


class Apart:
    """One reading that has begun. `Apart(order)` starts the process; then `finish` or `finished`, or `give_up`.

    `program` is the module that carries the order out. What it says first, beyond the reading, is `frame`'s to take.
    """

    def __init__(self, order: Ordered, program: str = "gateway.policy.compiling") -> None:
        self.directory = order.directory  # what a mistake is said at where the process says nothing
        home = str(Path(gateway.__file__).parents[1])
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-P", "-c", PROGRAM.format(home, program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None  # noqa: S101  # INVARIANT: they are pipes
        assert self._process.stdout is not None  # noqa: S101  # as above
        self._out: IO[bytes] = self._process.stdout
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # whoever waits for it will see
            pickle.dump(order, stdin)

    @property
    def pid(self) -> int:
        """The process that reads."""
        return self._process.pid

    def frame(self) -> bytes:
        """Wait for the next piece of what it says; b"" where there is none."""
        return self._out.read(_length(self._out.read(LENGTH)))

    def finish(self) -> Reading:
        """Wait for the reading; what is called from has nothing else to do."""
        unpacking = Unpacking()
        with self._out, _no_search_for_cycles():
            while frame := self.frame():
                unpacking.feed(frame)
        return self._reading(unpacking, self._process.wait())

    async def finished(self) -> Reading:
        """Wait for the reading, the event loop being held for a slice at a time."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), self._out)
        unpacking = Unpacking()
        try:
            async with asyncio.timeout(LONGEST):
                head = await reader.readexactly(LENGTH)  # until here it is being compiled
                with _no_search_for_cycles():
                    await self._unpack(reader, _length(head), unpacking)
        except asyncio.IncompleteReadError:
            pass  # it has ended, and says with which code
        except TimeoutError:
            self._process.kill()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            transport.close()
        return self._reading(unpacking, await asyncio.to_thread(self._process.wait))

    async def _unpack(self, reader: asyncio.StreamReader, length: int, unpacking: Unpacking) -> None:
        pause = time.monotonic() + SLICE
        while length:
            unpacking.feed(await reader.readexactly(length))
            length = _length(await reader.readexactly(LENGTH))
            if time.monotonic() > pause:
                await asyncio.sleep(0)
                pause = time.monotonic() + SLICE

    def give_up(self) -> None:
        """End the process, if it has not ended. What has begun and is not waited for must be given up."""
        self._process.kill()
        self._out.close()
        self._process.wait()

    def _reading(self, unpacking: Unpacking, code: int) -> Reading:
        if unpacking.reading is not None:
            return unpacking.reading
        how = "the process that reads them " + (f"ended with {code}" if code >= 0 else f"was ended by signal {-code}")
        wrong = Mistake(str(self.directory), 0, f"cannot be compiled: {how}", "memory and time enough for it")
        return Reading(None, b"", (wrong,))


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """The many objects of a set stay, and make no cycles: to search them for any, now or later, would hold the loop
    for as long as there are many. What else lives in these moments is frozen with them, and freed all the same once
    nobody holds it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _length(head: bytes) -> int:
    return int.from_bytes(head, "big")
