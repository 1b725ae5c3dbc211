"""Where text travels in a request. Pure.

What is not known to be something else is text: a field that a provider adds tomorrow is scanned today. A tool call's
arguments are JSON inside of a string; their leaves are scanned, their shape stays. What cannot be read as text
(images, audio, files, token arrays) is named, and the profile says what becomes of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.json_object import BadJson, Repeated, dumped, has_duplicates, splice

# Top-level parameters whose strings are words of the API, not of a person.
NOT_TEXT = frozenset((
    "model", "stream", "stream_options", "service_tier", "reasoning_effort", "modalities", "encoding_format",
    "verbosity", "tool_choice", "function_call", "audio", "truncation", "include", "n", "seed", "store", "best_of",
    "echo", "logprobs", "top_logprobs", "logit_bias", "background", "conversation", "previous_response_id", "container",
    "mcp_servers", "thinking", "betas", "input_file_id", "training_file", "validation_file", "completion_window",
))  # fmt: skip
# Keys below the top level, likewise; ids must come back as the provider gave them, and what a provider signed or
# encrypted as it is.
_NAMES = frozenset((
    "role", "type", "id", "tool_call_id", "call_id", "tool_use_id", "item_id", "detail", "format", "media_type",
    "status", "signature",
))  # fmt: skip
_SEALED = "encrypted_"  # what such keys begin with
# Objects whose keys are the client's own words, so that none of them is a name of the API.
_OWN_KEYS = frozenset(("metadata", "variables"))
# Keys whose value cannot be read as text, with its kind.
_UNSCANNABLE = {
    "image_url": "image", "input_image": "image", "input_audio": "audio", "file": "file", "input_file": "file",
    "file_data": "file", "file_url": "file", "file_id": "file", "b64_json": "image", "partial_image_b64": "image",
}  # fmt: skip
# (type of an object, key): likewise. None: the provider's own, which says nothing of a person that it did not know.
_UNSCANNABLE_IN: Mapping[tuple[str, str], str | None] = {
    ("image_generation_call", "result"): "image", ("response.audio.delta", "delta"): "audio",
    ("redacted_thinking", "data"): None,
    ("mcp", "authorization"): None, ("mcp", "headers"): None, ("mcp", "server_url"): None,
}  # fmt: skip
_SOURCES = frozenset(("base64", "url", "file"))  # Anthropic: what a picture's or a document's `source` may be but text
UNSCANNABLE_BYTES = re.compile(
    b'"(?:%b)"' % b"|".join(key.encode() for key in (*_UNSCANNABLE, "source", "image_generation_call", "audio"))
)
_NUMBERS = re.compile(rb"[\[\s]+-?[0-9]")
_JSON_TEXT = frozenset(("arguments",))
_TOOL_USE = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
SHORTEST_NUMBER = 7  # digits of a number in a tool call's arguments that may be somebody's


class TwiceTheSame(BadJson):
    """An object has a key twice."""


@dataclass(slots=True)
class Leaf:
    """One text, and how to put another in its place. `signed`: what a model thought, over which its provider signed:
    what comes back must be, character by character, what it wrote."""

    text: str
    put: Callable[[str], None]
    signed: bool = False


@dataclass(slots=True)
class Walk:
    """What a request holds: `leaves` in the order of the body, `unscannable` as kinds of content."""

    body: bytes
    fields: Mapping[str, msgspec.Raw]
    leaves: list[Leaf] = field(default_factory=list)
    unscannable: set[str] = field(default_factory=set)
    _trees: dict[str, Any] = field(default_factory=dict)
    _late: list[Callable[[], None]] = field(default_factory=list)  # JSON texts, to be written when their leaves are
    _touched: set[str] = field(default_factory=set)

    @property
    def tree(self) -> Any:
        """Of `leaves_of`: the tree with what was put."""
        for write in reversed(self._late):
            write()
        return self._trees[""]

    def rebuilt(self) -> bytes:
        """The body with what was put. Only a top-level value that holds a changed text is written anew."""
        for write in reversed(self._late):
            write()
        values = {name: dumped(self._trees[name]) for name in self._touched}
        return splice(self.body, self.fields, values) if values else self.body


def clean_fields(fields: Mapping[str, msgspec.Raw], may_hold: Callable[[str], bool]) -> tuple[int, int] | None:
    """Whether it can be seen in the bytes alone, without decoding, that a request holds nothing: how many values were
    searched, and how many bytes. None proves nothing, and then everything is walked.

    Sound because JSON's punctuation only stands between texts, where it can join nothing that `may_hold` looks for,
    and because text with escapes other than a line's end is not judged here.
    """
    if type(fields) is Repeated:  # of a key that occurs twice, only the last value is seen here
        return None
    values = size = 0
    for name, raw in fields.items():
        if name in NOT_TEXT:
            continue
        value = bytes(raw)
        if value[:1] not in (b'"', b"[", b"{"):
            continue
        if b"\\" in value:
            value = value.replace(b"\\n", b"\n")
            if b"\\" in value:
                return None
        # Without escapes a quote is never part of a text, so this colon is JSON's, and it alone would alarm the gate.
        texts = value.replace(b'":', b'" ')
        if UNSCANNABLE_BYTES.search(value) is not None or may_hold(texts.decode("utf-8", "surrogateescape")):
            return None
        if _NUMBERS.match(value) is not None:  # a prompt in tokens
            return None
        values += 1
        size += len(value)
    return values, size


def walk(body: bytes, fields: Mapping[str, msgspec.Raw]) -> Walk:
    """All text of a JSON body. Raises BadJson where an object has a key twice: a provider could read the other."""
    if has_duplicates(body, fields):
        raise BadJson("it has the same key twice.")
    found = Walk(body, fields)
    for name, raw in fields.items():
        if name in NOT_TEXT:
            continue
        value = bytes(raw)
        if value[:1] not in (b'"', b"[", b"{"):
            continue
        tree = loaded(value)
        found._trees[name] = tree  # noqa: SLF001  # built here
        _Walker(found, name).root(tree)
    return found


def leaves_of(tree: Any) -> Walk:
    """All text of a JSON tree, which is changed in place."""
    found = Walk(b"", {})
    found._trees[""] = tree  # noqa: SLF001  # built here
    _Walker(found, "").root(tree)
    return found


class _Walker:
    """Goes through one top-level value."""

    def __init__(self, found: Walk, name: str) -> None:
        self._found = found
        self._name = name

    def root(self, tree: Any) -> None:
        if isinstance(tree, list) and tree and all(type(one) is int for one in tree):
            self._found.unscannable.add("tokens")
            return

        def put(value: Any) -> None:
            self._found._trees[self._name] = value  # noqa: SLF001  # built by this module

        if self._name in _OWN_KEYS and isinstance(tree, dict):
            self._own(tree)
        else:
            self._node(tree, put)

    def _leaf(self, text: str, put: Callable[[Any], None], *, signed: bool = False) -> None:
        def replace(value: str) -> None:
            self._found._touched.add(self._name)  # noqa: SLF001  # built by this module
            put(value)

        self._found.leaves.append(Leaf(text, replace, signed))

    def _node(self, node: Any, put: Callable[[Any], None]) -> None:
        if isinstance(node, str):
            if node:
                self._leaf(node, put)
        elif isinstance(node, list):
            if node and all(type(one) is int for one in node):
                self._found.unscannable.add("tokens")
                return
            for index, one in enumerate(node):
                self._node(one, _setter(node, index))
        elif isinstance(node, dict):
            self._object(node)

    def _object(self, node: dict[str, Any]) -> None:
        kind = said if isinstance(said := node.get("type"), str) else ""
        for key, value in node.items():
            if (key in _NAMES and isinstance(value, str)) or key.startswith(_SEALED):
                continue
            if value is not None and (unscannable := self._kind(kind, key, value)) is not None:
                self._found.unscannable.add(unscannable)
                for words in ("filename", "transcript") if isinstance(value, dict) else ():
                    if isinstance(text := value.get(words), str) and text:
                        self._leaf(text, _setter(value, words))
            elif (kind, key) in _UNSCANNABLE_IN:
                continue
            elif kind == key == "thinking" and isinstance(value, str) and value:
                self._leaf(value, _setter(node, key), signed=True)
            elif key in _OWN_KEYS and isinstance(value, dict):
                self._own(value)
            elif key in _JSON_TEXT and isinstance(value, str):
                self._json_text(value, _setter(node, key))
            elif key == "input" and kind in _TOOL_USE and isinstance(value, dict):
                for leaf, setter in _json_leaves(value):
                    self._leaf(leaf, setter)
            else:
                self._node(value, _setter(node, key))

    def _own(self, node: dict[str, Any]) -> None:
        for key, value in node.items():
            self._node(value, _setter(node, key))

    def _kind(self, kind: str, key: str, value: Any) -> str | None:
        """The kind of a value that cannot be read as text."""
        if key == "source" and isinstance(value, dict) and value.get("type") in _SOURCES:
            return "image" if kind == "image" else "file"
        if key == "audio" and isinstance(value, dict) and isinstance(value.get("data"), str):
            return "audio"
        return _UNSCANNABLE.get(key) or _UNSCANNABLE_IN.get((kind, key))

    def _json_text(self, text: str, put: Callable[[Any], None]) -> None:
        """Text that is JSON by itself: its leaves, numbers too, since a card's digits may be one."""
        try:
            tree = loaded(text.encode("utf-8", "surrogatepass"))
        except BadJson:
            self._node(text, put)
            return
        if not isinstance(tree, (dict, list)):
            self._node(text, put)
            return
        changed = [False]

        def marking(inner: Callable[[Any], None]) -> Callable[[Any], None]:
            def mark(value: Any) -> None:
                changed[0] = True
                inner(value)

            return mark

        for leaf, setter in _json_leaves(tree):
            self._leaf(leaf, marking(setter))

        def write() -> None:
            if changed[0]:
                put(json.dumps(tree, ensure_ascii=False))

        self._found._late.append(write)  # noqa: SLF001  # built by this module


def _json_leaves(tree: Any) -> Iterable[tuple[str, Callable[[Any], None]]]:
    """Every text and long number in a JSON tree, and every key: an object may be indexed by somebody's address. Keys
    come after the values, which are put by them."""
    waiting, keys = [tree], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            keys += [(key, node) for key in node if key]
        pairs: Sequence[tuple[Any, Any]] = list(node.items() if isinstance(node, dict) else enumerate(node))
        for key, value in pairs:
            if isinstance(value, (dict, list)):
                waiting.append(value)
            elif isinstance(value, str) and value:
                yield value, _setter(node, key)
            elif isinstance(value, int) and not isinstance(value, bool) and len(str(abs(value))) >= SHORTEST_NUMBER:
                yield str(value), _setter(node, key)
    for key, node in keys:
        yield key, _renamer(node, key)


def _renamer(container: dict[str, Any], key: str) -> Callable[[Any], None]:
    def put(name: Any) -> None:
        members = [(name if old == key else old, value) for old, value in container.items()]
        container.clear()
        container.update(members)

    return put


def _setter(container: Any, key: Any) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        container[key] = value

    return put


def loaded(text: bytes) -> Any:
    """A JSON value. Raises BadJson; of these, TwiceTheSame where a provider could read the other of two."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise TwiceTheSame("an object in it has the same key twice.")
        return made

    try:
        return json.loads(text, object_pairs_hook=unique)
    except BadJson:
        raise
    except (ValueError, RecursionError):
        raise BadJson("it is not valid JSON.") from None
