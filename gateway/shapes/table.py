"""The table of shapes, by the name that an endpoint gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.shapes.chat import CHAT, COMPLETIONS, EMBEDDINGS
from gateway.shapes.messages import COUNT_TOKENS, MESSAGES
from gateway.shapes.responses import INPUT_TOKENS, RESPONSES
from gateway.shapes.shape import Shape

SHAPES: Mapping[str, Shape] = {
    one.name: one
    for one in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, INPUT_TOKENS, MESSAGES, COUNT_TOKENS)
}  # fmt: skip
