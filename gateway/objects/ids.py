"""Which objects a request names, and which an answer gives or lists. Pure.

An id is opaque, so it is known by its place: a segment of the path that is no word of an API, and the members that
providers call references. Sources: openai-openapi, Anthropic's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from gateway.forms import Form
from gateway.json_object import BadJson, parse_object, splice
from gateway.reading import Ask

# Members (and fields, and query parameters) whose value is an object's id, a list of them, or an object with an `id`.
REFERENCES = frozenset((
    "assistant_id", "batch_id", "container", "container_id", "conversation", "conversation_id", "error_file_id",
    "eval_id", "file_batch_id", "file_id", "file_ids", "image_file_id", "input_file_id", "message_batch_id",
    "output_file_id", "previous_response_id", "response_id", "skill_id", "thread_id", "training_file", "upload_id",
    "validation_file", "vector_store_id", "vector_store_ids", "video_id",
))  # fmt: skip
_GIVEN = ("thread_id", "output_file_id", "error_file_id", "result_files")
# What is no tenant's own, or has no ids below it.
_SHARED = frozenset(("models", "organization", "chat", "completions", "embeddings", "messages"))
_ID = re.compile(r"(?=.*[0-9A-Z:.-]).{4,256}", re.DOTALL)  # the words of paths are small letters and underscores
_HINTS = (*(name.encode() for name in sorted(REFERENCES)), b"\\u")
_CLIENTS = frozenset(("metadata", "variables"))  # members whose names are the client's own words
MOST = 1000  # ids of one body that are looked up
_MEMBERS = frozenset((b"id", b"data"))


class Named(msgspec.Struct, frozen=True):
    """An id that a request names. `owned`: it must be somebody's; else it belongs to what stands before it in the path,
    which does."""

    id: str
    owned: bool = True


class TooMany(Exception):
    """A body names more objects than are looked up."""


def named(ask: Ask) -> tuple[Named, ...]:
    """The objects that a request names, in their order, each once. Raises TooMany."""
    if ask.endpoint.shape in ("models", "key"):
        return ()
    found: dict[str, Named] = {}
    for one in (*_in_path(ask), *_in_rest(ask)):
        found.setdefault(one.id, one)
        if len(found) > MOST:
            raise TooMany
    return tuple(found.values())


def _in_path(ask: Ask) -> Iterator[Named]:
    if ask.endpoint.shape != "opaque" or ask.endpoint.name in _SHARED:
        return
    first = True
    for raw in ask.endpoint.path.strip("/").split("/")[1:]:
        segment = unquote(raw)
        if _ID.fullmatch(segment):
            yield Named(segment, first)
            first = False


def _in_rest(ask: Ask) -> Iterator[Named]:
    for name, value in parse_qsl(ask.endpoint.raw_query, max_num_fields=500):
        if name.partition("[")[0] in REFERENCES:
            yield Named(value)
    if isinstance(ask.rest, Form):
        yield from (Named(one.value) for one in ask.rest.fields if one.name.partition("[")[0] in REFERENCES)
    body = ask.body
    if body and ask.fields and any(hint in body for hint in _HINTS):
        yield from _in_tree(msgspec.json.decode(body))


def _in_tree(tree: Any) -> Iterator[Named]:
    """Without recursion: a body may be nested as deep as we read."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(reversed(node))
        elif isinstance(node, dict):
            for name, value in node.items():
                if name in REFERENCES:
                    yield from (Named(one) for one in _ids(value))
            waiting.extend(value for name, value in reversed(node.items()) if name not in _CLIENTS)


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and value != "auto":
            yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str) and one)
    elif isinstance(value, dict) and isinstance(value.get("id"), str):
        yield value["id"]


def given(body: bytes, *, created: bool) -> tuple[str, ...]:
    """The objects that an answer brings into being: itself where it was `created`, and what came of it."""
    try:
        tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        members = {name: msgspec.json.decode(tree[name]) for name in ("id", *_GIVEN) if name in tree}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    names = ("id", *_GIVEN) if created else _GIVEN
    return tuple(one for name in names for one in _ids(members.get(name)))


def listed(body: bytes) -> tuple[str | None, ...] | None:
    """The ids of a list's elements, in their order (None: it has none); None where the answer is no list."""
    elements = _elements(body)
    return tuple(_id_of(one) for one in elements) if elements is not None else None


def without(body: bytes, keep: Sequence[bool]) -> bytes:
    """A list without the elements that are not kept; every other byte as it was."""
    elements = _elements(body)
    assert elements is not None  # noqa: S101  # INVARIANT: `listed` has read it
    kept = b",".join(bytes(one) for one, stays in zip(elements, keep, strict=True) if stays)
    return splice(body, parse_object(body, _MEMBERS), {"data": b"[" + kept + b"]"})


def _elements(body: bytes) -> list[msgspec.Raw] | None:
    try:
        members = parse_object(body, _MEMBERS)
        return msgspec.json.decode(members["data"], type=list[msgspec.Raw]) if "data" in members else None
    except (BadJson, msgspec.MsgspecError):
        return None


def _id_of(element: msgspec.Raw) -> str | None:
    try:
        found = msgspec.json.decode(element)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    one = found.get("id") if isinstance(found, dict) else None
    return one if isinstance(one, str) else None
