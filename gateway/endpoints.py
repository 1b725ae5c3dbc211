"""The paths below /v1 (and our own /gateway/v1/key) and what the gateway knows of each. Pure.

An endpoint is named by its first path segment (`files`, `batches`, …), the hot ones by what they do. *Visible* means
that the gateway reads its cost and its text, so that limits and redaction hold on it; every other one is opaque, and
the rule "no side door" applies to it (`policy/decide.py`). Names are found on the decoded path, since a provider
decodes it too; what is sent on is the raw path.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote

import msgspec

from gateway.shapes.table import SHAPES

# What an endpoint's requests and answers look like: a name of `shapes/table.py`, or one of the last three.
Shape = Literal[
    "chat", "completions", "embeddings", "responses", "input_tokens", "messages", "count_tokens",
    "models", "key", "opaque",
]  # fmt: skip


class Endpoint(msgspec.Struct, frozen=True):
    """`path` is the raw path below /v1, query excluded, as it came."""

    name: str
    shape: Shape
    method: str
    path: str
    raw_query: str = ""
    anthropic: bool = False  # the client says so, by the header `anthropic-version`
    visible: bool = True  # whether the gateway reads cost and text of this call; follows from the shape
    operation: str = ""  # OpenTelemetry's `gen_ai.operation.name`; follows from the shape
    in_anthropics_words: bool = False  # whether its client expects Anthropic's dialect; follows from the two

    def __post_init__(self) -> None:
        shape = SHAPES.get(self.shape)
        msgspec.structs.force_setattr(self, "visible", self.shape != "opaque")
        msgspec.structs.force_setattr(self, "in_anthropics_words", self.anthropic or self.name in ANTHROPICS)
        msgspec.structs.force_setattr(self, "operation", shape.operation if shape is not None else self.name)

    @property
    def takes_json(self) -> bool:
        """Whether its bodies are JSON, whatever they say of themselves, unless they are forms: not every provider looks
        at the type. Of a path that has no name here nobody knows."""
        return self.name != OTHER

    @property
    def inference(self) -> bool:
        """Whether the default `endpoints = ["inference"]` covers it."""
        return self.name in INFERENCE


INFERENCE = frozenset({
    "chat", "completions", "embeddings", "models", "responses", "stored_responses", "messages", "moderations",
    "images", "audio", "realtime",
})  # fmt: skip
HOT: dict[str, Shape] = {  # POST, below /v1
    "/chat/completions": "chat", "/completions": "completions", "/embeddings": "embeddings",
    "/responses": "responses", "/responses/input_tokens": "input_tokens",
    "/messages": "messages", "/messages/count_tokens": "count_tokens",
}  # fmt: skip
# What else lives below a hot name is opaque and must not share the name: a policy that names "chat" means chatting.
_BELOW_HOT = {
    "chat": "stored_completions", "completions": "stored_completions", "embeddings": "stored_embeddings",
    "responses": "stored_responses", "messages": "message_batches",
}  # fmt: skip
ANTHROPICS = frozenset(("messages", "message_batches"))  # names that nobody else has
OTHER = "other"  # every path that has no name here yet: a client's words must not become ours
OWN_KEY = "/gateway/v1/key"  # what a key may do and what is left of it
OWN_METHODS = {OWN_KEY: ("GET", "HEAD")}  # of paths that never reach a provider
# Every name that a policy's `endpoints` may hold, besides "inference" and "*".
NAMES = INFERENCE | {
    "assistants", "batches", "chatkit", "containers", "conversations", "evals", "files", "fine_tuning",
    "message_batches", "organization", "other", "skills", "stored_completions", "stored_embeddings", "threads",
    "uploads", "vector_stores", "videos",
}  # fmt: skip


def find(method: str, path: str, raw_query: str = "", *, anthropic: bool = False) -> Endpoint | None:
    """The endpoint of a raw path; `anthropic`: the client speaks Anthropic's API. None: not below /v1/, or a path that
    two servers could read in two ways (empty or dot segments, encoded or not, back slashes, control characters), or
    /v1 twice, which a base URL brings that should end before it."""
    if path == OWN_KEY and method in OWN_METHODS[OWN_KEY]:
        return Endpoint("key", "key", method, path, raw_query, anthropic)
    if not path.startswith("/v1/") or "#" in path:
        return None
    raw = path[3:]
    below = unquote(raw) if "%" in raw else raw
    segments = below[1:].removesuffix("/").split("/")
    if (
        segments[0] == "v1"
        or any(segment in ("", ".", "..") for segment in segments)
        or "\\" in below
        or not below.isprintable()
    ):
        return None
    if method == "POST" and (shape := HOT.get(below.removesuffix("/"))) is not None:
        return Endpoint(segments[0], shape, method, raw, raw_query, anthropic)
    name = segments[0].replace("-", "_")
    if name == "models" and method in ("GET", "HEAD"):
        return Endpoint("models", "models", method, raw, raw_query, anthropic)
    name = "fine_tuning" if name == "models" else _BELOW_HOT.get(name, name)  # only tuned models can be deleted
    return Endpoint(name if name in NAMES else OTHER, "opaque", method, raw, raw_query, anthropic)
