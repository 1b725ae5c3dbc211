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

from gateway.redaction.placeholders import NAME
from gateway.stream.sse import Event, data_event

_FORM = re.compile(rf"<({NAME})>|\\u003[cC]({NAME})\\u003[eE]|&lt;({NAME})&gt;")
_OPENERS = ("<", "\\u003c", "\\u003C", "&lt;")
_CLOSERS = {"<": (">",), "\\u003c": ("\\u003e", "\\u003E"), "\\u003C": ("\\u003e", "\\u003E"), "&lt;": ("&gt;",)}
_TRIGGERS = ("<", "\\", "&")
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
        hold = self._suffix(text, done)
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


def restore_body(body: bytes, mapping: Mapping[str, str]) -> bytes:
    """A whole body with its placeholders restored. Bytes that are no placeholder stay as they came, unless a value
    must be escaped differently in text and in a tool call's arguments; then the JSON is written anew."""
    names = Names(mapping)
    if _IN_BYTES.search(body) is None:
        return body
    if all(as_json(value) == value for value in names.values()):

        def value_of(found: re.Match[bytes]) -> bytes:
            value = names.value(found[1].decode())
            return found[0] if value is None else value.encode("utf-8", "surrogatepass")

        return _IN_BYTES.sub(value_of, body)
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return restore_text(body.decode("utf-8", "surrogateescape"), names).encode("utf-8", "surrogateescape")
    return _dump(_restored(tree, names, None))


def _dump(tree: Any) -> bytes:
    try:
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only be written as an escape
        return json.dumps(tree, separators=(",", ":")).encode()


def _restored(node: Any, names: Names, key: str | None) -> Any:
    if isinstance(node, str):
        return restore_text(node, names, as_json if key == "arguments" else as_text)
    if isinstance(node, list):
        return [_restored(one, names, None) for one in node]
    if isinstance(node, dict):
        return {name: _restored(one, names, name) for name, one in node.items()}
    return node


class RestoreFilter:
    """The stage of a stream that restores: one Restorer for each choice and each run of text in it."""

    def __init__(self, shape: str, mapping: Mapping[str, str]) -> None:
        self._shape = shape
        self._names = Names(mapping)
        self._runs: dict[tuple[int, str, int], Restorer] = {}
        self._template: dict[str, Any] = {}

    def feed(self, event: Event) -> Iterable[Event]:
        """The event, rewritten where text in it is restored or held back; before it, what it completes."""
        data = event.data
        if data is None:
            return (event,)
        if data.startswith(b"[DONE]"):
            return (*self.flush(), event)
        holding = any(run.held for run in self._runs.values())
        if not holding and not (b"<" in data or b"\\" in data or b"&" in data):
            return (event,)
        try:
            chunk = json.loads(data)  # keeps integers of any size
        except (ValueError, RecursionError):
            return (event,)
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            return (event,)
        self._template = chunk
        changed = False
        for choice in chunk["choices"]:
            if isinstance(choice, dict):
                changed |= self._choice(choice)
        return (_rewritten(event, chunk),) if changed else (event,)

    def flush(self) -> Iterable[Event]:
        """What is held back when the stream ends without saying so."""
        choices = []
        for index in sorted({run[0] for run in self._runs if self._runs[run].held}):
            choice: dict[str, Any] = {"index": index, "finish_reason": None}
            self._add_rest(choice, index)
            choices.append(choice)
        if not choices:
            return ()
        kept = {name: self._template[name] for name in _ENVELOPE if name in self._template}
        return (_rewritten(Event(b""), {**kept, "choices": choices}),)

    def _choice(self, choice: dict[str, Any]) -> bool:
        """Restore in place; whether anything is not as it came."""
        index = _index(choice)
        changed = False
        fields = choice if self._shape == "completions" else choice.get("delta")
        if isinstance(fields, dict):
            for name in ("text",) if self._shape == "completions" else tuple(fields):
                value = fields.get(name)
                if isinstance(value, str) and name != "role":
                    fields[name] = self._run(index, name, 0, as_text).feed(value)
                    changed |= fields[name] != value
            for call, owner, name in _arguments(fields):
                value = owner[name]
                owner[name] = self._run(index, name, call, as_json if name == "arguments" else as_text).feed(value)
                changed |= owner[name] != value
        if choice.get("finish_reason") is not None:
            changed |= self._add_rest(choice, index)
        return changed

    def _run(self, index: int, name: str, call: int, write: Callable[[str], str]) -> Restorer:
        run = self._runs.get((index, name, call))
        if run is None:
            run = self._runs[(index, name, call)] = Restorer(self._names, write)
        return run

    def _add_rest(self, choice: dict[str, Any], index: int) -> bool:
        """Put what is held back of a choice to the end of its text; whether there was any."""
        added = False
        for (of, name, call), run in self._runs.items():
            if of != index or not run.held:
                continue
            rest, added = run.flush(), True
            if self._shape == "completions":
                choice["text"] = (choice.get("text") or "") + rest
                continue
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = choice["delta"] = {}
            if name in ("arguments", "input"):
                _add_arguments(delta, call, name, rest)
            else:
                delta[name] = (delta.get(name) or "") + rest
        return added


_ENVELOPE = ("id", "object", "created", "model")
_FUNCTION_CALL = -1  # the run of the older `function_call`, which has no index


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index", 0)
    return index if isinstance(index, int) else 0


def _arguments(delta: dict[str, Any]) -> Iterable[tuple[int, dict[str, Any], str]]:
    """Every piece of a tool call's arguments in a delta: the call's index, the object that holds it, its name there."""
    older = delta.get("function_call")
    if isinstance(older, dict) and isinstance(older.get("arguments"), str):
        yield _FUNCTION_CALL, older, "arguments"
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        for kind, name in (("function", "arguments"), ("custom", "input")):
            part = call.get(kind)
            if isinstance(part, dict) and isinstance(part.get(name), str):
                yield _index(call), part, name


def _add_arguments(delta: dict[str, Any], call: int, name: str, rest: str) -> None:
    for index, owner, field in _arguments(delta):
        if index == call and field == name:
            owner[field] += rest
            return
    kind = "custom" if name == "input" else "function"
    if call == _FUNCTION_CALL:
        delta["function_call"] = {"arguments": rest}
    else:
        delta.setdefault("tool_calls", []).append({"index": call, kind: {name: rest}})


def _rewritten(event: Event, chunk: dict[str, Any]) -> Event:
    rewritten = data_event(_dump(chunk))
    if event.name is not None:
        rewritten.raw = b"event: " + event.name.encode() + b"\n" + rewritten.raw
        rewritten.name = event.name
    return rewritten
