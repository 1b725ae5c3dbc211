"""The top level of a JSON object, split without decoding its values. Pure.

What was checked is what is sent: a parser silently takes the last of two equal keys, and the provider's may take the
first. So an object that holds a key that we read more than once is refused. The proof is cheap nearly always: the bytes
are as many as the members take, or the members written anew; else each is found again in them, with nothing left over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

DEEPEST = 200  # levels of nesting; providers and their parsers give up at different depths
_MORE = DEEPEST + 1
_FLAT = 2 * DEEPEST  # bytes that cannot be nested deeper: what opens must close
_SHORT = 64 << 10  # bytes up to which two copies of a body take less time than a few steps of Python


class BadJson(ValueError):
    """Not an object that we can read. The message is ours, never the client's text; `param` names a parameter."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Repeated(dict[str, msgspec.Raw]):
    """The members of an object in which a key that we do not read occurs twice. It holds the last value of each; a
    provider may take the first."""


_AROUND = '"":,'  # what a member has besides its key and value, the last one with a brace for the comma
_ENDS = 1 + len(_AROUND)  # the opening brace, and what the last has
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode, _spaced = msgspec.json.Encoder().encode, msgspec.json.format
_array = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBER = re.compile(rb'[ \t\r\n]*([{,])[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*')
_CLOSING = re.compile(rb"[ \t\r\n]*}[ \t\r\n]*\Z")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]', re.DOTALL)
_NO_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+', re.DOTALL)


def parse_object(body: bytes, read_keys: frozenset[bytes]) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, values undecoded; Repeated where a key occurs twice. `read_keys` are those whose
    meaning must be unique. Raises BadJson."""
    try:
        body.isascii() or body.decode("utf-8")  # what is not decoded below is not checked below
        fields: dict[str, msgspec.Raw] = _decoder.decode(body)
    except msgspec.ValidationError:
        raise BadJson("it is not a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadJson(_words(body, error)) from None
    except RecursionError:
        raise BadJson(f"it is nested more than {DEEPEST} levels deep.") from None
    if len(body) > _FLAT:
        _check_depth(body)
    if (
        _gap(body, fields) is None
        and _walked(body, fields) is None
        and not _is_unique(body, {key.decode() for key in read_keys})
    ):
        return Repeated(fields)
    return fields


def is_array(body: bytes) -> bool:
    """Whether it is a JSON array that we could read."""
    try:
        _array.decode(body)
        _check_depth(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadJson):
        return False
    return True


def tree_of(text: bytes) -> Any:
    """Any JSON, decoded, of no more levels than what goes through it by recursion may take: how deep `json` itself
    goes differs between versions of Python. Integers keep any size. Raises ValueError."""
    _check_depth(text)
    return json.loads(text)


def has_duplicates(body: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether some key of the object, read or not, occurs twice. `fields` are those that `parse_object` gave."""
    seen = _gap(body, fields) is not None or _walked(body, fields) is not None
    return not seen and len(_members(body)) != len(fields)


def splice(body: bytes, fields: Mapping[str, msgspec.Raw], values: Mapping[str, bytes]) -> bytes:
    """The body with the values of some of its top-level keys replaced, all other bytes as they came. Raises BadJson
    where one of them occurs twice."""
    if (gap := _gap(body, fields)) is None:
        return _spliced(body, fields, values)
    parts: list[bytes] = []
    done, at, left = 0, 1, len(values)
    for name, raw in fields.items():
        start = at + len(name) + 3 + gap  # two quotes and a colon
        at = start + len(raw)
        if name in values:
            parts += (body[done:start], values[name])
            done, left = at, left - 1
            if not left:
                break
        at += 1 + gap
    parts.append(body[done:])
    return b"".join(parts)


def _spliced(body: bytes, fields: Mapping[str, msgspec.Raw], values: Mapping[str, bytes]) -> bytes:
    """`splice` of what is written in any way."""
    places = _walked(body, fields)
    members = _members(body) if places is None else [(name, *place) for name, place in places.items()]
    parts, at, seen = [], 0, set()
    for name, start, end in members:
        if name not in values:
            continue
        if name in seen:
            raise BadJson(f"the key '{name}' occurs twice.", param=name)
        seen.add(name)
        parts += [body[at:start], values[name]]
        at = end
    parts.append(body[at:])
    return b"".join(parts)


def dumped(tree: object) -> bytes:
    """A tree as JSON, integers of any size included."""
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only be written as an escape
        return json.dumps(tree, separators=(",", ":")).encode()


def _members(body: bytes) -> list[tuple[str, int, int]]:
    """Every member of the top level, repeated ones too: its key, and from where to where its value stands. Token by
    token, for the rare object that `_walked` cannot follow. `body` is valid JSON."""
    members: list[tuple[str, int, int]] = []
    depth, key, start = 0, None, 0
    for token in _TOKEN.finditer(body):
        mark = token[0][:1]
        if mark in b"]}" or (mark == b"," and depth == 1):
            if depth == 1 and key is not None:
                end = len(body[start : token.start()].rstrip(b" \t\r\n")) + start
                members.append((key, start, end))
                key = None
            depth -= mark in b"]}"
        elif mark in b"[{":
            depth += 1
        elif mark == b":" and depth == 1:
            start = token.end() + len(body[token.end() :]) - len(body[token.end() :].lstrip(b" \t\r\n"))
        elif mark == b'"' and depth == 1 and key is None:
            key = json.loads(token[0])
    return members


def _gap(body: bytes, fields: Mapping[str, msgspec.Raw]) -> int | None:
    """How many spaces stand behind each colon and comma of the top level, where that is all that stands beside the
    members: none, or one as Python's `json` writes it. Then no key is there twice. (A key has at least as many bytes
    as characters, so what is as long as the members are holds nothing else.)"""
    more = len(body) - sum(map(len, fields.values()), len(_AROUND.join(fields)) + _ENDS)
    if more == 0:
        return 0
    if more == 2 * len(fields) - 1 and len(body) <= _SHORT and _spaced(_encode(fields), indent=0) == body:
        return 1
    return None


def _walked(body: bytes, fields: Mapping[str, msgspec.Raw]) -> dict[str, tuple[int, int]] | None:
    """Where the values stand, if the object's bytes are those of `fields`, one after the other, and nothing else: then
    no key is there twice. Sound because each value is found again where a value must begin, so the walk cannot get out
    of step. None proves nothing."""
    at = 0
    opening = b"{"
    places = {}
    for key, raw in fields.items():
        name = key.encode("utf-8", "surrogatepass")
        compact = b'%b"%b":' % (opening, name)
        value = bytes(raw)
        start = at + len(compact)
        # Without spaces, as most clients write it. An identifier has no escape and no quote in it.
        if not (key.isidentifier() and body.startswith(compact, at) and body.startswith(value, start)):
            found = _MEMBER.match(body, at)
            if found is None or found[1] != opening or found[2] != name:
                return None
            start = found.end()
            if not body.startswith(value, start):
                return None
        at = start + len(value)
        places[key] = (start, at)
        opening = b","
    return places if not fields or _CLOSING.match(body, at) is not None else None


def _words(body: bytes, error: Exception) -> str:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as broken:
        return f"it is not UTF-8 (byte {broken.start})."
    if not body.strip():
        return "it is empty."
    text = str(error)
    place = text[text.rfind("(byte ") :] if "(byte " in text else ""
    return f"it is not valid JSON {place}".rstrip() + "."


def _check_depth(body: bytes) -> None:
    """Only a body with that many brackets can be too deep; then they are counted, strings left out."""
    if (size := len(body)) <= _FLAT:
        return
    if size <= _SHORT and size - len(body.replace(b"[", b"", _MORE).replace(b"{", b"", _MORE)) <= DEEPEST:
        return
    if not _many_brackets(body):
        return
    depth = 0
    for bracket in _NO_BRACKET.sub(b"", body):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise BadJson(f"it is nested more than {DEEPEST} levels deep.")


def _many_brackets(body: bytes) -> bool:
    """Whether more than DEEPEST open in it, strings included. `find` passes over a large body ten times as fast as
    `count` does, and where brackets are many it has soon seen enough."""
    left = DEEPEST
    for bracket in (b"[", b"{"):
        at = body.find(bracket)
        while at >= 0:
            if left == 0:
                return True
            left -= 1
            at = body.find(bracket, at + 1)
    return False


def _is_unique(body: bytes, read_keys: set[str]) -> bool:
    """The slow, sure way: whether no key of the top level occurs twice. Raises BadJson for one that is read."""
    seen: set[str] = set()
    # Objects close from the inside out, so the last list of pairs is the top level's.
    top: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> None:
        top[:] = pairs

    json.loads(body, object_pairs_hook=keep, parse_int=str, parse_float=str)
    for name, _ in top:
        if name in seen and name in read_keys:
            raise BadJson(f"the key '{name}' occurs twice.", param=name)
        seen.add(name)
    return len(seen) == len(top)
