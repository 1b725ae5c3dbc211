r"""Restoring: placeholders in a reply become their texts again, in streams too. Pure, sans-io.

The text that comes out does not depend on how the provider cut it: what is held back is the longest suffix that could
still become one of this exchange's placeholders, and nothing else. A placeholder that this exchange did not make stays
as it is. Models and encoders write `<` in three ways (`<`, `\u003c`, `&lt;`); all three are known.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.json_object import dumped, tree_of
from gateway.redaction.placeholders import NAME
from gateway.shapes.shape import Key, Piece, Runs
from gateway.stream.sse import Event, rewritten

_FORM = re.compile(rf"<({NAME})>|\\u003[cC]({NAME})\\u003[eE]|&lt;({NAME})&gt;")
_OPENERS = ("<", "\\u003c", "\\u003C", "&lt;")
_CLOSERS = {"<": (">",), "\\u003c": ("\\u003e", "\\u003E"), "\\u003C": ("\\u003e", "\\u003E"), "&lt;": ("&gt;",)}
_TRIGGERS = ("<", "\\", "&")
BRACKETS = 2 * max(map(len, _OPENERS))  # characters of both, at most
_IN_BYTES = re.compile(rb"(?:<|\\+u003[cC]|&lt;)(%b)(?:>|\\+u003[eE]|&gt;)" % NAME.encode())


def as_text(value: str) -> str:
    """How a value is put into text."""
    return value


def as_json(value: str) -> str:
    """How a value is put into the JSON text of a tool call's arguments: inside of a string."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


class Names:
    """The placeholders of an exchange, without their brackets: looked up whole, and by their beginnings."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._values = {placeholder[1:-1]: value for placeholder, value in mapping.items()}
        self._sorted = sorted(self._values)
        self.longest = max(map(len, self._sorted), default=0) + BRACKETS  # characters of a placeholder, as text

    def value(self, name: str) -> str | None:
        """The text of a placeholder's name, None if this exchange did not make it."""
        return self._values.get(name)

    def begins(self, start: str) -> bool:
        """Whether some name begins so."""
        at = bisect_left(self._sorted, start)
        return at < len(self._sorted) and self._sorted[at].startswith(start)

    def values(self) -> Iterable[str]:
        """All texts."""
        return self._values.values()


class Restorer:
    """One run of text: one choice's content, one tool call's arguments. `feed` pieces, then `flush`."""

    def __init__(self, names: Names, write: Callable[[str], str] = as_text) -> None:
        self._names = names
        self._write = write
        self.held = ""

    def feed(self, text: str) -> str:
        """What may go on now."""
        text = self.held + text
        self.held = ""
        if not any(trigger in text for trigger in _TRIGGERS):
            return text
        text, done = self._replace(text)
        hold = self._suffix(text, max(done, len(text) - self._names.longest))  # what is longer is none any more
        self.held = text[hold:]
        return text[:hold]

    def flush(self) -> str:
        """What was held back and did not become a placeholder."""
        rest, self.held = self.held, ""
        return rest

    def _replace(self, text: str) -> tuple[str, int]:
        """The text with its complete placeholders restored, and from where on it is still the reply's own text."""
        out, at, size = [], 0, 0
        for found in _FORM.finditer(text):
            value = self._names.value(found[1] or found[2] or found[3])
            if value is None:
                continue
            written = self._write(value)
            out += [text[at : found.start()], written]
            size += found.start() - at + len(written)
            at = found.end()
        out.append(text[at:])
        return "".join(out), size

    def _suffix(self, text: str, start: int) -> int:
        """Where the longest suffix begins that could become a placeholder."""
        at = start
        while at < len(text):
            at = min((found for t in _TRIGGERS if (found := text.find(t, at)) >= 0), default=len(text))
            if at < len(text) and self._could(text[at:]):
                return at
            at += 1
        return len(text)

    def _could(self, tail: str) -> bool:
        for opener in _OPENERS:
            if len(tail) <= len(opener):
                if opener.startswith(tail):
                    return True
                continue
            if not tail.startswith(opener):
                continue
            rest = tail[len(opener) :]
            if self._names.begins(rest):
                return True
            for closer in _CLOSERS[opener]:  # the name is whole, its bracket is not
                for size in range(1, len(closer)):
                    if rest.endswith(closer[:size]) and self._names.value(rest[:-size]) is not None:
                        return True
        return False


def restore_text(text: str, names: Names, write: Callable[[str], str] = as_text) -> str:
    """A whole text."""
    restorer = Restorer(names, write)
    return restorer.feed(text) + restorer.flush()


def restore_body(body: bytes, mapping: Mapping[str, str], *, json_text: bool = False) -> bytes:
    """A whole body with its placeholders restored. Bytes that are no placeholder stay as they came, unless a value
    must be escaped differently in text and in a tool call's arguments; then the JSON is written anew. `json_text`:
    the model was asked to write JSON."""
    names = Names(mapping)
    if _IN_BYTES.search(body) is None:
        return body
    if all(as_json(value) == value for value in names.values()):

        def value_of(found: re.Match[bytes]) -> bytes:
            value = names.value(found[1].decode())
            return found[0] if value is None else value.encode("utf-8", "surrogatepass")

        return _IN_BYTES.sub(value_of, body)
    try:
        tree = tree_of(body)
    except ValueError:
        return restore_text(body.decode("utf-8", "surrogateescape"), names).encode("utf-8", "surrogateescape")
    return dumped(_restored(tree, names, JSON_WRITTEN if json_text else JSON_ALWAYS))


# Keys whose text is a JSON document: always, and where the model was asked to write JSON.
JSON_ALWAYS = frozenset(("arguments",))
JSON_WRITTEN = frozenset((*JSON_ALWAYS, "content", "text"))


def _restored(node: Any, names: Names, json_keys: frozenset[str], key: str | None = None) -> Any:
    if isinstance(node, str):
        return restore_text(node, names, as_json if key in json_keys else as_text)
    if isinstance(node, list):
        return [_restored(one, names, json_keys) for one in node]
    if isinstance(node, dict):
        return {restore_text(name, names): _restored(one, names, json_keys, name) for name, one in node.items()}
    return node


class RestoreFilter:
    """The stage of a stream that restores: one Restorer for each run of text. `runs` says where they stand;
    `json_text`: the model was asked to write JSON."""

    def __init__(self, runs: Runs, mapping: Mapping[str, str], *, json_text: bool = False) -> None:
        self._runs = runs
        self._json_text = json_text
        self._names = Names(mapping)
        self._open: dict[Key, tuple[Restorer, Piece]] = {}
        self._added = False

    def feed(self, event: Event) -> Iterable[Event]:
        """The event, rewritten where text in it is restored or held back; before it, what it completes."""
        data = event.data
        if data is None:
            return (event,)
        if data.startswith(b"[DONE]"):
            return (*self.flush(), event)
        if not self.looks(data):
            return (event,)
        try:
            chunk = json.loads(data)  # keeps integers of any size
        except (ValueError, RecursionError):
            return (event,)
        return self._chunk(event, chunk) if isinstance(chunk, dict) else (event,)

    def looks(self, data: bytes) -> bool:
        """Whether events with this in their data have to be looked into; others pass as they are."""
        if 60 in data or 92 in data or 38 in data or self._added:  # `<`, a backslash, `&`
            return True
        return bool(self._open) and any(restorer.held for restorer, _ in self._open.values())

    def flush(self) -> Iterable[Event]:
        """What is held back when the stream ends without saying so."""
        return self._rest(lambda _: True)

    def _chunk(self, event: Event, chunk: dict[str, Any]) -> Iterable[Event]:
        changed = False
        pieces = {piece.key: piece for piece in self._runs.pieces(chunk)}
        for key, piece in pieces.items():
            if key not in self._open:
                self._open[key] = (
                    Restorer(self._names, as_json if piece.is_json or self._json_text else as_text),
                    piece,
                )
            restorer, _ = self._open[key]
            self._open[key] = restorer, piece
            changed |= _put(piece, restorer.feed(piece.owner[piece.field]))
        before: list[Event] = []
        if (ended := self._runs.ends(chunk)) is not None:
            for key in [key for key in pieces if ended(key)]:
                changed |= _put(pieces[key], pieces[key].owner[pieces[key].field] + self._open.pop(key)[0].flush())
            before = self._rest(ended)
        if not pieces:
            whole = _restored(chunk, self._names, JSON_WRITTEN if self._json_text else JSON_ALWAYS)
            changed |= whole != chunk
            chunk = whole
        changed |= self._runs.renumber(chunk)
        return (*before, rewritten(event, chunk) if changed else event)

    def _rest(self, ended: Callable[[Key], bool]) -> list[Event]:
        """What is held back of the runs that end, as events of their own."""
        rest = []
        for key in [key for key in self._open if ended(key)]:
            restorer, piece = self._open.pop(key)
            if restorer.held:
                rest.append(self._runs.more(piece, restorer.flush()))
                self._added = True
        return rest


def _put(piece: Piece, text: str) -> bool:
    changed = bool(piece.owner[piece.field] != text)
    piece.owner[piece.field] = text
    return changed
