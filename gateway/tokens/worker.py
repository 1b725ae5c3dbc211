"""What runs inside of the counting process: tiktoken, over rank files that were checked. Never touches the network.

A text is counted in chunks. tiktoken 0.14 panics on some million spaces in a row (a BaseException, from its regex
engine's stack), and a chunk lets a count stop early. A text that is cut has a few tokens more than the whole: 0.02 % at
this size, never fewer.
"""

from __future__ import annotations

import logging
import signal
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from gateway.tokens.chat import tokens_of
from gateway.tokens.encodings import ENCODINGS
from gateway.tokens.ranks import read

CHUNK = 16_000  # characters
TEXT = ""  # in the place of a field: the piece is a text in UTF-8, not JSON

Piece = tuple[str, bytes]


def begin() -> None:
    """Called once in a new process: its owner ends it, not the terminal; and nothing of a text goes to a log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers[:] = [logging.NullHandler()]


@lru_cache(maxsize=len(ENCODINGS))
def encoder(folder: Path, name: str) -> Callable[[str], list[int]]:
    """Tokens of a chunk, in one encoding. Raises RanksBroken."""
    ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, read(folder, name).splitlines())}
    import tiktoken  # noqa: PLC0415  # the counting process alone
    from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # noqa: PLC0415  # has no types

    # The library's own constructors know an encoding's pattern, and would fetch its ranks: they get ours.
    openai_public.load_tiktoken_bpe = lambda *_, **__: ranks
    return tiktoken.Encoding(**openai_public.ENCODING_CONSTRUCTORS[name]()).encode_ordinary


def count(folder: Path, name: str, pieces: Sequence[Piece], stop: int) -> list[int]:
    """Tokens of each piece. Ends after the piece with which the sum exceeds `stop`; the last figure is then what was
    counted so far. Raises RanksBroken."""
    encode, total = encoder(folder, name), 0
    found: list[int] = []
    for field, piece in pieces:
        tokens = _one(field, piece, _counter(encode, stop - total))
        found.append(tokens)
        total += tokens
        if total > stop:
            break
    return found


def _one(field: str, piece: bytes, counter: Callable[[str], int]) -> int:
    if field == TEXT:
        return counter(piece.decode("utf-8", "replace"))
    try:
        return tokens_of(field, piece, counter)
    except ValueError:
        return counter(piece.decode("utf-8", "replace"))  # the provider refuses it in its own words


def _counter(encode: Callable[[str], list[int]], left: int) -> Callable[[str], int]:
    """Counts texts, and stops looking once they have more than `left` tokens."""
    seen = 0

    def counter(text: str) -> int:
        nonlocal seen
        before = seen
        for start in range(0, len(text), CHUNK):
            if seen > left:
                break
            seen += len(encode(text[start : start + CHUNK]))
        return seen - before

    return counter
