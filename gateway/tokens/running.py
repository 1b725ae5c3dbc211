"""A text that grows, and how many tokens it is at most: for a stream that must end at a line. Pure.

No text has more tokens than UTF-8 bytes, so most streams are known to be below their line without counting anything.
Where that is not enough, what came since the last count is counted and added. A text that is counted in parts has at
least as many tokens as the whole, so the figure stays an upper bound, and is close to the truth.
"""

from __future__ import annotations


class RunningText:
    """Feed it the text as it passes. `at_most` never under-counts."""

    __slots__ = ("_counted", "_counting", "_pending", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._counted = 0
        self._counting = 0  # bytes of the part that is being counted
        self._pending = bytearray()

    def feed(self, text: str) -> None:
        """More of it."""
        encoded = text.encode("utf-8", "surrogatepass")
        self.bytes += len(encoded)
        self._pending += encoded

    @property
    def at_most(self) -> int:
        """Tokens so far, at most: what was counted, and a token for each byte that was not."""
        return self._counted + self._counting + len(self._pending)

    def take(self) -> bytes:
        """What was not counted yet, for counting; `counted` takes the answer. One at a time."""
        taken = bytes(self._pending)
        self._counting, self._pending = len(taken), bytearray()
        return taken

    def counted(self, tokens: int | None) -> None:
        """How many tokens the part had that was taken; None: nobody could say, and its bytes stand."""
        self._counted += self._counting if tokens is None else min(tokens, self._counting)
        self._counting = 0
