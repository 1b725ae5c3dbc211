"""count: how many tokens a request or a reply has, counted once and remembered. Pure; the counter is a port.

What is remembered is a number under a keyed hash of the text, never the text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.tokens.chat import PRIMING
from gateway.tokens.encodings import encoding_of
from gateway.tokens.request import pieces

if TYPE_CHECKING:
    from gateway.ports import TokenCounter

REMEMBERED = 50_000  # pieces whose tokens are kept: some 8 MB
ENDLESS = 1 << 40  # a `stop` that no text reaches
MARGIN = (3, 2)  # on a count in another model's encoding: Claude's and Gemini's make up to a half more of a text
TEXT = ""  # in the place of a piece's field: a text in UTF-8, not JSON


class Counted(msgspec.Struct, frozen=True):
    """A count. `encoding` is what it was counted in, `known` whether that is the model's own, `whole` whether it is
    all: one that was stopped is more than the `stop` it was given."""

    tokens: int
    encoding: str
    known: bool
    whole: bool = True

    @property
    def at_most(self) -> int:
        """Tokens of the model's own encoding: where that is not known, half as many again."""
        return self.tokens if self.known else -(-self.tokens * MARGIN[0] // MARGIN[1])

    @property
    def by(self) -> str:
        """As a record says it: the encoding, with a mark where it is another than the model's."""
        return self.encoding if self.known else f"{self.encoding} (unknown model)"


class Counting:
    """Counts with a memory. `key` hashes what was counted; `counter` is None where there are no ranks."""

    def __init__(self, counter: TokenCounter | None, key: bytes, size: int = REMEMBERED) -> None:
        self._counter = counter
        self._key = hashlib.blake2b(key, person=b"gateway tokens").digest()[:32]
        self._size = size
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self.hits = 0
        self.misses = 0

    async def request(
        self, fields: Mapping[str, msgspec.Raw], model: str | None, stop: int = ENDLESS
    ) -> Counted | None:
        """Tokens that a request's body puts into a model; None where they cannot be counted. Stops above `stop`."""
        found = await self._count(pieces(fields), model, stop)
        if found is None:
            return None
        priming = PRIMING if "messages" in fields or "input" in fields else 0
        return msgspec.structs.replace(found, tokens=found.tokens + priming)

    async def text(self, text: bytes, model: str | None) -> Counted | None:
        """Tokens of a text in UTF-8 that a model wrote. It is not remembered: nobody sends a reply twice."""
        if self._counter is None:
            return None
        encoding, known = encoding_of(model)
        tokens = await self._counter.count(encoding, [(TEXT, text)], ENDLESS)
        return None if tokens is None else Counted(sum(tokens), encoding, known)

    async def _count(self, parts: Sequence[tuple[str, bytes]], model: str | None, stop: int) -> Counted | None:
        if self._counter is None:
            return None
        encoding, known = encoding_of(model)
        total, new, marks = 0, [], []
        for field, piece in parts:
            mark = self._mark(encoding, field, piece)
            tokens = self._known.get(mark)
            if tokens is None:
                new.append((field, piece))
                marks.append(mark)
            else:
                self._known.move_to_end(mark)
                total += tokens
        self.hits += len(parts) - len(new)
        self.misses += len(new)
        if not new or total > stop:
            return Counted(total, encoding, known, not new)
        answer = await self._counter.count(encoding, new, stop - total)
        if answer is None:
            return None
        total += sum(answer)
        for mark, tokens in zip(marks, answer if total <= stop else answer[:-1], strict=False):
            self._remember(mark, tokens)
        return Counted(total, encoding, known, total <= stop)

    def _mark(self, encoding: str, field: str, piece: bytes) -> bytes:
        keyed = hashlib.blake2b(piece, key=self._key, digest_size=16)
        keyed.update(f"\0{encoding}\0{field}".encode())
        return keyed.digest()

    def _remember(self, mark: bytes, tokens: int) -> None:
        self._known[mark] = tokens
        if len(self._known) > self._size:
            self._known.popitem(last=False)
