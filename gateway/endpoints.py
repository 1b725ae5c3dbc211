"""The paths below /v1 and what the gateway knows of each. Pure.

An endpoint is named by its first path segment (`files`, `batches`, …), the hot ones by what they do. *Visible* means
that the gateway reads its cost and its text, so that limits and redaction hold on it; every other one is opaque, and
policy rule "no side door" applies (`policy/decide.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["chat", "completions", "embeddings", "models", "opaque"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` is the raw path below /v1, query excluded, as it came."""

    name: str
    shape: Shape
    method: str
    path: str
    raw_query: str = ""

    @property
    def visible(self) -> bool:
        return self.shape != "opaque"

    @property
    def inference(self) -> bool:
        """Whether the default `endpoints = ["inference"]` covers it."""
        return self.name in INFERENCE

    @property
    def operation(self) -> str:
        """OpenTelemetry's `gen_ai.operation.name`."""
        return OPERATIONS.get(self.name, self.name)


INFERENCE = frozenset(
    {"chat", "completions", "embeddings", "models", "responses", "moderations", "images", "audio", "realtime"}
)
OPERATIONS = {"completions": "text_completion"}
_HOT: dict[tuple[str, str], tuple[str, Shape]] = {
    ("POST", "/chat/completions"): ("chat", "chat"),
    ("POST", "/completions"): ("completions", "completions"),
    ("POST", "/embeddings"): ("embeddings", "embeddings"),
}
# Every name that a policy's `endpoints` may hold, besides "inference" and "*".
NAMES = INFERENCE | {
    "files", "uploads", "batches", "fine_tuning", "vector_stores", "containers", "conversations", "evals",
    "assistants", "threads", "organization", "videos", "messages", "chatkit", "skills",
}  # fmt: skip


def find(method: str, path: str, raw_query: str = "") -> Endpoint:
    """The endpoint of a raw path that begins with /v1/. A path that nobody knows is opaque, named by its segment."""
    below = path[3:]
    hot = _HOT.get((method, below))
    if hot is not None:
        return Endpoint(hot[0], hot[1], method, below, raw_query)
    segment = below.split("/", 2)[1] if below.startswith("/") else below
    if segment == "models" and method in ("GET", "HEAD"):
        return Endpoint("models", "models", method, below, raw_query)
    return Endpoint(segment.replace("-", "_"), "opaque", method, below, raw_query)
