"""What a piece of a request costs in tokens, given how to count a text. Pure.

The rule for messages is OpenAI's (cookbook, "How to count tokens with tiktoken"): 3 a message, 1 more for its name, and
3 that prime the reply. Tools are counted as the JSON that came, which is longer than what a provider renders of it.
Pictures cost by their size, which is not looked at: `detail` "low" is 85, anything else the most that there can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

PER_MESSAGE = 3
PER_NAME = 1
PRIMING = 3  # for the reply, once a request
PER_TOOL = 12  # what stands around a tool's description
PICTURE = 1500  # OpenAI's guide: a high-detail picture is at most 85 + 8 tiles × 170 on gpt-4o
LOW_PICTURE = 85
BYTES_PER_TOKEN = 2  # of content in base64 that is no picture: more tokens than any provider makes of it
_PICTURES = frozenset(("image_url", "input_image", "image"))
_FILES = frozenset(("input_audio", "file", "input_file", "document"))
_DEEPEST = 200  # levels of lists and objects

Count = Callable[[str], int]


def tokens_of(field: str, piece: bytes, count: Count) -> int:
    """Tokens of one piece of `field`; `count` gives those of a text. Raises ValueError where the piece is no JSON,
    or too deep."""
    try:
        value = msgspec.json.decode(piece)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if field in ("tools", "functions"):
        return PER_TOOL + count(piece.decode("utf-8", "replace"))
    if isinstance(value, dict) and ("role" in value or field == "messages"):
        return _message(value, count)
    return _content(value, count, 0)


def _message(message: Mapping[str, Any], count: Count) -> int:
    total = PER_MESSAGE
    for name, value in message.items():
        if name == "name" and isinstance(value, str):
            total += PER_NAME
        total += _content(value, count, 0)
    return total


def _content(value: Any, count: Count, depth: int) -> int:
    """Tokens of a text, of a list of contents or numbers (which are tokens themselves), or of an object's texts."""
    if isinstance(value, str):
        return count(value)
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if isinstance(value, list):
        if value and isinstance(value[0], int):
            return len(value)
        return sum(_content(one, count, depth + 1) for one in value)
    if not isinstance(value, dict):
        return 1 if value is not None else 0
    kind = value.get("type")
    if kind in _PICTURES:
        return LOW_PICTURE if '"low"' in _detail(value) else PICTURE
    if kind in _FILES:
        return PER_MESSAGE + len(msgspec.json.encode(value)) // BYTES_PER_TOKEN
    if kind in ("text", "input_text", "output_text") and isinstance(value.get("text"), str):
        return count(value["text"])
    total = 0
    for name, one in value.items():
        total += count(name) + _content(one, count, depth + 1) + 1
    return total


def _detail(part: Mapping[str, Any]) -> str:
    inner = part.get("image_url")
    detail = inner.get("detail") if isinstance(inner, dict) else part.get("detail")
    return f'"{detail}"'
