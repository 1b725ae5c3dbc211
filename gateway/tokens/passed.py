"""What passed of a reply, for counting it if its provider does not say what it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.tokens.running import RunningText

KEPT = 16 << 10  # bytes of a reply that are kept, some 4,000 tokens; the rest is counted in proportion
_SAID = frozenset(
    ("content", "text", "refusal", "reasoning", "reasoning_content", "thinking", "arguments", "input", "partial_json")
)
_DEEPEST = 50  # levels of lists and objects


class Passed:
    """Text as it passes: all its bytes are counted, the first of them are kept. `running` gets all of it, where
    somebody must know at any time how many tokens it has at most."""

    __slots__ = ("bytes", "running", "text")

    def __init__(self) -> None:
        self.bytes = 0
        self.text = bytearray()
        self.running: RunningText | None = None

    def add(self, text: bytes) -> None:
        """More of it."""
        self.bytes += len(text)
        if self.running is not None:
            self.running.feed(text)
        if (room := KEPT - len(self.text)) > 0:
            self.text += text if len(text) <= room else text[:room]


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
