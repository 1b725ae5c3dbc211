"""What changes in a body on its way to a provider: single top-level values, by splicing. Pure.

Every other byte leaves as it came: integers of any size, 1e-7, escapes, the order of keys, unknown fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.json_object import BadJson, parse_object, splice

_READ = frozenset((b"model", b"stream_options"))
_USAGE = b'{"include_usage":true}'


def edit_body(
    body: bytes, edits: Sequence[tuple[str, object]], *, model: str | None = None, include_usage: bool = False,
    fields: Mapping[str, msgspec.Raw] | None = None,
) -> bytes:  # fmt: skip
    """The body with the parameters of `edits` set, with another `model`, and with the usage chunk asked for. `body`
    is a JSON object, `fields` what `parse_object` gave of it, if it was read before. Raises BadJson where a key stands
    twice in it, so that it is not known which one counts."""
    if fields and not edits and (quickly := _edit_known(body, fields, model, include_usage=include_usage)) is not None:
        return quickly
    values = {name: msgspec.json.encode(value) for name, value in edits}
    if model is not None:
        values["model"] = msgspec.json.encode(model)
    if not values and not include_usage:
        return body
    fields = parse_object(body, _READ) if fields is None else fields
    if include_usage:
        values["stream_options"] = _with_usage(fields.get("stream_options"))
    if values.keys() <= fields.keys():
        return splice(body, fields, values)
    there = {name: value for name, value in values.items() if name in fields}
    new = {name: value for name, value in values.items() if name not in fields}
    if there:
        body = splice(body, fields, there)
    return _inserted(body, new, empty=not fields) if new else body


def _edit_known(
    body: bytes, fields: Mapping[str, msgspec.Raw], model: str | None, *, include_usage: bool
) -> bytes | None:  # fmt: skip
    """The same in few steps, as it mostly is: another model, usage asked for, or both. None where that is not all."""
    if (include_usage and "stream_options" in fields) or (model is not None and "model" not in fields):
        return None
    if model is not None:
        body = splice(body, fields, {"model": msgspec.json.encode(model)})
    if include_usage:
        start = body.index(b"{") + 1
        body = b'%b"stream_options":%b,%b' % (body[:start], _USAGE, body[start:])
    return body


def _with_usage(raw: msgspec.Raw | None) -> bytes:
    """A `stream_options` that asks for usage, with whatever else it held."""
    if raw is None:
        return _USAGE
    value = bytes(raw)
    try:
        inner = parse_object(value, frozenset((b"include_usage",)))
    except BadJson:
        return _USAGE  # null, or no object: nothing that is lost
    if "include_usage" in inner:
        return splice(value, inner, {"include_usage": b"true"})
    return _inserted(value, {"include_usage": b"true"}, empty=not inner)


def _inserted(body: bytes, new: dict[str, bytes], *, empty: bool) -> bytes:
    members = b",".join(msgspec.json.encode(name) + b":" + value for name, value in new.items())
    start = body.index(b"{") + 1
    return body[:start] + members + (b"" if empty else b",") + body[start:]
