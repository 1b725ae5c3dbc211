"""A text that grows, and how many tokens it is at most: for a stream that must end at a line. Pure.

No text has more tokens than UTF-8 bytes, so most streams are known to be below their line without counting anything.
Where that is not enough, what came since the last count is counted and added. A text that is counted in parts has at
least as many tokens as the whole, so the figure stays an upper bound, and is close to the truth.
"""

from __future__ import annotations

KEPT = 64 << 10  # bytes that wait for somebody who can count them


class RunningText:
    """Feed it the text as it passes. `at_most` never under-counts."""

    __slots__ = ("_counted", "_pending", "_taken", "by", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self.by: str | None = None  # the encoding of what was counted
        self._counted = 0
        self._taken = b""  # the part that is being counted
        self._pending = bytearray()

    def feed(self, text: bytes) -> None:
        """More of it, in UTF-8."""
        self.bytes += len(text)
        self._pending += text

    @property
    def known(self) -> int:
        """Tokens of what was counted."""
        return self._counted

    @property
    def pending(self) -> int:
        """Bytes that were not counted yet."""
        return len(self._pending)

    @property
    def at_most(self) -> int:
        """Tokens so far, at most: what was counted, and a token for each byte that was not."""
        return self._counted + len(self._taken) + len(self._pending)

    def take(self) -> bytes:
        """What was not counted yet, for counting; `counted` takes the answer. One at a time."""
        self._taken, self._pending = bytes(self._pending), bytearray()
        return self._taken

    def counted(self, tokens: int | None) -> None:
        """How many tokens the part had that was taken; None: nobody can say now. It is taken again with what follows,
        unless that is too much to keep: then its bytes stand."""
        if tokens is None and len(self._taken) < KEPT:
            self._pending[:0] = self._taken
        else:
            self._counted += len(self._taken) if tokens is None else min(tokens, len(self._taken))
        self._taken = b""
