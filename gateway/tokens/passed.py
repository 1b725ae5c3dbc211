"""What passed of a reply, for counting it if its provider does not say what it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.tokens.running import RunningText

WAITING = 63  # pieces of some bytes each
KEPT = 16 << 10  # bytes of a reply that are kept, some 4,000 tokens; the rest is counted in proportion
_SAID = frozenset(
    ("content", "text", "refusal", "reasoning", "reasoning_content", "thinking", "arguments", "input", "partial_json")
)
_DEEPEST = 50  # levels of lists and objects


class Passed:
    """Text as it passes: all its bytes are counted, the first of them are kept. What is said of it piece by piece is
    encoded for many pieces at once, or when somebody asks: mostly the provider counts, and nobody does."""

    __slots__ = ("_running", "_size", "_text", "pieces", "waiting")

    def __init__(self) -> None:
        self._size = 0
        self._text = bytearray()
        self._running: RunningText | None = None
        self.pieces: list[str] = []
        self.waiting = WAITING  # pieces that may wait

    def add(self, text: bytes) -> None:
        """More of it, in UTF-8."""
        if self.pieces:
            self.gather()
        self._add(text)

    def gather(self) -> None:
        """Take in the pieces, in which no surrogate may be alone."""
        text = "".join(self.pieces)
        self.pieces.clear()
        self._add(text.encode())

    def follow(self, running: RunningText) -> None:
        """From now on `running` gets all of it at once, for somebody who must know how many tokens it has at most."""
        self._running, self.waiting = running, 0

    @property
    def size(self) -> int:
        """How many bytes passed."""
        if self.pieces:
            self.gather()
        return self._size

    @property
    def text(self) -> bytearray:
        """The first of them."""
        if self.pieces:
            self.gather()
        return self._text

    def _add(self, text: bytes) -> None:
        self._size += len(text)
        if self._running is not None:
            self._running.feed(text)
        if (room := KEPT - len(self._text)) > 0:
            self._text += text if len(text) <= room else text[:room]


def said_in(answer: bytes) -> Passed:
    """The text of a whole answer, without its ids and numbers. Nothing where it is no JSON."""
    passed = Passed()
    try:
        tree = msgspec.json.decode(answer)
    except (msgspec.DecodeError, RecursionError):
        return passed
    for text in _texts(tree, 0):
        passed.add(text.encode("utf-8", "surrogatepass"))
    return passed


def _texts(node: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(node, list):
        for one in node:
            yield from _texts(one, depth + 1)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name in _SAID and isinstance(value, str):
                yield value
            elif name == "input" and isinstance(value, dict):  # a tool's, as Anthropic writes it
                yield msgspec.json.encode(value).decode()
            else:
                yield from _texts(value, depth + 1)
